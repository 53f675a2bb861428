/* liar.h - a virtio-blk PCI function behind driver/hw.h's hooks, that lies where it is told to.
 *
 * Left alone it is an honest, plain device: it serves what it was kicked for, inside the kick or
 * while the driver sleeps. A lie is an act: now, or armed, to happen at the nth access from now,
 * whatever that is: a register, a hook, a load from ring memory.
 *
 * It checks the driver, too: no register is touched outside of what is there and was mapped, none
 * after close(); ring descriptors lead nowhere but to DMA memory, and to data only of requests that
 * are not done yet (dev_blk_ops). */
#ifndef VBLKFS_FUZZ_LIAR_H
#define VBLKFS_FUZZ_LIAR_H
#include "dev_blk.h"
#include "fz.h"
#include "hw.h"
#include "model/bar_maps.h"
#include "virtio.h"

#define LIAR_QUEUES     8U
#define LIAR_ARMED_MAX  16U
#define LIAR_QUEUE_REGS 3U
#define LIAR_VECTORS    4U

enum liar_act {
	LIAR_ANSWER,  /* the next register read gives VALUE */
	LIAR_LOAD,    /* the next load from ring memory gives VALUE */
	LIAR_CONFIG,  /* VALUE in the block device's configuration at ARG; its generation goes on */
	LIAR_QUIETLY, /* the same, but the generation stays */
	LIAR_SPACE,   /* VALUE in PCI configuration space at ARG */
	LIAR_STATUS,  /* device_status is VALUE */
	LIAR_IRQ,     /* an interrupt; ISR gets the bits of VALUE */
	LIAR_NO_IRQ,  /* waiting for one ends with error VALUE */
	LIAR_REMOVE,  /* all reads are ones */
	LIAR_RETURN,  /* and no longer */
	LIAR_TAKE,    /* take a request of queue ARG */
	LIAR_FINISH,  /* the taken request number ARG, with status VALUE */
	LIAR_USE,     /* queue ARG: a used element, id and length from VALUE */
	LIAR_JUMP,    /* queue ARG's used index, by VALUE */
	LIAR_SCRIBBLE, /* on ring memory, of queue ARG % LIAR_QUEUES, at ARG / LIAR_QUEUES */
	LIAR_HOLD,     /* VALUE odd: serve nothing by itself; even: go on */
	LIAR_FAIL,     /* the next hook that can fail does, with error VALUE */
	LIAR_QUEUE,    /* queue ARG: a register is VALUE */
	LIAR_STUCK,    /* the next reset takes VALUE reads of the status */
	LIAR_MASTER,   /* bus mastering is lost; VALUE odd: and DRIVER_OK */
	LIAR_SUSPEND, /* VALUE odd: the machine was; 2: the device lost its state; 4: and mastering */
	LIAR_CAPACITY, /* VALUE sectors, told by an interrupt */
	LIAR_NR_ACTS
};

struct liar_event {
	enum liar_act act;
	uint16_t arg;
	uint32_t value;
};

struct liar_queue {
	uint16_t max, enabled, notify_off, vector; /* registers */
	uint16_t size;
	uint32_t addr[6];
	bool live;
	struct dev_ring ring;
};

struct liar {
	struct hw hw; /* first */
	struct fz_dma dma;
	uint32_t features[2]; /* offered */
	uint8_t config[sizeof(struct virtio_blk_config)];
	uint16_t num_queues;
	bool patient;  /* stays silent as long as the driver waits */
	bool vanishes; /* else, when it has been waited for long: it goes away, or gives in */
	bool function_resets;

	uint8_t space[256];
	struct bar_maps maps;
	uint8_t status, isr, generation;
	uint32_t select[2], driver_features[2];
	uint16_t queue_select;
	struct liar_queue queue[LIAR_QUEUES];
	bool master, master_stuck, gone, hold, closed, irq_masked, irq_raised;
	int irq_error;
	uint16_t config_vector;
	unsigned vectors;         /* in use; 0: the line is */
	unsigned vectors_to_tell; /* of them, that irq_wait has yet to give */
	int redirect[LIAR_VECTORS];
	uint64_t nr_suspends;
	unsigned stuck;              /* reads of the status until a reset is done */
	unsigned sleeps, all_sleeps; /* since liar_go_on(), and since liar_begin() */
	bool never_reset;            /* the driver was right to think that it can't be reset */

	struct {
		unsigned countdown;
		struct liar_event event;
	} armed[LIAR_ARMED_MAX];
	unsigned nr_armed;
	bool answers, loads, fails; /* the next one lies */
	uint32_t answer, load, fail;

	struct dev_blk blk; /* last */
};

void liar_begin(struct liar *l);     /* honest, with what QEMU offers; whose data: blk.ops */
void liar_be_legacy(struct liar *l); /* with the registers of a legacy device, after liar_begin() */
/* EVENT happens now (WHEN 0), or at the access number WHEN from now. */
void liar_do(struct liar *l, unsigned when, const struct liar_event *event);
void liar_go_on(struct liar *l); /* the driver is called again: patience begins anew */
void liar_serve(struct liar *l); /* all that it has, honestly */
void liar_sleep(struct liar *l); /* the driver waits, and holds locks */
#endif
