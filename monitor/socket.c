/* SPDX-License-Identifier: MIT */
/*
 * The control socket's file.
 *
 * Problem: whoever can connect owns the VM, so the file must never be open to others, not even
 * between bind and chmod; a file left by a dead process must not be in the way, while a living
 * server's or anybody's other file must not be taken away.
 *
 * Invariants: the mode is set on the socket before bind, which gives it to the file. Only a socket
 * that refuses connections is replaced. Only the file that was made here is removed in the end: it
 * is known by device and inode.
 *
 * Failure: each step has its sentence; nothing is left behind.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "monitor/internal.h"

static int remove_dead(const char *path, const struct sockaddr_un *address,
                       struct baton_error *error)
{
    struct stat status;
    int fd, result;

    if (lstat(path, &status) < 0)
        return 0; /* nothing there, or bind will say what is wrong */
    if (!S_ISSOCK(status.st_mode))
        return baton_error_set(error, EEXIST,
                               "Cannot make the monitor socket %s: a file that is no socket is "
                               "there; remove it or choose another path",
                               path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return baton_error_set(error, errno, "Cannot make a unix socket: %s", strerror(errno));
    result = connect(fd, (const struct sockaddr *)address, sizeof(*address));
    if (result < 0)
        result = errno;
    close(fd);
    if (result != ECONNREFUSED)
        return baton_error_set(error, EADDRINUSE,
                               "Cannot make the monitor socket %s: another process serves it; end "
                               "that one or choose another path",
                               path);
    unlink(path);
    return 0;
}

int qmp_socket_listen(const char *path, uint64_t *device, uint64_t *inode,
                      struct baton_error *error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat status;
    int fd, result;

    if (!*path || strlen(path) >= sizeof(address.sun_path))
        return baton_error_set(error, ENAMETOOLONG,
                               "Cannot make the monitor socket '%s': a unix socket's path has 1 to "
                               "%zu bytes; choose another one",
                               path, sizeof(address.sun_path) - 1);
    memcpy(address.sun_path, path, strlen(path) + 1);
    result = remove_dead(path, &address, error);
    if (result < 0)
        return result;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return baton_error_set(error, errno, "Cannot make a unix socket: %s", strerror(errno));
    if (fchmod(fd, 0600) < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
        result = baton_error_set(error, errno,
                                 "Cannot make the monitor socket %s: %s; check that its folder "
                                 "exists and may be written",
                                 address.sun_path, strerror(errno));
        close(fd);
        return result;
    }
    if (listen(fd, 16) < 0 || lstat(path, &status) < 0) {
        result = baton_error_set(error, errno, "Cannot listen at the monitor socket %s: %s",
                                 address.sun_path, strerror(errno));
        unlink(path);
        close(fd);
        return result;
    }
    *device = status.st_dev;
    *inode = status.st_ino;
    return fd;
}

void qmp_socket_remove(const char *path, uint64_t device, uint64_t inode)
{
    struct stat status;

    if (lstat(path, &status) == 0 && status.st_dev == device && status.st_ino == inode)
        unlink(path);
}
