#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "rig.h"
#include "virtio_blk.h"
#include "virtio_pci.h"

#define DATA_AT 512U

void rig_init(struct rig *r)
{
	memset(r, 0, sizeof(*r));
	model_defaults(&r->cfg);
	r->wants = ~0ULL >> (64 - VIRTIO_RING_F_INDIRECT_DESC);
	r->nr_vqs = 1;
}

void rig_model(struct rig *r)
{
	if (r->m == NULL)
		r->m = model_create(&r->cfg);
	else
		model_reopen(r->m);
}

/* The rig's own virtio driver: it takes every block device, and does nothing with it but find the
 * queues. */

static void count_callback(struct virtqueue *vq)
{
	struct rig *r = vq->vdev->priv;

	atomic_store(&r->done_at_callback, (unsigned)model_nr_done(r->m));
	atomic_fetch_add(&r->callbacks[vq->index], 1);
}

int rig_find_vqs(struct rig *r)
{
	struct virtqueue_info info[MODEL_MAX_QUEUES];

	for (unsigned i = 0; i < r->nr_vqs; i++)
		info[i] = (struct virtqueue_info){.name = "test", .callback = count_callback};
	return r->vdev->config->find_vqs(r->vdev, r->nr_vqs, r->max_size, info, r->vq);
}

static int rig_validate(struct virtio_device *vdev)
{
	const struct rig *r = vdev->params;

	vdev->features &= r->wants | ~0ULL << VIRTIO_RING_F_INDIRECT_DESC;
	return 0;
}

static int rig_probe(struct virtio_device *vdev)
{
	struct rig *r = (struct rig *)vdev->params;

	vdev->priv = r;
	r->vdev = vdev;
	return r->probe != NULL ? r->probe(r) : rig_find_vqs(r);
}

static void rig_remove(struct virtio_device *vdev)
{
	(void)virtio_reset_device(vdev);
	vdev->config->del_vqs(vdev);
}

static void rig_config_changed(struct virtio_device *vdev)
{
	struct rig *r = vdev->priv;

	atomic_fetch_add(&r->config_changes, 1);
}

static const struct virtio_device_id rig_ids[] = {{VIRTIO_ID_BLOCK, VIRTIO_ANY_ID}, {0, 0}};
static const unsigned rig_features[] = {VIRTIO_F_ANY_LAYOUT /* of legacy devices only */,
	VIRTIO_BLK_F_SIZE_MAX, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_F_RO, VIRTIO_BLK_F_BLK_SIZE,
	VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_TOPOLOGY, VIRTIO_BLK_F_CONFIG_WCE, VIRTIO_BLK_F_MQ,
	VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_WRITE_ZEROES};
static struct virtio_driver rig_driver = {
	.name = "rig",
	.id_table = rig_ids,
	.feature_table = rig_features + 1,
	.nr_features = sizeof(rig_features) / sizeof(rig_features[0]) - 1,
	.feature_table_legacy = rig_features,
	.nr_features_legacy = sizeof(rig_features) / sizeof(rig_features[0]),
	.validate = rig_validate,
	.probe = rig_probe,
	.remove = rig_remove,
	.config_changed = rig_config_changed,
};

int rig_plug(struct rig *r)
{
	struct virtio_device *vdev;
	int err;

	rig_model(r);
	(void)virtio_register_driver(&rig_driver);
	err = virtio_pci_open(model_hw(r->m), r, r->use_irq, &vdev, r->err, sizeof(r->err));
	r->vdev = err == 0 ? vdev : NULL;
	if (err < 0)
		model_hw(r->m)->ops->close(model_hw(r->m));
	return err;
}

void rig_unplug(struct rig *r)
{
	virtio_pci_close(r->vdev);
	r->vdev = NULL;
}

int rig_disk(struct rig *r)
{
	int err;

	rig_model(r);
	err = vblk_open_hw(model_hw(r->m), &r->opts, &r->dev, r->err, sizeof(r->err));
	if (err < 0) {
		r->dev = NULL;
		return err;
	}
	err = blk_queue_open(r->dev, &r->q);
	ck_assert_int_eq(err, 0);
	return 0;
}

void rig_disk_close(struct rig *r)
{
	blk_queue_close(r->q);
	blk_close(r->dev);
	r->dev = NULL;
	r->q = NULL;
}

void rig_no_violations(struct rig *r)
{
	ck_assert_msg(model_violations(r->m) == 0, "the driver broke rules:\n%s",
		model_violation_text(r->m));
}

void rig_end(struct rig *r)
{
	if (r->vdev != NULL)
		rig_unplug(r);
	if (r->dev != NULL)
		rig_disk_close(r);
	model_check_end(r->m);
	rig_no_violations(r);
	model_destroy(r->m);
	r->m = NULL;
}

void rig_io_alloc(struct rig *r, struct rig_io *io, uint32_t data_bytes)
{
	struct hw *hw = model_hw(r->m);

	io->mem = hw->ops->dma_alloc(hw, DATA_AT + data_bytes);
	ck_assert_ptr_nonnull(io->mem);
	io->data_bytes = data_bytes;
	io->data = io->mem + DATA_AT;
	io->status = io->mem + sizeof(struct virtio_blk_outhdr);
}

void rig_io_free(struct rig *r, struct rig_io *io)
{
	struct hw *hw = model_hw(r->m);

	hw->ops->dma_free(hw, io->mem, DATA_AT + io->data_bytes);
}

int rig_io_add(struct rig *r, struct virtqueue *vq, struct rig_io *io, uint32_t type,
	uint64_t sector, unsigned nr_data)
{
	struct hw *hw = model_hw(r->m);
	uint64_t at = hw->ops->dma_addr(hw, io->mem, NULL);
	struct virtio_blk_outhdr hdr = {.type = le32_of(type), .sector = le64_of(sector)};
	struct vq_seg *seg = calloc(nr_data + 2, sizeof(*seg));
	bool out = type != VIRTIO_BLK_T_IN && type != VIRTIO_BLK_T_GET_ID;
	int err;

	if (vq_has_room(vq, nr_data + 2)) { /* else the one in flight may be using io->mem */
		memcpy(io->mem, &hdr, sizeof(hdr));
		*io->status = 0xff;
	}
	seg[0] = (struct vq_seg){at, sizeof(hdr)};
	for (unsigned i = 0; i < nr_data; i++)
		seg[1 + i] = (struct vq_seg){
			at + DATA_AT + i * (io->data_bytes / nr_data), io->data_bytes / nr_data};
	seg[nr_data + 1] = (struct vq_seg){at + sizeof(hdr), 1};
	err = vq_add(vq, seg, 1 + (out ? nr_data : 0), 1 + (out ? 0 : nr_data), io);
	free(seg);
	return err;
}

void rig_kick(struct virtqueue *vq)
{
	if (vq_kick_prepare(vq))
		vq_notify(vq);
}

void *rig_get(struct rig *r, struct virtqueue *vq, unsigned steps)
{
	void *token;

	while ((token = vq_get_buf(vq)) == NULL && steps-- > 0)
		(void)model_run(r->m);
	return token;
}
