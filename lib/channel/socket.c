/* SPDX-License-Identifier: MIT */
/*
 * Channels over connected stream sockets (TCP, unix), blocking.
 *
 * Problem: a thread may hang in send() or recv() for as long as the network pleases; another must
 * be able to end that at once, and nothing of a link that was given up may be read afterwards.
 * shutdown(2) wakes both kinds of sleeper, but on its own it makes recv() return 0, which reads as
 * an orderly end, and TCP still hands out what had arrived. Data: the socket, and the flag `down`.
 * Invariant: `down` is set before the socket is shut down, and looked at after every recv() and
 * send(). So a wake-up by our own shutdown is always told from the peer's doing, and bytes that
 * were received but not yet handed out are dropped. Who may change it: any thread sets `down`;
 * nobody clears it. The descriptor lives until close, so that a late shutdown can never hit a
 * descriptor that was reused. On failure: the channel stays as it is; the caller shuts it down or
 * closes it. A failed write has counted exactly what the kernel took.
 */
#include "channel/socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A link over which nothing comes back is noticed by the kernel within these, if nobody above does
 * so before. */
#define KEEPALIVE_IDLE_S 15
#define KEEPALIVE_INTERVAL_S 5
#define KEEPALIVE_PROBES 3
#define UNACKNOWLEDGED_LIMIT_MS 60000

struct socket_channel {
    struct channel base;
    int fd;
    _Atomic bool down;
    char peer[BATON_URI_BYTES];
};

static struct socket_channel *socket_of(struct channel *channel)
{
    return (struct socket_channel *)channel;
}

static int socket_ours(const struct socket_channel *self, struct baton_error *error)
{
    return baton_error_set(error, ESHUTDOWN, "the link to %s was shut down by this side",
                           self->peer);
}

static int socket_read(struct channel *channel, void *buffer, size_t length_bytes,
                       size_t *got_bytes, struct baton_error *error)
{
    struct socket_channel *self = socket_of(channel);

    for (;;) {
        ssize_t got = atomic_load(&self->down) ? 0 : recv(self->fd, buffer, length_bytes, 0);
        int code = errno;

        if (atomic_load(&self->down))
            return socket_ours(self, error);
        if (got >= 0) {
            *got_bytes = (size_t)got;
            return 0;
        }
        if (code != EINTR)
            return baton_error_set(
                error, code, "reading from %s failed: %s; check the network and the other side",
                self->peer, strerror(code));
    }
}

static int socket_write(struct channel *channel, const void *bytes, size_t length_bytes,
                        size_t *written_bytes, struct baton_error *error)
{
    struct socket_channel *self = socket_of(channel);
    const char *from = bytes;

    while (*written_bytes < length_bytes) {
        ssize_t sent = atomic_load(&self->down) ? 0
                                                : send(self->fd, from + *written_bytes,
                                                       length_bytes - *written_bytes, MSG_NOSIGNAL);
        int code = errno;

        if (sent > 0)
            *written_bytes += (size_t)sent;
        /* What was sent before the shutdown may arrive, so it is counted; but the write as a whole
         * has failed. */
        if (atomic_load(&self->down) && *written_bytes < length_bytes)
            return socket_ours(self, error);
        if (sent < 0 && code != EINTR)
            return baton_error_set(error, code,
                                   "writing to %s failed: %s; check the network and the other side",
                                   self->peer, strerror(code));
    }
    return 0;
}

static void socket_shutdown(struct channel *channel)
{
    struct socket_channel *self = socket_of(channel);

    atomic_store(&self->down, true);
    shutdown(self->fd, SHUT_RDWR);
}

static void socket_close(struct channel *channel)
{
    struct socket_channel *self = socket_of(channel);

    close(self->fd);
    free(self);
}

static const struct channel_ops socket_ops = {
    .read = socket_read,
    .write = socket_write,
    .shutdown = socket_shutdown,
    .close = socket_close,
};

int channel_from_socket(int fd, const char *peer, struct channel **out, struct baton_error *error)
{
    struct socket_channel *self = calloc(1, sizeof(*self));

    if (!self) {
        close(fd);
        return baton_error_set(error, ENOMEM, "no memory for a connection with %s", peer);
    }
    self->fd = fd;
    atomic_init(&self->down, false);
    snprintf(self->peer, sizeof(self->peer), "%s", peer);
    channel_base_init(&self->base, &socket_ops, self->peer);
    *out = &self->base;
    return 0;
}

void channel_socket_name(const struct sockaddr *address, socklen_t address_bytes,
                         char text[BATON_URI_BYTES])
{
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)address;
    char host[128], port[16];
    struct sockaddr_in v4;

    /* An IPv4 peer of a socket for both families is shown as people know it. */
    if (address->sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
        v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = v6->sin6_port};
        memcpy(&v4.sin_addr, &v6->sin6_addr.s6_addr[12], 4);
        address = (const struct sockaddr *)&v4;
        address_bytes = sizeof(v4);
    }
    if (getnameinfo(address, address_bytes, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        snprintf(text, BATON_URI_BYTES, "tcp:unknown");
        return;
    }
    if (address->sa_family == AF_INET6)
        snprintf(text, BATON_URI_BYTES, "tcp:[%s]:%s", host, port);
    else
        snprintf(text, BATON_URI_BYTES, "tcp:%s:%s", host, port);
}

static void set_int(int fd, int level, int option, int value)
{
    /* Every option here makes things better, none is needed: a kernel without it still moves bytes.
     */
    (void)setsockopt(fd, level, option, &value, sizeof(value));
}

void channel_socket_tune(int fd)
{
    static const char congestion[] =
        "cubic"; /* bbr halves what a fast path with short round trips moves */

    set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, congestion, sizeof(congestion) - 1);
    set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S);
    set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S);
    set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES);
    set_int(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, UNACKNOWLEDGED_LIMIT_MS);
}

void channel_socket_unix_address(const char *path, struct sockaddr_un *address)
{
    memset(address, 0, sizeof(*address));
    address->sun_family = AF_UNIX;
    snprintf(address->sun_path, sizeof(address->sun_path), "%s", path);
}

int channel_socket_nonblocking(int fd, bool on)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0)
        return -errno;
    flags = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
    return fcntl(fd, F_SETFL, flags) < 0 ? -errno : 0;
}
