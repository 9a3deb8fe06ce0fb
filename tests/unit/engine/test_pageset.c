/* SPDX-License-Identifier: MIT */
/*
 * The page set: bits at the ends of blocks, what counts, what wins, leases, and that of several
 * threads exactly one wins a page.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "engine/pageset.h"

#define BLOCKS 3
static const uint64_t pages[BLOCKS] = {5, 64 + 3, 128};
#define TOTAL (5 + 67 + 128)

struct fixture {
    struct pageset set;
    uint64_t *memory;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    f->memory = calloc(pageset_memory_words(pages, BLOCKS), sizeof(*f->memory));
    pageset_init(&f->set, pages, BLOCKS, f->memory);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    free(f->memory);
    free(f);
    return 0;
}

static void sizes(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(pageset_memory_words(pages, BLOCKS), 3 * (1 + 2 + 2));
    assert_int_equal(f->set.total_pages, TOTAL);
    assert_int_equal(pageset_dirty_pages(&f->set), 0);
    assert_int_equal(pageset_received_pages(&f->set), 0);
    assert_false(pageset_is_full(&f->set));
}

static void all_dirty_is_exact(void **state)
{
    struct fixture *f = *state;
    uint64_t bits = 0;

    pageset_set_all_dirty(&f->set);
    assert_int_equal(pageset_dirty_pages(&f->set), TOTAL);
    for (unsigned b = 0; b < BLOCKS; b++)
        for (size_t i = 0; i < pageset_words(pages[b]); i++)
            bits += (uint64_t)__builtin_popcountll(f->set.blocks[b].dirty[i]);
    assert_int_equal(bits, TOTAL);
}

static void claim_once(void **state)
{
    struct fixture *f = *state;

    pageset_set_all_dirty(&f->set);
    assert_int_equal(pageset_claim(&f->set, 1, 1, 66), PAGESET_STALE);
    pageset_lease(&f->set, 1);
    assert_int_equal(pageset_claim(&f->set, 0, 1, 66), PAGESET_STALE);
    assert_int_equal(pageset_claim(&f->set, 2, 1, 66), PAGESET_STALE);
    assert_true(pageset_is_dirty(&f->set, 1, 66));
    assert_int_equal(pageset_claim(&f->set, 1, 1, 66), PAGESET_WON);
    assert_int_equal(pageset_claim(&f->set, 1, 1, 66), PAGESET_LOST);
    assert_int_equal(pageset_dirty_pages(&f->set), TOTAL - 1);
    pageset_revoke(&f->set);
    assert_int_equal(pageset_claim(&f->set, 1, 1, 65), PAGESET_STALE);
    pageset_lease(&f->set, 2);
    assert_int_equal(pageset_claim(&f->set, 1, 1, 65), PAGESET_STALE);
    assert_int_equal(pageset_claim(&f->set, 2, 1, 65), PAGESET_WON);
}

static void runs_of_dirty_pages(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(pageset_next_dirty(&f->set, 1, 0), PAGESET_NONE);
    assert_int_equal(pageset_next_clean(&f->set, 1, 0), 0);
    pageset_set_all_dirty(&f->set);
    assert_int_equal(pageset_next_dirty(&f->set, 1, 66), 66);
    assert_int_equal(pageset_next_dirty(&f->set, 1, 67), PAGESET_NONE);
    assert_int_equal(pageset_next_clean(&f->set, 0, 0), 5);
    assert_int_equal(pageset_next_clean(&f->set, 1, 3), 67);
    assert_int_equal(pageset_next_clean(&f->set, 2, 0), 128);
    pageset_lease(&f->set, 1);
    pageset_claim(&f->set, 1, 1, 63);
    pageset_claim(&f->set, 1, 1, 64);
    assert_int_equal(pageset_next_clean(&f->set, 1, 0), 63);
    assert_int_equal(pageset_next_dirty(&f->set, 1, 63), 65);
}

static void place_once(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(pageset_place_begin(&f->set, 1, 0, 4), PAGESET_STALE);
    pageset_lease(&f->set, 1);
    assert_int_equal(pageset_place_begin(&f->set, 1, 0, 4), PAGESET_WON);
    assert_int_equal(pageset_place_begin(&f->set, 1, 0, 4), PAGESET_LOST);
    assert_false(pageset_is_received(&f->set, 0, 4));
    pageset_revoke(&f->set); /* what was begun may be ended */
    pageset_place_end(&f->set, 0, 4);
    assert_true(pageset_is_received(&f->set, 0, 4));
    pageset_lease(&f->set, 2);
    assert_int_equal(pageset_place_begin(&f->set, 2, 0, 4), PAGESET_RECEIVED);
    assert_int_equal(pageset_received_pages(&f->set), 1);
}

static void placing_can_fail(void **state)
{
    struct fixture *f = *state;

    pageset_lease(&f->set, 1);
    assert_int_equal(pageset_place_begin(&f->set, 1, 2, 127), PAGESET_WON);
    pageset_place_abort(&f->set, 2, 127);
    assert_int_equal(pageset_received_pages(&f->set), 0);
    assert_int_equal(pageset_place_begin(&f->set, 1, 2, 127), PAGESET_WON);
}

static void receive_again_and_again(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(pageset_receive(&f->set, 1, 0, 0), PAGESET_STALE);
    pageset_lease(&f->set, 1);
    for (unsigned round = 0; round < 2; round++)
        for (unsigned b = 0; b < BLOCKS; b++)
            for (uint64_t p = 0; p < pages[b]; p++)
                assert_int_equal(pageset_receive(&f->set, 1, b, p), PAGESET_WON);
    assert_true(pageset_is_full(&f->set));
}

static void discard_and_place(void **state)
{
    struct fixture *f = *state;

    receive_again_and_again(state);
    pageset_discard(&f->set, 1, 60, 7);
    pageset_discard(&f->set, 1, 60, 7); /* twice is once */
    pageset_discard(&f->set, 0, 0, 0);
    assert_int_equal(pageset_received_pages(&f->set), TOTAL - 7);
    assert_int_equal(pageset_place_begin(&f->set, 1, 1, 59), PAGESET_RECEIVED);
    for (uint64_t p = 60; p < 67; p++) {
        assert_int_equal(pageset_place_begin(&f->set, 1, 1, p), PAGESET_WON);
        pageset_place_end(&f->set, 1, p);
    }
    assert_true(pageset_is_full(&f->set));
    pageset_discard_all(&f->set);
    assert_int_equal(pageset_received_pages(&f->set), 0);
    assert_int_equal(pageset_place_begin(&f->set, 1, 1, 59), PAGESET_WON);
}

static void rebuild_what_is_owed(void **state)
{
    struct fixture *f = *state;
    uint64_t inbox[2];

    pageset_set_all_dirty(&f->set);
    pageset_lease(&f->set, 1);
    for (uint64_t p = 10; p < 20; p++)
        pageset_claim(&f->set, 1, 1, p);
    /* Of ten pages that were sent six arrived; bits past the end of the block are a peer's. */
    inbox[0] = UINT64_C(0x3f) << 12;
    inbox[1] = ~UINT64_C(7);
    f->set.blocks[1].received[0] = inbox[0];
    f->set.blocks[1].received[1] = inbox[1];
    assert_int_equal(pageset_rebuild_dirty(&f->set), 0);
    assert_int_equal(pageset_dirty_pages(&f->set), TOTAL - 6);
    assert_true(pageset_is_dirty(&f->set, 1, 11));
    assert_false(pageset_is_dirty(&f->set, 1, 12));
    assert_true(pageset_is_dirty(&f->set, 1, 18));
    assert_int_equal(pageset_next_clean(&f->set, 1, 18), 67);
}

static void never_sent_changes_nothing(void **state)
{
    struct fixture *f = *state;

    pageset_set_all_dirty(&f->set);
    pageset_lease(&f->set, 1);
    pageset_claim(&f->set, 1, 2, 100);
    f->set.blocks[0].received[0] = 0x5;
    assert_int_equal(pageset_rebuild_dirty(&f->set), 2);
    assert_int_equal(pageset_dirty_pages(&f->set), TOTAL - 1);
    assert_false(pageset_is_dirty(&f->set, 2, 100));
}

static void snapshot_shows_received_only(void **state)
{
    struct fixture *f = *state;
    uint64_t words[2] = {~UINT64_C(0), ~UINT64_C(0)};

    pageset_lease(&f->set, 1);
    pageset_receive(&f->set, 1, 1, 65);
    pageset_place_begin(&f->set, 1, 1, 3);
    pageset_snapshot(&f->set, 1, words);
    assert_int_equal(words[0], 0);
    assert_int_equal(words[1], 2);
}

/* ---- Threads ---- */

struct racer {
    struct pageset *set;
    uint64_t claimed, placed;
};

static void *race(void *opaque)
{
    struct racer *racer = opaque;

    for (unsigned b = 0; b < BLOCKS; b++)
        for (uint64_t p = 0; p < pages[b]; p++) {
            if (pageset_claim(racer->set, 1, b, p) == PAGESET_WON)
                racer->claimed++;
            if (pageset_place_begin(racer->set, 1, b, p) == PAGESET_WON) {
                racer->placed++;
                pageset_place_end(racer->set, b, p);
            }
        }
    return NULL;
}

static void one_winner(void **state)
{
    struct fixture *f = *state;

    for (unsigned round = 0; round < 200; round++) {
        struct racer racers[2] = {{.set = &f->set}, {.set = &f->set}};
        pthread_t threads[2];

        pageset_set_all_dirty(&f->set);
        pageset_discard_all(&f->set);
        pageset_lease(&f->set, 1);
        for (unsigned i = 0; i < 2; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
        for (unsigned i = 0; i < 2; i++)
            pthread_join(threads[i], NULL);
        assert_int_equal(racers[0].claimed + racers[1].claimed, TOTAL);
        assert_int_equal(racers[0].placed + racers[1].placed, TOTAL);
        assert_int_equal(pageset_dirty_pages(&f->set), 0);
        assert_true(pageset_is_full(&f->set));
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(sizes),
        TEST(all_dirty_is_exact),
        TEST(claim_once),
        TEST(runs_of_dirty_pages),
        TEST(place_once),
        TEST(placing_can_fail),
        TEST(receive_again_and_again),
        TEST(discard_and_place),
        TEST(rebuild_what_is_owed),
        TEST(never_sent_changes_nothing),
        TEST(snapshot_shows_received_only),
        TEST(one_winner),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
