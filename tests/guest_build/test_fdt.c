/* SPDX-License-Identifier: MIT */
/*
 * The bare-metal guest's device tree walker, run natively: trees made by libfdt, whole, cut short
 * and damaged.
 *
 * The tree lies at the very end of a mapping whose next page cannot be touched, so reading too far
 * is a crash.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>
#include <libfdt.h>

#include "bare/fdt.h"

#define TREE_MAX_BYTES 4096
#define INSIDE UINT64_C(0x80020000)

static uint8_t tree[TREE_MAX_BYTES];
static size_t tree_bytes;

static void make_tree(unsigned harts, uint64_t ram_bytes)
{
    char name[32];

    assert_int_equal(fdt_create(tree, sizeof(tree)), 0);
    fdt_finish_reservemap(tree);
    fdt_begin_node(tree, "");
    fdt_property_u32(tree, "#address-cells", 2);
    fdt_property_u32(tree, "#size-cells", 2);
    fdt_begin_node(tree, "memory@80000000");
    fdt_property_string(tree, "device_type", "memory");
    uint32_t reg[8] = {0,
                       cpu_to_fdt32(0x1000),
                       0,
                       cpu_to_fdt32(0x1000),
                       0,
                       cpu_to_fdt32(0x80000000),
                       cpu_to_fdt32((uint32_t)(ram_bytes >> 32)),
                       cpu_to_fdt32((uint32_t)ram_bytes)};
    fdt_property(tree, "reg", reg, sizeof(reg));
    fdt_end_node(tree);
    fdt_begin_node(tree, "cpus");
    fdt_property_u32(tree, "#address-cells", 1);
    fdt_property_u32(tree, "#size-cells", 0);
    for (unsigned i = 0; i < harts; i++) {
        snprintf(name, sizeof(name), "cpu@%x", i);
        fdt_begin_node(tree, name);
        fdt_property_u32(tree, "reg", i);
        fdt_begin_node(tree, "interrupt-controller");
        fdt_end_node(tree);
        fdt_end_node(tree);
    }
    fdt_begin_node(tree, "cpu-map");
    fdt_end_node(tree);
    fdt_end_node(tree);
    fdt_end_node(tree);
    assert_int_equal(fdt_finish(tree), 0);
    tree_bytes = fdt_totalsize(tree);
}

/* A copy of `bytes` bytes of the tree that ends where memory ends. */
static uint8_t *at_the_edge(size_t bytes)
{
    static uint8_t *area;

    if (!area) {
        area = mmap(NULL, 2 * TREE_MAX_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                    -1, 0);
        assert_ptr_not_equal(area, MAP_FAILED);
        assert_int_equal(mprotect(area + TREE_MAX_BYTES, TREE_MAX_BYTES, PROT_NONE), 0);
    }
    return memcpy(area + TREE_MAX_BYTES - bytes, tree, bytes);
}

static void test_reads_what_is_there(void **state)
{
    struct bare_fdt result;

    make_tree(3, UINT64_C(5) << 30);
    assert_true(bare_fdt_parse(at_the_edge(tree_bytes), INSIDE, &result));
    assert_int_equal(result.harts, 3);
    assert_int_equal(result.ram_base, 0x80000000);
    assert_int_equal(result.ram_bytes, UINT64_C(5) << 30);
    assert_int_equal(result.total_bytes, tree_bytes);
}

static void test_refuses_what_does_not_help(void **state)
{
    struct bare_fdt result;

    make_tree(0, 1 << 26);
    assert_false(bare_fdt_parse(at_the_edge(tree_bytes), INSIDE, &result));
    make_tree(1, 0x1000); /* RAM ends below the image */
    assert_false(bare_fdt_parse(at_the_edge(tree_bytes), INSIDE, &result));
    make_tree(1, 1 << 26);
    tree[0] ^= 1;
    assert_false(bare_fdt_parse(at_the_edge(tree_bytes), INSIDE, &result));
}

/* Offsets of fields in the header. */
enum { TOTAL = 4, STRINGS = 12, STRINGS_BYTES = 32, STRUCT_BYTES = 36 };

static void set_field(uint8_t *header, unsigned field, size_t value)
{
    for (unsigned i = 0; i < 4; i++)
        header[field + i] = (uint8_t)(value >> (24 - 8 * i));
}

/* Cut anywhere, with a header that says so: never a byte beyond the end. */
static void test_cut_anywhere(void **state)
{
    size_t structure, structure_bytes;

    make_tree(2, 1 << 26);
    structure = fdt_off_dt_struct(tree);
    structure_bytes = fdt_size_dt_struct(tree);
    for (size_t bytes = 40; bytes < tree_bytes; bytes++) {
        struct bare_fdt result;
        uint8_t *cut = at_the_edge(bytes);

        set_field(cut, TOTAL, bytes);
        assert_false(bare_fdt_parse(cut, INSIDE, &result));
        if (bytes <= structure)
            continue;
        /* Blocks that seem to be in order: they end where the tree does. */
        if (structure_bytes > bytes - structure)
            set_field(cut, STRUCT_BYTES, bytes - structure);
        set_field(cut, STRINGS, 0);
        set_field(cut, STRINGS_BYTES, bytes);
        bare_fdt_parse(cut, INSIDE, &result);
    }
}

/* Every byte set to a few nasty values. */
static void test_damaged_anywhere(void **state)
{
    static const uint8_t values[] = {0x00, 0x01, 0x03, 0x7f, 0x80, 0xff};

    make_tree(2, 1 << 26);
    for (size_t i = 8; i < tree_bytes; i++)
        for (unsigned v = 0; v < sizeof(values); v++) {
            struct bare_fdt result;
            uint8_t *damaged = at_the_edge(tree_bytes);

            damaged[i] = values[v];
            bare_fdt_parse(damaged, INSIDE, &result);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_what_is_there),
        cmocka_unit_test(test_refuses_what_does_not_help),
        cmocka_unit_test(test_cut_anywhere),
        cmocka_unit_test(test_damaged_anywhere),
    };

    return cmocka_run_group_tests_name("guest-fdt", tests, NULL, NULL);
}
