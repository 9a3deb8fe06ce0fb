/* SPDX-License-Identifier: MIT */
/* CLINT and PLIC: registers, what harts are told, save and load, and sections that lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fake_baton.h"
#include "section.h"
#include "vmm/device/clint.h"
#include "vmm/device/plic.h"

static struct vmm_clock *test_clock;
static struct vmm_clint *clint;
static struct vmm_plic *plic;
static atomic_uint lines[2]; /* what each hart was told, by mip bit */

static void set_line(void *opaque, unsigned hart, unsigned line, bool level)
{
    if (level)
        atomic_fetch_or(&lines[hart], 1u << line);
    else
        atomic_fetch_and(&lines[hart], ~(1u << line));
}

static bool told(unsigned hart, unsigned line)
{
    return atomic_load(&lines[hart]) >> line & 1;
}

static int set_up(void **state)
{
    struct vmm_hart_irqs irqs = {set_line, NULL};

    atomic_store(&lines[0], 0);
    atomic_store(&lines[1], 0);
    return vmm_clock_new(&test_clock, NULL) || vmm_clint_new(test_clock, 2, &irqs, &clint, NULL) ||
           vmm_plic_new(2, &irqs, &plic, NULL);
}

static int tear_down(void **state)
{
    vmm_clock_free(test_clock);
    vmm_clint_free(clint);
    vmm_plic_free(plic);
    return 0;
}

static uint64_t clint_get(uint64_t offset, unsigned size)
{
    return vmm_clint_mmio.read(clint, offset, size);
}

static void clint_put(uint64_t offset, unsigned size, uint64_t value)
{
    vmm_clint_mmio.write(clint, offset, size, value);
}

static uint32_t plic_get(uint64_t offset)
{
    return (uint32_t)vmm_plic_mmio.read(plic, offset, 4);
}

static void plic_put(uint64_t offset, uint32_t value)
{
    vmm_plic_mmio.write(plic, offset, 4, value);
}

static void test_clint_software(void **state)
{
    clint_put(4, 4, 0xffffffff);
    assert_true(told(1, VMM_MIP_MSIP));
    assert_false(told(0, VMM_MIP_MSIP));
    assert_int_equal(clint_get(4, 4), 1);
    clint_put(4, 4, 0);
    assert_false(told(1, VMM_MIP_MSIP));
    clint_put(8, 4, 1); /* no such hart */
    assert_int_equal(clint_get(8, 4), 0);
    clint_put(0, 1, 1); /* not at this size */
    assert_int_equal(clint_get(0, 4), 0);
}

static void test_clint_time(void **state)
{
    vmm_clock_set(test_clock, 0x500000001);
    assert_int_equal(clint_get(0xbff8, 8), 0x500000001);
    assert_int_equal(clint_get(0xbff8, 4), 1);
    assert_int_equal(clint_get(0xbffc, 4), 5);
    assert_int_equal(clint_get(0x4008, 8), UINT64_MAX);
    clint_put(0x4008, 8, 0x500000001);
    assert_true(told(1, VMM_MIP_MTIP));
    clint_put(0x400c, 4, 6);
    assert_int_equal(clint_get(0x4008, 8), 0x600000001);
    assert_false(told(1, VMM_MIP_MTIP));
    clint_put(0x4008, 4, 7);
    assert_int_equal(clint_get(0x4008, 8), 0x600000007);
    clint_put(0xbffc, 4, 6);
    clint_put(0xbff8, 4, 7);
    assert_true(told(1, VMM_MIP_MTIP));
    clint_put(0xbff8, 8, UINT64_MAX);
    assert_true(vmm_clock_ticks(test_clock) <= VMM_CLOCK_MAX_TICKS);
    assert_int_equal(clint_get(0x8000, 8), 0);
}

static void test_clint_timer_fires(void **state)
{
    struct timespec ms = {.tv_nsec = 1000000};

    vmm_clock_start(test_clock);
    clint_put(0x4000, 8, vmm_clock_ticks(test_clock) + VMM_CLOCK_HZ / 100);
    assert_false(told(0, VMM_MIP_MTIP));
    for (int i = 0; i < 2000 && !told(0, VMM_MIP_MTIP); i++)
        nanosleep(&ms, NULL);
    assert_true(told(0, VMM_MIP_MTIP));
    assert_true(clint_get(0xbff8, 8) >= vmm_clint_deadline(clint, 0));
}

static void test_clint_section(void **state)
{
    struct baton_device device;
    uint8_t *bytes;
    size_t length;

    vmm_clint_section(clint, &device);
    vmm_clock_set(test_clock, 77777);
    clint_put(4, 4, 1);
    clint_put(0x4000, 8, 12345);
    fake_save(&device, &bytes, &length);
    vmm_clint_reset(clint);
    vmm_clock_set(test_clock, 5);
    assert_int_equal(atomic_load(&lines[0]) | atomic_load(&lines[1]), 0);
    section_check_round_trip(&device, bytes, length);
    assert_int_equal(vmm_clock_ticks(test_clock), 77777);
    assert_true(told(1, VMM_MIP_MSIP) && told(0, VMM_MIP_MTIP) && !told(1, VMM_MIP_MTIP));
    section_check_cuts(&device, bytes, length);
    section_check_refused(&device, bytes, length, 0, 0x80); /* time out of range */
    section_check_refused(&device, bytes, length, 11, 3);   /* another number of harts */
    section_check_refused(&device, bytes, length, 12, 2);   /* msip of 2 */
    section_check_noise(&device, length);
    free(bytes);
}

static void test_plic_claims(void **state)
{
    plic_put(4 * 10, 3);
    plic_put(4 * 11, 9); /* 3 bits are kept */
    assert_int_equal(plic_get(4 * 11), 1);
    plic_put(0, 5);
    assert_int_equal(plic_get(0), 0);
    plic_put(0x2000 + 0x80 * 1, 1 << 10 | 1 << 11 | 1); /* hart 0, S mode */
    assert_int_equal(plic_get(0x2080), 1 << 10 | 1 << 11);
    vmm_plic_set(plic, 11, true);
    vmm_plic_set(plic, 10, true);
    assert_int_equal(plic_get(0x1000), 1 << 10 | 1 << 11);
    assert_true(told(0, VMM_MIP_SEIP));
    assert_false(told(0, VMM_MIP_MEIP));
    assert_false(told(1, VMM_MIP_SEIP));
    plic_put(0x201000, 3); /* threshold: not above it */
    assert_false(told(0, VMM_MIP_SEIP));
    plic_put(0x201000, 0);
    assert_int_equal(plic_get(0x201004), 10); /* the higher priority */
    assert_int_equal(plic_get(0x201004), 11);
    assert_int_equal(plic_get(0x201004), 0);
    assert_false(told(0, VMM_MIP_SEIP));
    plic_put(0x201004, 10); /* still high: pending again */
    assert_true(told(0, VMM_MIP_SEIP));
    vmm_plic_set(plic, 10, false); /* withdrawn */
    assert_false(told(0, VMM_MIP_SEIP));
    vmm_plic_set(plic, 11, false);
    plic_put(0x201004, 11);
    plic_put(0x201004, 4000); /* nonsense */
    assert_false(told(0, VMM_MIP_SEIP));
    assert_int_equal(plic_get(0x1000), 0);
}

static void test_plic_edges_of_the_map(void **state)
{
    for (uint64_t offset = 0; offset < VMM_PLIC_BYTES; offset += 0x7c) {
        plic_put(offset, 0xffffffff);
        (void)plic_get(offset);
    }
    plic_put(VMM_PLIC_BYTES - 4, 1);
    assert_int_equal(vmm_plic_mmio.read(plic, 4, 8), 0);
}

static void test_plic_section(void **state)
{
    struct baton_device device;
    uint8_t *bytes;
    size_t length;

    vmm_plic_section(plic, &device);
    plic_put(4 * 10, 3);
    plic_put(4 * 40, 2);
    plic_put(0x2080, 1 << 10);
    plic_put(0x2180 + 4, 1 << 8); /* hart 1, S mode, source 40 */
    vmm_plic_set(plic, 10, true);
    vmm_plic_set(plic, 40, true);
    assert_int_equal(plic_get(0x203004), 40);
    fake_save(&device, &bytes, &length);
    vmm_plic_set(plic, 10, false);
    vmm_plic_reset(plic);
    assert_int_equal(atomic_load(&lines[0]), 0);
    section_check_round_trip(&device, bytes, length);
    assert_true(told(0, VMM_MIP_SEIP));
    assert_int_equal(plic_get(0x201004), 10);
    plic_put(0x203004, 40); /* the claim came along, and the input's level */
    assert_true(told(1, VMM_MIP_SEIP));
    section_check_cuts(&device, bytes, length);
    section_check_refused(&device, bytes, length, 3, 6);           /* contexts */
    section_check_refused(&device, bytes, length, 4, 1);           /* priority of source 0 */
    section_check_refused(&device, bytes, length, 5, 8);           /* priority too high */
    section_check_refused(&device, bytes, length, 4 + 96 + 3, 1);  /* source 0 is high */
    section_check_refused(&device, bytes, length, 4 + 96 + 36, 8); /* threshold */
    section_check_refused(&device, bytes, length, 4 + 96 + 40, 1); /* source 0 enabled */
    section_check_noise(&device, length);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_clint_software, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_clint_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_clint_timer_fires, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_clint_section, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_plic_claims, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_plic_edges_of_the_map, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_plic_section, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
