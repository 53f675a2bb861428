/* model.h - a strict virtio-blk PCI function in this process, behind driver/hw.h, with a disk in
 * memory.
 *
 * It obeys virtio 1.2 in the way that is worst for the driver: it never gives more than the text
 * promises, and whatever the driver does that the text forbids is a violation: a line of text, kept
 * until model_violations() is asked. A test ends with none. VIRTIO.md's row ids stand in those
 * lines.
 *
 * Time: a kick is served inside the driver's call (MODEL_INLINE), or only when the test calls
 * model_run() (MODEL_STEPPED), or by a thread of the model (MODEL_THREAD). Nothing depends on the
 * clock.
 *
 * Memory order: the driver's ring stores are held back as "pending" until a barrier makes them
 * visible, and the device's own stores stay invisible to loads that are not ordered after the load
 * that announced them (mdma.c). Only with -DHW_MODEL.
 *
 * Threads: everything here and every hook takes the model's one lock. */
#ifndef VBLKFS_TESTS_MODEL_H
#define VBLKFS_TESTS_MODEL_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "hw.h"
#include "virtio.h"

#define MODEL_MAX_QUEUES 16
#define MODEL_MAX_CAPS   12
#define MODEL_HUGE_BYTES (2U << 20)

struct model;
struct model_req;

enum model_when { MODEL_INLINE, MODEL_STEPPED, MODEL_THREAD };
enum model_order { MODEL_IN_ORDER, MODEL_LAST_FIRST, MODEL_SHUFFLED };

/* Where a structure is: the layout of the vendor capabilities, in list order. */
struct model_cap {
	uint8_t type, bar;
	uint32_t offset, length;
	uint8_t cap_len; /* 0: the type's own */
};

struct model_config { /* start from model_defaults() */
	struct hw_ids ids;
	uint64_t features[2]; /* offered: bits 0-63, 64-127 */

	struct model_cap caps[MODEL_MAX_CAPS];
	unsigned nr_caps;
	struct hw_bar bar[6];
	uint32_t notify_multiplier;
	bool shared_notify;          /* every queue_notify_off is 0 */
	bool odd_notify_data;        /* queue_notify_data is not the queue's index */
	bool msix_left_on;           /* by a former owner */
	uint32_t config_space_limit; /* bytes that can be read; 0: all. Without privilege: 64 */
	bool no_irq;
	bool stale_irq;             /* a former owner left the line raised */
	unsigned nr_vectors;        /* of MSI-X; 0: only the line */
	unsigned vectors_to_be_had; /* by irq_vectors(); 0: all */
	unsigned vectors_taken;     /* by the device, the first ones only; 0: all */
	bool no_vector_taken;
	enum { REDIRECT_WORKS, REDIRECT_FAILS, REDIRECT_LOSES_IT } redirect; /* irq_redirect() */
	bool iommu_translates;
	bool iommu_is_ours;

	bool legacy; /* the registers of a legacy device, in BAR 0: model_legacy() */

	unsigned nr_queues;                    /* in the transport */
	uint16_t queue_size[MODEL_MAX_QUEUES]; /* largest; 0: absent */

	struct { /* the block device's configuration space */
		uint64_t capacity;
		uint32_t size_max, seg_max, blk_size;
		uint8_t physical_exp;
		uint8_t writeback;
		uint16_t num_queues;
		uint32_t discard_sectors, discard_seg, discard_align;
		uint32_t zeroes_sectors, zeroes_seg;
		uint8_t zeroes_may_unmap;
		uint32_t erase_sectors, erase_seg, erase_align; /* where SECURE_ERASE is offered */
		uint16_t pre_eol, typ_a, typ_b;                 /* likewise LIFETIME */
		uint8_t zoned_model;                            /* ZONED */
		char serial[VIRTIO_BLK_ID_BYTES];
	} blk;

	unsigned reset_delay; /* reads of device_status, or of queue_reset, before it shows 0 */
	bool status_stuck;    /* a reset never ends (a function reset does) */
	bool queue_reset_stuck;
	bool neat_queue_reset; /* it leaves the used ring of the queue as it is */
	bool refuse_features_ok;
	bool bus_master_stuck; /* can't be set */
	bool no_function_reset;

	enum model_when when;
	enum model_order order; /* any other than MODEL_IN_ORDER breaks IN_ORDER, if negotiated */
	uint64_t seed;
	bool hold;            /* complete only what model_complete() names */
	bool poll_rings;      /* the device asks for no kicks while it is awake */
	uint16_t event_ahead; /* EVENT_IDX: it wants the kick this many requests late */
	unsigned nr_suspends; /* of the machine; model_suspend() counts on */
	/* MODEL_STEPPED: every nth look of the driver at a used index gives the device a step; 0:
	 * none does. */
	unsigned run_on_polls;
	bool spurious_irqs; /* raise the line without a cause now and then */
	bool lose_irqs;     /* the line never goes up */
	/* BARs are memory with random content, and capabilities may lead anywhere into them. */
	bool garbage_bars;

	/* Called before a request is completed; may change status, used_len, hold and the rest of
	 * struct model_req. */
	void (*on_complete)(struct model_req *req, void *arg);
	/* Called when the driver sleeps, under no lock. */
	void (*on_sleep)(struct model *m, uint32_t us, void *arg);
	/* Called when the driver resets a queue, before it is. */
	void (*on_queue_reset)(struct model *m, void *arg);
	/* Called after each read of the device's configuration. */
	void (*on_config_read)(struct model *m, uint32_t off, void *arg);
	void *arg;
};

struct model_req { /* as the device sees it */
	uint16_t queue, head;
	unsigned nr_desc; /* with header and status; those of an indirect table too */
	bool indirect;
	uint32_t type;
	uint64_t sector;
	uint64_t data_bytes;
	uint64_t range_sector; /* the first of the ranges of DISCARD, WRITE_ZEROES, SECURE_ERASE */
	uint32_t range_sectors, range_flags;
	uint8_t status;    /* will be written, unless */
	bool leave_status; /* it is not */
	uint32_t used_len;
	bool hold;        /* don't complete now */
	uint32_t used_id; /* head, unless the test lies */
};

/* What QEMU offers, one queue of 256, 8 MiB, MODEL_INLINE. */
void model_defaults(struct model_config *cfg);
/* The same as a legacy device: no capabilities, an I/O BAR, no feature past bit 31, but those that
 * QEMU adds. */
void model_legacy(struct model_config *cfg);
struct model *model_create(const struct model_config *cfg);
void model_destroy(struct model *m); /* after the driver's hw->ops->close() */
struct hw *model_hw(struct model *m);
struct model_config *model_config(struct model *m); /* behaviours may be changed at any time */

unsigned model_violations(const struct model *m);
const char *model_violation_text(const struct model *m); /* all, a line each */
void model_forgive(struct model *m); /* forget them: the test broke a rule on purpose */
/* What the driver must have done once it let go: closed, reset, all DMA memory freed. Adds
 * violations. */
void model_check_end(struct model *m);

/* The trace: every access, in order. `off` counts from the region's start. */
enum model_region {
	MODEL_CONFIG_SPACE,
	MODEL_COMMON,
	MODEL_NOTIFY,
	MODEL_ISR,
	MODEL_DEVICE,
	MODEL_ELSEWHERE, /* a BAR, outside all structures */
	MODEL_MAP,       /* bar_map: off in the BAR, value is the length */
	MODEL_IRQ,       /* off 0 masked, 1 unmasked, 2 irq_wait returned the line, 3 a vector */
};
struct model_access {
	enum model_region region;
	bool write;
	uint8_t bar;
	uint8_t bytes;
	uint64_t off;
	uint64_t value;
};
size_t model_trace_len(const struct model *m);
struct model_access model_trace(const struct model *m, size_t i);
/* The next access from *AT on that fits; *AT moves past it. False: there is none. */
bool model_trace_find(const struct model *m, size_t *at, enum model_region region, bool write,
	uint64_t off, struct model_access *out);
unsigned model_trace_count(
	const struct model *m, enum model_region region, bool write, uint64_t off);
void model_trace_clear(struct model *m);

struct model_stat {
	unsigned kicks;          /* notify writes that the device took */
	unsigned kicks_unwanted; /* while the device had asked for none */
	unsigned kicks_empty;    /* with nothing new on that ring */
	unsigned irqs;           /* the line went up */
	unsigned isr_reads;
	unsigned max_chain; /* longest descriptor list */
	uint64_t slept_us;  /* by sleep_us() */
};
void model_get_stat(const struct model *m, struct model_stat *out);
/* Requests completed so far, oldest first. */
size_t model_nr_done(const struct model *m);
struct model_req model_done(const struct model *m, size_t i);

uint8_t model_status(const struct model *m); /* device_status, without an access */
uint64_t model_driver_features(const struct model *m);
unsigned model_inflight(struct model *m); /* exposed, not completed; all queues */
/* The head of the INDEXth request that the device has of QUEUE; UINT16_MAX: there is none. */
uint16_t model_head_in_flight(struct model *m, unsigned queue, unsigned index);
uint16_t model_queue_size_set(const struct model *m, unsigned queue);
bool model_irq_masked(const struct model *m);
unsigned model_vectors(const struct model *m); /* that are switched on */
uint16_t model_config_vector(const struct model *m);
uint16_t model_queue_vector(const struct model *m, unsigned queue);
void model_clear_isr(struct model *m); /* as the driver's thread would, by reading it */
bool model_is_bus_master(const struct model *m);
size_t model_dma_live(const struct model *m); /* bytes allocated by the driver */
void model_reopen(struct model *m); /* after close(): it may be opened again, as it was left */

/* Give the device time: serve every queue once. How many requests were completed. */
unsigned model_run(struct model *m);
/* With hold: complete the INDEXth of the requests fetched from QUEUE (0: oldest); with IN_ORDER all up
 * to it, as one batch. False: there is none. */
bool model_complete(struct model *m, unsigned queue, unsigned index);
unsigned model_complete_all(struct model *m);

/* Complete what is held in QUEUE exactly in a window of the driver's next re-arming of interrupts
 * (VIRTIO.md SP19). */
enum model_moment { MODEL_NEVER, MODEL_BEFORE_BARRIER, MODEL_AFTER_USED_IDX_LOAD };
void model_complete_at(struct model *m, enum model_moment moment);

/* The device's disk. The volatile cache, if any, is the disk's current content. */
uint8_t *model_disk(struct model *m);
/* Lose, sector by sector, some of what was not flushed, or all; and reset the device. */
void model_power_cut(struct model *m);
void model_lose_all_on_cut(struct model *m, bool all);

/* The device's side of things that change. */
void model_set_capacity(struct model *m, uint64_t sectors, bool interrupt);
void model_irq(struct model *m);                         /* spurious */
void model_merge_irq(struct model *m, uint8_t isr_bits); /* for several causes at once */
void model_left_live(struct model *m);                   /* at DRIVER_OK, by a former owner */
/* And a config interrupt. A legacy device can't say so, it just falls silent. */
void model_needs_reset(struct model *m);
/* As the kernel does when another program closes /dev/uioN; QEMU then also drops DRIVER_OK. */
void model_lose_bus_master(struct model *m, bool drop_driver_ok);
/* The machine slept: bus mastering is off, and with DEEP the device has no power in between. */
void model_suspend(struct model *m, bool deep);
void model_remove(struct model *m); /* surprise removal: all ones from now on */

/* Hostile: write to the used ring past all rules. */
void model_push_used(struct model *m, unsigned queue, uint32_t id, uint32_t len);
void model_jump_used_idx(struct model *m, unsigned queue, uint16_t by);
void model_scribble(struct model *m, unsigned queue); /* random bytes all over its rings */
/* The NTH BAR read from now gives VALUE instead. */
void model_lie_at(struct model *m, unsigned nth, uint32_t value);
/* 256 bytes, to scribble on before the driver starts. */
uint8_t *model_config_space(struct model *m);

/* Call FN at the driver's NTH access from now (1: the next), before it takes effect. */
void model_at(struct model *m, unsigned nth, void (*fn)(struct model *m));
/* Call FN at the driver's next access to REGION, before it takes effect. */
void model_at_region(struct model *m, enum model_region region, void (*fn)(struct model *m));
/* Make the NTH fallible hook from now fail: config space, bar_map, dma_alloc, bus_master. */
void model_fail_nth(struct model *m, unsigned nth);
bool model_failed(const struct model *m); /* has it come to that? */
#endif
