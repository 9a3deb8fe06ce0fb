/* SPDX-License-Identifier: MIT */
/* What the platform tests share: memory, missing pages, and threads that touch them. */
#ifndef TEST_PLATFORM_HARNESS_H
#define TEST_PLATFORM_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "baton/guest.h"
#include "memory/uffd.h"

#define PAGE 4096u
#define MUST_COME_MS 5000 /* something that must happen; far beyond what it takes */
#define MUST_NOT_COME_MS 50

static inline void sleep_ms(unsigned ms)
{
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

    nanosleep(&time, NULL);
}

static inline uint8_t *map_bytes(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    assert_ptr_not_equal(memory, MAP_FAILED);
    return memory;
}

/* Skips the test, with the reason, where userfaultfd is refused. */
static inline struct uffd open_or_skip(void)
{
    struct baton_error error = {0};
    struct uffd uffd;

    if (uffd_open(&uffd, &error)) {
        print_message("%s\n", error.text);
        skip();
    }
    return uffd;
}

static inline void watch(struct uffd *uffd, uint8_t *memory, size_t bytes)
{
    struct baton_error error = {0};

    if (uffd_register(uffd, memory, bytes, &error))
        fail_msg("%s", error.text);
}

static inline void discard(uint8_t *memory, size_t bytes)
{
    assert_int_equal(madvise(memory, bytes, MADV_DONTNEED), 0);
}

/* Puts a page full of `value` where one is missing; 0 or -errno. */
static inline int place(struct uffd *uffd, uint8_t *to, uint8_t value)
{
    uint8_t page[PAGE] __attribute__((aligned(4096)));
    uint64_t done;

    memset(page, value, sizeof(page));
    return uffd_copy(uffd, to, page, PAGE, &done);
}

/* Whether a page of watched memory counts as there. Asks by filling it: a missing one is there
 * afterwards. */
static inline bool was_present(struct uffd *uffd, uint8_t *page)
{
    int rc = place(uffd, page, 0xee);

    assert_true(rc == 0 || rc == -EEXIST);
    return rc == -EEXIST;
}

/* Waits for one event; false if none comes. */
static inline bool next_event(struct uffd *uffd, struct uffd_event *event, int limit_ms)
{
    struct pollfd poll_fd = {.fd = uffd->fd, .events = POLLIN};

    return poll(&poll_fd, 1, limit_ms) == 1 && uffd_read(uffd, event, 1) == 1;
}

/* A thread that touches one byte, as a CPU would. */
struct toucher {
    pthread_t thread;
    uint8_t *byte;
    bool write;
    uint8_t saw;
    _Atomic bool done;
};

static inline void *toucher_run(void *opaque)
{
    struct toucher *self = opaque;

    if (self->write)
        baton_guest_store_u8(self->byte, 0x77);
    self->saw = baton_guest_load_u8(self->byte);
    atomic_store(&self->done, true);
    return NULL;
}

static inline void touch(struct toucher *toucher, uint8_t *byte, bool write)
{
    *toucher = (struct toucher){.byte = byte, .write = write};
    assert_int_equal(pthread_create(&toucher->thread, NULL, toucher_run, toucher), 0);
}

#endif
