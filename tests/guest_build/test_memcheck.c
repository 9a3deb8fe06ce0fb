/* SPDX-License-Identifier: MIT */
/*
 * The memory checker must be able to fail: its core, run natively with one worker on a small
 * memory.
 *
 * The platform here is a script: at a given turn of the worker's loop a step is carried out, such
 * as a command or damage to a page, and the output is collected. Time stands unless a step or a
 * wait moves it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "memcheck_core.h"

#define PAGES 64
#define HZ 1000
#define HOLE 40
#define HOLE_END 43

static uint8_t memory[PAGES][MC_PAGE_BYTES] __attribute__((aligned(8)));
static uint32_t generations[PAGES];
static char output[65536];
static size_t output_length;
static uint64_t now_ticks, polls;
static void (*between_pages)(uint64_t poll);

void mc_platform_write(const char *text, size_t length_bytes)
{
    assert_true(output_length + length_bytes < sizeof(output));
    memcpy(output + output_length, text, length_bytes);
    output_length += length_bytes;
    output[output_length] = 0;
}

uint64_t mc_platform_ticks(void)
{
    return now_ticks;
}

void mc_platform_idle(struct mc_worker *worker)
{
    now_ticks += HZ / 100;
}

static void send(const char *text)
{
    while (*text)
        mc_service_byte(*text++);
}

void mc_platform_poll(struct mc_worker *worker)
{
    mc_service(false);
    assert_true(++polls < 1000000); /* a script that never quits */
    between_pages(polls);
}

/* Runs the worker with `script`, which is called between pages with a growing number and has to
 * quit in the end. */
static void run(void (*script)(uint64_t))
{
    memset(memory, 0, sizeof(memory));
    memset(generations, 0, sizeof(generations));
    memset(&mc_control, 0, sizeof(mc_control));
    memset(mc_workers, 0, sizeof(mc_workers));
    output_length = 0;
    polls = 0;
    between_pages = script;
    mc_init(1, memory[0], generations, PAGES, HOLE, HOLE_END, HZ);
    mc_worker_run(&mc_workers[0]);
    mc_service(false);
}

#define assert_printed(text)                                                                       \
    do {                                                                                           \
        if (!strstr(output, text))                                                                 \
            fail_msg("not printed: %s\nbut: %s", text, output);                                    \
    } while (0)
#define assert_not_printed(text) assert_null(strstr(output, text))

/* ---- Scripts: PAGES polls fill the memory ---- */

static void script_sound(uint64_t poll)
{
    if (poll == PAGES * 10)
        send("verify\r");
    if (poll == PAGES * 20)
        mc_service(true);
    if (poll == PAGES * 21)
        send("quit\n");
}

static void test_sound_memory_is_ok(void **state)
{
    run(script_sound);
    assert_printed("memcheck: ready harts=1 pages=61\n");
    assert_printed("memcheck: full verify pages=61 errors=0 OK\n");
    assert_printed("memcheck: beat=1 pages=61 verified=");
    assert_printed("memcheck: quit\n");
    assert_not_printed("WRONG");
    assert_true(mc_workers[0].rewritten > PAGES);
    assert_int_equal(mc_errors(), 0);
}

static void test_kinds(void **state)
{
    static const uint8_t zero[MC_PAGE_BYTES];
    unsigned of_kind[3] = {0};

    run(script_sound);
    for (unsigned i = 0; i < PAGES; i++) {
        bool untouched = mc_page_kind(i) == MC_ZERO || (i >= HOLE && i < HOLE_END);

        of_kind[mc_page_kind(i)]++;
        assert_int_equal(memcmp(memory[i], zero, MC_PAGE_BYTES) == 0, untouched);
        if (mc_page_kind(i) == MC_BALLAST && !untouched)
            assert_int_equal(generations[i], 1);
        if (mc_page_kind(i) == MC_ACTIVE && !untouched)
            assert_true(generations[i] > 1);
    }
    assert_int_equal(of_kind[MC_ZERO], PAGES / 16);
    assert_int_equal(of_kind[MC_BALLAST], PAGES / 4);
}

static unsigned corrupt_page;

static void script_corrupt(uint64_t poll)
{
    char text[32];

    snprintf(text, sizeof(text), "corrupt %u\n", corrupt_page);
    if (poll == PAGES * 2)
        send(text);
    if (poll == PAGES * 3)
        send("verify\n");
    if (poll == PAGES * 6)
        send("verify\n");
    if (poll == PAGES * 9)
        send("quit\n");
}

static void test_corrupt_fails(void **state)
{
    static const unsigned pages[] = {0, 7, 12, PAGES - 1}; /* active, zero, ballast, last */

    for (unsigned i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
        char wrong[64];

        corrupt_page = pages[i];
        run(script_corrupt);
        snprintf(wrong, sizeof(wrong),
                 "memcheck: WRONG PAGE number=%u expected generation=", pages[i]);
        assert_printed(wrong);
        assert_printed(" offset=2049 ");
        assert_printed(" FAILED\n");
        assert_not_printed(" OK\n");
        assert_true(mc_errors() >= 2); /* both verifications saw it: a rewrite does not heal it */
    }
}

/* Damage as a careless migration would do it, to ballast: nobody but the verification looks there.
 */
static void (*damage)(void);

static void script_damage(uint64_t poll)
{
    if (poll == PAGES * 2) {
        damage();
        send("verify\n");
    }
    if (poll == PAGES * 5)
        send("quit\n");
}

static void lose_page(void)
{
    memset(memory[12], 0, MC_PAGE_BYTES);
}

static void swap_page(void)
{
    memcpy(memory[12], memory[13], MC_PAGE_BYTES);
}

static void tear_page(void)
{
    mc_page_write((uint64_t *)(void *)memory[12], 12, 0);
    memcpy(memory[12] + 2048, memory[13] + 2048, 2048);
}

static void age_page(void)
{
    mc_page_write((uint64_t *)(void *)memory[12], 12, 0);
}

static void write_to_zero_page(void)
{
    memory[7][MC_PAGE_BYTES - 1] = 1;
}

static void age_table(void)
{
    /* Table and page agree, as they would if both came from an old copy; only the sum knows. */
    generations[12] = 5;
    mc_page_write((uint64_t *)(void *)memory[12], 12, 5);
}

static void test_damage_is_named(void **state)
{
    static const struct {
        void (*damage)(void);
        const char *says;
    } cases[] = {
        {lose_page, "number=12 expected generation=1 found number=0 generation=0 offset=0 "
                    "expected_byte=0xc found_byte=0x0 (all zero)\n"},
        {swap_page, "number=12 expected generation=1 found number=13 generation=1 offset=0 "
                    "expected_byte=0xc found_byte=0xd (whole, but another page)\n"},
        {tear_page, "found number=12 generation=0 offset=8 expected_byte=0x1 found_byte=0x0 (torn "
                    "or overwritten)\n"},
        {age_page, "offset=8 expected_byte=0x1 found_byte=0x0 (whole, but stale)\n"},
        {write_to_zero_page,
         "number=7 expected generation=0 found number=0 generation=0 offset=4095 "
         "expected_byte=0x0 found_byte=0x1 "},
        {age_table, "memcheck: WRONG TABLE of generations worker=0\n"},
    };

    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        damage = cases[i].damage;
        run(script_damage);
        assert_printed(cases[i].says);
        assert_printed("errors=1 FAILED\n");
    }
}

/* Every single byte of a page counts. */
static void test_every_byte_counts(void **state)
{
    uint64_t page[MC_PAGE_WORDS], expected;

    mc_page_write(page, 5, 9);
    assert_int_equal(mc_page_check(page, 5, 9, &expected), MC_PAGE_WORDS);
    for (unsigned i = 0; i < MC_PAGE_BYTES; i++) {
        ((uint8_t *)page)[i] ^= 1;
        assert_int_equal(mc_page_check(page, 5, 9, &expected), i / 8);
        assert_int_equal(page[i / 8] ^ expected, UINT64_C(1) << (i % 8 * 8));
        ((uint8_t *)page)[i] ^= 1;
    }
}

static uint64_t rewritten_at_start;

static void script_rate(uint64_t poll)
{
    if (poll == PAGES * 2) {
        send("rate 50\n");
        now_ticks += HZ;
        rewritten_at_start = mc_workers[0].rewritten;
    }
    if (now_ticks >= 1000000 + 11 * HZ)
        send("quit\n");
}

static void test_rate_is_kept(void **state)
{
    uint64_t rewrites;

    now_ticks = 1000000;
    run(script_rate);
    assert_printed("memcheck: rate=50\n");
    rewrites = mc_workers[0].rewritten - rewritten_at_start;
    assert_in_range(rewrites, 400, 510); /* ten seconds */
}

static void script_babble(uint64_t poll)
{
    if (poll != PAGES * 2)
        return;
    for (unsigned i = 0; i < 5000; i++)
        mc_service_byte((char)('a' + i % 26));
    send("\n\n\r\nrate\nrate x\nrate 99999999999999999999999\ncorrupt 40\ncorrupt 64\n");
    send("corrupt -1\nverify now\nverify\nverify\nrate 18446744073709551615\nquit\n");
}

static void test_babble_is_answered(void **state)
{
    run(script_babble);
    assert_printed("memcheck: the line is too long\n");
    assert_printed("memcheck: rate: wants a number");
    assert_printed("memcheck: corrupt: wants the number of a page\n");
    assert_printed("memcheck: a full verify is under way\n");
    assert_printed("memcheck: unknown command;");
    assert_not_printed("corrupted page");
    assert_printed("memcheck: quit\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sound_memory_is_ok), cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_corrupt_fails),      cmocka_unit_test(test_damage_is_named),
        cmocka_unit_test(test_every_byte_counts),  cmocka_unit_test(test_rate_is_kept),
        cmocka_unit_test(test_babble_is_answered),
    };

    return cmocka_run_group_tests_name("guest-memcheck", tests, NULL, NULL);
}
