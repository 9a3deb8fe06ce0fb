/* SPDX-License-Identifier: MIT */
/* Channels over descriptors that are no sockets: files, pipes, commands. Private to lib/channel. */
#ifndef CHANNEL_PLAIN_H
#define CHANNEL_PLAIN_H

#include <sys/types.h>

#include "channel/uri.h"

/*
 * The channel of a file:, exec: or fd: URI, to be written (`writes`) or to be read. A socket that
 * is given by fd: becomes a two-way channel; every other one goes one way only.
 */
int channel_plain_open(const struct channel_uri *uri, bool writes, struct channel **out,
                       struct baton_error *error);

/* Whether channel_plain_open() has a chance: what can be known without changing anything. */
int channel_plain_check(const struct channel_uri *uri, bool writes, struct baton_error *error);

/* A channel whose every call fails with `why`: for those who cannot report a failure otherwise. */
int channel_plain_broken(const struct baton_error *why, struct channel **out);

/* ---- exec.c ---- */

/* Starts `/bin/sh -c command`; *fd is our end of its stdin (`writes`) or of its stdout. */
int channel_exec_start(const char *command, bool writes, int *fd, pid_t *pid,
                       struct baton_error *error);
/*
 * Waits for the command to end; a readable `down_fd` ends the waiting with -ESHUTDOWN. 0: it ended
 * with status 0. *pid becomes 0 when the command is gone.
 */
int channel_exec_wait(const char *command, pid_t *pid, int down_fd, struct baton_error *error);
/* Makes sure that nothing of the command is left. */
void channel_exec_end(pid_t *pid);

#endif
