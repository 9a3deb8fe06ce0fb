/* SPDX-License-Identifier: MIT */
/* The machine as a whole, over a fake library and fake CPUs: starting, stopping, what guests order,
 * and reading RAM. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fake_baton.h"
#include "fake_cpu.h"
#include "section.h"
#include "vmm/device/syscon.h"
#include "vmm/machine.h"

#define KERNEL_TEXT "this is the kernel"

static char kernel_path[] = "/tmp/vmm-machine-kernel-XXXXXX";
static atomic_uint seen[VMM_EVENT_RESET + 1];

static int set_up_group(void **state)
{
    int fd = mkstemp(kernel_path);

    if (fd < 0 || write(fd, KERNEL_TEXT, sizeof(KERNEL_TEXT)) != sizeof(KERNEL_TEXT))
        return -1;
    return close(fd);
}

static int tear_down_group(void **state)
{
    return unlink(kernel_path);
}

static int set_up(void **state)
{
    struct fake_baton_plan plan = {0};

    fake_baton_plan(&plan);
    atomic_store(&fake_cpu_plan.idle, true);
    atomic_store(&fake_cpu_plan.wait_pages, false);
    atomic_store(&fake_cpu_plan.page_held, false);
    atomic_store(&fake_cpu_plan.store_to, 0);
    for (unsigned i = 0; i <= VMM_EVENT_RESET; i++)
        atomic_store(&seen[i], 0);
    return 0;
}

static void listen_to(void *opaque, const struct vmm_event *event)
{
    atomic_fetch_add(&seen[event->type], 1);
}

static struct vmm_machine_config config(void)
{
    return (struct vmm_machine_config){.memory_bytes = 8u << 20,
                                       .cpus = 2,
                                       .kernel = kernel_path,
                                       .firmware = "none",
                                       .console = "none",
                                       .cpu_ops = &fake_cpu_ops};
}

static struct vmm_machine *make(const struct vmm_machine_config *how)
{
    struct vmm_machine *machine = NULL;
    struct baton_error error = {0};

    if (vmm_machine_new(how, &machine, &error))
        fail_msg("%s", error.text);
    vmm_machine_on_event(machine, listen_to, NULL);
    return machine;
}

static void wait_seen(enum vmm_event_type type, unsigned count)
{
    for (int ms = 0; ms < 5000 && atomic_load(&seen[type]) < count; ms++)
        usleep(1000);
    assert_int_equal(atomic_load(&seen[type]), count);
}

static void guest_stores(uint32_t value)
{
    fake_cpu_plan.store_value = value;
    atomic_store(&fake_cpu_plan.store_to, VMM_SYSCON_BASE);
}

static void test_starts_and_stops(void **state)
{
    struct vmm_machine_config how = config();
    struct vmm_machine *machine;

    how.paused = true;
    machine = make(&how);
    assert_string_equal(vmm_machine_runstate(machine), "prelaunch");
    assert_false(vmm_machine_is_running(machine));
    for (unsigned i = 1; i <= 20; i++) {
        baton_cont(vmm_machine_baton(machine), NULL);
        wait_seen(VMM_EVENT_RESUME, i);
        assert_string_equal(vmm_machine_runstate(machine), "running");
        baton_stop(vmm_machine_baton(machine), NULL);
        wait_seen(VMM_EVENT_STOP, i);
        assert_string_equal(vmm_machine_runstate(machine), "paused");
    }
    vmm_machine_free(machine);
}

static void test_images_and_reading(void **state)
{
    struct vmm_machine_config how = config();
    struct vmm_machine *machine;
    struct baton_error error = {0};
    struct fake_baton_plan missing = {.pages_missing = true};
    struct fake_baton_plan there = {0};
    char text[sizeof(KERNEL_TEXT)];

    how.paused = true;
    machine = make(&how);
    assert_int_equal(vmm_machine_read_ram(machine, 0x80000000, text, sizeof(text), true, NULL), 0);
    assert_string_equal(text, KERNEL_TEXT);
    assert_int_equal(
        vmm_machine_read_ram(machine, 0x80000000 + (8u << 20) - 4, text, 5, false, &error),
        -EFAULT);
    assert_int_equal(vmm_machine_read_ram(machine, 0x1000, text, 5, false, &error), -EFAULT);
    assert_int_equal(vmm_machine_read_ram(machine, 0x80000000, text, UINT64_MAX - 5, false, &error),
                     -EFAULT);
    fake_baton_plan(&missing);
    assert_int_equal(vmm_machine_read_ram(machine, 0x80000000, text, 5, false, &error), -EAGAIN);
    fake_baton_plan(&there);
    vmm_machine_free(machine);

    how = config();
    how.incoming = true;
    machine = make(&how);
    assert_string_equal(vmm_machine_runstate(machine), "inmigrate");
    assert_int_equal(vmm_machine_read_ram(machine, 0x80000000, text, sizeof(text), true, NULL), 0);
    assert_int_equal(text[0], 0); /* RAM is as it was mapped */
    vmm_machine_free(machine);
}

static void test_power_off(void **state)
{
    struct vmm_machine_config how = config();
    struct vmm_machine *machine;

    how.paused = true;
    machine = make(&how);
    guest_stores(VMM_SYSCON_POWEROFF);
    baton_cont(vmm_machine_baton(machine), NULL);
    assert_int_equal(vmm_machine_wait(machine), 0);
    assert_int_equal(atomic_load(&seen[VMM_EVENT_SHUTDOWN]), 1);
    assert_string_equal(vmm_machine_runstate(machine), "shutdown");
    vmm_machine_free(machine);
}

static void test_power_off_with_a_code(void **state)
{
    struct vmm_machine_config how = config();
    struct vmm_machine *machine;

    guest_stores(3u << 16 | VMM_SYSCON_FAIL);
    machine = make(&how);
    assert_int_equal(vmm_machine_wait(machine), 3);
    vmm_machine_free(machine);
}

static void *wait_for_end(void *opaque)
{
    vmm_machine_wait(opaque);
    return NULL;
}

static void test_still_needed_after_power_off(void **state)
{
    struct fake_baton_plan refuse = {.refuse_quit = true};
    struct fake_baton_plan allow = {0};
    struct vmm_machine_config how = config();
    struct vmm_machine *machine;
    pthread_t waiter;
    void *result;

    fake_baton_plan(&refuse);
    how.paused = true;
    machine = make(&how);
    guest_stores(VMM_SYSCON_POWEROFF);
    baton_cont(vmm_machine_baton(machine), NULL);
    wait_seen(VMM_EVENT_SHUTDOWN, 1);
    assert_false(vmm_machine_is_running(machine));
    pthread_create(&waiter, NULL, wait_for_end, machine);
    usleep(50000);
    assert_int_equal(pthread_tryjoin_np(waiter, &result), EBUSY);
    fake_baton_plan(&allow);
    pthread_join(waiter, &result);
    vmm_machine_free(machine);
}

static void test_reset(void **state)
{
    struct vmm_machine_config how = config();
    struct vmm_machine *machine;
    unsigned marks = fake_baton_marks();

    how.paused = true;
    machine = make(&how);
    guest_stores(VMM_SYSCON_REBOOT);
    baton_cont(vmm_machine_baton(machine), NULL);
    wait_seen(VMM_EVENT_RESET, 1);
    wait_seen(VMM_EVENT_RESUME, 2);
    assert_true(fake_baton_marks() > marks);
    /* And once more, to the end. */
    baton_stop(vmm_machine_baton(machine), NULL);
    wait_seen(VMM_EVENT_STOP, 2);
    guest_stores(VMM_SYSCON_POWEROFF);
    baton_cont(vmm_machine_baton(machine), NULL);
    assert_int_equal(vmm_machine_wait(machine), 0);
    vmm_machine_free(machine);
}

/* The VM is being handed over: the order goes along in the syscon's section, and is not carried out
 * here. */
static void test_order_while_leaving(void **state)
{
    struct fake_baton_plan leaving = {.vm_may_not_run = true};
    struct fake_baton_plan back = {0};
    struct vmm_machine_config how = config();
    const struct baton_device *syscon;
    struct vmm_machine *machine;
    uint8_t *bytes;
    size_t length;

    fake_baton_plan(&leaving);
    how.paused = true;
    machine = make(&how);
    guest_stores(VMM_SYSCON_POWEROFF);
    baton_cont(vmm_machine_baton(machine), NULL);
    wait_seen(VMM_EVENT_STOP, 1);
    usleep(20000);
    assert_int_equal(atomic_load(&seen[VMM_EVENT_SHUTDOWN]), 0);
    syscon = fake_baton_device(fake_baton_device_count() - 1);
    assert_string_equal(syscon->name, "syscon");
    fake_save(syscon, &bytes, &length);
    assert_int_equal(bytes[0], VMM_SYSCON_DO_POWEROFF);
    free(bytes);
    /* It came back after all. */
    fake_baton_plan(&back);
    baton_cont(vmm_machine_baton(machine), NULL);
    assert_int_equal(vmm_machine_wait(machine), 0);
    vmm_machine_free(machine);
}

static void test_sections_and_host_reset(void **state)
{
    struct vmm_machine_config how = config();
    struct vmm_machine *machine;
    void *host;
    const struct baton_host_ops *ops;

    how.incoming = true;
    machine = make(&how);
    ops = fake_baton_ops(&host);
    assert_int_equal(fake_baton_device_count(), 2 + 5);
    for (unsigned i = 0; i < fake_baton_device_count(); i++) {
        uint8_t *bytes;
        size_t length;

        fake_save(fake_baton_device(i), &bytes, &length);
        section_check_round_trip(fake_baton_device(i), bytes, length);
        free(bytes);
    }
    ops->reset(host);
    ops->vm_start(host);
    ops->dirty_barrier(host);
    ops->vm_stop(host);
    ops->vm_stop(host);
    assert_int_equal(atomic_load(&seen[VMM_EVENT_STOP]), 1);
    ops->reset(host);
    vmm_machine_free(machine);
}

static void test_refuses(void **state)
{
    struct vmm_machine_config how = config();
    struct baton_error error = {0};
    struct vmm_machine *machine;

    how.kernel = NULL;
    assert_int_equal(vmm_machine_new(&how, &machine, &error), -EINVAL);
    assert_non_null(strstr(error.text, "--kernel"));
    how = config();
    how.cpus = 9;
    assert_int_equal(vmm_machine_new(&how, &machine, &error), -EINVAL);
    how = config();
    how.memory_bytes = 1u << 20;
    assert_int_equal(vmm_machine_new(&how, &machine, &error), -EINVAL);
    how = config();
    how.console = "/nonexistent/directory/socket";
    assert_true(vmm_machine_new(&how, &machine, &error) < 0);
    assert_non_null(strstr(error.text, "/nonexistent/directory/socket"));
}

static void test_quit(void **state)
{
    struct vmm_machine_config how = config();
    struct vmm_machine *machine = make(&how);

    vmm_machine_quit(machine);
    assert_int_equal(vmm_machine_wait(machine), 0);
    vmm_machine_free(machine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_starts_and_stops, set_up),
        cmocka_unit_test_setup(test_images_and_reading, set_up),
        cmocka_unit_test_setup(test_power_off, set_up),
        cmocka_unit_test_setup(test_power_off_with_a_code, set_up),
        cmocka_unit_test_setup(test_still_needed_after_power_off, set_up),
        cmocka_unit_test_setup(test_reset, set_up),
        cmocka_unit_test_setup(test_order_while_leaving, set_up),
        cmocka_unit_test_setup(test_sections_and_host_reset, set_up),
        cmocka_unit_test_setup(test_refuses, set_up),
        cmocka_unit_test_setup(test_quit, set_up),
    };

    return cmocka_run_group_tests(tests, set_up_group, tear_down_group);
}
