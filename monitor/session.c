/* SPDX-License-Identifier: MIT */
/*
 * One client of a monitor.
 *
 * Problem: commands are answered in order, but one of them may wait for a page of the VM for as
 * long as a link is broken, and just then the operator's out-of-band commands must get through. A
 * client may be slow, silent, half gone or hostile, and must never hold up the VM or another
 * client.
 *
 * Data: two threads. The I/O thread owns the socket: it reads, carries out out-of-band commands at
 * once, queues the others, and writes what is in `output`. The worker carries out the queued
 * commands one after the other.
 *
 * Invariants. Only the I/O thread reads and writes the socket, which never blocks. The queue holds
 * at most QMP_MAX_QUEUED_REQUESTS; when it is full nothing more is read (so out-of-band commands
 * beyond it wait: a client keeps its own count, as QEMU asks of it too). While more than
 * QMP_OUTPUT_MARK_BYTES of output are unread, no further command is read or carried out, so answers
 * are bounded by what one command says beyond the mark. Events are bounded by QMP_MAX_EVENT_BYTES.
 * `output` is only appended to under the lock, and written from under the lock without blocking.
 *
 * The end. Input that ends (the client has closed, or half closed) lets the queued commands be
 * carried out and answered, then the session goes. A client that cannot be written to any more
 * loses its output, not its commands. A client that does not read is disconnected with a line on
 * stderr. When the server stops, everything ends within QMP_STOP_GRACE_NS; a worker that is still
 * inside the VM then is left behind: it holds references to what it needs.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "monitor/internal.h"

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void free_request(struct qmp_request *request)
{
    json_decref(request->message);
    free(request);
}

static void put(struct qmp_session *session)
{
    struct qmp_server *server = session->server;

    if (atomic_fetch_sub(&session->references, 1) != 1)
        return;
    while (session->first) {
        struct qmp_request *request = session->first;

        session->first = request->next;
        free_request(request);
    }
    close(session->wake_fd);
    qmp_frame_fini(&session->frame);
    free(session->output);
    pthread_mutex_destroy(&session->lock);
    pthread_cond_destroy(&session->changed);
    free(session);
    qmp_server_put(server);
}

void qmp_session_wake(struct qmp_session *session)
{
    uint64_t one = 1;
    ssize_t written = write(session->wake_fd, &one, sizeof(one));

    (void)written; /* full: it is awake */
}

/* ---- Output ---- */

/* Appends a line or an answer; with the lock held. */
static bool append_locked(struct qmp_session *session, const char *text)
{
    size_t length_bytes = strlen(text);
    size_t end_bytes = strlen(session->protocol->line_end);
    size_t needed = session->output_bytes + length_bytes + end_bytes;

    if (session->closing)
        return false;
    if (session->output_first) {
        memmove(session->output, session->output + session->output_first, session->output_bytes);
        session->output_first = 0;
    }
    if (needed > session->output_capacity) {
        size_t capacity = needed < 4096 ? 4096 : needed + needed / 2;
        char *output = realloc(session->output, capacity);

        if (!output) {
            session->reject = "memory is short";
            return false;
        }
        session->output = output;
        session->output_capacity = capacity;
    }
    memcpy(session->output + session->output_bytes, text, length_bytes);
    memcpy(session->output + session->output_bytes + length_bytes, session->protocol->line_end,
           end_bytes);
    session->output_bytes = needed;
    return true;
}

static void append(struct qmp_session *session, const char *text)
{
    pthread_mutex_lock(&session->lock);
    append_locked(session, text);
    pthread_mutex_unlock(&session->lock);
    qmp_session_wake(session);
}

/* Called with the server's sessions_lock held. */
void qmp_session_event(struct qmp_session *session, const char *text)
{
    if (!atomic_load(&session->negotiated))
        return;
    pthread_mutex_lock(&session->lock);
    if (session->event_bytes > QMP_MAX_EVENT_BYTES)
        session->reject = "it does not read its events";
    else if (append_locked(session, text))
        session->event_bytes += strlen(text);
    pthread_mutex_unlock(&session->lock);
    qmp_session_wake(session);
}

/* Writes what the socket takes. Returns whether it took anything. */
static bool flush(struct qmp_session *session)
{
    bool progress = false;

    pthread_mutex_lock(&session->lock);
    while (session->output_bytes) {
        ssize_t sent = send(session->fd, session->output + session->output_first,
                            session->output_bytes, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            break;
        if (sent < 0) /* the client is gone: nobody will miss the rest */
            sent = (ssize_t)session->output_bytes;
        progress = true;
        session->output_first += (size_t)sent;
        session->output_bytes -= (size_t)sent;
    }
    if (!session->output_bytes) {
        session->output_first = 0;
        session->event_bytes = 0;
    }
    if (progress)
        pthread_cond_broadcast(&session->changed);
    pthread_mutex_unlock(&session->lock);
    return progress;
}

/* ---- The worker ---- */

static struct qmp_request *take_request(struct qmp_session *session)
{
    struct qmp_request *request = NULL;

    pthread_mutex_lock(&session->lock);
    session->working = false;
    pthread_cond_broadcast(&session->changed);
    qmp_session_wake(session);
    while (!session->closing && (!session->first || session->output_bytes > QMP_OUTPUT_MARK_BYTES))
        pthread_cond_wait(&session->changed, &session->lock);
    if (!session->closing) {
        request = session->first;
        session->first = request->next;
        if (!session->first)
            session->last = &session->first;
        session->queued--;
        session->working = true;
    }
    pthread_mutex_unlock(&session->lock);
    return request;
}

static void answer(struct qmp_session *session, const struct qmp_request *request, bool out_of_band)
{
    struct qmp_vm *vm = &session->server->vm;
    bool quit = false;
    char *text = session->protocol->answer(session, request, out_of_band, &quit);

    append(session, text ? text : session->protocol->out_of_memory);
    free(text);
    if (quit)
        vm->quit(vm->opaque);
}

static void *worker_main(void *opaque)
{
    struct qmp_session *session = opaque;
    struct qmp_request *request;

    while ((request = take_request(session))) {
        answer(session, request, false);
        free_request(request);
    }
    put(session);
    return NULL;
}

/* ---- Input ---- */

static void queue_request(struct qmp_session *session, struct qmp_request *request)
{
    pthread_mutex_lock(&session->lock);
    *session->last = request;
    session->last = &request->next;
    session->queued++;
    pthread_cond_broadcast(&session->changed);
    pthread_mutex_unlock(&session->lock);
}

static void handle_text(struct qmp_session *session, enum qmp_frame_result result)
{
    struct qmp_request *request = calloc(1, sizeof(*request));

    if (!request)
        return;
    session->protocol->parse(request, &session->frame, result);
    if (request->message && qmp_is_out_of_band(session, request->message)) {
        answer(session, request, true);
        free_request(request);
    } else {
        queue_request(session, request);
    }
}

/* Whether one more command may be read now. */
static bool wants_input(struct qmp_session *session)
{
    bool wants;

    pthread_mutex_lock(&session->lock);
    wants = !session->end_of_input && session->queued < QMP_MAX_QUEUED_REQUESTS &&
            session->output_bytes <= QMP_OUTPUT_MARK_BYTES;
    pthread_mutex_unlock(&session->lock);
    return wants;
}

/* Bytes that were received but not yet looked at: the queue was full in the middle of them. */
struct backlog {
    char bytes[16384];
    size_t first, count;
};

static void read_input(struct qmp_session *session, struct backlog *backlog)
{
    while (wants_input(session)) {
        enum qmp_frame_result result;
        size_t used = 0;

        if (!backlog->count) {
            ssize_t got = recv(session->fd, backlog->bytes, sizeof(backlog->bytes), MSG_DONTWAIT);

            if (got < 0 && errno == EINTR)
                continue;
            if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
                return;
            if (got <= 0) {
                session->end_of_input = true;
                return;
            }
            backlog->first = 0;
            backlog->count = (size_t)got;
        }
        result = session->protocol->cut(&session->frame, backlog->bytes + backlog->first,
                                        backlog->count, &used);
        backlog->first += used;
        backlog->count -= used;
        if (result != QMP_FRAME_MORE)
            handle_text(session, result);
    }
}

/* ---- The I/O thread ---- */

/* Why the session should end now, or NULL. "" is an ordinary end. */
static const char *why_end(struct qmp_session *session, uint64_t stalled_ns, uint64_t stopping_ns)
{
    const char *why = NULL;
    bool idle;

    pthread_mutex_lock(&session->lock);
    idle = !session->first && !session->working && !session->output_bytes;
    if (session->reject)
        why = session->reject;
    else if (stalled_ns >= session->server->stall_ns)
        why = "it does not read its answers";
    else if (idle && (session->end_of_input || stopping_ns))
        why = "";
    else if (stopping_ns > QMP_STOP_GRACE_NS)
        why = "";
    pthread_mutex_unlock(&session->lock);
    return why;
}

static bool has_output(struct qmp_session *session)
{
    bool has;

    pthread_mutex_lock(&session->lock);
    has = session->output_bytes > 0;
    pthread_mutex_unlock(&session->lock);
    return has;
}

static const char *serve(struct qmp_session *session, struct backlog *backlog)
{
    uint64_t stalled_since = 0, stopping_since = 0;

    for (;;) {
        bool stopping = atomic_load(&session->server->ending);
        struct pollfd fds[2] = {{.fd = session->wake_fd, .events = POLLIN}, {.fd = session->fd}};
        const char *why;
        uint64_t woken, now;
        ssize_t got;

        if (flush(session) || !has_output(session))
            stalled_since = 0;
        if (!stopping)
            read_input(session, backlog);
        now = now_ns();
        if (has_output(session)) {
            fds[1].events |= POLLOUT;
            stalled_since = stalled_since ? stalled_since : now;
        }
        if (stopping && !stopping_since)
            stopping_since = now;
        why = why_end(session, stalled_since ? now - stalled_since : 0,
                      stopping_since ? now - stopping_since + 1 : 0);
        if (why)
            return why;
        if (!stopping && wants_input(session))
            fds[1].events |= POLLIN;
        /* Without this a hang-up, which poll reports unasked, would make the thread spin. */
        if (!fds[1].events)
            fds[1].fd = -1;
        poll(fds, 2, stopping ? 50 : 1000);
        got = read(session->wake_fd, &woken, sizeof(woken));
        (void)got;
    }
}

static void leave_server(struct qmp_session *session)
{
    struct qmp_server *server = session->server;
    struct qmp_session **link;

    pthread_mutex_lock(&server->sessions_lock);
    for (link = &server->sessions; *link != session; link = &(*link)->next)
        ;
    *link = session->next;
    server->session_count--;
    pthread_cond_broadcast(&server->sessions_changed);
    pthread_mutex_unlock(&server->sessions_lock);
}

static void *session_main(void *opaque)
{
    struct qmp_session *session = opaque;
    struct backlog *backlog = calloc(1, sizeof(*backlog));
    const char *why = backlog ? serve(session, backlog) : "memory is short";

    if (*why)
        fprintf(stderr, "baton: monitor: client %llu was disconnected: %s\n",
                (unsigned long long)session->number, why);
    free(backlog);
    pthread_mutex_lock(&session->lock);
    session->closing = true;
    pthread_cond_broadcast(&session->changed);
    pthread_mutex_unlock(&session->lock);
    close(session->fd);
    leave_server(session);
    put(session);
    return NULL;
}

static int start_threads(struct qmp_session *session, struct baton_error *error)
{
    pthread_attr_t detached;
    pthread_t thread;
    int result;

    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&detached, 1024 * 1024);
    session->references = 2; /* the two threads */
    result = pthread_create(&thread, &detached, worker_main, session);
    if (result == 0) {
        result = pthread_create(&thread, &detached, session_main, session);
        if (result) {
            pthread_mutex_lock(&session->lock);
            session->closing = true;
            pthread_cond_broadcast(&session->changed);
            pthread_mutex_unlock(&session->lock);
        }
    } else {
        session->references = 1; /* no thread has it yet: the caller's alone */
    }
    pthread_attr_destroy(&detached);
    if (result)
        return baton_error_set(error, result, "its thread cannot be made: %s", strerror(result));
    return 0;
}

bool qmp_session_is_ending(struct qmp_session *session)
{
    bool ending;

    pthread_mutex_lock(&session->lock);
    ending = session->closing || atomic_load(&session->server->stopping);
    pthread_mutex_unlock(&session->lock);
    return ending;
}

int qmp_session_start(struct qmp_server *server, const struct qmp_protocol *protocol, int fd,
                      struct baton_error *error)
{
    struct qmp_session *session = calloc(1, sizeof(*session));
    char *greeting = protocol->greeting();
    int result;

    if (session)
        session->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (!session || !greeting || session->wake_fd < 0) {
        free(greeting);
        free(session);
        return baton_error_set(error, ENOMEM, "memory or descriptors are short");
    }
    atomic_fetch_add(&server->references, 1);
    session->server = server;
    session->protocol = protocol;
    session->fd = fd;
    session->last = &session->first;
    qmp_frame_init(&session->frame);
    pthread_mutex_init(&session->lock, NULL);
    pthread_cond_init(&session->changed, NULL);
    append_locked(session, greeting);
    free(greeting);

    pthread_mutex_lock(&server->sessions_lock);
    session->number = ++server->next_number;
    session->next = server->sessions;
    server->sessions = session;
    server->session_count++;
    pthread_mutex_unlock(&server->sessions_lock);
    result = start_threads(session, error);
    if (result < 0) {
        leave_server(session);
        put(session);
    }
    return result;
}
