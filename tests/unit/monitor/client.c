/* SPDX-License-Identifier: MIT */
/* See client.h. Commands may be written with ' for ", which reads better in C; an apostrophe is
 * then \x01. */
#include "client.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static char *with_quotes(const char *text)
{
    char *copy = strdup(text);

    for (char *byte = copy; *byte; byte++)
        *byte = *byte == '\'' ? '"' : *byte == 1 ? '\'' : *byte;
    return copy;
}

void client_connect(struct test_client *client, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    json_t *greeting;

    client->count = 0;
    client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(client->fd >= 0);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    assert_int_equal(connect(client->fd, (struct sockaddr *)&address, sizeof(address)), 0);
    greeting = client_receive(client);
    assert_non_null(json_object_get(json_object_get(greeting, "QMP"), "version"));
    json_decref(greeting);
}

void client_negotiate(struct test_client *client)
{
    client_expect(client, "{'execute': 'qmp_capabilities', 'arguments': {'enable': ['oob']}}",
                  "{'return': {}}");
}

void client_close(struct test_client *client)
{
    close(client->fd);
    client->fd = -1;
}

bool client_send_bytes(struct test_client *client, const char *bytes, size_t count)
{
    while (count) {
        struct pollfd fd = {.fd = client->fd, .events = POLLOUT};
        ssize_t sent;

        assert_int_equal(poll(&fd, 1, TEST_WAIT_MS), 1);
        sent = send(client->fd, bytes, count, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && (errno == EPIPE || errno == ECONNRESET))
            return false;
        if (sent < 0) {
            assert_true(errno == EAGAIN || errno == EINTR);
            continue;
        }
        bytes += sent;
        count -= (size_t)sent;
    }
    return true;
}

void client_send(struct test_client *client, const char *text)
{
    char *quoted = with_quotes(text);

    assert_true(client_send_bytes(client, quoted, strlen(quoted)));
    assert_true(client_send_bytes(client, "\n", 1));
    free(quoted);
}

json_t *client_receive(struct test_client *client)
{
    for (;;) {
        char *end = memchr(client->input, '\n', client->count);
        struct pollfd fd = {.fd = client->fd, .events = POLLIN};
        ssize_t got;

        if (end) {
            size_t line_bytes = (size_t)(end - client->input) + 1;
            json_t *message = json_loadb(client->input, line_bytes, 0, NULL);

            client->count -= line_bytes;
            memmove(client->input, client->input + line_bytes, client->count);
            assert_non_null(message);
            return message;
        }
        assert_true(client->count < sizeof(client->input));
        assert_int_equal(poll(&fd, 1, TEST_WAIT_MS), 1);
        got = recv(client->fd, client->input + client->count, sizeof(client->input) - client->count,
                   0);
        if (got <= 0)
            return NULL;
        client->count += (size_t)got;
    }
}

json_t *client_answer(struct test_client *client, json_t *events)
{
    for (;;) {
        json_t *message = client_receive(client);

        if (!message || !json_object_get(message, "event"))
            return message;
        if (events)
            json_array_append(events, message);
        json_decref(message);
    }
}

json_t *client_event(struct test_client *client, const char *name)
{
    for (;;) {
        json_t *message = client_receive(client);
        const char *event;

        assert_non_null(message);
        event = json_string_value(json_object_get(message, "event"));
        if (event && strcmp(event, name) == 0)
            return message;
        json_decref(message);
    }
}

void client_expect(struct test_client *client, const char *command, const char *answer)
{
    char *quoted = with_quotes(answer);
    json_t *want = json_loads(quoted, 0, NULL), *got;

    assert_non_null(want);
    client_send(client, command);
    got = client_answer(client, NULL);
    if (!json_equal(want, got)) {
        char *text = json_dumps(got, 0);

        fail_msg("%s\nanswered %s\nnot %s", command, text, quoted);
    }
    json_decref(want);
    json_decref(got);
    free(quoted);
}

void client_expect_error(struct test_client *client, const char *command, const char *class_name,
                         const char *part)
{
    json_t *got, *error;
    const char *desc;

    client_send(client, command);
    got = client_answer(client, NULL);
    error = json_object_get(got, "error");
    if (!error)
        fail_msg("%s was not refused", command);
    assert_string_equal(json_string_value(json_object_get(error, "class")), class_name);
    desc = json_string_value(json_object_get(error, "desc"));
    if (!strstr(desc, part))
        fail_msg("%s\nanswered '%s'\nwithout '%s'", command, desc, part);
    json_decref(got);
}

json_t *client_return(struct test_client *client, const char *command)
{
    json_t *got, *result;

    client_send(client, command);
    got = client_answer(client, NULL);
    result = json_object_get(got, "return");
    if (!result) {
        char *text = json_dumps(got, 0);

        fail_msg("%s\nanswered %s", command, text ? text : "nothing");
    }
    json_incref(result);
    json_decref(got);
    return result;
}
