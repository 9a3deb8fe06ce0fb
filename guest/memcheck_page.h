/* SPDX-License-Identifier: MIT */
/*
 * What a page of the memory checker holds.
 *
 * Every byte of a page follows from its number and its generation (how often it was rewritten), so
 * a checker that remembers only the generation can tell a page that is lost, stale, torn or another
 * one's. Layout, in 64-bit words:
 *
 *   0  number      1  generation      2  sum of the words 3 to 511 and of 0 and 1      3  magic
 *   4..511  a multiplicative sequence seeded by number and generation
 *
 * The sum says nothing that the comparison of all words does not say already; it tells a person
 * whether a wrong page is whole (an old generation, another page) or torn. About 0.8 instructions a
 * byte to write, 0.9 to check.
 *
 * Pages are of three kinds, by number: most are active (rewritten for ever), some are ballast
 * (written once, looked at only by a full verification, so nobody asks for them early), some stay
 * zero as they were at power-on.
 */
#ifndef MEMCHECK_PAGE_H
#define MEMCHECK_PAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MC_PAGE_BYTES 4096
#define MC_PAGE_WORDS (MC_PAGE_BYTES / 8)
#define MC_PAGE_MAGIC UINT64_C(0x4b43454843424f54)

enum mc_kind { MC_ACTIVE, MC_BALLAST, MC_ZERO };

static inline enum mc_kind mc_page_kind(uint64_t number)
{
    unsigned slot = number % 16;

    if (slot == 7)
        return MC_ZERO;
    return slot >= 12 ? MC_BALLAST : MC_ACTIVE;
}

/* Mixes bits well; used once a page, not once a word. */
static inline uint64_t mc_mix(uint64_t x)
{
    x ^= x >> 33;
    x *= UINT64_C(0xff51afd7ed558ccd);
    x ^= x >> 33;
    x *= UINT64_C(0xc4ceb9fe1a85ec53);
    return x ^ (x >> 33);
}

static inline uint64_t mc_page_seed(uint64_t number, uint64_t generation)
{
    return mc_mix(number * UINT64_C(0x9e3779b97f4a7c15) + generation);
}

static inline uint64_t mc_next(uint64_t *state)
{
    uint64_t x = *state * UINT64_C(0xd1342543de82ef95) + 1;

    *state = x;
    return x ^ (x >> 32);
}

static inline void mc_page_write(uint64_t *page, uint64_t number, uint64_t generation)
{
    uint64_t state = mc_page_seed(number, generation);
    uint64_t sum = number + generation + MC_PAGE_MAGIC;

    page[0] = number;
    page[1] = generation;
    page[3] = MC_PAGE_MAGIC;
    for (unsigned i = 4; i < MC_PAGE_WORDS; i += 4) {
        uint64_t a = mc_next(&state), b = mc_next(&state), c = mc_next(&state), d = mc_next(&state);

        page[i] = a;
        page[i + 1] = b;
        page[i + 2] = c;
        page[i + 3] = d;
        sum += a + b + c + d;
    }
    page[2] = sum;
}

/* Index of the first word that is not as it should be, MC_PAGE_WORDS when all are; *expected is
 * what it should be. */
static inline unsigned mc_page_check(const uint64_t *page, uint64_t number, uint64_t generation,
                                     uint64_t *expected)
{
    uint64_t state = mc_page_seed(number, generation);
    uint64_t sum = number + generation + MC_PAGE_MAGIC;
    unsigned i;

    if (page[0] != number) {
        *expected = number;
        return 0;
    }
    if (page[1] != generation) {
        *expected = generation;
        return 1;
    }
    if (page[3] != MC_PAGE_MAGIC) {
        *expected = MC_PAGE_MAGIC;
        return 3;
    }
    for (i = 4; i < MC_PAGE_WORDS; i += 4) {
        uint64_t a = mc_next(&state), b = mc_next(&state), c = mc_next(&state), d = mc_next(&state);

        if (((page[i] ^ a) | (page[i + 1] ^ b) | (page[i + 2] ^ c) | (page[i + 3] ^ d)) != 0) {
            uint64_t want[4] = {a, b, c, d};
            unsigned k = 0;

            while (k < 3 && page[i + k] == want[k])
                k++;
            *expected = want[k];
            return i + k;
        }
        sum += a + b + c + d;
    }
    *expected = sum;
    return page[2] == sum ? MC_PAGE_WORDS : 2;
}

static inline unsigned mc_page_check_zero(const uint64_t *page)
{
    for (unsigned i = 0; i < MC_PAGE_WORDS; i += 4)
        if ((page[i] | page[i + 1] | page[i + 2] | page[i + 3]) != 0) {
            while (page[i] == 0)
                i++;
            return i;
        }
    return MC_PAGE_WORDS;
}

#endif
