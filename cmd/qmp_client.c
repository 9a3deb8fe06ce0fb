/* SPDX-License-Identifier: MIT */
/*
 * A QMP client.
 *
 * Problem: at the other end may be a Baton, a QEMU (which serves one client at a time and lets the
 * next one wait in silence), something else, or nothing; each must end in an answer or in a
 * sentence that says which it was, within the time given.
 *
 * Data: a non-blocking socket, and the stream cutter of the server (monitor/frame.h), which also
 * bounds what a peer can make us hold.
 *
 * Invariants: every wait has the call's deadline. An answer is known by its id; events and answers
 * to earlier calls that timed out are passed over.
 *
 * Failure: after a broken stream or a lost connection every further call fails as well; after a
 * timeout the client may be used on.
 */
#include "cmd/qmp_client.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "monitor/frame.h"

struct qmp_client {
    int fd;
    char *path;
    unsigned timeout_ms;
    bool oob;
    bool broken;
    json_int_t last_id;
    struct qmp_frame frame;
    char input[4096];
    size_t first, count;
    char last_status[32];
};

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

/* Waits for the socket; 0, -ETIMEDOUT, or -errno. */
static int wait_for(struct qmp_client *client, short events, uint64_t deadline_ms)
{
    for (;;) {
        struct pollfd fd = {.fd = client->fd, .events = events};
        uint64_t now = now_ms();
        int left_ms = now < deadline_ms ? (int)(deadline_ms - now) : 0;
        int ready = poll(&fd, 1, left_ms);

        if (ready > 0)
            return 0;
        if (ready < 0 && errno != EINTR)
            return -errno;
        if (ready == 0 && !left_ms)
            return -ETIMEDOUT;
    }
}

static int lost(struct qmp_client *client, struct baton_error *error)
{
    client->broken = true;
    return baton_error_set(
        error, ECONNRESET,
        "The monitor at %s closed the connection: the VM's process has ended, or it "
        "has dropped this client",
        client->path);
}

/* The next JSON text of the stream. *text is borrowed until the next call. */
static int next_text(struct qmp_client *client, uint64_t deadline_ms, const char **text,
                     size_t *length_bytes, struct baton_error *error)
{
    for (;;) {
        enum qmp_frame_result result;
        size_t used = 0;
        int status;

        if (!client->count) {
            ssize_t got = recv(client->fd, client->input, sizeof(client->input), MSG_DONTWAIT);

            if (got == 0)
                return lost(client, error);
            if (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
                return lost(client, error);
            if (got < 0) {
                status = wait_for(client, POLLIN, deadline_ms);
                if (status < 0)
                    return baton_error_set(error, -status,
                                           "The monitor at %s did not answer within %g s",
                                           client->path, client->timeout_ms / 1000.0);
                continue;
            }
            client->first = 0;
            client->count = (size_t)got;
        }
        result =
            qmp_frame_push(&client->frame, client->input + client->first, client->count, &used);
        client->first += used;
        client->count -= used;
        if (result == QMP_FRAME_TEXT) {
            *text = client->frame.text;
            *length_bytes = client->frame.length_bytes;
            return 0;
        }
        if (result != QMP_FRAME_MORE) {
            client->broken = true;
            return baton_error_set(
                error, EPROTO, "%s is not a QMP monitor: what it sends is no JSON", client->path);
        }
    }
}

static int next_message(struct qmp_client *client, uint64_t deadline_ms, json_t **out,
                        struct baton_error *error)
{
    const char *text = NULL, *event;
    json_error_t problem;
    json_t *message;
    size_t length_bytes = 0;
    int result = next_text(client, deadline_ms, &text, &length_bytes, error);

    if (result < 0)
        return result;
    /* QEMU's integers may have 64 bits without a sign; as reals they lose digits that nobody here
     * needs. */
    message = json_loadb(text, length_bytes, 0, &problem);
    if (!message)
        message = json_loadb(text, length_bytes, JSON_DECODE_INT_AS_REAL, &problem);
    if (!json_is_object(message)) {
        json_decref(message);
        client->broken = true;
        return baton_error_set(error, EPROTO, "%s is not a QMP monitor: it sent '%.*s'",
                               client->path, (int)(length_bytes < 60 ? length_bytes : 60), text);
    }
    event = json_string_value(json_object_get(message, "event"));
    if (event && strcmp(event, "MIGRATION") == 0) {
        const char *status =
            json_string_value(json_object_get(json_object_get(message, "data"), "status"));

        snprintf(client->last_status, sizeof(client->last_status), "%s", status ? status : "");
    }
    *out = message;
    return 0;
}

static int send_text(struct qmp_client *client, const char *text, uint64_t deadline_ms,
                     struct baton_error *error)
{
    size_t left = strlen(text);

    while (left) {
        ssize_t sent = send(client->fd, text, left, MSG_NOSIGNAL | MSG_DONTWAIT);
        int result;

        if (sent >= 0) {
            text += sent;
            left -= (size_t)sent;
            continue;
        }
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN && errno != EWOULDBLOCK)
            return lost(client, error);
        result = wait_for(client, POLLOUT, deadline_ms);
        if (result < 0)
            return baton_error_set(error, -result, "The monitor at %s takes no command within %g s",
                                   client->path, client->timeout_ms / 1000.0);
    }
    return 0;
}

/* ---- Calls ---- */

static json_t *take_answer(json_t *message, struct baton_error *error)
{
    json_t *result = json_object_get(message, "return");
    const char *words =
        json_string_value(json_object_get(json_object_get(message, "error"), "desc"));

    if (result)
        json_incref(result);
    else
        baton_error_set(error, EREMOTEIO, "%s", words ? words : "refused without a word");
    json_decref(message);
    return result;
}

json_t *qmp_client_call(struct qmp_client *client, const char *name, json_t *arguments,
                        bool overtake, struct baton_error *error)
{
    uint64_t deadline_ms = now_ms() + client->timeout_ms;
    json_t *message = json_pack("{s:s, s:I}", overtake && client->oob ? "exec-oob" : "execute",
                                name, "id", ++client->last_id);
    char *text;
    int result;

    if (arguments)
        json_object_set_new(message, "arguments", arguments);
    text = json_dumps(message, JSON_COMPACT);
    json_decref(message);
    if (!text) {
        baton_error_set(error, EINVAL,
                        "The command %s cannot be sent: an argument is not UTF-8 text", name);
        return NULL;
    }
    result = client->broken ? lost(client, error) : send_text(client, text, deadline_ms, error);
    free(text);
    if (result == 0)
        result = send_text(client, "\n", deadline_ms, error);
    while (result == 0) {
        json_t *id;

        result = next_message(client, deadline_ms, &message, error);
        if (result < 0)
            break;
        id = json_object_get(message, "id");
        if (json_is_integer(id) && json_integer_value(id) == client->last_id)
            return take_answer(message, error);
        json_decref(message);
    }
    return NULL;
}

const char *qmp_client_last_status(const struct qmp_client *client)
{
    return client->last_status;
}

/* ---- Connecting ---- */

static int connect_failed(const char *path, int code, struct baton_error *error)
{
    switch (code) {
    case ENOENT:
        return baton_error_set(
            error, code,
            "There is no monitor socket at %s: check the path, and that the VM runs "
            "and was started with its monitor there",
            path);
    case ECONNREFUSED:
        return baton_error_set(
            error, code,
            "Nobody listens at %s: it is no socket, or the process that made it has "
            "ended",
            path);
    case EACCES:
        return baton_error_set(
            error, code, "You may not use the monitor at %s: it belongs to another user", path);
    case EAGAIN:
        return baton_error_set(error, ETIMEDOUT, "The monitor at %s is busy: it accepts nobody",
                               path);
    default:
        return baton_error_set(error, code, "Cannot reach the monitor at %s: %s", path,
                               strerror(code));
    }
}

static int dial(struct qmp_client *client, uint64_t deadline_ms, struct baton_error *error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const struct timespec pause = {.tv_nsec = 20 * 1000000};

    if (!*client->path || strlen(client->path) >= sizeof(address.sun_path))
        return baton_error_set(
            error, ENAMETOOLONG,
            "'%s' cannot be a monitor's socket: a unix socket's path has 1 to %zu bytes",
            client->path, sizeof(address.sun_path) - 1);
    memcpy(address.sun_path, client->path, strlen(client->path) + 1);
    client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (client->fd < 0)
        return baton_error_set(error, errno, "Cannot make a unix socket: %s", strerror(errno));
    while (connect(client->fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
        int code = errno;

        if (code == EINTR)
            continue;
        if (code != EAGAIN || now_ms() >= deadline_ms)
            return connect_failed(client->path, code, error);
        nanosleep(&pause, NULL); /* its queue of clients is full */
    }
    return 0;
}

static int negotiate(struct qmp_client *client, uint64_t deadline_ms, struct baton_error *error)
{
    json_t *greeting, *hello, *result, *offered;
    size_t i;
    int status = next_message(client, deadline_ms, &greeting, error);

    if (status == -ETIMEDOUT)
        return baton_error_set(
            error, ETIMEDOUT,
            "The monitor at %s sent no greeting within %g s: it may be serving another "
            "client (QEMU serves one at a time), or is no QMP monitor",
            client->path, client->timeout_ms / 1000.0);
    if (status < 0)
        return status;
    hello = json_object_get(greeting, "QMP");
    if (!json_is_object(hello)) {
        json_decref(greeting);
        return baton_error_set(error, EPROTO,
                               "%s is not a QMP monitor: it speaks JSON but sends no greeting",
                               client->path);
    }
    json_array_foreach(json_object_get(hello, "capabilities"), i, offered)
    {
        const char *name = json_string_value(offered);

        if (name && strcmp(name, "oob") == 0)
            client->oob = true;
    }
    json_decref(greeting);
    result =
        qmp_client_call(client, "qmp_capabilities",
                        client->oob ? json_pack("{s:[s]}", "enable", "oob") : NULL, false, error);
    if (!result)
        return baton_error_prefix(error, "The monitor at %s refuses to talk", client->path);
    json_decref(result);
    return 0;
}

int qmp_client_open(const char *path, unsigned timeout_ms, struct qmp_client **out,
                    struct baton_error *error)
{
    struct qmp_client *client = calloc(1, sizeof(*client));
    uint64_t deadline_ms = now_ms() + timeout_ms;
    int result;

    if (client) {
        client->fd = -1;
        client->timeout_ms = timeout_ms;
        qmp_frame_init(&client->frame);
        client->path = strdup(path);
    }
    if (!client || !client->path) {
        free(client);
        return baton_error_set(error, ENOMEM, "Out of memory");
    }
    result = dial(client, deadline_ms, error);
    if (result == 0)
        result = negotiate(client, deadline_ms, error);
    if (result < 0) {
        qmp_client_close(client);
        return result;
    }
    *out = client;
    return 0;
}

void qmp_client_close(struct qmp_client *client)
{
    if (!client)
        return;
    if (client->fd >= 0)
        close(client->fd);
    qmp_frame_fini(&client->frame);
    free(client->path);
    free(client);
}
