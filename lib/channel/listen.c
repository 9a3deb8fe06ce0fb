/* SPDX-License-Identifier: MIT */
/*
 * Listening.
 *
 * Problem: a destination in postcopy-paused holds the only living half of a VM and waits for its
 * source. Its listener must not die of anything that may pass, and must let go of the accepting
 * thread when told. Data: a non-blocking listening socket, and an eventfd that is readable for good
 * after channel_listener_shutdown(). Invariants: accept waits on both, and fails only for the
 * second. A unix socket's file is removed only if nobody listens on it (before binding) or it is
 * the very file that this listener made (at close): never another listener's. Who may change it:
 * one thread accepts; any other only writes the eventfd. Failure: opening fails with a sentence and
 * leaves nothing behind. Two processes that replace the same stale file in the same instant can
 * both succeed, the later one having the path: they were told to use one path, and only one of them
 * will get connections.
 */
#include "channel/plain.h"
#include "channel/socket.h"
#include "channel/uri.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#define BACKLOG 16
#define TROUBLE_PAUSE_MS 100 /* between looks when accept fails for want of something */

struct channel_listener {
    int fd, down_fd;
    struct channel_uri *plain; /* a file, a command or a descriptor, until it was accepted */
    bool chaos;
    struct channel_chaos_plan plan;
    uint64_t connections;
    char uri[BATON_URI_BYTES];
    struct sockaddr_un
        path; /* of a unix socket; its file is unlinked at close if it is still this one: */
    bool has_path;
    dev_t device;
    ino_t inode;
};

/* ---- TCP ---- */

static int bind_tcp(const struct addrinfo *address, int *out)
{
    int one = 1, zero = 0;
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP);
    int code;

    if (fd < 0)
        return -errno;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    /* "All interfaces" is one socket for both families; an address that was named is only itself
     * anyway. */
    if (address->ai_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
    channel_socket_tune(fd); /* accepted sockets inherit it */
    if (bind(fd, address->ai_addr, address->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0) {
        *out = fd;
        return 0;
    }
    code = errno;
    close(fd);
    return -code;
}

/* Binds the first address of the wanted family (AF_UNSPEC: any) that can be bound. */
static int bind_first(const struct addrinfo *address, int family, int *out)
{
    int rc = -EADDRNOTAVAIL;

    for (; address; address = address->ai_next) {
        if (family != AF_UNSPEC && address->ai_family != family)
            continue;
        rc = bind_tcp(address, out);
        if (rc == 0)
            break;
    }
    return rc;
}

static int open_tcp(struct channel_listener *self, const char *text, const struct channel_uri *uri,
                    struct baton_error *error)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV};
    const char *host = uri->host[0] ? uri->host : NULL; /* NULL and AI_PASSIVE: all interfaces */
    struct sockaddr_storage bound;
    socklen_t bound_bytes = sizeof(bound);
    struct addrinfo *addresses;
    int rc = getaddrinfo(host, uri->port, &hints, &addresses);

    if (rc) {
        hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
        rc = getaddrinfo(host, uri->port, &hints, &addresses);
    }
    if (rc)
        return baton_error_set(
            error, EADDRNOTAVAIL,
            "the host name '%s' to listen at cannot be resolved: %s; check it, or give the "
            "address as a number",
            uri->host, rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc));
    rc = -EADDRNOTAVAIL;
    if (!host)
        rc = bind_first(addresses, AF_INET6, &self->fd);
    /* In use is in use: falling back to IPv4 would take half of what another has. */
    if (rc && rc != -EADDRINUSE)
        rc = bind_first(addresses, AF_UNSPEC, &self->fd);
    freeaddrinfo(addresses);
    if (rc)
        return baton_error_set(
            error, -rc,
            "cannot listen at '%s': %s; choose another port (0: any free one) or an "
            "address of this host",
            text, strerror(-rc));
    if (getsockname(self->fd, (struct sockaddr *)&bound, &bound_bytes) < 0)
        return baton_error_set(error, errno, "cannot learn the port of '%s': %s", text,
                               strerror(errno));
    channel_socket_name((struct sockaddr *)&bound, bound_bytes, self->uri);
    return 0;
}

/* ---- unix ---- */

/* Makes way for a socket file: removes one that nobody listens on, refuses everything else that is
 * there. */
static int clear_path(const char *path, struct baton_error *error)
{
    struct sockaddr_un address;
    struct stat status;
    int fd, code;

    if (lstat(path, &status) < 0)
        return 0; /* not there; if it is something worse, bind will say so */
    if (!S_ISSOCK(status.st_mode))
        return baton_error_set(
            error, EEXIST,
            "cannot listen at unix:%s: there is a file that is not a socket; choose another path",
            path);
    channel_socket_unix_address(path, &address);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return baton_error_set(error, errno, "no socket to look at unix:%s with: %s", path,
                               strerror(errno));
    code = connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? errno : 0;
    close(fd);
    /* Only "refused" means that nobody listens; with a full backlog, for one, somebody does. */
    if (code == ECONNREFUSED) {
        if (unlink(path) == 0 || errno == ENOENT)
            return 0;
        return baton_error_set(error, errno, "cannot remove the stale socket %s: %s", path,
                               strerror(errno));
    }
    if (code == 0 || code == EAGAIN)
        return baton_error_set(
            error, EADDRINUSE,
            "cannot listen at unix:%s: somebody listens there; choose another path or stop them",
            path);
    return baton_error_set(
        error, code,
        "cannot listen at unix:%s: whether somebody listens there cannot be found "
        "out (%s); remove the file if nobody does, or choose another path",
        path, strerror(code));
}

static int open_unix(struct channel_listener *self, const struct channel_uri *uri,
                     struct baton_error *error)
{
    struct stat status;
    int rc = clear_path(uri->path, error);

    if (rc)
        return rc;
    channel_socket_unix_address(uri->path, &self->path);
    self->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* The file takes its mode from the socket's inode, so there is no instant in which others could
     * connect. */
    if (self->fd < 0 || fchmod(self->fd, 0600) < 0 ||
        bind(self->fd, (struct sockaddr *)&self->path, sizeof(self->path)) < 0)
        return baton_error_set(error, errno, "cannot listen at unix:%s: %s; check the directory",
                               uri->path, strerror(errno));
    if (lstat(uri->path, &status) == 0) {
        self->has_path = true;
        self->device = status.st_dev;
        self->inode = status.st_ino;
    }
    if (listen(self->fd, BACKLOG) < 0)
        return baton_error_set(error, errno, "cannot listen at unix:%s: %s", uri->path,
                               strerror(errno));
    snprintf(self->uri, sizeof(self->uri), "unix:%s", uri->path);
    return 0;
}

/* ---- What is read as it is ---- */

static int open_plain(struct channel_listener *self, const struct channel_uri *uri,
                      struct baton_error *error)
{
    int rc = channel_plain_check(uri, false, error);

    if (rc)
        return rc;
    self->plain = malloc(sizeof(*self->plain));
    if (!self->plain)
        return baton_error_set(error, ENOMEM, "no memory to listen at '%s'", uri->name);
    *self->plain = *uri;
    snprintf(self->uri, sizeof(self->uri), "%s", uri->name);
    return 0;
}

/* ---- All ---- */

int channel_listener_open(const char *uri, struct channel_listener **out, struct baton_error *error)
{
    struct channel_uri parsed;
    struct channel_listener *self;
    int rc = channel_uri_parse(uri, &parsed, error);

    if (rc)
        return rc;
    self = calloc(1, sizeof(*self));
    if (!self)
        return baton_error_set(error, ENOMEM, "no memory to listen at '%s'", uri);
    self->fd = -1;
    self->chaos = parsed.chaos;
    self->plan = parsed.plan;
    self->down_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (self->down_fd < 0)
        rc = baton_error_set(error, errno,
                             "no descriptor to listen at '%s': %s; raise the limit of open files",
                             uri, strerror(errno));
    else if (CHANNEL_URI_IS_PLAIN(parsed.kind))
        rc = open_plain(self, &parsed, error);
    else if (parsed.kind == CHANNEL_URI_TCP)
        rc = open_tcp(self, uri, &parsed, error);
    else
        rc = open_unix(self, &parsed, error);
    if (rc) {
        channel_listener_close(self);
        return rc;
    }
    *out = self;
    return 0;
}

static int add_chaos(struct channel_listener *self, struct channel *channel, struct channel **out,
                     struct baton_error *error)
{
    struct channel_chaos_plan plan = self->plan;
    int rc;

    *out = channel;
    if (!self->chaos || !channel_chaos_plan_for(&plan, self->connections++))
        return 0;
    rc = channel_chaos_wrap(channel, &plan, out, error);
    if (rc)
        channel_close(channel);
    return rc;
}

/* The one connection that there is. What goes wrong now is read from it: who accepts could not tell
 * anybody. */
static int accept_plain(struct channel_listener *self, struct channel **out,
                        struct baton_error *error)
{
    struct channel_uri *uri = self->plain;
    struct channel *channel;
    struct baton_error why;
    int rc = channel_plain_open(uri, false, &channel, &why);

    self->plain = NULL;
    free(uri);
    if (rc)
        rc = channel_plain_broken(&why, &channel);
    return rc ? rc : add_chaos(self, channel, out, error);
}

/* Takes the socket, which is closed on failure. */
static int accepted(struct channel_listener *self, int fd, const struct sockaddr *address,
                    socklen_t address_bytes, struct channel **out, struct baton_error *error)
{
    char peer[BATON_URI_BYTES];
    struct channel *channel;
    int rc;

    if (self->path.sun_family == AF_UNIX)
        snprintf(peer, sizeof(peer), "%s", self->uri);
    else
        channel_socket_name(address, address_bytes, peer);
    rc = channel_from_socket(fd, peer, &channel, error);
    return rc ? rc : add_chaos(self, channel, out, error);
}

/* Waits for a connection to accept, or only pauses. False: the listener was shut down. */
static bool listener_wait(struct channel_listener *self, bool only_pause)
{
    struct pollfd fds[2] = {{.fd = self->down_fd, .events = POLLIN},
                            {.fd = only_pause ? -1 : self->fd, .events = POLLIN}};

    while (poll(fds, 2, only_pause ? TROUBLE_PAUSE_MS : -1) < 0)
        if (errno != EINTR)
            return true; /* short of memory, say: accept will fail and be tried again */
    return fds[0].revents == 0;
}

int channel_listener_accept(struct channel_listener *listener, struct channel **out,
                            struct baton_error *error)
{
    bool only_pause = false;

    if (listener->plain && accept_plain(listener, out, error) == 0)
        return 0;
    for (;;) {
        struct sockaddr_storage address;
        socklen_t address_bytes = sizeof(address);
        int fd;

        if (!listener_wait(listener, only_pause) || !listener_wait(listener, false))
            return baton_error_set(error, ESHUTDOWN, "listening at %s was ended", listener->uri);
        fd = accept4(listener->fd, (struct sockaddr *)&address, &address_bytes, SOCK_CLOEXEC);
        if (fd >= 0 &&
            accepted(listener, fd, (struct sockaddr *)&address, address_bytes, out, NULL) == 0)
            return 0;
        /* A connection that was gone before it was accepted costs nothing; all else is pressed for
         * something. */
        only_pause = fd >= 0 || (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED);
    }
}

void channel_listener_shutdown(struct channel_listener *listener)
{
    uint64_t one = 1;

    /* Fails only if the counter is full, and then it is readable already. */
    (void)!write(listener->down_fd, &one, sizeof(one));
}

const char *channel_listener_uri(const struct channel_listener *listener)
{
    return listener->uri;
}

void channel_listener_close(struct channel_listener *listener)
{
    struct stat status;

    if (!listener)
        return;
    if (listener->has_path && lstat(listener->path.sun_path, &status) == 0 &&
        status.st_dev == listener->device && status.st_ino == listener->inode)
        unlink(listener->path.sun_path);
    if (listener->fd >= 0)
        close(listener->fd);
    if (listener->down_fd >= 0)
        close(listener->down_fd);
    free(listener->plain);
    free(listener);
}
