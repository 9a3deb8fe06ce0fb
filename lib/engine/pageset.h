/* SPDX-License-Identifier: MIT */
/*
 * The page set: for each page of each RAM block, who has it. The only object that the engine shares
 * with the threads that move page bytes.
 *
 * At the source one bit a page, `dirty`: this page is still to be sent. Claiming clears the bit,
 * and exactly one thread wins it. At the destination two bits a page: missing (0,0) -> placing
 * (1,0), one winner -> received (1,1). In postcopy nobody ever writes a received page again; in
 * precopy the newest copy wins and pages go straight to received.
 *
 * Lease. The engine lends the set to the data threads of one epoch (pageset_lease) and takes it
 * back (pageset_revoke) when it orders them to rest. A claim or a place_begin with another epoch
 * fails with PAGESET_STALE, so a thread of an old link that wakes up late can do no harm even if it
 * never looked at anything else. A page that was being placed when the lease was revoked may still
 * be finished by place_end: the engine does not read the set before every thread rests.
 *
 * Pure: no heap (the caller supplies the words), no locks; C11-style atomics only. All functions
 * that say "data thread" may run at the same time.
 */
#ifndef ENGINE_PAGESET_H
#define ENGINE_PAGESET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "baton/baton.h"

#define PAGESET_NONE UINT64_MAX

struct pageset_block {
    uint64_t pages;
    uint64_t *dirty;    /* source */
    uint64_t *placing;  /* destination */
    uint64_t *received; /* destination; at the source the inbox for the destination's bitmaps */
};

struct pageset {
    unsigned block_count;
    struct pageset_block blocks[BATON_MAX_RAM_BLOCKS];
    uint64_t total_pages;
    uint64_t dirty_pages;    /* atomic: bits set in all `dirty` */
    uint64_t received_pages; /* atomic: bits set in all `received` (destination only) */
    uint64_t lease;          /* atomic: epoch whose threads may claim and place; 0: none */
};

enum pageset_result {
    PAGESET_WON,      /* the page is the caller's to send or to place */
    PAGESET_LOST,     /* not dirty, or somebody else is placing it */
    PAGESET_RECEIVED, /* place_begin: it is here already; in postcopy a loud fault (DESIGN 2.5) */
    PAGESET_STALE     /* the caller's epoch is over */
};

/* Number of 64-bit words of one bit array of a block with `pages` pages. */
static inline size_t pageset_words(uint64_t pages)
{
    return (size_t)((pages + 63) / 64);
}

/* `memory` has pageset_memory_words() words, is borrowed until the set is no longer used, and is
 * cleared here. */
size_t pageset_memory_words(const uint64_t *pages, unsigned block_count);
void pageset_init(struct pageset *set, const uint64_t *pages, unsigned block_count,
                  uint64_t *memory);

/* Engine only. */
void pageset_lease(struct pageset *set, uint64_t epoch);
void pageset_revoke(struct pageset *set);

/* ---- Source ---- */

void pageset_set_all_dirty(struct pageset *set); /* engine, nobody else at work */
/* Data thread that syncs: counts bits that it has just ORed into a `dirty` array. */
void pageset_add_dirty(struct pageset *set, uint64_t pages);
uint64_t pageset_dirty_pages(const struct pageset *set);
bool pageset_is_dirty(const struct pageset *set, unsigned block, uint64_t page);
/* Data thread. */
enum pageset_result pageset_claim(struct pageset *set, uint64_t epoch, unsigned block,
                                  uint64_t page);
/* First dirty page of `block` at or after `from`, or PAGESET_NONE. */
uint64_t pageset_next_dirty(const struct pageset *set, unsigned block, uint64_t from);
/* First page of `block` at or after `from` that is not dirty, or the number of pages. */
uint64_t pageset_next_clean(const struct pageset *set, unsigned block, uint64_t from);

/*
 * Engine, all threads resting: dirty := not received, from the bitmaps in the `received` inbox.
 * Returns the number of pages that the destination says it has although they were never sent;
 * unless that is 0 nothing was changed, and the resume must be refused: it is the wrong VM, or a
 * discard was lost.
 */
uint64_t pageset_rebuild_dirty(struct pageset *set);

/* ---- Destination ---- */

/* Data thread, precopy: the page is here in its newest form so far. */
enum pageset_result pageset_receive(struct pageset *set, uint64_t epoch, unsigned block,
                                    uint64_t page);
/* Data thread, postcopy. After WON the caller places the page and calls place_end, or place_abort
 * if it could not. */
enum pageset_result pageset_place_begin(struct pageset *set, uint64_t epoch, unsigned block,
                                        uint64_t page);
void pageset_place_end(struct pageset *set, unsigned block, uint64_t page);
void pageset_place_abort(struct pageset *set, unsigned block, uint64_t page);
/* Engine, no thread placing: forget pages [first, first + count). */
void pageset_discard(struct pageset *set, unsigned block, uint64_t first, uint64_t count);
void pageset_discard_all(struct pageset *set);
bool pageset_is_received(const struct pageset *set, unsigned block, uint64_t page); /* any thread */
uint64_t pageset_received_pages(const struct pageset *set);
bool pageset_is_full(const struct pageset *set);
/* Engine or a thread that it told to, all placers resting: copies the received words of a block. */
void pageset_snapshot(const struct pageset *set, unsigned block, uint64_t *words);

#endif
