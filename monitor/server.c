/* SPDX-License-Identifier: MIT */
/*
 * The monitors' own thread, and its life.
 *
 * Problem: clients come and go; events must reach all of them without anybody who raises one being
 * held up; and the server must end in bounded time even when a command cannot (it waits for a page
 * that a broken link keeps away).
 *
 * Data: the list of sessions; the sockets where they come in; the queue of events; one thread that
 * accepts clients and hands events out. Each session has two threads of its own (session.c).
 *
 * Invariants: every session holds a reference to the server and every thread of a session one to
 * its session, so the last one out frees. While `stopping` no session is added, and no command
 * touches the VM any more except one that was already inside it.
 *
 * Failure: when descriptors or memory are short a client is turned away, and the server lives on.
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

static void hand_out(struct qmp_server *server, const char *text)
{
    pthread_mutex_lock(&server->sessions_lock);
    for (struct qmp_session *session = server->sessions; session; session = session->next)
        qmp_session_event(session, text);
    pthread_mutex_unlock(&server->sessions_lock);
}

static void hand_out_events(struct qmp_server *server)
{
    struct qmp_event event;
    uint64_t lost;
    bool found;

    do {
        char *text = NULL;

        found = qmp_events_take(&server->events, &event, &lost);
        if (lost)
            fprintf(stderr, "baton: monitor: %llu events came too fast and were not sent\n",
                    (unsigned long long)lost);
        if (found)
            text = qmp_event_text(server->vm.baton, &event);
        if (text)
            hand_out(server, text);
        free(text);
        if (found)
            free(event.reason);
    } while (found);
}

/* Takes one client; false when trying again at once would be in vain. */
static bool accept_one(struct qmp_server *server, const struct qmp_listener *listener)
{
    struct baton_error error = {0};
    unsigned count;
    int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0)
        return errno == EAGAIN || errno == EINTR || errno == ECONNABORTED;
    pthread_mutex_lock(&server->sessions_lock);
    count = server->session_count;
    pthread_mutex_unlock(&server->sessions_lock);
    if (count >= QMP_MAX_SESSIONS)
        baton_error_set(&error, EBUSY, "%u clients are connected already", count);
    else if (qmp_session_start(server, listener->protocol, fd, &error) == 0)
        return true;
    fprintf(stderr, "baton: monitor: a client was turned away: %s\n", error.text);
    close(fd);
    return true;
}

static void *server_main(void *opaque)
{
    struct qmp_server *server = opaque;
    bool rest = false;

    while (!atomic_load(&server->stopping)) {
        struct pollfd fds[1 + QMP_MAX_LISTENERS] = {{.fd = server->wake_fd, .events = POLLIN}};
        unsigned count = atomic_load(&server->listener_count);
        uint64_t woken;

        for (unsigned i = 0; i < count; i++)
            fds[1 + i] =
                (struct pollfd){.fd = rest ? -1 : server->listeners[i].fd, .events = POLLIN};
        if (poll(fds, 1 + count, rest ? 100 : -1) < 0 && errno != EINTR)
            break;
        rest = false;
        if (fds[0].revents & POLLIN) {
            ssize_t got = read(server->wake_fd, &woken, sizeof(woken));

            (void)got;
            hand_out_events(server);
        }
        for (unsigned i = 0; i < count; i++)
            if (fds[1 + i].revents & POLLIN)
                rest |= !accept_one(server, &server->listeners[i]);
    }
    hand_out_events(server);
    return NULL;
}

void qmp_server_put(struct qmp_server *server)
{
    if (atomic_fetch_sub(&server->references, 1) != 1)
        return;
    close(server->wake_fd);
    qmp_events_fini(&server->events);
    pthread_mutex_destroy(&server->ram_lock);
    pthread_mutex_destroy(&server->sessions_lock);
    pthread_cond_destroy(&server->sessions_changed);
    free(server);
}

static void init_locks(struct qmp_server *server)
{
    pthread_condattr_t monotonic;

    qmp_events_init(&server->events);
    pthread_mutex_init(&server->ram_lock, NULL);
    pthread_mutex_init(&server->sessions_lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&server->sessions_changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

static void wake(struct qmp_server *server)
{
    uint64_t one = 1;
    ssize_t written = write(server->wake_fd, &one, sizeof(one));

    (void)written; /* full: it is awake */
}

int qmp_server_listen(struct qmp_server *server, const struct qmp_protocol *protocol,
                      const char *path, struct baton_error *error)
{
    unsigned count = atomic_load(&server->listener_count);
    struct qmp_listener *listener = &server->listeners[count];

    if (count == QMP_MAX_LISTENERS)
        return baton_error_set(error, EBUSY, "There are %u monitor sockets already", count);
    listener->protocol = protocol;
    listener->fd = qmp_socket_listen(path, &listener->device, &listener->inode, error);
    if (listener->fd < 0)
        return listener->fd;
    listener->path = strdup(path);
    if (!listener->path) {
        qmp_socket_remove(path, listener->device, listener->inode);
        close(listener->fd);
        return baton_error_set(error, ENOMEM, "Cannot start the monitor: out of memory");
    }
    atomic_store(&server->listener_count, count + 1);
    wake(server);
    return 0;
}

/* With the thread that accepts gone, or not yet there. */
static void close_listeners(struct qmp_server *server)
{
    for (unsigned i = 0; i < atomic_load(&server->listener_count); i++) {
        struct qmp_listener *listener = &server->listeners[i];

        close(listener->fd);
        qmp_socket_remove(listener->path, listener->device, listener->inode);
        free(listener->path);
    }
    atomic_store(&server->listener_count, 0);
}

int qmp_server_open(const struct qmp_vm *vm, const char *path, struct qmp_server **out,
                    struct baton_error *error)
{
    struct qmp_server *server = calloc(1, sizeof(*server));
    int result = 0;

    if (!server)
        return baton_error_set(error, ENOMEM, "Cannot start the monitor: out of memory");
    json_object_seed(0); /* once, before there are threads to race for it */
    server->vm = *vm;
    server->stall_ns = QMP_STALL_NS;
    server->references = 1;
    init_locks(server);
    server->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (server->wake_fd < 0)
        result = baton_error_set(error, errno, "Cannot start the monitor: %s", strerror(errno));
    else if (path)
        result = qmp_server_listen(server, &qmp_protocol_json, path, error);
    if (result == 0) {
        result = pthread_create(&server->thread, NULL, server_main, server);
        if (result)
            result = baton_error_set(error, result, "Cannot start the monitor's thread: %s",
                                     strerror(result));
    }
    if (result < 0) {
        close_listeners(server);
        qmp_server_put(server);
        return result;
    }
    *out = server;
    return 0;
}

void qmp_server_close(struct qmp_server *server)
{
    if (!server)
        return;
    atomic_store(&server->stopping, true);
    wake(server);
    pthread_join(server->thread, NULL);
    close_listeners(server);

    atomic_store(&server->ending, true);
    /* The I/O threads end by themselves in bounded time; workers that are inside the VM are left
     * behind. */
    pthread_mutex_lock(&server->sessions_lock);
    for (struct qmp_session *session = server->sessions; session; session = session->next)
        qmp_session_wake(session);
    while (server->sessions)
        pthread_cond_wait(&server->sessions_changed, &server->sessions_lock);
    pthread_mutex_unlock(&server->sessions_lock);
    qmp_stdio_close(server->stdio);
    qmp_server_put(server);
}
