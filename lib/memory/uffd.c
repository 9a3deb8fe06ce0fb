/* SPDX-License-Identifier: MIT */
/*
 * userfaultfd, wrapped.
 *
 * Problem: while a VM runs whose pages are still elsewhere, whoever touches a missing page (a CPU
 * thread, a device, a system call made by either) must wait until it was fetched, and we must learn
 * of it. Data: one descriptor. All calls are thread-safe in the kernel; this file keeps nothing
 * else that changes. Invariants: a page is filled and becomes visible in one step (UFFDIO_COPY), so
 * no thread ever sees half of it. A page that is there is never overwritten: the kernel says
 * EEXIST, and so do we. Only the owner closes the descriptor, and only when nothing is missing any
 * more: a closed one turns holes into zeros (tests/platform pins that). Failure: opening tries
 * every way that an unprivileged process may have, and then says what a person can grant.
 */
#include "memory/uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Headers older than the kernel they run on. */
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif

static int open_device(void)
{
    int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
    int fd, code;

    if (device < 0)
        return -1;
    fd = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
    code = errno;
    close(device);
    errno = code;
    return fd;
}

static int open_any(bool *user_mode_only)
{
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    int code = errno;

    *user_mode_only = false;
    if (fd < 0)
        fd = open_device();
    if (fd < 0) {
        *user_mode_only = true;
        fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
    }
    if (fd < 0)
        errno = code; /* the first answer is about what was wanted most */
    return fd;
}

/* The API may be shaken hands on once for each descriptor: asking for a feature that is not there
 * spoils it. */
static int handshake(int fd, uint64_t features, uint64_t *offered)
{
    struct uffdio_api api = {.api = UFFD_API, .features = features};

    if (ioctl(fd, UFFDIO_API, &api) < 0)
        return -errno;
    *offered = api.features;
    return 0;
}

int uffd_open(struct uffd *uffd, struct baton_error *error)
{
    uint64_t offered, features = UFFD_FEATURE_THREAD_ID;
    int rc;

    uffd->fd = open_any(&uffd->user_mode_only);
    if (uffd->fd < 0) {
        int code = errno;

        if (code == ENOSYS)
            return baton_error_set(
                error, code,
                "this kernel has no userfaultfd, which catches missing pages; use "
                "one with CONFIG_USERFAULTFD");
        return baton_error_set(
            error, code,
            "userfaultfd, which catches missing pages, is refused: %s; run as root, or give this "
            "user access to /dev/userfaultfd, or set sysctl vm.unprivileged_userfaultfd=1; in a "
            "container, allow the userfaultfd system call",
            strerror(code));
    }
    rc = handshake(uffd->fd, features, &offered);
    if (rc == -EINVAL) { /* a kernel from before 4.14: take a fresh one, without names of threads */
        close(uffd->fd);
        features = 0;
        uffd->fd = open_any(&uffd->user_mode_only);
        rc = uffd->fd < 0 ? -errno : handshake(uffd->fd, features, &offered);
    }
    if (rc) {
        uffd_close(uffd);
        return baton_error_set(
            error, -rc,
            "userfaultfd, which catches missing pages, does not speak our version: "
            "%s; use a newer kernel",
            strerror(-rc));
    }
    uffd->thread_ids = features != 0;
    return 0;
}

void uffd_close(struct uffd *uffd)
{
    if (uffd->fd >= 0)
        close(uffd->fd);
    uffd->fd = -1;
}

static struct uffdio_range range_of(const uint8_t *host, uint64_t length_bytes)
{
    return (struct uffdio_range){.start = (uintptr_t)host, .len = length_bytes};
}

int uffd_register(struct uffd *uffd, uint8_t *host, uint64_t length_bytes,
                  struct baton_error *error)
{
    /* Huge pages cannot be filled with zeros in one go; they come with their bytes
     * (runtime/dest_reader.c). */
    const uint64_t needed = 1ull << _UFFDIO_COPY | 1ull << _UFFDIO_WAKE;
    struct uffdio_register request = {.range = range_of(host, length_bytes),
                                      .mode = UFFDIO_REGISTER_MODE_MISSING};

    if (ioctl(uffd->fd, UFFDIO_REGISTER, &request) < 0)
        return baton_error_set(
            error, errno,
            "missing pages cannot be caught in this memory (%llu bytes at %p): %s; it must be "
            "private anonymous memory that nobody else watches",
            (unsigned long long)length_bytes, (void *)host, strerror(errno));
    if ((request.ioctls & needed) != needed) {
        uffd_unregister(uffd, host, length_bytes, NULL);
        return baton_error_set(
            error, EOPNOTSUPP,
            "missing pages cannot be filled in this memory (%llu bytes at %p): use private "
            "anonymous memory",
            (unsigned long long)length_bytes, (void *)host);
    }
    return 0;
}

int uffd_unregister(struct uffd *uffd, uint8_t *host, uint64_t length_bytes,
                    struct baton_error *error)
{
    struct uffdio_range range = range_of(host, length_bytes);

    if (ioctl(uffd->fd, UFFDIO_UNREGISTER, &range) < 0)
        return baton_error_set(error, errno, "the watch over memory at %p cannot be ended: %s",
                               (void *)host, strerror(errno));
    return 0;
}

/*
 * What one call has filled: the kernel puts a byte count or -errno into the request. EAGAIN from
 * the ioctl means "not all of it": some was filled, or the memory map was changing; going on from
 * there either succeeds or tells the true reason.
 */
static int filled(int rc, int code, int64_t result, uint64_t *done_bytes)
{
    if (result > 0)
        *done_bytes += (uint64_t)result;
    if (rc == 0 || code == EAGAIN || code == EINTR)
        return 0;
    return -code;
}

int uffd_copy(struct uffd *uffd, uint8_t *to, const uint8_t *from, uint64_t length_bytes,
              uint64_t *done_bytes)
{
    int rc = 0;

    *done_bytes = 0;
    while (rc == 0 && *done_bytes < length_bytes) {
        struct uffdio_copy request = {.dst = (uintptr_t)to + *done_bytes,
                                      .src = (uintptr_t)from + *done_bytes,
                                      .len = length_bytes - *done_bytes};
        int answer = ioctl(uffd->fd, UFFDIO_COPY, &request);

        rc = filled(answer, errno, request.copy, done_bytes);
    }
    return rc;
}

int uffd_zero(struct uffd *uffd, uint8_t *to, uint64_t length_bytes, uint64_t *done_bytes)
{
    int rc = 0;

    *done_bytes = 0;
    while (rc == 0 && *done_bytes < length_bytes) {
        struct uffdio_zeropage request = {
            .range = range_of(to + *done_bytes, length_bytes - *done_bytes)};
        int answer = ioctl(uffd->fd, UFFDIO_ZEROPAGE, &request);

        rc = filled(answer, errno, request.zeropage, done_bytes);
    }
    return rc;
}

int uffd_wake(struct uffd *uffd, uint8_t *host, uint64_t length_bytes)
{
    struct uffdio_range range = range_of(host, length_bytes);

    return ioctl(uffd->fd, UFFDIO_WAKE, &range) < 0 ? -errno : 0;
}

int uffd_read(struct uffd *uffd, struct uffd_event *events, unsigned max)
{
    struct uffd_msg messages[UFFD_READ_MAX];
    unsigned count = 0;
    ssize_t got;

    if (max > UFFD_READ_MAX)
        max = UFFD_READ_MAX;
    got = read(uffd->fd, messages, max * sizeof(messages[0]));
    if (got < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    for (size_t i = 0; i < (size_t)got / sizeof(messages[0]); i++) {
        const struct uffd_msg *message = &messages[i];

        /* No other kind was asked for. */
        if (message->event != UFFD_EVENT_PAGEFAULT)
            continue;
        events[count++] = (struct uffd_event){
            .host = (uint8_t *)(uintptr_t)message->arg.pagefault.address,
            .thread = uffd->thread_ids ? message->arg.pagefault.feat.ptid : 0,
            .write = message->arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WRITE,
        };
    }
    return (int)count;
}
