/* SPDX-License-Identifier: MIT */
/* The block table: what it refuses, how it finds, and what discarding and zeroing do to memory. */
#include "harness.h"

static struct baton_ram_block block(const char *name, uint8_t *host, uint64_t pages)
{
    return (struct baton_ram_block){
        .name = name, .host = host, .length_bytes = pages * PAGE, .page_bytes = PAGE};
}

static void bad_tables_are_refused(void **state)
{
    static char long_name[300];
    uint8_t *memory = map_pages(8);
    struct baton_ram_block good = block("a", memory, 4), bad[BATON_MAX_RAM_BLOCKS + 1];
    struct baton_error error = {0};
    struct ram_table table;
    const struct {
        struct baton_ram_block second;
        const char *says;
    } cases[] = {
        {block("a", memory + 4 * PAGE, 4), "names tell them apart"},
        {block("b", memory + 3 * PAGE, 4), "share memory"},
        {block("b", memory + 1 * PAGE, 1), "share memory"},
        {block("", memory + 4 * PAGE, 4), "a name of 0 bytes"},
        {block(NULL, memory + 4 * PAGE, 4), "a name of 0 bytes"},
        {block(long_name, memory + 4 * PAGE, 4), "a name of 256 bytes"},
        {block("b", memory + 4 * PAGE, 0), "whole pages"},
        {block("b", memory + 4 * PAGE + 1, 1), "no pages"},
        {block("b", NULL, 1), "no pages"},
        {block("b", (uint8_t *)(UINTPTR_MAX - PAGE + 1), 2), "no pages"},
        {{"b", memory + 4 * PAGE, PAGE + 1, PAGE}, "whole pages"},
        {{"b", memory + 4 * PAGE, 4 * PAGE, 3 * PAGE}, "a power of two"},
        {{"b", memory + 4 * PAGE, 4 * PAGE, 4u << 20}, "a power of two"},
        {{"b", memory + 4 * PAGE, 4 * PAGE, 2u << 20}, "whole pages"},
        {{"b", memory + 4 * PAGE, 4 * PAGE, 0}, "a power of two"},
    };

    memset(long_name, 'n', 256);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        bad[0] = good;
        bad[1] = cases[i].second;
        assert_int_equal(ram_table_init(&table, bad, 2, &error), -EINVAL);
        if (!strstr(error.text, cases[i].says))
            fail_msg("case %zu was answered with: %s", i, error.text);
    }
    assert_int_equal(ram_table_init(&table, bad, 0, &error), -EINVAL);
    assert_int_equal(ram_table_init(&table, bad, BATON_MAX_RAM_BLOCKS + 1, &error), -EINVAL);
    munmap(memory, 8 * PAGE);
}

static void everything_is_found_by_name_and_by_address(void **state)
{
    uint8_t *memory = map_pages(8);
    struct baton_ram_block blocks[] = {block("low", memory + 4 * PAGE, 4),
                                       block("lower", memory, 3)};
    struct baton_error error = {0};
    struct ram_table table;
    uint64_t offset;
    unsigned index;

    must(ram_table_init(&table, blocks, 2, &error), &error);
    assert_int_equal(table.total_bytes, 7 * PAGE);
    assert_int_equal(ram_find_name(&table, "low", 3), 0);
    assert_int_equal(ram_find_name(&table, "lower", 5), 1);
    assert_int_equal(ram_find_name(&table, "lowe", 4), -1);
    assert_int_equal(ram_find_name(&table, "low\0", 4), -1);
    assert_int_equal(ram_find_name(&table, "", 0), -1);
    assert_true(ram_find_host(&table, memory + 4 * PAGE, &index, &offset));
    assert_int_equal(index, 0);
    assert_int_equal(offset, 0);
    assert_true(ram_find_host(&table, memory + 3 * PAGE - 1, &index, &offset));
    assert_int_equal(index, 1);
    assert_int_equal(offset, 3 * PAGE - 1);
    assert_false(ram_find_host(&table, memory + 3 * PAGE, &index, &offset));
    assert_false(ram_find_host(&table, memory + 8 * PAGE, &index, &offset));
    assert_false(ram_find_host(&table, NULL, &index, &offset));
    munmap(memory, 8 * PAGE);
}

static void ranges_of_a_peer_are_checked(void **state)
{
    struct ram_table table;

    make_table(&table, 4);
    assert_true(ram_range_ok(&table, 0, 0, 4 * PAGE));
    assert_true(ram_range_ok(&table, 0, 4 * PAGE, 0));
    assert_false(ram_range_ok(&table, 0, 4 * PAGE, 1));
    assert_false(ram_range_ok(&table, 0, 1, 4 * PAGE));
    assert_false(ram_range_ok(&table, 0, PAGE, UINT64_MAX - PAGE + 1));
    assert_false(ram_range_ok(&table, 0, UINT64_MAX, 1));
    assert_false(ram_range_ok(&table, 1, 0, 0));
    assert_false(ram_range_ok(&table, UINT64_MAX, 0, 0));
    drop_table(&table);
}

static void discarded_pages_are_zero_and_gone(void **state)
{
    struct baton_error error = {0};
    struct ram_table table;
    unsigned char there[8];
    uint8_t *host;

    make_table(&table, 8);
    host = table.blocks[0].host;
    memset(host, 0xaa, 8 * PAGE);
    must(ram_discard(&table, 0, 2 * PAGE, 3 * PAGE, &error), &error);
    must(ram_discard(&table, 0, 0, 0, &error), &error);
    assert_int_equal(mincore(host, 8 * PAGE, there), 0);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(there[i] & 1, i < 2 || i >= 5);
    assert_int_equal(host[2 * PAGE - 1], 0xaa);
    assert_int_equal(host[2 * PAGE], 0);
    assert_int_equal(host[5 * PAGE], 0xaa);
    assert_int_equal(ram_discard(&table, 0, 0, 9 * PAGE, &error), -EINVAL);
    assert_int_equal(ram_discard(&table, 1, 0, PAGE, &error), -EINVAL);
    assert_int_equal(ram_discard(&table, 0, 1, PAGE, &error), -EINVAL);
    assert_int_equal(ram_discard(&table, 0, 0, 1, &error), -EINVAL);
    drop_table(&table);
}

static void a_zero_page_is_zero_whatever_was_there(void **state)
{
    struct ram_table table;
    uint8_t *host;

    make_table(&table, 4);
    host = table.blocks[0].host;
    host[PAGE + 4095] = 1; /* an earlier copy of the page: the newest wins */
    host[3 * PAGE] = 7;
    ram_touch_zero(&table, 0, 0, 3 * PAGE);
    assert_true(baton_guest_is_zero(host, 3 * PAGE));
    assert_int_equal(host[3 * PAGE], 7);
    drop_table(&table);
}

static void ram_is_kept_out_of_forks(void **state)
{
    struct baton_error error = {0};
    struct ram_table table;

    make_table(&table, 4);
    must(ram_dont_fork(&table, &error), &error);
    munmap(table.blocks[0].host, 4 * PAGE);
    assert_int_equal(ram_dont_fork(&table, &error), -ENOMEM);
    assert_non_null(strstr(error.text, "'ram'"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_tables_are_refused),
        cmocka_unit_test(everything_is_found_by_name_and_by_address),
        cmocka_unit_test(ranges_of_a_peer_are_checked),
        cmocka_unit_test(discarded_pages_are_zero_and_gone),
        cmocka_unit_test(a_zero_page_is_zero_whatever_was_there),
        cmocka_unit_test(ram_is_kept_out_of_forks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
