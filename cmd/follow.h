/* SPDX-License-Identifier: MIT */
#ifndef CMD_FOLLOW_H
#define CMD_FOLLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "cmd/cmd.h"
#include "cmd/qmp_client.h"

/* Shows how the migration that was just ordered goes until it ends or pauses; returns the exit
 * code. */
int follow_migration(struct qmp_client *client, const struct cmd_options *options);

#endif
