/* SPDX-License-Identifier: MIT */
/*
 * Hart threads: stopping, starting, dirty barriers and page waits against one another, with a CPU
 * that executes nothing. Run under a thread sanitizer these are its proof too: `executed` is a
 * plain field that is read while the harts rest.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>

#include "fake_baton.h"
#include "fake_cpu.h"
#include "vmm/cpu/thread.h"

#define ROUNDS 100
#define HARTS 3

static struct vmm_clock *test_clock;
static struct vmm_threads *threads;
static atomic_uint_fast64_t deadlines[VMM_MAX_CPUS];
static atomic_uint expired;

static uint64_t deadline(void *opaque, unsigned index)
{
    return atomic_load(&deadlines[index]);
}

static void expire(void *opaque, unsigned index)
{
    atomic_store(&deadlines[index], VMM_CLOCK_NEVER);
    atomic_fetch_add(&expired, 1);
}

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int set_up(void **state)
{
    struct vmm_threads_config config = {
        .ops = &fake_cpu_ops, .count = HARTS, .deadline = deadline, .expire = expire};

    atomic_store(&fake_cpu_plan.idle, false);
    atomic_store(&fake_cpu_plan.wait_pages, false);
    atomic_store(&fake_cpu_plan.page_held, false);
    for (unsigned i = 0; i < VMM_MAX_CPUS; i++) {
        atomic_store(&deadlines[i], VMM_CLOCK_NEVER);
        atomic_store(&fake_cpu_plan.value[i], 0);
        atomic_store(&fake_cpu_plan.log[i], false);
    }
    atomic_store(&expired, 0);
    if (vmm_clock_new(&test_clock, NULL))
        return -1;
    vmm_clock_start(test_clock);
    config.clock = test_clock;
    return vmm_threads_new(&config, &threads, NULL);
}

static int tear_down(void **state)
{
    atomic_store(&fake_cpu_plan.page_held, false);
    vmm_threads_free(threads);
    vmm_clock_free(test_clock);
    return 0;
}

static uint64_t executed_by_all(void)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < HARTS; i++)
        sum += vmm_threads_cpu(threads, i)->executed;
    return sum;
}

static void wait_until_all_executed(uint64_t more)
{
    uint64_t base[HARTS];

    for (unsigned i = 0; i < HARTS; i++)
        base[i] = atomic_load(&fake_cpu_plan.value[i]);
    for (unsigned i = 0; i < HARTS; i++)
        while (atomic_load(&fake_cpu_plan.value[i]) < base[i] + more)
            sched_yield();
}

static void stop_and_check(void)
{
    uint64_t before;

    vmm_threads_stop(threads);
    for (unsigned i = 0; i < HARTS; i++)
        assert_false(atomic_load(&vmm_threads_cpu(threads, i)->running));
    before = executed_by_all();
    for (int i = 0; i < 20; i++)
        sched_yield();
    assert_int_equal(executed_by_all(), before);
}

static void test_stop_is_stopped(void **state)
{
    for (int round = 0; round < ROUNDS; round++) {
        vmm_threads_start(threads);
        if (round % 3 == 0)
            wait_until_all_executed(10);
        stop_and_check();
        if (round % 5 == 0)
            vmm_threads_stop(threads); /* twice is fine */
    }
}

static void test_stop_while_harts_sleep_and_wait(void **state)
{
    atomic_store(&fake_cpu_plan.wait_pages, true);
    for (int round = 0; round < ROUNDS; round++) {
        atomic_store(&fake_cpu_plan.idle, round % 2 == 0);
        for (unsigned i = 0; i < HARTS; i++)
            atomic_store(&deadlines[i], vmm_clock_ticks(test_clock) + 100);
        vmm_threads_start(threads);
        for (unsigned i = 0; i < HARTS; i++) {
            vmm_threads_set_irq(threads, i, 7, true);
            vmm_threads_set_irq(threads, i, 7, false);
        }
        for (int i = 0; i < round % 7; i++)
            sched_yield();
        stop_and_check();
        for (unsigned i = 0; i < HARTS; i++) /* as a load does */
            vmm_threads_cpu(threads, i)->executed = 0;
    }
}

static void test_stop_does_not_wait_for_a_page(void **state)
{
    struct vmm_cpu *cpu = vmm_threads_cpu(threads, 0);
    uint64_t executed;

    atomic_store(&fake_cpu_plan.wait_pages, true);
    atomic_store(&fake_cpu_plan.page_held, true);
    vmm_threads_start(threads);
    for (unsigned i = 0; i < HARTS; i++)
        while (!atomic_load(&vmm_threads_cpu(threads, i)->waits))
            sched_yield();
    vmm_threads_stop(threads);
    assert_true(vmm_threads_is_waiting(threads));
    vmm_threads_dirty_barrier(threads); /* does not wait for it either */
    executed = executed_by_all();
    /* The page comes while the VM is stopped: the hart parks without another step. */
    atomic_store(&fake_cpu_plan.page_held, false);
    while (!atomic_load(&cpu->refused))
        sched_yield();
    for (unsigned i = 0; i < HARTS; i++)
        while (!atomic_load(&vmm_threads_cpu(threads, i)->refused))
            sched_yield();
    stop_and_check();
    assert_int_equal(executed_by_all(), executed);
    assert_false(vmm_threads_is_waiting(threads));
    atomic_store(&fake_cpu_plan.wait_pages, false);
    vmm_threads_start(threads);
    wait_until_all_executed(10);
}

static void test_stop_and_start_in_one_wait(void **state)
{
    atomic_store(&fake_cpu_plan.wait_pages, true);
    atomic_store(&fake_cpu_plan.page_held, true);
    vmm_threads_start(threads);
    for (unsigned i = 0; i < HARTS; i++)
        while (!atomic_load(&vmm_threads_cpu(threads, i)->waits))
            sched_yield();
    vmm_threads_stop(threads);
    vmm_threads_start(threads);
    atomic_store(&fake_cpu_plan.page_held, false);
    /* The CPU may have been loaded meanwhile: it has to begin anew. */
    for (unsigned i = 0; i < HARTS; i++)
        while (!atomic_load(&vmm_threads_cpu(threads, i)->refused))
            sched_yield();
    wait_until_all_executed(10);
}

/* What a migration does: clear the log, barrier, read. At the end nothing may have been written
 * unlogged. */
static void test_dirty_barrier(void **state)
{
    uint64_t sample[HARTS] = {0};

    atomic_store(&fake_cpu_plan.wait_pages, true);
    vmm_threads_start(threads);
    for (int round = 0; round < ROUNDS; round++) {
        bool dirty[HARTS];

        for (unsigned i = 0; i < HARTS; i++)
            dirty[i] = atomic_exchange(&fake_cpu_plan.log[i], false);
        vmm_threads_dirty_barrier(threads);
        for (unsigned i = 0; i < HARTS; i++)
            if (dirty[i])
                sample[i] = atomic_load(&fake_cpu_plan.value[i]);
        if (round % 10 == 0) {
            atomic_store(&fake_cpu_plan.idle, round % 20 == 0);
            stop_and_check();
            vmm_threads_start(threads);
        }
    }
    vmm_threads_stop(threads);
    for (unsigned i = 0; i < HARTS; i++)
        if (!atomic_load(&fake_cpu_plan.log[i]))
            assert_int_equal(atomic_load(&fake_cpu_plan.value[i]), sample[i]);
}

static atomic_bool racing;

static void *barriers(void *opaque)
{
    while (atomic_load(&racing))
        vmm_threads_dirty_barrier(threads);
    return NULL;
}

static void *interrupts(void *opaque)
{
    unsigned i = 0;

    while (atomic_load(&racing)) {
        vmm_threads_set_irq(threads, i % HARTS, 3, i / HARTS % 2);
        i++;
        sched_yield();
    }
    return NULL;
}

static void test_everything_at_once(void **state)
{
    pthread_t helpers[2];

    atomic_store(&fake_cpu_plan.wait_pages, true);
    atomic_store(&fake_cpu_plan.idle, true);
    atomic_store(&racing, true);
    pthread_create(&helpers[0], NULL, barriers, NULL);
    pthread_create(&helpers[1], NULL, interrupts, NULL);
    for (int round = 0; round < ROUNDS; round++) {
        vmm_threads_start(threads);
        sched_yield();
        stop_and_check();
    }
    atomic_store(&racing, false);
    pthread_join(helpers[0], NULL);
    pthread_join(helpers[1], NULL);
}

static void test_sleeping_hart_wakes(void **state)
{
    struct vmm_cpu *cpu = vmm_threads_cpu(threads, 1);
    uint64_t idles;
    uint64_t start;

    atomic_store(&fake_cpu_plan.idle, true);
    vmm_threads_start(threads);
    while (!atomic_load(&cpu->idles))
        sched_yield();
    /* By an interrupt. */
    idles = atomic_load(&cpu->idles);
    vmm_threads_set_irq(threads, 1, 7, true);
    start = now_ns();
    while (atomic_load(&fake_cpu_plan.value[1]) < idles + 2 && now_ns() - start < 2000000000u)
        sched_yield();
    assert_true(atomic_load(&fake_cpu_plan.value[1]) >= idles + 2);
    vmm_threads_set_irq(threads, 1, 7, false);
    /* By its own timer, with nobody's help. */
    vmm_threads_stop(threads);
    start = now_ns();
    atomic_store(&deadlines[2], vmm_clock_ticks(test_clock) + 20 * (VMM_CLOCK_HZ / 1000));
    vmm_threads_start(threads);
    while (!atomic_load(&expired) && now_ns() - start < 2000000000u)
        sched_yield();
    assert_int_equal(atomic_load(&expired), 1);
    assert_true(now_ns() - start >= 19000000);
}

static void test_too_many(void **state)
{
    struct vmm_threads_config config = {.ops = &fake_cpu_ops, .count = VMM_MAX_CPUS + 1};
    struct vmm_threads *none;
    struct baton_error error = {0};

    assert_true(vmm_threads_new(&config, &none, &error) < 0);
    assert_true(error.text[0] != '\0');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_stop_is_stopped, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stop_while_harts_sleep_and_wait, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stop_does_not_wait_for_a_page, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stop_and_start_in_one_wait, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_dirty_barrier, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_everything_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_sleeping_hart_wakes, set_up, tear_down),
        cmocka_unit_test(test_too_many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
