/* control.h - the socket by which a running daemon is asked, and waited for: PID.sock, in
 * run_dir() (run_dir.h) of whoever runs it; who asks is the same user.
 *
 * A client sends one line and gets one line of JSON:
 *	hello	which mount: pid, source, mountpoint, dev ("0:45"), uuid, label, read_only, state ("mounted", "unmounting")
 *	wait	once the disk is closed: {"result": "clean"}, or {"result": "failed", "error": TEXT}
 *	others	the same as hello, and what the daemon's control_fn adds; {"error": TEXT} where it knows no such request
 * Errors are negative errnos. */
#ifndef VBLKFS_CONTROL_H
#define VBLKFS_CONTROL_H
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct json_object;
struct control;

/* ---- the daemon's side ---- */

/* Answers LINE by adding to OUT, on control's own thread; false: what is this? */
typedef bool (*control_fn)(void *arg, const char *line, struct json_object *out);

/* HELLO becomes control's. */
int control_open(struct json_object *hello, control_fn fn, void *arg, struct control **out);
void control_unmounting(struct control *c);     /* FN is called no more */
void control_close(struct control *c, int err); /* answers "wait"; NULL: nothing */

/* ---- the clients' side ---- */

/* Call FN for each daemon that answers, until it returns false. Sockets that nobody listens on are
 * removed. How many answered. */
typedef bool (*control_each_fn)(void *arg, pid_t pid, struct json_object *hello);
int control_each(control_each_fn fn, void *arg);
/* The daemon whose hello has VALUE under KEY ("source", "mountpoint", "dev"); -ENOENT: none. */
int control_find(const char *key, const char *value, pid_t *pid);

/* Ask, and wait for the answer. *OUT is the caller's: json_object_put(). */
int control_ask(pid_t pid, const char *verb, struct json_object **out);
/* The same in two steps; the descriptor is the caller's. -ETIMEDOUT; -1 waits for ever. -EPIPE: the
 * daemon is gone. */
int control_send(pid_t pid, const char *verb);
int control_receive(int fd, int timeout_ms, struct json_object **out);
#endif
