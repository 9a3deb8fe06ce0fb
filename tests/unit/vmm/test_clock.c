/* SPDX-License-Identifier: MIT */
/* Guest time: it stands while stopped, never goes back, and its timers are never early. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <time.h>

#include "vmm/clock.h"

static struct vmm_clock *test_clock;
static atomic_bool reading;
static atomic_bool went_back;

static int set_up(void **state)
{
    return vmm_clock_new(&test_clock, NULL);
}

static int tear_down(void **state)
{
    vmm_clock_free(test_clock);
    return 0;
}

static void pause_ms(long ms)
{
    struct timespec pause = {.tv_nsec = ms * 1000000};

    nanosleep(&pause, NULL);
}

static void test_stands_and_runs(void **state)
{
    uint64_t a, b;

    assert_int_equal(vmm_clock_ticks(test_clock), 0);
    assert_true(vmm_clock_host_ns(test_clock, 5) == VMM_CLOCK_NEVER);
    vmm_clock_start(test_clock);
    vmm_clock_start(test_clock);
    pause_ms(5);
    a = vmm_clock_ticks(test_clock);
    assert_true(a >= 5 * (VMM_CLOCK_HZ / 1000));
    vmm_clock_stop(test_clock);
    b = vmm_clock_ticks(test_clock);
    assert_true(b >= a);
    pause_ms(3);
    assert_int_equal(vmm_clock_ticks(test_clock), b);
    vmm_clock_start(test_clock);
    a = vmm_clock_ticks(test_clock);
    assert_true(a >= b && a - b < VMM_CLOCK_HZ); /* the pause is not made up for */
}

static void test_set(void **state)
{
    vmm_clock_set(test_clock, 123456789);
    assert_int_equal(vmm_clock_ticks(test_clock), 123456789);
    vmm_clock_start(test_clock);
    assert_true(vmm_clock_ticks(test_clock) >= 123456789);
    assert_true(vmm_clock_host_ns(test_clock, UINT64_MAX - 1) == VMM_CLOCK_NEVER);
    vmm_clock_set(test_clock, VMM_CLOCK_MAX_TICKS);
    assert_true(vmm_clock_ticks(test_clock) >= VMM_CLOCK_MAX_TICKS);
}

static void *read_on(void *opaque)
{
    uint64_t last = 0;

    while (atomic_load(&reading)) {
        uint64_t now = vmm_clock_ticks(test_clock);

        if (now < last)
            atomic_store(&went_back, true);
        last = now;
    }
    return NULL;
}

static void test_never_goes_back(void **state)
{
    pthread_t readers[2];

    atomic_store(&reading, true);
    for (int i = 0; i < 2; i++)
        pthread_create(&readers[i], NULL, read_on, NULL);
    for (int round = 0; round < 500; round++) {
        uint64_t before = vmm_clock_ticks(test_clock);

        vmm_clock_start(test_clock);
        sched_yield();
        assert_true(vmm_clock_ticks(test_clock) >= before);
        vmm_clock_stop(test_clock);
        /* What loading does: the same time or a later one. */
        if (round % 10 == 0)
            vmm_clock_set(test_clock, vmm_clock_ticks(test_clock) + (unsigned)round);
    }
    atomic_store(&reading, false);
    for (int i = 0; i < 2; i++)
        pthread_join(readers[i], NULL);
    assert_false(atomic_load(&went_back));
}

struct shot {
    struct vmm_timer timer;
    uint64_t due;
    atomic_uint fired;
    atomic_bool early;
    atomic_bool hold;
};

static void fire(void *opaque)
{
    struct shot *shot = opaque;

    if (vmm_clock_ticks(test_clock) < shot->due)
        atomic_store(&shot->early, true);
    atomic_fetch_add(&shot->fired, 1);
    while (atomic_load(&shot->hold))
        sched_yield();
}

static void wait_fired(struct shot *shot, unsigned count)
{
    for (int ms = 0; ms < 2000 && atomic_load(&shot->fired) < count; ms++)
        pause_ms(1);
    assert_int_equal(atomic_load(&shot->fired), count);
}

static void test_timers(void **state)
{
    static struct shot shots[2];

    for (int i = 0; i < 2; i++)
        vmm_clock_add_timer(test_clock, &shots[i].timer, fire, &shots[i]);
    shots[0].due = 20 * (VMM_CLOCK_HZ / 1000);
    vmm_timer_arm(&shots[0].timer, shots[0].due);
    pause_ms(5);
    assert_int_equal(atomic_load(&shots[0].fired), 0); /* the clock stands */
    vmm_clock_start(test_clock);
    shots[1].due = 5 * (VMM_CLOCK_HZ / 1000);
    vmm_timer_arm(&shots[1].timer, shots[1].due);
    wait_fired(&shots[1], 1);
    wait_fired(&shots[0], 1);
    assert_false(atomic_load(&shots[0].early) || atomic_load(&shots[1].early));
    /* Disarmed: never. */
    vmm_timer_arm(&shots[0].timer, vmm_clock_ticks(test_clock) + VMM_CLOCK_HZ / 100);
    vmm_timer_arm(&shots[0].timer, VMM_CLOCK_NEVER);
    pause_ms(30);
    assert_int_equal(atomic_load(&shots[0].fired), 1);
}

static void *release(void *opaque)
{
    struct shot *shot = opaque;

    pause_ms(10);
    atomic_store(&shot->hold, false);
    return NULL;
}

static void test_stop_waits_for_timers(void **state)
{
    static struct shot shot;
    pthread_t releaser;

    vmm_clock_add_timer(test_clock, &shot.timer, fire, &shot);
    atomic_store(&shot.hold, true);
    vmm_clock_start(test_clock);
    vmm_timer_arm(&shot.timer, 1);
    while (!atomic_load(&shot.fired))
        sched_yield();
    pthread_create(&releaser, NULL, release, &shot);
    vmm_clock_stop(test_clock);
    assert_false(atomic_load(&shot.hold));
    pthread_join(releaser, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_stands_and_runs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_set, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_never_goes_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_timers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stop_waits_for_timers, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
