/* SPDX-License-Identifier: MIT */
/*
 * The guest-physical address space: what is RAM, what is a device, and what is neither.
 */
#include "tests/unit/rv64/bench.h"

#include <errno.h>
#include <string.h>

static void ram_has_ends(void **state)
{
    struct bench *bench = *state;
    struct vmm_memory *memory = &bench->memory;

    assert_ptr_equal(vmm_memory_ram(memory, RAM_BASE, RAM_BYTES), memory->ram);
    assert_ptr_equal(vmm_memory_ram(memory, RAM_BASE + RAM_BYTES - 1, 1),
                     memory->ram + RAM_BYTES - 1);
    assert_null(vmm_memory_ram(memory, RAM_BASE + RAM_BYTES - 1, 2));
    assert_null(vmm_memory_ram(memory, RAM_BASE + RAM_BYTES, 1));
    assert_null(vmm_memory_ram(memory, RAM_BASE - 1, 1));
    assert_null(vmm_memory_ram(memory, RAM_BASE, UINT64_MAX));
    assert_null(vmm_memory_ram(memory, UINT64_MAX, 8));
}

static void devices_answer_inside_only(void **state)
{
    struct bench *bench = *state;
    uint64_t value = 0;

    bench->mmio.value = 7;
    assert_true(vmm_memory_mmio_read(&bench->memory, MMIO_BASE + 0xf8, 8, &value));
    assert_int_equal(value, 7);
    assert_int_equal(bench->mmio.offset, 0xf8);
    assert_false(vmm_memory_mmio_read(&bench->memory, MMIO_BASE + 0xfc, 8, &value));
    assert_false(vmm_memory_mmio_read(&bench->memory, MMIO_BASE + 0x100, 1, &value));
    assert_false(vmm_memory_mmio_read(&bench->memory, MMIO_BASE - 1, 1, &value));
    assert_false(vmm_memory_mmio_read(&bench->memory, MMIO_BASE, 3, &value));
    assert_false(vmm_memory_mmio_write(&bench->memory, RAM_BASE, 4, 1));
    assert_int_equal(bench->mmio.reads, 1);
    assert_int_equal(bench->mmio.writes, 0);
}

static void refuses_odd_sizes(void **state)
{
    static const struct {
        uint64_t base, bytes;
    } cases[] = {{RAM_BASE, 0}, {RAM_BASE, 4097}, {RAM_BASE + 1, 4096}, {0 - (uint64_t)4096, 8192}};
    struct vmm_memory memory;
    struct baton_error error;

    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        memset(&error, 0, sizeof(error));
        assert_int_equal(vmm_memory_init(&memory, cases[i].base, cases[i].bytes, &error), -EINVAL);
        assert_int_equal(error.code, EINVAL);
        assert_true(strlen(error.text) > 0);
        vmm_memory_fini(&memory); /* harmless */
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)
    const struct CMUnitTest tests[] = {
        TEST(ram_has_ends),
        TEST(devices_answer_inside_only),
        TEST(refuses_odd_sizes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
