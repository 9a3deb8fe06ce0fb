/* SPDX-License-Identifier: MIT */
/*
 * The table of RAM blocks: this side's own, made from its configuration. Names, offsets and lengths
 * of a peer are believed only as far as they agree with it, so a hostile peer can never name memory
 * that is not there.
 */
#include <string.h>

#include "wire/internal.h"

unsigned wire_blocks_find(const struct wire_blocks *blocks, const char *name)
{
    for (unsigned i = 0; i < blocks->count; i++)
        if (strcmp(blocks->block[i].name, name) == 0)
            return i;
    return WIRE_NO_BLOCK;
}

uint64_t wire_blocks_total_bytes(const struct wire_blocks *blocks)
{
    uint64_t total = 0;

    for (unsigned i = 0; i < blocks->count; i++)
        total += blocks->block[i].used_bytes;
    return total;
}

uint64_t wire_blocks_page_summary(const struct wire_blocks *blocks)
{
    uint64_t summary = 0;

    for (unsigned i = 0; i < blocks->count; i++)
        summary |= blocks->block[i].page_bytes;
    return summary;
}

enum wire_result wire_blocks_resolve(const struct wire_blocks *blocks, const char *name,
                                     uint64_t offset, unsigned *index, struct wire_error *error)
{
    *index = wire_blocks_find(blocks, name);
    if (*index == WIRE_NO_BLOCK)
        return wire_bad_name(error, offset, "unknown RAM block", name,
                             "the name of a block of this VM");
    return WIRE_DONE;
}

enum wire_result wire_blocks_check_range(const struct wire_blocks *blocks, unsigned index,
                                         uint64_t start, uint64_t length, uint64_t offset,
                                         struct wire_error *error)
{
    const struct wire_block *block = &blocks->block[index];

    if (start % block->page_bytes)
        return wire_bad_u64(error, offset, "a range of pages does not begin at a page", start,
                            "a multiple of the block's page size");
    if (!length || length % block->page_bytes)
        return wire_bad_u64(error, offset, "a range is not made of whole pages", length,
                            "a multiple of the block's page size, not 0");
    if (start >= block->used_bytes || length > block->used_bytes - start)
        return wire_bad_u64(error, offset, "a range ends behind its RAM block",
                            start >= block->used_bytes ? start : length,
                            "a range inside the block's length");
    return WIRE_DONE;
}
