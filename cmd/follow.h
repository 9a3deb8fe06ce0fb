/* SPDX-License-Identifier: MIT */
/*
 * Follows a migration at its source. The theory of operation is in follow.c.
 */
#ifndef CMD_FOLLOW_H
#define CMD_FOLLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "cmd/cmd.h"
#include "cmd/migration.h"
#include "cmd/qmp_client.h"

uint64_t follow_now_ms(void);
bool follow_on_terminal(void); /* stdout can be drawn on */
/* One line about a migration under way. */
void follow_describe(const struct migration *migration, char *line, size_t size);
/* The exit code for a migration that is over or paused. */
int follow_code(const struct migration *migration);

/*
 * Shows how a migration goes until it ends or pauses; returns the exit code. `begin_ms` is from
 * before it was ordered: what ended before that was another one. The client is taken over.
 */
int follow_migration(struct qmp_client *client, const struct cmd_options *options,
                     uint64_t begin_ms);

#endif
