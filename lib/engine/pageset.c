/* SPDX-License-Identifier: MIT */
/*
 * The page set; what it is and who may do what is told in pageset.h.
 *
 * Memory order. A page's bytes are written before its `received` bit is set (release) and a reader
 * that saw the bit (acquire) sees the bytes. A dirty bit is set by the sync before the sender reads
 * the page: both run on the same thread or are ordered by the engine's queue, so relaxed bit
 * operations are enough there; claim is acquire-release all the same, since a second sending thread
 * may claim.
 */
#include "engine/pageset.h"

#include <assert.h>
#include <string.h>

static uint64_t bit_of(uint64_t page)
{
    return UINT64_C(1) << (page % 64);
}

static bool test_bit(const uint64_t *words, uint64_t page)
{
    return __atomic_load_n(&words[page / 64], __ATOMIC_ACQUIRE) & bit_of(page);
}

/* Both return whether the bit was set before. */
static bool set_bit(uint64_t *words, uint64_t page)
{
    return __atomic_fetch_or(&words[page / 64], bit_of(page), __ATOMIC_ACQ_REL) & bit_of(page);
}

static bool clear_bit(uint64_t *words, uint64_t page)
{
    return __atomic_fetch_and(&words[page / 64], ~bit_of(page), __ATOMIC_ACQ_REL) & bit_of(page);
}

/* The bits of word `index` that stand for pages, in a block of `pages` pages. */
static uint64_t valid_bits(uint64_t pages, size_t index)
{
    uint64_t left = pages - (uint64_t)index * 64;

    return left >= 64 ? UINT64_MAX : (UINT64_C(1) << left) - 1;
}

static bool is_leased_to(const struct pageset *set, uint64_t epoch)
{
    return __atomic_load_n(&set->lease, __ATOMIC_ACQUIRE) == epoch && epoch != 0;
}

size_t pageset_memory_words(const uint64_t *pages, unsigned block_count)
{
    size_t words = 0;

    for (unsigned b = 0; b < block_count; b++)
        words += 3 * pageset_words(pages[b]);
    return words;
}

void pageset_init(struct pageset *set, const uint64_t *pages, unsigned block_count,
                  uint64_t *memory)
{
    assert(block_count <= BATON_MAX_RAM_BLOCKS);
    memset(set, 0, sizeof(*set));
    memset(memory, 0, pageset_memory_words(pages, block_count) * sizeof(*memory));
    set->block_count = block_count;
    for (unsigned b = 0; b < block_count; b++) {
        size_t words = pageset_words(pages[b]);

        set->blocks[b] = (struct pageset_block){
            .pages = pages[b],
            .dirty = memory,
            .placing = memory + words,
            .received = memory + 2 * words,
        };
        memory += 3 * words;
        set->total_pages += pages[b];
    }
}

void pageset_lease(struct pageset *set, uint64_t epoch)
{
    assert(epoch != 0);
    __atomic_store_n(&set->lease, epoch, __ATOMIC_RELEASE);
}

void pageset_revoke(struct pageset *set)
{
    __atomic_store_n(&set->lease, 0, __ATOMIC_RELEASE);
}

/* ---- Source ---- */

void pageset_set_all_dirty(struct pageset *set)
{
    for (unsigned b = 0; b < set->block_count; b++) {
        struct pageset_block *block = &set->blocks[b];

        for (size_t i = 0; i < pageset_words(block->pages); i++)
            block->dirty[i] = valid_bits(block->pages, i);
    }
    __atomic_store_n(&set->dirty_pages, set->total_pages, __ATOMIC_RELAXED);
}

void pageset_add_dirty(struct pageset *set, uint64_t pages)
{
    __atomic_fetch_add(&set->dirty_pages, pages, __ATOMIC_RELAXED);
}

uint64_t pageset_dirty_pages(const struct pageset *set)
{
    return __atomic_load_n(&set->dirty_pages, __ATOMIC_RELAXED);
}

bool pageset_is_dirty(const struct pageset *set, unsigned block, uint64_t page)
{
    return test_bit(set->blocks[block].dirty, page);
}

enum pageset_result pageset_claim(struct pageset *set, uint64_t epoch, unsigned block,
                                  uint64_t page)
{
    assert(block < set->block_count && page < set->blocks[block].pages);
    if (!is_leased_to(set, epoch))
        return PAGESET_STALE;
    if (!clear_bit(set->blocks[block].dirty, page))
        return PAGESET_LOST;
    __atomic_fetch_sub(&set->dirty_pages, 1, __ATOMIC_RELAXED);
    return PAGESET_WON;
}

/* First page at or after `from` whose bit, XORed with `flip`, is set; `pages` if there is none. */
static uint64_t next_bit(const uint64_t *words, uint64_t pages, uint64_t from, uint64_t flip)
{
    for (uint64_t i = from / 64; i * 64 < pages; i++) {
        uint64_t word = __atomic_load_n(&words[i], __ATOMIC_RELAXED) ^ flip;

        word &= valid_bits(pages, i);
        if (i == from / 64)
            word &= UINT64_MAX << (from % 64);
        if (word)
            return i * 64 + (uint64_t)__builtin_ctzll(word);
    }
    return pages;
}

uint64_t pageset_next_dirty(const struct pageset *set, unsigned block, uint64_t from)
{
    uint64_t pages = set->blocks[block].pages;
    uint64_t page = next_bit(set->blocks[block].dirty, pages, from, 0);

    return page < pages ? page : PAGESET_NONE;
}

uint64_t pageset_next_clean(const struct pageset *set, unsigned block, uint64_t from)
{
    return next_bit(set->blocks[block].dirty, set->blocks[block].pages, from, UINT64_MAX);
}

uint64_t pageset_rebuild_dirty(struct pageset *set)
{
    uint64_t never_sent = 0;
    uint64_t dirty = 0;

    for (unsigned b = 0; b < set->block_count; b++) {
        const struct pageset_block *block = &set->blocks[b];

        for (size_t i = 0; i < pageset_words(block->pages); i++)
            never_sent += (uint64_t)__builtin_popcountll(block->received[i] & block->dirty[i] &
                                                         valid_bits(block->pages, i));
    }
    if (never_sent)
        return never_sent;
    for (unsigned b = 0; b < set->block_count; b++) {
        struct pageset_block *block = &set->blocks[b];

        for (size_t i = 0; i < pageset_words(block->pages); i++) {
            block->dirty[i] = ~block->received[i] & valid_bits(block->pages, i);
            dirty += (uint64_t)__builtin_popcountll(block->dirty[i]);
        }
    }
    __atomic_store_n(&set->dirty_pages, dirty, __ATOMIC_RELAXED);
    return 0;
}

/* ---- Destination ---- */

enum pageset_result pageset_receive(struct pageset *set, uint64_t epoch, unsigned block,
                                    uint64_t page)
{
    assert(block < set->block_count && page < set->blocks[block].pages);
    if (!is_leased_to(set, epoch))
        return PAGESET_STALE;
    set_bit(set->blocks[block].placing, page);
    if (!set_bit(set->blocks[block].received, page))
        __atomic_fetch_add(&set->received_pages, 1, __ATOMIC_RELAXED);
    return PAGESET_WON;
}

enum pageset_result pageset_place_begin(struct pageset *set, uint64_t epoch, unsigned block,
                                        uint64_t page)
{
    assert(block < set->block_count && page < set->blocks[block].pages);
    if (!is_leased_to(set, epoch))
        return PAGESET_STALE;
    if (!set_bit(set->blocks[block].placing, page))
        return PAGESET_WON;
    return test_bit(set->blocks[block].received, page) ? PAGESET_RECEIVED : PAGESET_LOST;
}

void pageset_place_end(struct pageset *set, unsigned block, uint64_t page)
{
    bool was_placing = test_bit(set->blocks[block].placing, page);
    bool was_received = set_bit(set->blocks[block].received, page);

    assert(was_placing && !was_received);
    (void)was_placing;
    (void)was_received;
    __atomic_fetch_add(&set->received_pages, 1, __ATOMIC_RELEASE);
}

void pageset_place_abort(struct pageset *set, unsigned block, uint64_t page)
{
    assert(!test_bit(set->blocks[block].received, page));
    clear_bit(set->blocks[block].placing, page);
}

void pageset_discard(struct pageset *set, unsigned block, uint64_t first, uint64_t count)
{
    assert(block < set->block_count && first <= set->blocks[block].pages &&
           count <= set->blocks[block].pages - first);
    for (uint64_t page = first; page < first + count; page++) {
        clear_bit(set->blocks[block].placing, page);
        if (clear_bit(set->blocks[block].received, page))
            __atomic_fetch_sub(&set->received_pages, 1, __ATOMIC_RELAXED);
    }
}

void pageset_discard_all(struct pageset *set)
{
    for (unsigned b = 0; b < set->block_count; b++) {
        size_t bytes = pageset_words(set->blocks[b].pages) * sizeof(uint64_t);

        memset(set->blocks[b].placing, 0, bytes);
        memset(set->blocks[b].received, 0, bytes);
    }
    __atomic_store_n(&set->received_pages, 0, __ATOMIC_RELAXED);
}

bool pageset_is_received(const struct pageset *set, unsigned block, uint64_t page)
{
    return test_bit(set->blocks[block].received, page);
}

uint64_t pageset_received_pages(const struct pageset *set)
{
    return __atomic_load_n(&set->received_pages, __ATOMIC_ACQUIRE);
}

bool pageset_is_full(const struct pageset *set)
{
    return pageset_received_pages(set) == set->total_pages;
}

void pageset_snapshot(const struct pageset *set, unsigned block, uint64_t *words)
{
    for (size_t i = 0; i < pageset_words(set->blocks[block].pages); i++)
        words[i] = __atomic_load_n(&set->blocks[block].received[i], __ATOMIC_ACQUIRE);
}
