/* SPDX-License-Identifier: MIT */
/*
 * A QMP client: talks to the monitor of a Baton or of a QEMU. One thread, one command at a time.
 */
#ifndef CMD_QMP_CLIENT_H
#define CMD_QMP_CLIENT_H

#include <jansson.h>
#include <stdbool.h>

#include "baton/error.h"

struct qmp_client;

/* Connects, reads the greeting and ends the negotiation. `timeout_ms` is for this and for each
 * later call. */
int qmp_client_open(const char *path, unsigned timeout_ms, struct qmp_client **out,
                    struct baton_error *error);
void qmp_client_close(struct qmp_client *client); /* NULL is fine */

/*
 * Carries out a command and returns what it returned (a new reference), or NULL with the error
 * filled. `arguments` is taken over, NULL: none. `overtake`: out of band, if the server can, so
 * that it is not held up by other commands. error->code is EREMOTEIO when the server refused, with
 * its own words; anything else means that it could not be asked.
 */
json_t *qmp_client_call(struct qmp_client *client, const char *name, json_t *arguments,
                        bool overtake, struct baton_error *error);

/* The status of the last MIGRATION event that came in between; "" before the first. */
const char *qmp_client_last_status(const struct qmp_client *client);

#endif
