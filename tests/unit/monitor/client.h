/* SPDX-License-Identifier: MIT */
/*
 * A bare client for tests: bytes out, lines in, no manners of its own. Anything unexpected fails
 * the test.
 */
#ifndef TESTS_MONITOR_CLIENT_H
#define TESTS_MONITOR_CLIENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#define TEST_WAIT_MS 10000

struct test_client {
    int fd;
    char input[65536];
    size_t count;
};

void client_connect(struct test_client *client, const char *path); /* reads the greeting */
void client_negotiate(struct test_client *client);                 /* with oob */
void client_close(struct test_client *client);
void client_send(struct test_client *client, const char *text);
/* Sends as much as goes within TEST_WAIT_MS; false when the server has closed. */
bool client_send_bytes(struct test_client *client, const char *bytes, size_t count);
json_t *
client_receive(struct test_client *client); /* the next line; NULL at the end of the stream */
/* The next answer, events passed over, into `events` (an array) if it is not NULL. */
json_t *client_answer(struct test_client *client, json_t *events);
json_t *client_event(struct test_client *client,
                     const char *name); /* passes over what comes before */

/* Sends, and holds the answer against one given as JSON text with ' for ". */
void client_expect(struct test_client *client, const char *command, const char *answer);
/* Sends, expects an error, and compares the class and a part of the sentence. */
void client_expect_error(struct test_client *client, const char *command, const char *class_name,
                         const char *part);
json_t *client_return(struct test_client *client, const char *command); /* what it returned */

#endif
