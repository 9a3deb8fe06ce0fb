/* SPDX-License-Identifier: MIT */
/* `baton status`, for `--watch`. The theory of operation is in status.c. */
#ifndef CMD_STATUS_H
#define CMD_STATUS_H

#include <jansson.h>

#include "cmd/qmp_client.h"

/* query-status and query-migrate: 0 with two new references, or -1 with the error filled. */
int status_ask(struct qmp_client *client, json_t **status, json_t **migrate,
               struct baton_error *error);
void status_print(json_t *status, json_t *migrate);

#endif
