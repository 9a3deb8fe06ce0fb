/* SPDX-License-Identifier: MIT */
/* Serial port, real-time clock and syscon: registers, interrupts, save and load, and sections that
 * lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fake_baton.h"
#include "section.h"
#include "vmm/device/rtc.h"
#include "vmm/device/syscon.h"
#include "vmm/device/uart.h"

enum { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR };

static struct vmm_clock *test_clock;
static struct vmm_uart *uart;
static struct vmm_rtc *rtc;
static struct vmm_syscon *syscon;
static bool level[16];
static char sent[64];
static size_t sent_count;
static const char *input;
static unsigned notified;

static void set_level(void *opaque, unsigned line, bool value)
{
    level[line] = value;
}

static void put(void *opaque, uint8_t byte)
{
    sent[sent_count++ % sizeof(sent)] = (char)byte;
}

static size_t take(void *opaque, uint8_t *bytes, size_t size)
{
    size_t count = 0;

    while (count < size && input && *input)
        bytes[count++] = (uint8_t)*input++;
    return count;
}

static void notify(void *opaque)
{
    notified++;
}

static int set_up(void **state)
{
    struct vmm_irq uart_irq = {set_level, NULL, 10};
    struct vmm_irq rtc_irq = {set_level, NULL, 11};
    struct vmm_uart_wire wire = {put, take, NULL};

    memset(level, 0, sizeof(level));
    sent_count = 0;
    input = NULL;
    notified = 0;
    if (vmm_clock_new(&test_clock, NULL) || vmm_uart_new(&uart_irq, &wire, &uart, NULL) ||
        vmm_rtc_new(test_clock, &rtc_irq, &rtc, NULL) ||
        vmm_syscon_new(notify, NULL, &syscon, NULL))
        return -1;
    vmm_uart_pause(uart, false);
    return 0;
}

static int tear_down(void **state)
{
    vmm_clock_free(test_clock);
    vmm_uart_free(uart);
    vmm_rtc_free(rtc);
    vmm_syscon_free(syscon);
    return 0;
}

static uint8_t uart_get(unsigned reg)
{
    return (uint8_t)vmm_uart_mmio.read(uart, reg, 1);
}

static void uart_put(unsigned reg, uint8_t value)
{
    vmm_uart_mmio.write(uart, reg, 1, value);
}

static void feed(const char *text)
{
    input = text;
    vmm_uart_input(uart);
}

static void test_uart_sends(void **state)
{
    assert_int_equal(uart_get(LSR), 0x60);
    assert_int_equal(uart_get(IIR), 0x01);
    uart_put(DATA, 'h');
    uart_put(DATA, 'i');
    assert_int_equal(sent_count, 2);
    assert_memory_equal(sent, "hi", 2);
    assert_false(level[10]);
    uart_put(IER, 0x02); /* enabling raises it */
    assert_true(level[10]);
    assert_int_equal(uart_get(IIR), 0x02); /* and reading it takes it down */
    assert_false(level[10]);
    assert_int_equal(uart_get(IIR), 0x01);
    uart_put(DATA, '!');
    assert_true(level[10]);
    uart_put(IER, 0x00);
    assert_false(level[10]);
    uart_put(IER, 0xff);
    assert_int_equal(uart_get(IER), 0x0f);
    uart_put(SCR, 0x5a);
    assert_int_equal(uart_get(SCR), 0x5a);
}

static void test_uart_divisor(void **state)
{
    uart_put(LCR, 0x80);
    uart_put(DATA, 24);
    uart_put(IER, 1);
    assert_int_equal(sent_count, 0);
    assert_int_equal(uart_get(DATA), 24);
    assert_int_equal(uart_get(IER), 1);
    uart_put(LCR, 3);
    assert_int_equal(uart_get(IER), 0);
    assert_int_equal(uart_get(LCR), 3);
}

static void test_uart_receives(void **state)
{
    uart_put(IER, 0x01);
    feed("ab"); /* without FIFO: one, the other stays with the sender */
    assert_true(level[10]);
    assert_int_equal(uart_get(IIR), 0x04);
    assert_int_equal(uart_get(LSR), 0x61);
    assert_string_equal(input, "b");
    assert_int_equal(uart_get(DATA), 'a');
    assert_int_equal(uart_get(DATA), 'b');
    assert_false(level[10]);
    assert_int_equal(uart_get(LSR), 0x60);
    uart_put(IIR, 0x81); /* FIFO, trigger at 8 */
    feed("0123456789abcdefghi");
    assert_string_equal(input, "ghi");
    assert_int_equal(uart_get(IIR), 0xc4);
    for (int i = 0; i < 12; i++)
        assert_int_equal(uart_get(DATA), "0123456789abcdefghi"[i]);
    assert_int_equal(uart_get(IIR), 0xcc); /* below the trigger: time-out */
    assert_true(level[10]);
    uart_put(IIR, 0x83); /* clear the FIFO */
    assert_int_equal(uart_get(LSR), 0x60);
    assert_false(level[10]);
}

static void test_uart_paused(void **state)
{
    vmm_uart_pause(uart, true);
    feed("x");
    assert_int_equal(uart_get(LSR), 0x60);
    vmm_uart_pause(uart, false);
    assert_int_equal(uart_get(DATA), 'x');
}

static void test_uart_loopback(void **state)
{
    uart_put(MCR, 0x1a); /* loop, OUT2, RTS: what Linux looks with */
    assert_int_equal(uart_get(MSR) & 0xf0, 0x90);
    uart_put(DATA, 'L');
    assert_int_equal(sent_count, 0);
    assert_int_equal(uart_get(DATA), 'L');
    uart_put(DATA, '1');
    uart_put(DATA, '2'); /* no room: lost, and said so once */
    assert_int_equal(uart_get(LSR), 0x63);
    assert_int_equal(uart_get(LSR), 0x61);
    uart_get(MSR);
    uart_put(IER, 0x08);
    uart_put(MCR, 0x1b); /* DTR: DSR changes */
    assert_true(level[10]);
    assert_int_equal(uart_get(IIR), 0x00);
    assert_int_equal(uart_get(MSR), 0xb2);
    assert_false(level[10]);
    uart_put(MCR, 0x08);
    assert_int_equal(uart_get(MSR) & 0xf0, 0xb0);
}

static void test_uart_section(void **state)
{
    struct baton_device device;
    uint8_t *bytes;
    size_t length;

    vmm_uart_section(uart, &device);
    uart_put(IIR, 0xc1);
    uart_put(IER, 0x05);
    uart_put(LCR, 0x13);
    uart_put(SCR, 0x77);
    feed("migrate me");
    fake_save(&device, &bytes, &length);
    vmm_uart_reset(uart);
    assert_false(level[10]);
    section_check_round_trip(&device, bytes, length);
    assert_true(level[10]);
    for (int i = 0; i < 10; i++)
        assert_int_equal(uart_get(DATA), "migrate me"[i]);
    section_check_cuts(&device, bytes, length);
    section_check_refused(&device, bytes, length, 0, 0x10); /* IER */
    section_check_refused(&device, bytes, length, 1, 0x02); /* FCR */
    section_check_refused(&device, bytes, length, 1, 0x00); /* no FIFO, but ten bytes */
    section_check_refused(&device, bytes, length, 3, 0x20); /* MCR */
    section_check_refused(&device, bytes, length, 8, 2);    /* a flag */
    section_check_refused(&device, bytes, length, 10, 17);  /* more than there is room for */
    section_check_noise(&device, 24);
    free(bytes);
}

static uint64_t rtc_now(void)
{
    uint64_t low = vmm_rtc_mmio.read(rtc, 0, 4);

    return vmm_rtc_mmio.read(rtc, 4, 4) << 32 | low;
}

static void rtc_put(unsigned reg, uint32_t value)
{
    vmm_rtc_mmio.write(rtc, reg, 4, value);
}

static void test_rtc_time(void **state)
{
    uint64_t host = (uint64_t)time(NULL) * 1000000000u;
    uint64_t now = rtc_now();

    assert_true(now >= host && now < host + 3000000000u);
    assert_true(rtc_now() >= now);
    rtc_put(4, 0x11223344);
    rtc_put(0, 0x55667788);
    now = rtc_now();
    assert_true(now >= 0x1122334455667788 && now < 0x1122334455667788 + 1000000000u);
}

static void test_rtc_alarm(void **state)
{
    struct timespec ms = {.tv_nsec = 1000000};
    uint64_t due;
    int waited = 0;

    vmm_clock_start(test_clock);
    rtc_put(0x10, 1);
    due = rtc_now() + 20000000;
    rtc_put(0xc, (uint32_t)(due >> 32));
    rtc_put(0x8, (uint32_t)due);
    assert_int_equal(vmm_rtc_mmio.read(rtc, 0x18, 4), 1);
    assert_int_equal(vmm_rtc_mmio.read(rtc, 0x8, 4), (uint32_t)due);
    assert_int_equal(vmm_rtc_mmio.read(rtc, 0xc, 4), (uint32_t)(due >> 32));
    while (vmm_rtc_mmio.read(rtc, 0x18, 4) && waited++ < 2000)
        nanosleep(&ms, NULL);
    vmm_clock_stop(test_clock);
    assert_true(level[11]);
    assert_true(rtc_now() >= due);
    rtc_put(0x1c, 1);
    assert_false(level[11]);
    rtc_put(0xc, UINT32_MAX); /* far away, then given up */
    rtc_put(0x8, 0);
    rtc_put(0x14, 1);
    assert_int_equal(vmm_rtc_mmio.read(rtc, 0x18, 4), 0);
}

static void test_rtc_section(void **state)
{
    struct baton_device device;
    uint64_t shown;
    uint8_t *bytes;
    size_t length;

    vmm_rtc_section(rtc, &device);
    shown = rtc_now();
    rtc_put(0x10, 1);
    rtc_put(0xc, UINT32_MAX);
    rtc_put(0x8, 7);
    fake_save(&device, &bytes, &length);
    bytes[8]++; /* a host whose clock was years ahead showed this */
    vmm_rtc_reset(rtc);
    section_check_round_trip(&device, bytes, length);
    assert_true(rtc_now() >= shown + ((uint64_t)1 << 56)); /* it does not go back */
    assert_int_equal(vmm_rtc_mmio.read(rtc, 0x18, 4), 1);
    section_check_cuts(&device, bytes, length);
    section_check_refused(&device, bytes, length, length - 1, 2);
    section_check_refused(&device, bytes, length, length - 3, 255);
    section_check_noise(&device, length);
    free(bytes);
}

static void test_syscon(void **state)
{
    struct baton_device device;
    unsigned exit_code;
    uint8_t *bytes;
    size_t length;

    vmm_syscon_section(syscon, &device);
    vmm_syscon_mmio.write(syscon, 0, 4, 0x1234);
    vmm_syscon_mmio.write(syscon, 4, 4, 0x5555);
    assert_int_equal(notified, 0);
    vmm_syscon_mmio.write(syscon, 0, 4, 0x7777);
    assert_int_equal(notified, 1);
    assert_int_equal(vmm_syscon_order(syscon, &exit_code), VMM_SYSCON_DO_RESET);
    vmm_syscon_mmio.write(syscon, 0, 4, 0x5555); /* the first counts */
    assert_int_equal(vmm_syscon_order(syscon, &exit_code), VMM_SYSCON_DO_RESET);
    vmm_syscon_reset(syscon);
    vmm_syscon_mmio.write(syscon, 0, 4, 0x73333);
    assert_int_equal(vmm_syscon_order(syscon, &exit_code), VMM_SYSCON_DO_POWEROFF);
    assert_int_equal(exit_code, 7);
    assert_int_equal(vmm_syscon_mmio.read(syscon, 0, 4), 0);
    fake_save(&device, &bytes, &length);
    vmm_syscon_reset(syscon);
    section_check_round_trip(&device, bytes, length);
    assert_int_equal(vmm_syscon_order(syscon, &exit_code), VMM_SYSCON_DO_POWEROFF);
    section_check_cuts(&device, bytes, length);
    section_check_refused(&device, bytes, length, 0, 3);
    section_check_refused(&device, bytes, length, 0, 0); /* an exit code without an order */
    section_check_noise(&device, length);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_uart_sends, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_uart_divisor, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_uart_receives, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_uart_paused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_uart_loopback, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_uart_section, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_rtc_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_rtc_alarm, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_rtc_section, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_syscon, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
