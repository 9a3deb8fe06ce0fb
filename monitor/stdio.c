/* SPDX-License-Identifier: MIT */
/*
 * stdin and stdout as a client.
 *
 * Problem: a session reads and writes a socket that never blocks. The descriptors 0 and 1 may be a
 * terminal that other processes use too, so they must not be made non-blocking, and 1 may block.
 *
 * Data: a pair of sockets, one end of which is the session's, and a thread that carries bytes
 * between the other end and the descriptors. What stdin gave and the session has not yet taken is
 * in `input`; while there is some, stdin is not read.
 *
 * Invariants: what the session sends is never held up by what stdin sends. The end of stdin is a
 * half-closed connection: what was typed is carried out and answered.
 *
 * Failure: a stdout that nobody reads holds up this thread alone; the session then ends as with any
 * client that does not read. A thread that hangs there when the server stops is left behind.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "monitor/internal.h"

#define STDIO_GRACE_S 1

struct qmp_stdio {
    pthread_t thread;
    int fd;
    bool end_of_input;
    char input[4096];
    size_t input_first, input_bytes;
};

static void read_stdin(struct qmp_stdio *stdio)
{
    ssize_t got = read(STDIN_FILENO, stdio->input, sizeof(stdio->input));

    if (got < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (got <= 0) {
        stdio->end_of_input = true;
        shutdown(stdio->fd, SHUT_WR);
        return;
    }
    stdio->input_first = 0;
    stdio->input_bytes = (size_t)got;
}

static void send_input(struct qmp_stdio *stdio)
{
    ssize_t sent = send(stdio->fd, stdio->input + stdio->input_first, stdio->input_bytes,
                        MSG_DONTWAIT | MSG_NOSIGNAL);

    if (sent < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (sent < 0) /* the session is gone; reading from it will say so */
        sent = (ssize_t)stdio->input_bytes;
    stdio->input_first += (size_t)sent;
    stdio->input_bytes -= (size_t)sent;
}

/* False when the session has ended. A stdout that is gone takes everything. */
static bool copy_output(struct qmp_stdio *stdio)
{
    char bytes[4096];
    ssize_t got = recv(stdio->fd, bytes, sizeof(bytes), MSG_DONTWAIT);

    if (got < 0 && (errno == EINTR || errno == EAGAIN))
        return true;
    for (ssize_t done = 0; done < got;) {
        ssize_t written = write(STDOUT_FILENO, bytes + done, (size_t)(got - done));

        if (written < 0 && errno == EAGAIN) {
            struct pollfd room = {.fd = STDOUT_FILENO, .events = POLLOUT};

            poll(&room, 1, -1);
        } else if (written < 0 && errno != EINTR) {
            break;
        }
        done += written > 0 ? written : 0;
    }
    return got > 0;
}

static void *stdio_main(void *opaque)
{
    struct qmp_stdio *stdio = opaque;
    bool going = true;

    while (going) {
        bool wants_input = !stdio->end_of_input && !stdio->input_bytes;
        struct pollfd fds[] = {
            {.fd = stdio->fd, .events = stdio->input_bytes ? POLLIN | POLLOUT : POLLIN},
            {.fd = wants_input ? STDIN_FILENO : -1, .events = POLLIN}};

        if (poll(fds, 2, -1) < 0)
            continue;
        if (fds[0].revents & POLLOUT)
            send_input(stdio);
        if (fds[0].revents & (POLLIN | POLLHUP | POLLERR))
            going = copy_output(stdio);
        if (going && fds[1].revents)
            read_stdin(stdio);
    }
    return NULL;
}

int qmp_stdio_open(struct qmp_stdio **out, int *fd, struct baton_error *error)
{
    struct qmp_stdio *stdio = calloc(1, sizeof(*stdio));
    int ends[2], result;

    if (!stdio)
        return baton_error_set(error, ENOMEM, "Cannot start the monitor: out of memory");
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
        free(stdio);
        return baton_error_set(error, errno, "Cannot start the monitor on stdio: %s",
                               strerror(errno));
    }
    stdio->fd = ends[0];
    result = pthread_create(&stdio->thread, NULL, stdio_main, stdio);
    if (result) {
        close(ends[0]);
        close(ends[1]);
        free(stdio);
        return baton_error_set(error, result, "Cannot start the monitor's thread: %s",
                               strerror(result));
    }
    *fd = ends[1];
    *out = stdio;
    return 0;
}

void qmp_stdio_close(struct qmp_stdio *stdio)
{
    struct timespec until;

    if (!stdio)
        return;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += STDIO_GRACE_S;
    if (pthread_timedjoin_np(stdio->thread, NULL, &until)) {
        pthread_detach(stdio->thread);
        return;
    }
    close(stdio->fd);
    free(stdio);
}
