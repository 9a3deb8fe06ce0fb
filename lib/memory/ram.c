/* SPDX-License-Identifier: MIT */
/*
 * The RAM block table.
 *
 * Problem: three kinds of names for the same memory (block name and offset on the wire, block
 * number and offset inside, host address from the kernel) must be turned into each other, and two
 * of them come from outside. Data: a copy of what the host gave, checked once. The memory itself is
 * the host's. Invariants: blocks do not overlap, lie on page borders, and none wraps around the end
 * of the address space; so every offset that ram_range_ok() accepts is memory of that block. After
 * init nothing changes, so nothing locks. Failure: -EINVAL with a sentence; nothing has been
 * touched then.
 */
#include "memory/ram.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "baton/guest.h"

static int check_block(const struct baton_ram_block *block, unsigned index,
                       struct baton_error *error)
{
    size_t name_bytes = block->name ? strlen(block->name) : 0;

    if (name_bytes == 0 || name_bytes >= BATON_BLOCK_NAME_BYTES)
        return baton_error_set(error, EINVAL,
                               "RAM block %u has a name of %zu bytes; give it 1 to %d", index,
                               name_bytes, BATON_BLOCK_NAME_BYTES - 1);
    if (block->page_bytes < RAM_PAGE_BYTES || block->page_bytes > RAM_MAX_PAGE_BYTES ||
        block->page_bytes & (block->page_bytes - 1))
        return baton_error_set(error, EINVAL,
                               "RAM block '%s' has pages of %llu bytes; a power of two from %u to "
                               "%u is possible",
                               block->name, (unsigned long long)block->page_bytes, RAM_PAGE_BYTES,
                               RAM_MAX_PAGE_BYTES);
    if (block->length_bytes == 0 || block->length_bytes % block->page_bytes)
        return baton_error_set(error, EINVAL,
                               "RAM block '%s' has %llu bytes; give it whole pages of %llu bytes",
                               block->name, (unsigned long long)block->length_bytes,
                               (unsigned long long)block->page_bytes);
    if (!block->host || (uintptr_t)block->host % block->page_bytes ||
        (uintptr_t)block->host + block->length_bytes < (uintptr_t)block->host)
        return baton_error_set(
            error, EINVAL, "RAM block '%s' is at %p, where no pages of %llu bytes can lie",
            block->name, (void *)block->host, (unsigned long long)block->page_bytes);
    return 0;
}

static int check_pair(const struct ram_block *a, const struct ram_block *b,
                      struct baton_error *error)
{
    if (strcmp(a->name, b->name) == 0)
        return baton_error_set(error, EINVAL,
                               "two RAM blocks have the name '%s'; names tell them apart", a->name);
    if ((uintptr_t)a->host < (uintptr_t)b->host + b->length_bytes &&
        (uintptr_t)b->host < (uintptr_t)a->host + a->length_bytes)
        return baton_error_set(error, EINVAL, "the RAM blocks '%.200s' and '%.200s' share memory",
                               a->name, b->name);
    return 0;
}

int ram_table_init(struct ram_table *table, const struct baton_ram_block *blocks, unsigned count,
                   struct baton_error *error)
{
    memset(table, 0, sizeof(*table));
    if (count == 0 || count > BATON_MAX_RAM_BLOCKS)
        return baton_error_set(error, EINVAL, "the VM has %u RAM blocks; give it 1 to %d", count,
                               BATON_MAX_RAM_BLOCKS);
    for (unsigned i = 0; i < count; i++) {
        struct ram_block *block = &table->blocks[i];

        if (check_block(&blocks[i], i, error))
            return -EINVAL;
        strcpy(block->name, blocks[i].name); /* its length was checked */
        block->host = blocks[i].host;
        block->length_bytes = blocks[i].length_bytes;
        block->page_bytes = blocks[i].page_bytes;
        block->shared = blocks[i].shared;
        for (unsigned j = 0; j < i; j++)
            if (check_pair(&table->blocks[j], block, error))
                return -EINVAL;
        /* Cannot overflow: the blocks lie side by side in one address space. */
        table->total_bytes += block->length_bytes;
    }
    table->count = count;
    return 0;
}

int ram_find_name(const struct ram_table *table, const char *name, size_t name_bytes)
{
    for (unsigned i = 0; i < table->count; i++)
        if (strlen(table->blocks[i].name) == name_bytes &&
            memcmp(table->blocks[i].name, name, name_bytes) == 0)
            return (int)i;
    return -1;
}

bool ram_find_host(const struct ram_table *table, const uint8_t *host, unsigned *block,
                   uint64_t *offset)
{
    for (unsigned i = 0; i < table->count; i++) {
        uint64_t distance = (uint64_t)((uintptr_t)host - (uintptr_t)table->blocks[i].host);

        if (distance < table->blocks[i].length_bytes) {
            *block = i;
            *offset = distance;
            return true;
        }
    }
    return false;
}

bool ram_range_ok(const struct ram_table *table, uint64_t block, uint64_t offset,
                  uint64_t length_bytes)
{
    return block < table->count && offset <= table->blocks[block].length_bytes &&
           length_bytes <= table->blocks[block].length_bytes - offset;
}

int ram_dont_fork(const struct ram_table *table, struct baton_error *error)
{
    for (unsigned i = 0; i < table->count; i++) {
        const struct ram_block *block = &table->blocks[i];

        if (madvise(block->host, block->length_bytes, MADV_DONTFORK) < 0)
            return baton_error_set(
                error, errno,
                "RAM block '%s' cannot be kept out of forks: %s; is all of it mapped?", block->name,
                strerror(errno));
    }
    return 0;
}

int ram_discard(const struct ram_table *table, unsigned block, uint64_t offset,
                uint64_t length_bytes, struct baton_error *error)
{
    if (!ram_range_ok(table, block, offset, length_bytes) ||
        (offset | length_bytes) % RAM_PAGE_BYTES)
        return baton_error_set(error, EINVAL,
                               "a discard of %llu bytes at offset %llu of RAM block %u is not of "
                               "whole pages within it",
                               (unsigned long long)length_bytes, (unsigned long long)offset, block);
    if (length_bytes == 0)
        return 0;
    /* The pages of a shared mapping are the file's: to let go of our view of them would leave them
     * there. */
    if (madvise(table->blocks[block].host + offset, length_bytes,
                table->blocks[block].shared ? MADV_REMOVE : MADV_DONTNEED) < 0)
        return baton_error_set(
            error, errno,
            "pages of RAM block '%s' cannot be discarded: %s; memory that is locked (mlock, "
            "mlockall) must be unlocked to receive a VM",
            table->blocks[block].name, strerror(errno));
    return 0;
}

void ram_touch_zero(const struct ram_table *table, unsigned block, uint64_t offset,
                    uint64_t length_bytes)
{
    uint8_t *page = table->blocks[block].host + offset;
    uint8_t *end = page + length_bytes;

    for (; page < end; page += RAM_PAGE_BYTES) {
        /* Looking is touching: a hole gets the kernel's shared page of zeros, which costs no
         * memory. */
        if (baton_guest_is_zero(page, RAM_PAGE_BYTES))
            continue;
        for (size_t i = 0; i < RAM_PAGE_BYTES; i += 8)
            baton_guest_store_u64(page + i, 0);
    }
}
