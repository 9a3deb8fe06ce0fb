/* SPDX-License-Identifier: MIT */
/*
 * Channels over descriptors that are no sockets: a file, a pipe, a command's stdin or stdout.
 *
 * Problem: nothing comes back on these, so what became of the bytes must be learnt otherwise: from
 * fsync() for a file, from the exit status for a command. And shutdown(2), which frees a thread
 * that hangs in a socket, does not exist for them. Data: the descriptor, an eventfd that is
 * readable for good once the channel was shut down, and the command if there is one. Invariants:
 * every wait is a poll on both; a read follows only a poll that says there is something, and a
 * write to a pipe that may block is never larger than what a writable pipe takes at once.
 * (Inherited pipes are left blocking: the flag would be the other holders' too.) The end of a
 * command's output is told to the reader only when the command has ended well. Who may change it:
 * any thread shuts down; one reads or writes. Failure: a sentence; a file keeps what was written to
 * it, and is not valid then, because its end is missing.
 */
#include "channel/plain.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "channel/socket.h"

struct plain_channel {
    struct channel base;
    int fd, down_fd;
    _Atomic bool down;
    bool writes;
    bool waits; /* a pipe: it is polled first, and may block */
    size_t piece_bytes;
    pid_t pid; /* of a command that runs; else 0 */
    struct channel_uri uri;
    struct baton_error broken; /* code 0: it is not */
};

static struct plain_channel *plain_of(struct channel *channel)
{
    return (struct plain_channel *)channel;
}

static int plain_ours(const struct plain_channel *self, struct baton_error *error)
{
    return baton_error_set(error, ESHUTDOWN, "the channel to %s was shut down by this side",
                           self->uri.name);
}

/* Until something can be read or written. */
static int plain_wait(struct plain_channel *self, struct baton_error *error)
{
    struct pollfd fds[2] = {
        {.fd = self->down_fd, .events = POLLIN},
        {.fd = self->waits ? self->fd : -1, .events = self->writes ? POLLOUT : POLLIN}};

    if (self->broken.code)
        return baton_error_set(error, self->broken.code, "%s", self->broken.text);
    while (self->waits && !atomic_load(&self->down) && poll(fds, 2, -1) < 0)
        if (errno != EINTR)
            return baton_error_set(error, errno, "waiting for %s failed: %s", self->uri.name,
                                   strerror(errno));
    return atomic_load(&self->down) ? plain_ours(self, error) : 0;
}

static int plain_read(struct channel *channel, void *buffer, size_t length_bytes, size_t *got_bytes,
                      struct baton_error *error)
{
    struct plain_channel *self = plain_of(channel);

    for (;;) {
        int rc = plain_wait(self, error);
        ssize_t got;

        if (rc)
            return rc;
        got = read(self->fd, buffer, length_bytes);
        if (got > 0) {
            *got_bytes = (size_t)got;
            return 0;
        }
        if (got == 0)
            return channel_exec_wait(self->uri.text, &self->pid, self->down_fd, error);
        if (errno != EINTR && errno != EAGAIN)
            return baton_error_set(error, errno, "reading from %s failed: %s", self->uri.name,
                                   strerror(errno));
    }
}

/* A pipe without a reader raises a signal, which is this thread's own and taken away again: it is
 * not this library's to say what the whole process does about it. */
static ssize_t write_quietly(int fd, const void *bytes, size_t length_bytes)
{
    struct timespec at_once = {0};
    sigset_t pipe, before, pending;
    ssize_t done;
    int code;

    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    sigpending(&pending);
    pthread_sigmask(SIG_BLOCK, &pipe, &before);
    done = write(fd, bytes, length_bytes);
    code = errno;
    if (done < 0 && code == EPIPE && !sigismember(&pending, SIGPIPE))
        (void)sigtimedwait(&pipe, NULL, &at_once);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = code;
    return done;
}

/* A command that stopped reading has more to say than the pipe: how it ended. */
static int write_failed(struct plain_channel *self, int code, struct baton_error *error)
{
    if (code == EPIPE && self->pid) {
        int rc = channel_exec_wait(self->uri.text, &self->pid, self->down_fd, error);

        return rc ? rc
                  : baton_error_set(error, EPIPE,
                                    "the command '%.120s' ended before it had read everything",
                                    self->uri.text);
    }
    return baton_error_set(error, code, "writing to %s failed: %s%s", self->uri.name,
                           strerror(code), code == ENOSPC ? "; make room, or write elsewhere" : "");
}

static int plain_write(struct channel *channel, const void *bytes, size_t length_bytes,
                       size_t *written_bytes, struct baton_error *error)
{
    struct plain_channel *self = plain_of(channel);
    const char *from = bytes;

    while (*written_bytes < length_bytes) {
        size_t left = length_bytes - *written_bytes;
        int rc = plain_wait(self, error);
        ssize_t done;

        if (rc)
            return rc;
        done = write_quietly(self->fd, from + *written_bytes,
                             left < self->piece_bytes ? left : self->piece_bytes);
        if (done > 0)
            *written_bytes += (size_t)done;
        else if (done < 0 && errno != EINTR && errno != EAGAIN)
            return write_failed(self, errno, error);
    }
    return 0;
}

/* The name of a new file is part of what must last. Special files and some file systems cannot be
 * synced, and need not. */
static int sync_file(struct plain_channel *self, struct baton_error *error)
{
    char path[BATON_URI_BYTES];
    int folder, code = 0;

    if (fsync(self->fd) < 0 && errno != EINVAL && errno != EROFS)
        return baton_error_set(error, errno, "%s did not reach the disk: %s", self->uri.name,
                               strerror(errno));
    if (self->uri.kind != CHANNEL_URI_FILE)
        return 0;
    snprintf(path, sizeof(path), "%s", self->uri.text);
    folder = open(dirname(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return 0; /* may be written to and not be read: then its owner sees to it */
    if (fsync(folder) < 0 && errno != EINVAL && errno != EROFS)
        code = errno;
    close(folder);
    return code ? baton_error_set(error, code, "the folder of %s did not reach the disk: %s",
                                  self->uri.name, strerror(code))
                : 0;
}

static int plain_finish(struct channel *channel, struct baton_error *error)
{
    struct plain_channel *self = plain_of(channel);
    int rc = plain_wait(self, error);

    if (!rc && !self->waits)
        rc = sync_file(self, error);
    if (rc)
        return rc;
    close(self->fd); /* the reader's end of the stream */
    self->fd = -1;
    return channel_exec_wait(self->uri.text, &self->pid, self->down_fd, error);
}

static void plain_shutdown(struct channel *channel)
{
    struct plain_channel *self = plain_of(channel);
    uint64_t one = 1;

    atomic_store(&self->down, true);
    /* Fails only if the counter is full, and then it is readable already. */
    (void)!write(self->down_fd, &one, sizeof(one));
}

static void plain_close(struct channel *channel)
{
    struct plain_channel *self = plain_of(channel);

    /* Ended before it can see the end of its input: that would tell it that it has the whole VM. */
    channel_exec_end(&self->pid);
    if (self->fd >= 0)
        close(self->fd);
    close(self->down_fd);
    free(self);
}

static const struct channel_ops plain_ops = {
    .read = plain_read,
    .write = plain_write,
    .finish = plain_finish,
    .shutdown = plain_shutdown,
    .close = plain_close,
};

static int plain_new(struct plain_channel **out, struct baton_error *error)
{
    struct plain_channel *self = calloc(1, sizeof(*self));

    if (!self)
        return baton_error_set(error, ENOMEM, "no memory for a channel");
    self->fd = -1;
    self->piece_bytes = SSIZE_MAX;
    atomic_init(&self->down, false);
    self->down_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (self->down_fd < 0) {
        int code = errno;

        free(self);
        return baton_error_set(error, code,
                               "no descriptor for a channel: %s; raise the limit of open files",
                               strerror(code));
    }
    channel_base_init(&self->base, &plain_ops, self->uri.name);
    self->base.one_way = true;
    *out = self;
    return 0;
}

int channel_plain_broken(const struct baton_error *why, struct channel **out)
{
    struct plain_channel *self;
    int rc = plain_new(&self, NULL);

    if (rc)
        return rc;
    self->broken = *why;
    *out = &self->base;
    return 0;
}

/* ---- Files ---- */

static int open_file(struct plain_channel *self, struct baton_error *error)
{
    const struct channel_uri *uri = &self->uri;
    struct stat status;

    /* Guest memory is nobody else's to read. What stands before the offset is kept. A named pipe
     * would hold up who opens it. */
    self->fd = open(uri->text,
                    (self->writes ? O_WRONLY | O_CREAT : O_RDONLY) | O_CLOEXEC | O_NONBLOCK, 0600);
    if (self->fd < 0 || fstat(self->fd, &status) < 0)
        return baton_error_set(error, errno, "%s cannot be opened to be %s: %s", uri->name,
                               self->writes ? "written" : "read", strerror(errno));
    if (S_ISDIR(status.st_mode) || S_ISFIFO(status.st_mode))
        return baton_error_set(error, EISDIR, "%s is a %s; name a file", uri->name,
                               S_ISDIR(status.st_mode) ? "folder" : "pipe, which exec: can use");
    if (S_ISREG(status.st_mode) && self->writes &&
        ftruncate(self->fd, (off_t)uri->offset_bytes) < 0)
        return baton_error_set(error, errno, "%s cannot be emptied: %s", uri->name,
                               strerror(errno));
    if (uri->offset_bytes && lseek(self->fd, (off_t)uri->offset_bytes, SEEK_SET) < 0)
        return baton_error_set(error, errno, "%s has no byte %llu to begin at: %s", uri->name,
                               (unsigned long long)uri->offset_bytes, strerror(errno));
    return 0;
}

/* ---- Commands ---- */

static int open_command(struct plain_channel *self, struct baton_error *error)
{
    int rc = channel_exec_start(self->uri.text, self->writes, &self->fd, &self->pid, error);

    if (rc)
        return rc;
    self->waits = true;
    (void)channel_socket_nonblocking(self->fd, true); /* our own end: nobody else has it */
    return 0;
}

/* ---- Descriptors ---- */

/* All of this program's own are close-on-exec, so those that are not were given to it. */
static int check_fd(const struct channel_uri *uri, bool writes, struct baton_error *error)
{
    int flags = fcntl(uri->fd, F_GETFD), mode = fcntl(uri->fd, F_GETFL) & O_ACCMODE, type, listens;
    socklen_t length = sizeof(int);
    struct stat status;

    if (flags < 0 || fstat(uri->fd, &status) < 0)
        return baton_error_set(error, EBADF,
                               "%s is not open; give the number of a descriptor that this process "
                               "was started with",
                               uri->name);
    if (flags & FD_CLOEXEC)
        return baton_error_set(error, EBADF,
                               "%s was not given to this process when it was started, or was used "
                               "already",
                               uri->name);
    if (!S_ISSOCK(status.st_mode)) {
        if (mode == (writes ? O_RDONLY : O_WRONLY))
            return baton_error_set(error, EBADF, "%s cannot be %s", uri->name,
                                   writes ? "written" : "read");
        return 0;
    }
    if (getsockopt(uri->fd, SOL_SOCKET, SO_TYPE, &type, &length) < 0 || type != SOCK_STREAM)
        return baton_error_set(error, EPROTOTYPE, "%s is not a stream socket", uri->name);
    if (getsockopt(uri->fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) == 0 && listens)
        return baton_error_set(error, EOPNOTSUPP,
                               "%s is a socket that listens; give a connected one", uri->name);
    return 0;
}

static int open_fd(struct plain_channel *self, struct baton_error *error)
{
    struct stat status;
    int rc = check_fd(&self->uri, self->writes, error);

    if (rc)
        return rc;
    if (fcntl(self->uri.fd, F_SETFD, FD_CLOEXEC) < 0 || fstat(self->uri.fd, &status) < 0)
        return baton_error_set(error, errno, "%s cannot be taken: %s", self->uri.name,
                               strerror(errno));
    self->fd = self->uri.fd;
    self->waits = S_ISFIFO(status.st_mode) || S_ISCHR(status.st_mode);
    if (self->waits)
        self->piece_bytes = PIPE_BUF;
    return 0;
}

static int open_socket(const struct channel_uri *uri, struct channel **out,
                       struct baton_error *error)
{
    int rc = check_fd(uri, true, error);

    if (rc)
        return rc;
    if (fcntl(uri->fd, F_SETFD, FD_CLOEXEC) < 0)
        return baton_error_set(error, errno, "%s cannot be taken: %s", uri->name, strerror(errno));
    (void)channel_socket_nonblocking(uri->fd, false);
    channel_socket_tune(uri->fd);
    return channel_from_socket(uri->fd, uri->name, out, error);
}

/* ---- All ---- */

int channel_plain_check(const struct channel_uri *uri, bool writes, struct baton_error *error)
{
    if (uri->kind == CHANNEL_URI_FD)
        return check_fd(uri, writes, error);
    if (uri->kind == CHANNEL_URI_FILE && !writes && access(uri->text, R_OK) < 0)
        return baton_error_set(error, errno, "%s cannot be read: %s", uri->name, strerror(errno));
    return 0;
}

int channel_plain_open(const struct channel_uri *uri, bool writes, struct channel **out,
                       struct baton_error *error)
{
    struct plain_channel *self;
    struct stat status;
    int rc;

    if (uri->kind == CHANNEL_URI_FD && fstat(uri->fd, &status) == 0 && S_ISSOCK(status.st_mode))
        return open_socket(uri, out, error);
    rc = plain_new(&self, error);
    if (rc)
        return rc;
    self->uri = *uri;
    self->writes = writes;
    if (uri->kind == CHANNEL_URI_FILE)
        rc = open_file(self, error);
    else if (uri->kind == CHANNEL_URI_EXEC)
        rc = open_command(self, error);
    else
        rc = open_fd(self, error);
    if (rc) {
        channel_close(&self->base);
        return rc;
    }
    *out = &self->base;
    return 0;
}
