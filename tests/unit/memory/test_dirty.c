/* SPDX-License-Identifier: MIT */
/* The dirty log against a plain model, at its edges, and with many threads of which none may lose a
 * mark. */
#include "harness.h"

#include <limits.h>
#include <sched.h>

#define PAGES 200 /* not a multiple of 64 */
#define WORDS 4

static bool bit(const uint64_t *words, uint64_t page)
{
    return words[page / 64] >> (page % 64) & 1;
}

static void marks_are_taken_only_while_it_is_on(void **state)
{
    struct baton_error error = {0};
    uint64_t words[WORDS] = {0}, fresh = 99;
    struct ram_table table;
    struct dirty_log log;

    make_table(&table, PAGES);
    must(dirty_log_init(&log, &table, &error), &error);
    assert_int_equal(dirty_word_count(&log, 0), WORDS);
    dirty_mark(&log, 0, 0, PAGE);
    dirty_collect(&log, 0, words, &fresh);
    assert_int_equal(fresh, 0);
    dirty_log_start(&log);
    dirty_mark(&log, 0, 5 * PAGE, 1);
    dirty_log_stop(&log);
    dirty_mark(&log, 0, 6 * PAGE, 1);
    dirty_collect(&log, 0, words, &fresh);
    assert_int_equal(fresh, 1);
    assert_int_equal(words[0], 1u << 5);
    dirty_log_start(&log);
    dirty_mark(&log, 0, 7 * PAGE, 1);
    dirty_log_stop(&log);
    dirty_log_start(&log); /* forgets what was not collected */
    dirty_collect(&log, 0, words, &fresh);
    assert_int_equal(fresh, 0);
    dirty_log_fini(&log);
    drop_table(&table);
}

static void collecting_adds_and_counts_what_is_new(void **state)
{
    struct baton_error error = {0};
    uint64_t words[WORDS] = {0}, fresh;
    struct ram_table table;
    struct dirty_log log;

    make_table(&table, PAGES);
    must(dirty_log_init(&log, &table, &error), &error);
    dirty_log_start(&log);
    words[0] = 3;
    dirty_mark(&log, 0, PAGE, 2 * PAGE);
    dirty_collect(&log, 0, words, &fresh);
    assert_int_equal(fresh, 1);
    assert_int_equal(words[0], 7);
    dirty_collect(&log, 0, words, NULL);
    assert_int_equal(words[0], 7);
    dirty_log_fini(&log);
    drop_table(&table);
}

static void what_lies_outside_is_ignored(void **state)
{
    struct baton_error error = {0};
    uint64_t words[WORDS] = {0}, fresh;
    struct ram_table table;
    struct dirty_log log;

    make_table(&table, PAGES);
    must(dirty_log_init(&log, &table, &error), &error);
    dirty_log_start(&log);
    dirty_mark(&log, 1, 0, PAGE);
    dirty_mark(&log, 0, PAGES * PAGE, PAGE);
    dirty_mark(&log, 0, UINT64_MAX, UINT64_MAX);
    dirty_mark(&log, 0, 0, 0);
    dirty_collect(&log, 0, words, &fresh);
    assert_int_equal(fresh, 0);
    dirty_mark(&log, 0, (PAGES - 1) * PAGE + 5, UINT64_MAX); /* cut at the end of the block */
    dirty_collect(&log, 0, words, &fresh);
    assert_int_equal(fresh, 1);
    assert_true(bit(words, PAGES - 1));
    dirty_log_fini(&log);
    drop_table(&table);
}

static void every_range_marks_exactly_its_pages(void **state)
{
    struct baton_error error = {0};
    struct ram_table table;
    struct dirty_log log;
    unsigned seed = 1;

    make_table(&table, PAGES);
    must(dirty_log_init(&log, &table, &error), &error);
    dirty_log_start(&log);
    for (int round = 0; round < 3000; round++) {
        uint64_t offset = (uint64_t)rand_r(&seed) % (PAGES * PAGE);
        uint64_t length = (uint64_t)rand_r(&seed) % (PAGES * PAGE - offset) + 1;
        uint64_t words[WORDS] = {0}, fresh, count = 0;

        if (round % 2) {
            offset -= offset % PAGE;
            length = length > PAGE ? length - length % PAGE : length;
        }
        dirty_mark(&log, 0, offset, length);
        dirty_collect(&log, 0, words, &fresh);
        for (uint64_t page = 0; page < PAGES; page++) {
            bool touched = page * PAGE < offset + length && offset < (page + 1) * PAGE;

            assert_int_equal(bit(words, page), touched);
            count += touched;
        }
        assert_int_equal(fresh, count);
    }
    dirty_log_fini(&log);
    drop_table(&table);
}

/*
 * Writers write a page, then mark it, as devices do; a collector takes the marks and only then
 * reads the pages. After the last collection its copy must be the truth: one lost mark would leave
 * an old value in it.
 */
#define WRITERS 3
#define WRITES 20000

struct writer {
    pthread_t thread;
    struct dirty_log *log;
    uint8_t *host;
    unsigned number;
};

static _Atomic unsigned writers_left;

static void *run_writer(void *opaque)
{
    struct writer *self = opaque;
    unsigned seed = self->number;

    for (uint64_t i = 1; i <= WRITES; i++) {
        uint64_t page = (uint64_t)rand_r(&seed) % PAGES;

        baton_guest_store_u64(self->host + page * PAGE + 8 * self->number, i);
        dirty_mark(self->log, 0, page * PAGE + 8 * self->number, 8);
    }
    atomic_fetch_sub(&writers_left, 1);
    return NULL;
}

static void no_mark_is_lost_between_writers_and_the_collector(void **state)
{
    static uint64_t copy[PAGES][WRITERS];
    struct writer writers[WRITERS];
    struct baton_error error = {0};
    struct ram_table table;
    struct dirty_log log;
    uint8_t *host;
    bool last;

    make_table(&table, PAGES);
    host = table.blocks[0].host;
    must(dirty_log_init(&log, &table, &error), &error);
    dirty_log_start(&log);
    atomic_store(&writers_left, WRITERS);
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.log = &log, .host = host, .number = i};
        assert_int_equal(pthread_create(&writers[i].thread, NULL, run_writer, &writers[i]), 0);
    }
    do {
        uint64_t words[WORDS] = {0};

        last = atomic_load(&writers_left) == 0;
        dirty_collect(&log, 0, words, NULL);
        for (uint64_t page = 0; page < PAGES; page++)
            for (unsigned i = 0; bit(words, page) && i < WRITERS; i++)
                copy[page][i] = baton_guest_load_u64(host + page * PAGE + 8 * i);
    } while (!last);
    for (unsigned i = 0; i < WRITERS; i++)
        pthread_join(writers[i].thread, NULL);
    for (uint64_t page = 0; page < PAGES; page++)
        for (unsigned i = 0; i < WRITERS; i++)
            assert_int_equal(copy[page][i], baton_guest_load_u64(host + page * PAGE + 8 * i));
    dirty_log_fini(&log);
    drop_table(&table);
}

/*
 * The narrow case: a page is marked already, a device writes it again and marks it again, and just
 * then the collector takes the first mark. Either the collector sees the new bytes or the second
 * mark is there for the next collection. A marker that only looked whether the bit is set would
 * fail here, since its look may overtake its own write.
 */
#define DUEL_NS 300000000ull
#define DUEL_ROUNDS 300000u

struct duel {
    struct dirty_log *log;
    uint8_t *host;
    _Atomic unsigned round, answered; /* round UINT_MAX: the end */
};

static void *run_duel_writer(void *opaque)
{
    struct duel *duel = opaque;
    unsigned last = 0, round;

    for (;;) {
        for (unsigned spins = 1; (round = atomic_load(&duel->round)) == last; spins++)
            if (spins % 4096 == 0)
                sched_yield();
        if (round == UINT_MAX)
            return NULL;
        baton_guest_store_u64(duel->host, round);
        dirty_mark(duel->log, 0, 0, 8);
        atomic_store(&duel->answered, round);
        last = round;
    }
}

static void a_second_mark_is_never_lost_to_the_first(void **state)
{
    struct baton_error error = {0};
    struct timespec begin, now;
    struct ram_table table;
    struct dirty_log log;
    struct duel duel = {.log = &log};
    unsigned round, lost = 0;
    pthread_t thread;

    make_table(&table, 64);
    duel.host = table.blocks[0].host;
    must(dirty_log_init(&log, &table, &error), &error);
    dirty_log_start(&log);
    assert_int_equal(pthread_create(&thread, NULL, run_duel_writer, &duel), 0);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (round = 1; round <= DUEL_ROUNDS; round++) {
        uint64_t words[1] = {0}, second[1] = {0}, copy;

        dirty_mark(&log, 0, 0, 8); /* the first mark, of an earlier write */
        atomic_store(&duel.round, round);
        for (volatile unsigned wait = 0; wait < round % 64; wait++)
            ;
        dirty_collect(&log, 0, words, NULL);
        copy = baton_guest_load_u64(duel.host);
        for (unsigned spins = 1; atomic_load(&duel.answered) != round; spins++)
            if (spins % 4096 == 0)
                sched_yield();
        dirty_collect(&log, 0, second, NULL);
        lost += copy != round && second[0] == 0;
        clock_gettime(CLOCK_MONOTONIC, &now);
        if ((uint64_t)(now.tv_sec - begin.tv_sec) * 1000000000ull + (uint64_t)now.tv_nsec -
                (uint64_t)begin.tv_nsec >
            DUEL_NS)
            break;
    }
    atomic_store(&duel.round, UINT_MAX);
    pthread_join(thread, NULL);
    assert_int_equal(lost, 0);
    dirty_log_fini(&log);
    drop_table(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(marks_are_taken_only_while_it_is_on),
        cmocka_unit_test(collecting_adds_and_counts_what_is_new),
        cmocka_unit_test(what_lies_outside_is_ignored),
        cmocka_unit_test(every_range_marks_exactly_its_pages),
        cmocka_unit_test(no_mark_is_lost_between_writers_and_the_collector),
        cmocka_unit_test(a_second_mark_is_never_lost_to_the_first),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
