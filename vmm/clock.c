/* SPDX-License-Identifier: MIT */
/*
 * Guest time.
 *
 * Problem: every hart reads the time often (rdtime), without a lock, while the VM may be stopped,
 * started or loaded; time must stand still while the VM is stopped and must never be seen to go
 * back.
 *
 * Data: while it runs, time is base_ticks plus what CLOCK_MONOTONIC has advanced since base_ns;
 * while it stands, it is base_ticks. The three fields change together under `lock`, and readers
 * take them through a sequence counter: odd while a change is being made, different after it. A
 * reader that finds either has to read again, so it can never combine a host time from after a stop
 * with a base from before. All fields are atomic, so the counter's ordering is that of seq_cst.
 *
 * Timers: few (one a hart, one for the real-time clock), in a list that is fixed before the first
 * start. One thread sleeps until the earliest deadline. Arming a timer wakes the thread only when
 * the new deadline is before the one it sleeps for; a deadline that moved later costs one empty
 * wake-up. `fire` is called without the lock, so that devices may arm timers under their own locks;
 * `firing` lets stop wait for it.
 *
 * Failure: only creation can fail. A host clock that cannot be read does not exist on Linux.
 */
#include "vmm/clock.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

struct vmm_clock {
    atomic_uint_fast64_t sequence;
    atomic_uint_fast64_t base_ticks;
    atomic_uint_fast64_t base_ns;
    atomic_bool running;

    pthread_mutex_t lock;     /* writers of the above, and all below; a leaf */
    pthread_cond_t changed;   /* the timer thread waits here */
    pthread_cond_t idle;      /* stop waits here for `firing` to end */
    struct vmm_timer *timers; /* fixed before the first start */
    uint64_t wake_ticks;      /* the timer thread sleeps until then */
    bool firing;
    bool quit;
    pthread_t thread;
};

static uint64_t host_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t vmm_clock_ticks(struct vmm_clock *clock)
{
    for (;;) {
        uint64_t before = atomic_load(&clock->sequence);
        uint64_t ticks = atomic_load(&clock->base_ticks);
        uint64_t base_ns = atomic_load(&clock->base_ns);

        if (atomic_load(&clock->running))
            ticks += (host_now_ns() - base_ns) / VMM_CLOCK_TICK_NS;
        if (!(before & 1) && atomic_load(&clock->sequence) == before)
            return ticks;
    }
}

/* Under the lock. Runs time on, or lets it stand, from `ticks` (NULL: from where it is now). */
static void rebase(struct vmm_clock *clock, const uint64_t *ticks, bool running)
{
    uint64_t at = ticks ? *ticks : vmm_clock_ticks(clock);
    uint64_t sequence = atomic_load(&clock->sequence);

    atomic_store(&clock->sequence, sequence + 1);
    /* Readers turn away from here on: only now is the host's time read, so that none has seen a
     * later one. */
    if (!ticks && atomic_load(&clock->running))
        at = atomic_load(&clock->base_ticks) +
             (host_now_ns() - atomic_load(&clock->base_ns)) / VMM_CLOCK_TICK_NS;
    atomic_store(&clock->base_ticks, at);
    atomic_store(&clock->base_ns, host_now_ns());
    atomic_store(&clock->running, running);
    atomic_store(&clock->sequence, sequence + 2);
    pthread_cond_signal(&clock->changed);
}

void vmm_clock_start(struct vmm_clock *clock)
{
    pthread_mutex_lock(&clock->lock);
    if (!atomic_load(&clock->running))
        rebase(clock, NULL, true);
    pthread_mutex_unlock(&clock->lock);
}

void vmm_clock_stop(struct vmm_clock *clock)
{
    pthread_mutex_lock(&clock->lock);
    if (atomic_load(&clock->running))
        rebase(clock, NULL, false);
    while (clock->firing)
        pthread_cond_wait(&clock->idle, &clock->lock);
    pthread_mutex_unlock(&clock->lock);
}

void vmm_clock_set(struct vmm_clock *clock, uint64_t ticks)
{
    pthread_mutex_lock(&clock->lock);
    rebase(clock, &ticks, atomic_load(&clock->running));
    pthread_mutex_unlock(&clock->lock);
}

uint64_t vmm_clock_host_ns(struct vmm_clock *clock, uint64_t ticks)
{
    uint64_t now = vmm_clock_ticks(clock);
    uint64_t now_ns = host_now_ns();

    if (!atomic_load(&clock->running))
        return VMM_CLOCK_NEVER;
    if (ticks <= now)
        return now_ns;
    if (ticks - now > (UINT64_MAX / 2 - now_ns) / VMM_CLOCK_TICK_NS)
        return VMM_CLOCK_NEVER;
    return now_ns + (ticks - now) * VMM_CLOCK_TICK_NS;
}

void vmm_clock_add_timer(struct vmm_clock *clock, struct vmm_timer *timer, void (*fire)(void *),
                         void *opaque)
{
    *timer = (struct vmm_timer){
        .fire = fire, .opaque = opaque, .clock = clock, .deadline_ticks = VMM_CLOCK_NEVER};
    pthread_mutex_lock(&clock->lock);
    timer->next = clock->timers;
    clock->timers = timer;
    pthread_mutex_unlock(&clock->lock);
}

void vmm_timer_arm(struct vmm_timer *timer, uint64_t deadline_ticks)
{
    struct vmm_clock *clock = timer->clock;

    pthread_mutex_lock(&clock->lock);
    timer->deadline_ticks = deadline_ticks;
    if (deadline_ticks < clock->wake_ticks)
        pthread_cond_signal(&clock->changed);
    pthread_mutex_unlock(&clock->lock);
}

/* Under the lock. A timer whose deadline has passed, disarmed; else NULL and the earliest deadline
 * in *next_ticks. */
static struct vmm_timer *take_due(struct vmm_clock *clock, uint64_t *next_ticks)
{
    uint64_t now = vmm_clock_ticks(clock);

    *next_ticks = VMM_CLOCK_NEVER;
    if (!atomic_load(&clock->running))
        return NULL;
    for (struct vmm_timer *timer = clock->timers; timer; timer = timer->next) {
        if (timer->deadline_ticks == VMM_CLOCK_NEVER)
            continue;
        if (timer->deadline_ticks <= now) {
            timer->deadline_ticks = VMM_CLOCK_NEVER;
            return timer;
        }
        if (timer->deadline_ticks < *next_ticks)
            *next_ticks = timer->deadline_ticks;
    }
    return NULL;
}

static void fire(struct vmm_clock *clock, struct vmm_timer *timer)
{
    clock->firing = true;
    pthread_mutex_unlock(&clock->lock);
    timer->fire(timer->opaque);
    pthread_mutex_lock(&clock->lock);
    clock->firing = false;
    pthread_cond_broadcast(&clock->idle);
}

static void *timer_thread(void *opaque)
{
    struct vmm_clock *clock = opaque;

    /* The default slack of 50 us would be added to every deadline. */
    prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
    pthread_mutex_lock(&clock->lock);
    while (!clock->quit) {
        uint64_t next_ticks;
        struct vmm_timer *timer = take_due(clock, &next_ticks);
        uint64_t at_ns;

        if (timer) {
            fire(clock, timer);
            continue;
        }
        clock->wake_ticks = next_ticks;
        at_ns = vmm_clock_host_ns(clock, next_ticks);
        if (at_ns == VMM_CLOCK_NEVER) {
            pthread_cond_wait(&clock->changed, &clock->lock);
        } else {
            struct timespec at = {.tv_sec = (time_t)(at_ns / 1000000000u),
                                  .tv_nsec = (long)(at_ns % 1000000000u)};

            pthread_cond_timedwait(&clock->changed, &clock->lock, &at);
        }
    }
    pthread_mutex_unlock(&clock->lock);
    return NULL;
}

int vmm_clock_new(struct vmm_clock **out, struct baton_error *error)
{
    struct vmm_clock *clock = calloc(1, sizeof(*clock));
    pthread_condattr_t attributes;
    int code;

    if (!clock)
        return baton_error_set(error, ENOMEM, "cannot make the guest's clock: out of memory");
    clock->wake_ticks = VMM_CLOCK_NEVER;
    pthread_mutex_init(&clock->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&clock->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_cond_init(&clock->idle, NULL);
    code = pthread_create(&clock->thread, NULL, timer_thread, clock);
    if (code) {
        free(clock);
        return baton_error_set(error, code, "cannot start the timer thread: %s", strerror(code));
    }
    pthread_setname_np(clock->thread, "timer");
    *out = clock;
    return 0;
}

void vmm_clock_free(struct vmm_clock *clock)
{
    if (!clock)
        return;
    pthread_mutex_lock(&clock->lock);
    clock->quit = true;
    pthread_cond_signal(&clock->changed);
    pthread_mutex_unlock(&clock->lock);
    pthread_join(clock->thread, NULL);
    pthread_cond_destroy(&clock->changed);
    pthread_cond_destroy(&clock->idle);
    pthread_mutex_destroy(&clock->lock);
    free(clock);
}
