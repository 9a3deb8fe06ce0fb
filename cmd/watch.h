/* SPDX-License-Identifier: MIT */
/* `baton status --watch`. The theory of operation is in watch.c. */
#ifndef CMD_WATCH_H
#define CMD_WATCH_H

#include "cmd/cmd.h"
#include "cmd/qmp_client.h"

/* Looks again and again until the migration is over; returns the exit code. The client is taken
 * over. */
int watch_migration(struct qmp_client *client, const struct cmd_options *options);

#endif
