/* SPDX-License-Identifier: MIT */
/* What the memory tests share. */
#ifndef TEST_MEMORY_HARNESS_H
#define TEST_MEMORY_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "baton/guest.h"
#include "memory/dirty.h"
#include "memory/ram.h"
#include "memory/uffd.h"
#include "memory/waiters.h"

#define PAGE ((uint64_t)RAM_PAGE_BYTES)

static inline void must(int rc, const struct baton_error *error)
{
    if (rc)
        fail_msg("%s", error->text);
}

static inline void sleep_us(unsigned us)
{
    struct timespec time = {.tv_sec = us / 1000000, .tv_nsec = (long)(us % 1000000) * 1000};

    nanosleep(&time, NULL);
}

static inline uint8_t *map_pages(uint64_t pages)
{
    void *memory =
        mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    assert_ptr_not_equal(memory, MAP_FAILED);
    return memory;
}

/* One block named "ram" of so many fresh pages. */
static inline void make_table(struct ram_table *table, uint64_t pages)
{
    struct baton_ram_block block = {
        .name = "ram", .host = map_pages(pages), .length_bytes = pages * PAGE, .page_bytes = PAGE};
    struct baton_error error = {0};

    must(ram_table_init(table, &block, 1, &error), &error);
}

static inline void drop_table(struct ram_table *table)
{
    munmap(table->blocks[0].host, table->blocks[0].length_bytes);
}

#endif
