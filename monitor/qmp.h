/* SPDX-License-Identifier: MIT */
/*
 * The monitors of a VM: QEMU's protocol, and a monitor for people (docs/qmp.md).
 */
#ifndef MONITOR_QMP_H
#define MONITOR_QMP_H

#include <stddef.h>

#include "baton/error.h"

struct vmm_machine;
struct qmp_server;

/*
 * Listens at the unix socket `path` (made with mode 0600; a dead socket file that is in the way is
 * replaced, a living one is not) and serves clients until qmp_server_stop(). NULL: no QMP socket.
 */
int qmp_server_start(struct vmm_machine *machine, const char *path, struct qmp_server **out,
                     struct baton_error *error);

/*
 * Serves people as well: `where` is "stdio" or the path of a unix socket to make. Once, by the
 * thread that started the server.
 */
int qmp_server_add_human(struct qmp_server *server, const char *where, struct baton_error *error);

/*
 * Sends what is ready to be sent, for a second at most, and closes every client. NULL is fine. A
 * command that waits for a missing page of the VM cannot be called back: its thread is left behind,
 * touches nothing of the server's any more, and ends with the wait or with the process; the machine
 * must not be freed while that may be.
 */
void qmp_server_stop(struct qmp_server *server);

/* The name of each command and a line about it, for documentation and its test; NULL past the end.
 */
const char *qmp_command_name(size_t index, const char **help);

#endif
