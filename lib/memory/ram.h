/* SPDX-License-Identifier: MIT */
/*
 * The RAM block table of a baton object, and what is done to whole ranges of guest RAM.
 *
 * The table is filled once and then only read: lookups take no lock.
 */
#ifndef MEMORY_RAM_H
#define MEMORY_RAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "baton/baton.h"

#define RAM_PAGE_BYTES 4096u        /* the unit of the dirty log and of the wire */
#define RAM_MAX_PAGE_BYTES 2097152u /* of the memory behind a block: huge pages */

struct ram_block {
    char name[BATON_BLOCK_NAME_BYTES];
    uint8_t *host;
    uint64_t length_bytes;
    uint64_t page_bytes;
    bool shared;
};

struct ram_table {
    struct ram_block blocks[BATON_MAX_RAM_BLOCKS];
    unsigned count;
    uint64_t total_bytes;
};

/* Checks and copies; refuses what cannot be right (names, sizes, alignment, overlaps) with -EINVAL.
 */
int ram_table_init(struct ram_table *table, const struct baton_ram_block *blocks, unsigned count,
                   struct baton_error *error);

/* Index of the block with this name (not terminated), or -1. */
int ram_find_name(const struct ram_table *table, const char *name, size_t name_bytes);

/* Which block and offset a host address is in. */
bool ram_find_host(const struct ram_table *table, const uint8_t *host, unsigned *block,
                   uint64_t *offset);

/* Whether the block exists and [offset, offset + length_bytes) lies within it. For numbers from a
 * peer. */
bool ram_range_ok(const struct ram_table *table, uint64_t block, uint64_t offset,
                  uint64_t length_bytes);

/* RAM must not be copied (write-protected) by a fork: call once for the table. */
int ram_dont_fork(const struct ram_table *table, struct baton_error *error);

/*
 * Makes the pages of a range missing. The range must be of whole pages and, for a postcopy
 * migration, registered with userfaultfd ALREADY: between a discard and a later registration
 * khugepaged could fill the hole with zeros.
 */
int ram_discard(const struct ram_table *table, unsigned block, uint64_t offset,
                uint64_t length_bytes, struct baton_error *error);

/*
 * Precopy at the destination: the pages were received as zero. Reads them, which maps them, so that
 * they do not count as missing later; writes zeros only where something else was received before.
 * Whole pages, checked range, not registered.
 */
void ram_touch_zero(const struct ram_table *table, unsigned block, uint64_t offset,
                    uint64_t length_bytes);

#endif
