/* SPDX-License-Identifier: MIT */
/*
 * The dirty log.
 *
 * Problem: CPUs and devices write RAM while it is sent. Each page that was written after it was
 * read for sending must be sent again; a single mark that gets lost is a corrupt VM. Data: a bitmap
 * for each block, in words that are exchanged and or-ed atomically. Anybody marks; one thread
 * collects. Invariant: a write whose mark was collected is seen by whoever reads the page after the
 * collection; a mark that comes later is in the next collection. That holds because both sides use
 * read-modify-write operations on the same word with acquire and release. For the same reason a
 * mark is never skipped because its bit "is set already": a plain look at the bit may pass the
 * marker's own store that still waits in the processor, and the collector would read the old page.
 * An uncontended or costs no more than the fence that would make the look safe. Writers who cache
 * "this page is dirty" (a TLB) mark before they write; for them the host's dirty_barrier closes the
 * gap. Failure: only for want of memory, when it is made.
 */
#include "memory/dirty.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WORD_PAGES 64u

int dirty_log_init(struct dirty_log *log, const struct ram_table *table, struct baton_error *error)
{
    memset(log, 0, sizeof(*log));
    atomic_init(&log->on, false);
    for (unsigned i = 0; i < table->count; i++) {
        struct dirty_block *block = &log->blocks[i];

        block->pages = table->blocks[i].length_bytes / RAM_PAGE_BYTES;
        log->count = i + 1;
        block->words = calloc(dirty_word_count(log, i), sizeof(block->words[0]));
        if (!block->words) {
            dirty_log_fini(log);
            return baton_error_set(error, ENOMEM, "no memory for the dirty log of RAM block '%s'",
                                   table->blocks[i].name);
        }
    }
    return 0;
}

void dirty_log_fini(struct dirty_log *log)
{
    for (unsigned i = 0; i < log->count; i++) {
        free((void *)log->blocks[i].words);
        log->blocks[i].words = NULL;
    }
    log->count = 0;
}

uint64_t dirty_word_count(const struct dirty_log *log, unsigned block)
{
    return (log->blocks[block].pages + WORD_PAGES - 1) / WORD_PAGES;
}

void dirty_log_start(struct dirty_log *log)
{
    for (unsigned i = 0; i < log->count; i++)
        for (uint64_t word = 0; word < dirty_word_count(log, i); word++)
            atomic_store_explicit(&log->blocks[i].words[word], 0, memory_order_relaxed);
    atomic_store(&log->on, true);
}

void dirty_log_stop(struct dirty_log *log)
{
    atomic_store(&log->on, false);
}

void dirty_mark(struct dirty_log *log, unsigned block, uint64_t offset, uint64_t length_bytes)
{
    struct dirty_block *self;
    uint64_t page, end;

    if (!atomic_load_explicit(&log->on, memory_order_acquire) || block >= log->count ||
        length_bytes == 0)
        return;
    self = &log->blocks[block];
    page = offset / RAM_PAGE_BYTES;
    if (page >= self->pages)
        return;
    if (length_bytes > self->pages * RAM_PAGE_BYTES - offset)
        length_bytes = self->pages * RAM_PAGE_BYTES - offset;
    end = (offset + length_bytes - 1) / RAM_PAGE_BYTES + 1;
    while (page < end) {
        uint64_t first = page % WORD_PAGES;
        uint64_t count = end - page < WORD_PAGES - first ? end - page : WORD_PAGES - first;
        uint64_t mask = (count == WORD_PAGES ? UINT64_MAX : (1ull << count) - 1) << first;

        atomic_fetch_or_explicit(&self->words[page / WORD_PAGES], mask, memory_order_acq_rel);
        page += count;
    }
}

void dirty_collect(struct dirty_log *log, unsigned block, uint64_t *into_words, uint64_t *new_pages)
{
    struct dirty_block *self = &log->blocks[block];
    uint64_t count = 0;

    for (uint64_t word = 0; word < dirty_word_count(log, block); word++) {
        uint64_t marks;

        /* Looking first is safe on this side: a mark that is not seen yet stays for the next
         * collection. */
        if (!atomic_load_explicit(&self->words[word], memory_order_relaxed))
            continue;
        marks = atomic_exchange_explicit(&self->words[word], 0, memory_order_acq_rel);

        count += (uint64_t)__builtin_popcountll(marks & ~into_words[word]);
        into_words[word] |= marks;
    }
    if (new_pages)
        *new_pages = count;
}
