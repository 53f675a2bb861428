/* vhost_user.h - the vhost-user transport: a device that another process plays, over a Unix socket
 * and shared memory.
 *
 * When the back-end dies the transport connects to the next one at the same path, for as long as
 * vhost_user_retry_s; the driver is frozen meanwhile. Where both of them have INFLIGHT_SHMFD the next
 * one goes on in the rings, else they begin empty. It has one thread, which waits for calls, the
 * back-end's own requests and the end of the connection. */
#ifndef VBLKFS_VHOST_USER_H
#define VBLKFS_VHOST_USER_H
#include "virtio_bus.h"

extern unsigned vhost_user_retry_s; /* tests shorten it */

/* Connect, and register the device on the bus, with PARAMS for its driver. On failure ERR has one
 * line for the user. USE_IRQ: else the back-end is asked for no calls. */
int vhost_user_open(const char *path, const void *params, bool use_irq, struct virtio_device **out,
	char *err, size_t err_bytes);
#endif
