/* SPDX-License-Identifier: MIT */
/*
 * The map of the memory that arrives tells what is here and nothing else. Each test is named after
 * the failure that it protects from.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "pair.h"

#define LIMIT_MS 20000
#define MORE_CELLS (PAIR_PAGES * 2 + 5)

static struct vm source, dest;
static uint8_t cells[MORE_CELLS];

static void ok(int result, const struct baton_error *error)
{
    if (result < 0)
        fail_msg("%s", error->text);
}

static void map(unsigned count)
{
    struct baton_error error;

    memset(cells, 0xff, sizeof(cells));
    ok(baton_received_map(dest.baton, 0, count, cells, &error), &error);
    for (unsigned i = 0; i < count; i++)
        assert_in_range(cells[i], 0, 100);
    if (count < MORE_CELLS)
        assert_int_equal(cells[count], 0xff);
}

static void all_are(uint8_t percent)
{
    const unsigned counts[] = {1, 7, PAIR_PAGES, MORE_CELLS};

    for (unsigned i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        map(counts[i]);
        for (unsigned cell = 0; cell < counts[i]; cell++)
            assert_int_equal(cells[cell], percent);
    }
}

static int set_up(void **state)
{
    (void)state;
    vm_init(&source, "source", false);
    vm_init(&dest, "dest", true);
    baton_set_capability(source.baton, BATON_CAPABILITY_POSTCOPY_RAM, true, NULL);
    baton_set_capability(dest.baton, BATON_CAPABILITY_POSTCOPY_RAM, true, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    vm_fini(&source);
    vm_fini(&dest);
    return 0;
}

static void refused(struct baton *baton, unsigned block, unsigned count, int code,
                    const char *sentence)
{
    struct baton_error error;

    assert_int_equal(baton_received_map(baton, block, count, cells, &error), -code);
    assert_int_equal(error.code, code);
    assert_non_null(strstr(error.text, sentence));
}

static void test_a_map_that_cannot_be_is_drawn(void **state)
{
    (void)state;
    refused(source.baton, 0, 16, EBUSY, "ask the destination");
    refused(source.baton, 1, 16, EINVAL, "no RAM block 1");
    refused(source.baton, UINT32_MAX, 16, EINVAL, "no RAM block");
    refused(source.baton, 0, 0, EINVAL, "no cells");
    assert_int_equal(baton_received_map(source.baton, 0, 0, cells, NULL), -EINVAL);
}

/* The switchover may come before any page was sent. */
static void wait_for_pages(unsigned pages)
{
    struct baton_info info;

    for (unsigned i = 0; i < LIMIT_MS; i++) {
        baton_query(dest.baton, &info);
        if (info.missing_pages <= PAIR_PAGES - pages)
            return;
        usleep(1000);
    }
    fail_msg("no pages come: %lu are missing", info.missing_pages);
}

/* Paused, nothing moves: what is drawn must be what is counted. */
static void check_paused(void)
{
    struct baton_info info;
    unsigned here = 0, sum = 0;

    baton_query(dest.baton, &info);
    assert_in_range(info.missing_pages, 1, PAIR_PAGES - 1);
    map(PAIR_PAGES);
    for (unsigned i = 0; i < PAIR_PAGES; i++)
        here += cells[i] == 100;
    assert_int_equal(here, PAIR_PAGES - info.missing_pages);
    map(1);
    assert_int_equal(cells[0], here * 100 / PAIR_PAGES);
    map(PAIR_PAGES / 8);
    for (unsigned i = 0; i < PAIR_PAGES / 8; i++)
        sum += (cells[i] * 8u + 99) / 100; /* pages of eight, rounded down to percent */
    assert_int_equal(sum, here);
    map(MORE_CELLS);
}

static void test_a_page_is_drawn_that_is_not_here_or_is_and_is_not(void **state)
{
    struct baton_error error;
    struct baton_info info;

    (void)state;
    ok(baton_incoming(dest.baton, "tcp:127.0.0.1:0", &error), &error);
    all_are(0);
    baton_query(dest.baton, &info);
    baton_set_parameter(source.baton, BATON_PARAMETER_MAX_BANDWIDTH, 20000000, NULL);
    baton_set_parameter(source.baton, BATON_PARAMETER_MAX_POSTCOPY_BANDWIDTH, 1000000, NULL);
    ok(baton_migrate(source.baton, info.addresses[0], false, &error), &error);
    ok(baton_start_postcopy(source.baton, &error), &error);
    assert_true(vm_wait_status(&source, BATON_STATUS_POSTCOPY_ACTIVE, LIMIT_MS));
    assert_true(vm_wait_status(&dest, BATON_STATUS_POSTCOPY_ACTIVE, LIMIT_MS));
    wait_for_pages(100);
    ok(baton_pause(source.baton, &error), &error);
    assert_true(vm_wait_status(&source, BATON_STATUS_POSTCOPY_PAUSED, LIMIT_MS));
    assert_true(vm_wait_status(&dest, BATON_STATUS_POSTCOPY_PAUSED, LIMIT_MS));
    check_paused();
    refused(source.baton, 0, 16, EBUSY, "ask the destination");
    baton_set_parameter(source.baton, BATON_PARAMETER_MAX_POSTCOPY_BANDWIDTH, 0, NULL);
    ok(baton_migrate(source.baton, info.addresses[0], true, &error), &error);
    assert_true(vm_wait_status(&dest, BATON_STATUS_COMPLETED, LIMIT_MS));
    all_are(100);
    assert_true(vm_wait_status(&source, BATON_STATUS_COMPLETED, LIMIT_MS));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_map_that_cannot_be_is_drawn, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_page_is_drawn_that_is_not_here_or_is_and_is_not,
                                        set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
