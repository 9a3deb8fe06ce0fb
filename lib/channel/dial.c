/* SPDX-License-Identifier: MIT */
/*
 * Dialing: a URI becomes a connected channel, or a sentence.
 *
 * Problem: a connection attempt may hang for minutes (a host that is gone sends nothing back), and
 * the operator must be able to call it off, or the time limit must, at any moment. Data: the
 * dialer's eventfd, readable for good once cancelled. Each attempt connects a non-blocking socket
 * and polls it together with the eventfd. Invariants: numeric hosts never reach a resolver. The
 * time that is left is shared evenly among the addresses not yet tried, so that one dead address of
 * a name does not eat the turn of a living one. The socket is blocking again when it leaves here.
 * Who may change it: one thread dials; any other only writes the eventfd.
 * Failure: the sentence of the last address that was tried, -ECANCELED, or -ETIMEDOUT.
 */
#include "channel/plain.h"
#include "channel/socket.h"
#include "channel/uri.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* A unix socket whose backlog is full refuses at once instead of queueing: look again this often.
 */
#define UNIX_RETRY_MS 5

int channel_dialer_init(struct channel_dialer *dialer, struct baton_error *error)
{
    memset(dialer, 0, sizeof(*dialer));
    dialer->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (dialer->cancel_fd < 0)
        return baton_error_set(error, errno,
                               "no descriptor to dial with: %s; raise the limit of open files",
                               strerror(errno));
    return 0;
}

void channel_dialer_fini(struct channel_dialer *dialer)
{
    if (dialer->cancel_fd >= 0)
        close(dialer->cancel_fd);
    dialer->cancel_fd = -1;
}

void channel_dialer_cancel(struct channel_dialer *dialer)
{
    uint64_t one = 1;

    /* Fails only if the counter is full, and then it is readable already. */
    (void)!write(dialer->cancel_fd, &one, sizeof(one));
}

void channel_dialer_rearm(struct channel_dialer *dialer)
{
    uint64_t count;

    (void)!read(dialer->cancel_fd, &count, sizeof(count));
}

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/*
 * Waits until the socket (none if -1) can be written, or until then. 1: it can; 0: the time is up;
 * -ECANCELED.
 */
static int dial_wait(struct channel_dialer *dialer, int fd, uint64_t until_ms)
{
    struct pollfd fds[2] = {{.fd = dialer->cancel_fd, .events = POLLIN},
                            {.fd = fd, .events = POLLOUT}};

    for (;;) {
        uint64_t now = now_ms();
        int n = poll(fds, 2, now < until_ms ? (int)(until_ms - now) : 0);

        if (fds[0].revents && n > 0)
            return -ECANCELED;
        if (n > 0)
            return 1;
        if (n == 0)
            return 0;
        if (errno != EINTR)
            return -errno;
    }
}

static int dial_cancelled(const char *name, struct baton_error *error)
{
    return baton_error_set(error, ECANCELED, "connecting to %s was called off", name);
}

static int dial_timed_out(const char *name, struct baton_error *error)
{
    return baton_error_set(
        error, ETIMEDOUT,
        "connecting to %s took too long: nothing answers there; check the address, and that "
        "no firewall drops what is sent to it",
        name);
}

/* Starts to connect and waits for the outcome. Takes the socket: it is closed on failure. */
static int dial_finish(struct channel_dialer *dialer, int fd, int code, uint64_t until_ms,
                       const char *name, struct channel **out, struct baton_error *error)
{
    socklen_t length = sizeof(code);
    int rc;

    if (code == EINPROGRESS) {
        rc = dial_wait(dialer, fd, until_ms);
        if (rc <= 0) {
            close(fd);
            if (rc == -ECANCELED)
                return dial_cancelled(name, error);
            if (rc == 0)
                return dial_timed_out(name, error);
            return baton_error_set(error, -rc, "connecting to %s failed: %s", name, strerror(-rc));
        }
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &length) < 0)
            code = errno;
    }
    if (code == 0)
        code = -channel_socket_nonblocking(fd, false);
    if (code) {
        close(fd);
        return baton_error_set(
            error, code, "connecting to %s failed: %s; check that the other side listens there",
            name, strerror(code));
    }
    return channel_from_socket(fd, name, out, error);
}

static int dial_no_socket(const char *name, int code, struct baton_error *error)
{
    return baton_error_set(error, code, "no socket to connect to %s with: %s", name,
                           strerror(code));
}

static int dial_address(struct channel_dialer *dialer, const struct addrinfo *address,
                        uint64_t until_ms, struct channel **out, struct baton_error *error)
{
    char name[BATON_URI_BYTES];
    int fd, code = 0;

    channel_socket_name(address->ai_addr, address->ai_addrlen, name);
    fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP);
    if (fd < 0)
        return dial_no_socket(name, errno, error);
    channel_socket_tune(fd);
    if (connect(fd, address->ai_addr, address->ai_addrlen) < 0)
        code = errno == EINTR ? EINPROGRESS : errno;
    return dial_finish(dialer, fd, code, until_ms, name, out, error);
}

static int resolve(const struct channel_uri *uri, struct addrinfo **addresses,
                   struct baton_error *error)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    const char *host = uri->host[0] ? uri->host : NULL; /* NULL means loopback to getaddrinfo */
    int rc = getaddrinfo(host, uri->port, &hints, addresses);

    if (rc) {
        hints.ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG;
        rc = getaddrinfo(host, uri->port, &hints, addresses);
    }
    if (rc)
        return baton_error_set(
            error, EHOSTUNREACH,
            "the host name '%s' cannot be resolved: %s; check it, or give the address as a number",
            uri->host, rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc));
    return 0;
}

static int dial_tcp(const struct channel_uri *uri, struct channel_dialer *dialer, unsigned limit_ms,
                    struct channel **out, struct baton_error *error)
{
    struct addrinfo *addresses, *address;
    uint64_t until_ms, left = 0;
    int rc;

    if (strspn(uri->port, "0") == strlen(uri->port))
        return baton_error_set(
            error, EINVAL,
            "port 0 cannot be connected to: it only means 'any free port' to who listens; "
            "give the port that the other side shows");
    rc = resolve(uri, &addresses, error);
    if (rc)
        return rc;
    until_ms = now_ms() + limit_ms;
    for (address = addresses; address; address = address->ai_next)
        left++;
    rc = -EHOSTUNREACH;
    for (address = addresses; address; address = address->ai_next, left--) {
        uint64_t now = now_ms();
        uint64_t share_ms = now < until_ms ? (until_ms - now) / left : 0;

        rc = dial_address(dialer, address, now + share_ms, out, error);
        if (rc == 0 || rc == -ECANCELED)
            break;
    }
    freeaddrinfo(addresses);
    return rc;
}

static int dial_unix(const struct channel_uri *uri, struct channel_dialer *dialer,
                     unsigned limit_ms, struct channel **out, struct baton_error *error)
{
    uint64_t until_ms = now_ms() + limit_ms;
    char name[BATON_URI_BYTES];
    struct sockaddr_un address;
    int fd, code, rc;

    snprintf(name, sizeof(name), "unix:%s", uri->path);
    channel_socket_unix_address(uri->path, &address);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return dial_no_socket(name, errno, error);
    for (;;) {
        uint64_t again_ms;

        code = connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? errno : 0;
        if (code != EAGAIN && code != EINTR)
            return dial_finish(dialer, fd, code, until_ms, name, out, error);
        again_ms = now_ms() + UNIX_RETRY_MS;
        rc = dial_wait(dialer, -1, again_ms < until_ms ? again_ms : until_ms);
        if (rc == 0 && now_ms() < until_ms)
            continue;
        close(fd);
        return rc == -ECANCELED ? dial_cancelled(name, error) : dial_timed_out(name, error);
    }
}

/* Puts the chaos that the URI asks for around a fresh connection, which it closes on failure. */
static int dial_add_chaos(const char *text, const struct channel_uri *uri,
                          struct channel_dialer *dialer, struct channel **channel,
                          struct baton_error *error)
{
    struct channel_chaos_plan plan = uri->plan;
    struct channel *inner = *channel;
    int rc;

    if (!uri->chaos)
        return 0;
    if (strcmp(dialer->chaos_uri, text) != 0) {
        snprintf(dialer->chaos_uri, sizeof(dialer->chaos_uri), "%s", text);
        dialer->chaos_connections = 0;
    }
    if (!channel_chaos_plan_for(&plan, dialer->chaos_connections++))
        return 0;
    rc = channel_chaos_wrap(inner, &plan, channel, error);
    if (rc)
        channel_close(inner);
    return rc;
}

int channel_dial(const char *uri, struct channel_dialer *dialer, unsigned limit_ms,
                 struct channel **out, struct baton_error *error)
{
    struct channel_uri parsed;
    struct channel *channel;
    int rc = channel_uri_parse(uri, &parsed, error);

    if (rc)
        return rc;
    if (dial_wait(dialer, -1, 0) == -ECANCELED)
        return dial_cancelled(uri, error);
    if (CHANNEL_URI_IS_PLAIN(parsed.kind))
        rc = channel_plain_open(&parsed, true, &channel, error);
    else if (parsed.kind == CHANNEL_URI_TCP)
        rc = dial_tcp(&parsed, dialer, limit_ms, &channel, error);
    else
        rc = dial_unix(&parsed, dialer, limit_ms, &channel, error);
    if (rc == 0)
        rc = dial_add_chaos(uri, &parsed, dialer, &channel, error);
    if (rc == 0)
        *out = channel;
    return rc;
}
