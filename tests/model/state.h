/* state.h - what the model's files share. Every function here is called with model->lock held.
 *
 * model.c   life, violations, trace, interrupt line, hooks
 * mpci.c    PCI configuration space: capabilities
 * mregs.c   BARs: device status machine, common, notify, ISR and device configuration
 * mlegacy.c the registers of a legacy device, as what they are in the common structure
 * mdma.c    DMA memory and the order in which the two sides see each other's stores
 * mchain.c  one request: descriptor list, buffers
 * mring.c   virtqueues: split rings' ownership, used ring, notifications
 * mpacked.c the same of packed rings, where it differs
 * mblk.c    block requests, disk, cache */
#ifndef VBLKFS_TESTS_MODEL_STATE_H
#define VBLKFS_TESTS_MODEL_STATE_H
#include <pthread.h>
#include "bar_maps.h"
#include "model.h"

struct m_seg { /* one descriptor's buffer */
	uint8_t *host;
	uint32_t bytes;
	bool writable;
};

struct m_req {
	struct model_req pub; /* first */
	struct m_req *next, *prev;
	bool bad; /* breaks the ring's rules: not executed */
	bool fetched;
	uint16_t slot;   /* in the avail ring */
	uint16_t *chain; /* its descriptors in the ring's table */
	unsigned nr_chain, chain_room;
	struct vring_desc *table; /* indirect */
	uint32_t table_bytes;
	struct m_seg *seg;
	unsigned nr_segs, seg_room;
	uint64_t desc_hash, data_hash;
	uint8_t *status; /* where it is */
	bool past_end;   /* of a disk that shrank: it fails */
	uint64_t covers; /* a flush: the writes that were done when it was exposed */
};

struct m_queue {
	struct model *m;
	uint16_t index;
	/* registers */
	uint16_t max, size, enabled, vector;
	uint32_t addr[6];
	uint8_t addr_written; /* bit i: addr[i] since reset */
	bool resetting;       /* queue_reset is 1 */
	bool was_reset;       /* and may be set up again */
	unsigned reset_left;
	/* while enabled */
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t shadow_idx; /* avail.idx as the driver stored it last */
	uint16_t last_avail; /* next slot to fetch */
	uint16_t used_idx;
	bool awake; /* polls the ring, wants no kick */
	bool kicked;
	bool *owned;        /* by descriptor: exposed, not yet used */
	uint16_t next_desc; /* IN_ORDER: behind the last request's descriptors */
	/* A packed ring has these instead: positions, with the lap's counter in bit 15. */
	bool is_packed;
	struct vring_packed_desc *pdesc;
	le32 *pdriver, *pdevice; /* event suppression */
	uint16_t pshadow;        /* behind what the driver has made available */
	uint16_t pavail, pused;  /* next to fetch, next to write a used descriptor to */
	unsigned pinflight;      /* descriptors exposed, not used */
	const le16 *phead;       /* the flags that were stored last to make something available */
	struct m_req *reqs;      /* exposed, oldest first */
};

struct m_pending { /* a store of the driver that the device may not see yet */
	uint8_t *p;
	int bytes;
	uint64_t old;
	pthread_t thread;
};

struct m_announced { /* a store of the device, and what stood there before */
	const uint8_t *p;
	int bytes;
	uint64_t old;
	uint64_t seq;
};
#define M_ANNOUNCED 1024
#define M_ECHO      4096

struct m_alloc {
	struct m_alloc *next;
	uint8_t *mem;
	size_t bytes;
};

struct m_range { /* sectors written, not flushed */
	uint64_t sector, nr;
	uint64_t seq;
};

struct model {
	struct hw hw; /* first */
	struct model_config cfg;
	pthread_mutex_t lock; /* recursive */
	bool closed;
	bool gone;
	uint64_t rng;

	char *violation_text;
	size_t violation_bytes;
	unsigned violations;

	struct model_access *trace;
	size_t trace_len, trace_room;
	struct model_stat stat;
	struct model_req *done;
	size_t nr_done, done_room;

	unsigned at_countdown;
	void (*at_fn)(struct model *m);
	enum model_region at_region;
	void (*at_region_fn)(struct model *m);
	uint32_t echo[M_ECHO]; /* last value written to each offset, of any BAR */
	unsigned lie_countdown;
	uint32_t lie;
	unsigned fail_countdown;
	bool failed;

	/* mpci.c */
	uint8_t space[256];
	uint8_t space_may_clear[256]; /* bits that a write may change to 0 */
	bool bus_master;

	/* interrupt line */
	uint8_t isr;
	bool irq_masked;
	bool irq_signalled; /* irq_fd is readable */
	bool irq_taken;     /* irq_wait returned, ISR not read since */
	int irq_fd;
	unsigned vectors;  /* MSI-X is on with so many; 0: the line */
	uint64_t fired;    /* those that came, and were not waited for yet */
	int direct_fd[64]; /* of vectors: + 1; 0: irq_wait is told */
	uint64_t lost;     /* bit i: vector i goes nowhere */
	bool isr_thread_set;
	pthread_t isr_thread;

	/* mregs.c */
	struct bar_maps maps;
	uint8_t status;
	bool reset_pending;
	unsigned reset_left;
	bool features_ok_unread;
	uint32_t device_feature_select, driver_feature_select;
	uint32_t driver_feature[4];
	uint8_t feature_written; /* bit i: word i since reset */
	uint16_t config_vector;
	uint8_t generation;
	uint16_t queue_select;
	bool mute; /* legacy: it wants a reset and can't say so */
	struct m_queue queue[MODEL_MAX_QUEUES];

	/* mdma.c */
	uint8_t *arena_map, *arena;
	uint32_t *page_to_phys, *phys_to_page; /* hugepages */
	uint8_t *page_used;                    /* 4 KiB pages */
	struct m_alloc *allocs;
	size_t dma_live;
	struct m_pending *pending;
	size_t nr_pending, pending_room;
	struct m_announced announced[M_ANNOUNCED];
	size_t nr_announced; /* ever */
	uint64_t device_stores,
		ordered_seq; /* how many; up to which the driver's loads are ordered after them */
	enum model_moment moment;
	bool moment_armed; /* used_event or avail.flags was stored since */

	/* mblk.c */
	uint8_t *disk, *stable; /* what a read gives; what survives a power cut */
	uint64_t disk_sectors;
	uint8_t first_writeback;          /* a reset brings it back, as QEMU does */
	uint64_t capacity, capacity_told; /* now; the largest that the driver ever read */
	struct m_range *dirty;
	size_t nr_dirty, dirty_room;
	uint64_t dirty_seq;
	bool lose_all;

	unsigned polls;
	bool thread_stop;
	pthread_t thread;
	pthread_cond_t thread_wake;
};

/* model.c */
void m_violation(struct model *m, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void m_trace(struct model *m, enum model_region region, bool write, int bar, int bytes,
	uint64_t off, uint64_t value);
uint64_t m_random(struct model *m);
bool m_fails(struct model *m); /* a fallible hook asks whether it is its turn */
void m_tick(struct model *m);  /* at the start of every access */
void m_tick_region(struct model *m, enum model_region region);
void m_irq(struct model *m, uint8_t isr_bits);
void m_irq_of_queue(struct m_queue *q);
void m_irq_update(struct model *m);
bool m_negotiated(const struct model *m, unsigned bit);
bool m_offered(const struct model *m, unsigned bit);
bool m_settled(const struct model *m); /* the features are */

/* mpci.c */
void mpci_build(struct model *m);
const struct model_cap *mpci_find(const struct model *m, int bar, uint64_t off);
bool mpci_msix_is_on(const struct model *m);
int mpci_read(struct hw *hw, uint32_t off, void *buf, uint32_t len);
int mpci_write(struct hw *hw, uint32_t off, const void *buf, uint32_t len);

/* mregs.c */
int mregs_map(struct hw *hw, int bar, uint64_t off, uint64_t len);
uint8_t mregs_read8(struct hw *hw, int bar, uint64_t off);
uint16_t mregs_read16(struct hw *hw, int bar, uint64_t off);
uint32_t mregs_read32(struct hw *hw, int bar, uint64_t off);
void mregs_write8(struct hw *hw, int bar, uint64_t off, uint8_t val);
void mregs_write16(struct hw *hw, int bar, uint64_t off, uint16_t val);
void mregs_write32(struct hw *hw, int bar, uint64_t off, uint32_t val);
void mregs_reset(struct model *m); /* the device is as after power-on */
uint32_t mregs_common_read(struct model *m, uint64_t off);
void mregs_common_write(struct model *m, uint64_t off, uint32_t val);

/* mlegacy.c */
const struct model_cap *mlegacy_find(const struct model *m, int bar, uint64_t off);
uint32_t mlegacy_read(struct model *m, uint64_t off, unsigned bytes);
void mlegacy_write(struct model *m, uint64_t off, unsigned bytes, uint32_t val);

/* mdma.c */
int mdma_create(struct model *m);
void mdma_destroy(struct model *m);
void *mdma_alloc(struct hw *hw, size_t bytes);
void mdma_free(struct hw *hw, void *mem, size_t bytes);
uint64_t mdma_addr(struct hw *hw, const void *mem, size_t *contig);
void mdma_store(struct hw *hw, void *p, uint64_t val, int bytes);
uint64_t mdma_load(struct hw *hw, const void *p, int bytes);
void mdma_barrier(struct hw *hw, int kind);
/* BYTES at the device's address ADDR, or NULL when they are not all in one live piece of DMA
 * memory. */
void *mdma_host(struct model *m, uint64_t addr, uint64_t bytes);
/* The device looks at ring memory; stores still pending are not there for it. */
uint64_t mdma_device_load(struct model *m, const void *p, int bytes);
/* The device stores to memory that the driver reads by dma_load. */
void mdma_device_store(struct model *m, void *p, uint64_t val, int bytes);
/* Is a store of this thread to [p, p + bytes) not ordered before its next one? */
bool mdma_unfenced(struct model *m, const void *p, size_t bytes);
/* Time passes: all stores arrive. */
void mdma_drain(struct model *m);

/* mchain.c */
void mchain_expose(struct m_queue *q, uint16_t idx);   /* the request in the slot of IDX */
struct m_req *mchain_expose_packed(struct m_queue *q); /* the one at q->pshadow */
uint64_t mchain_desc_hash(const struct m_queue *q, const struct m_req *req);
uint64_t mchain_data_hash(const struct m_req *req);
void mchain_free(struct m_req *req);

/* mring.c */
int mring_enable(struct m_queue *q);
void mring_disable(struct m_queue *q, bool scribbling);
void mring_driver_stored(struct model *m, void *p, int bytes);
void mring_driver_loads(struct model *m, const void *p);  /* before the value is taken */
void mring_driver_loaded(struct model *m, const void *p); /* after */
/* Is it an index, a flag or an event, not data? STORED: by the driver; else it is loaded. */
bool mring_is_sync(struct model *m, const void *p, bool stored);
void mring_freeing(struct model *m, const uint8_t *mem, size_t bytes);
void mring_kick(struct m_queue *q);
uint16_t mring_next_avail(const struct m_queue *q); /* as a kick names it: 2.9 */
unsigned mring_serve(struct m_queue *q);
unsigned mring_step(struct m_queue *q);
bool mring_complete(struct m_queue *q, unsigned index);
unsigned mring_complete_all(struct model *m);

/* mpacked.c; where mring.c has the same name, it calls this for a packed ring */
int mpacked_enable(struct m_queue *q);
void mpacked_scribble(struct m_queue *q, bool random);
bool mpacked_overlaps(const struct m_queue *q, const void *p, size_t bytes);
void mpacked_stored(struct m_queue *q, const uint8_t *p);
bool mpacked_is_sync(const struct m_queue *q, const void *p, bool stored);
bool mpacked_has_new(struct m_queue *q);
void mpacked_fetched(struct m_queue *q, const struct m_req *req);
void mpacked_ask_for_kicks(struct m_queue *q, bool wanted);
/* One used descriptor for NR of the driver's. True: the driver wants an interrupt. */
bool mpacked_push_used(struct m_queue *q, unsigned nr, uint32_t id, uint32_t len);

/* mblk.c */
int mblk_create(struct model *m);
void mblk_destroy(struct model *m);
void mblk_parse(struct model *m, struct m_req *req);   /* header, shape, limits; violations */
void mblk_execute(struct model *m, struct m_req *req); /* status, used_len, data */
bool mblk_volatile(const struct model *m);
uint32_t mblk_config_read(struct model *m, uint32_t off, int bytes);
void mblk_config_write(struct model *m, uint32_t off, int bytes, uint32_t val);

static inline uint16_t m_load16(struct model *m, const le16 *p)
{
	return le16toh((uint16_t)mdma_device_load(m, p, 2));
}

static inline uint32_t m_load32(struct model *m, const le32 *p)
{
	return le32toh((uint32_t)mdma_device_load(m, p, 4));
}

static inline uint64_t m_load64(struct model *m, const le64 *p)
{
	return le64toh(mdma_device_load(m, p, 8));
}

static inline struct model *m_of(struct hw *hw)
{
	return (struct model *)hw;
}

static inline void m_lock(const struct model *m) /* also for a look */
{
	pthread_mutex_lock(&((struct model *)m)->lock);
}

static inline void m_unlock(const struct model *m)
{
	pthread_mutex_unlock(&((struct model *)m)->lock);
}

/* A field of the model, or what one says, for a test to look at. */
#define M_LOOK(m, type, expr)  \
	do {                   \
		type got_;     \
		m_lock(m);     \
		got_ = (expr); \
		m_unlock(m);   \
		return got_;   \
	} while (0)
#endif
