/* SPDX-License-Identifier: MIT */
/*
 * The dirty log: which 4 KiB pages were written since the last look. One bit a page, bit 0 of word
 * 0 being the first page.
 */
#ifndef MEMORY_DIRTY_H
#define MEMORY_DIRTY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "memory/ram.h"

struct dirty_block {
    _Atomic uint64_t *words;
    uint64_t pages;
};

struct dirty_log {
    struct dirty_block blocks[BATON_MAX_RAM_BLOCKS];
    unsigned count;
    _Atomic bool on;
};

/* Begins switched off. */
int dirty_log_init(struct dirty_log *log, const struct ram_table *table, struct baton_error *error);
void dirty_log_fini(struct dirty_log *log);

/* Words that a bitmap of the block has (64 pages each). */
uint64_t dirty_word_count(const struct dirty_log *log, unsigned block);

/* Forgets all old marks, then takes new ones. A barrier of the writers must follow before anything
 * is relied on. */
void dirty_log_start(struct dirty_log *log);
/* Marks are ignored from now on. Those taken can still be collected. */
void dirty_log_stop(struct dirty_log *log);

/* Any thread, lock-free. What lies outside of the block is ignored. Writes made before the call are
 * seen by who collects the mark. */
void dirty_mark(struct dirty_log *log, unsigned block, uint64_t offset, uint64_t length_bytes);

/*
 * Moves the marks of a block into the caller's bitmap (dirty_word_count() words), adding to what is
 * there. *new_pages (may be NULL): how many of its bits were not set before.
 */
void dirty_collect(struct dirty_log *log, unsigned block, uint64_t *into_words,
                   uint64_t *new_pages);

#endif
