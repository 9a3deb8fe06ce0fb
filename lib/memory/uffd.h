/* SPDX-License-Identifier: MIT */
/*
 * userfaultfd for missing pages: the kernel stops whoever touches a page that is not there and
 * tells us.
 *
 * NEVER close it while a page is missing: the kernel would hand out zeros without a word.
 */
#ifndef MEMORY_UFFD_H
#define MEMORY_UFFD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "baton/error.h"

struct uffd {
    int fd;              /* for poll; -1 when closed */
    bool user_mode_only; /* system calls given a missing page fail with EFAULT instead of waiting */
    bool thread_ids;     /* events say which thread waits */
};

struct uffd_event {
    uint8_t *host;   /* the page that is missing */
    uint32_t thread; /* kernel thread id of who waits; 0 without thread_ids */
    bool write;      /* it wanted to write */
};

/* Opens it in the strongest mode this process may use. */
int uffd_open(struct uffd *uffd, struct baton_error *error);
void uffd_close(struct uffd *uffd);

/* Addresses and lengths are multiples of the page size, here and below. */
int uffd_register(struct uffd *uffd, uint8_t *host, uint64_t length_bytes,
                  struct baton_error *error);
int uffd_unregister(struct uffd *uffd, uint8_t *host, uint64_t length_bytes,
                    struct baton_error *error);

/*
 * Fill missing pages, atomically each, and wake who waits for them. 0, or -errno with *done_bytes
 * (never NULL) telling how much was filled before the page in the way. -EEXIST: that page is there
 * already, which the caller treats as a loud fault. -ENOENT: not registered. Any number of threads.
 */
int uffd_copy(struct uffd *uffd, uint8_t *to, const uint8_t *from, uint64_t length_bytes,
              uint64_t *done_bytes);
int uffd_zero(struct uffd *uffd, uint8_t *to, uint64_t length_bytes, uint64_t *done_bytes);

/* Lets who waits for these pages look again (they fault again if the page is still missing, and are
 * reported again). */
int uffd_wake(struct uffd *uffd, uint8_t *host, uint64_t length_bytes);

#define UFFD_READ_MAX 64
/* Number of events (0: none now), at most min(max, UFFD_READ_MAX); or -errno. Does not block. */
int uffd_read(struct uffd *uffd, struct uffd_event *events, unsigned max);

#endif
