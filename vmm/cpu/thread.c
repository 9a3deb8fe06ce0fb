/* SPDX-License-Identifier: MIT */
/*
 * Hart threads.
 *
 * Problem: a hart executes for as long as nobody wants anything. It must be stopped quickly from
 * another thread, without signals; while it sleeps or waits for a page, which may take minutes, it
 * must count as stopped, and must not slip back into executing after somebody has relied on that.
 *
 * Data: a hart is RUNNING or RESTING (parked, asleep in wait-for-interrupt, or waiting for a page
 * inside run()). Requests are `stopping`, a flag for all harts, and `barriers`, a count of dirty
 * barriers asked for.
 *
 * The handshake is Dekker's, with seq_cst atomics on both sides: a hart that wants to run first
 * publishes RUNNING, then looks at the requests; whoever requests first publishes the request, then
 * looks at the state. So at least one of the two sees the other: either the hart sees the stop and
 * rests again, or the requester sees RUNNING, kicks, and waits for RESTING.
 *
 * Dirty barrier: a hart outside run(), or resting, has no store under way that relies on a cached
 * "dirty already". It publishes in `acknowledged` the newest barrier that it saw while outside
 * run(); the CPU itself looks at its drop request before its next instruction. A page wait is
 * inside run(), so wait_end makes the CPU leave run() when a barrier came meanwhile.
 *
 * Stopped and started again during one page wait: the CPU may have been loaded or reset, so
 * wait_end compares `stops` with what it was at wait_begin, and has the CPU leave run() and begin
 * anew.
 *
 * Sleeping: under the hart's `lock`, with has_work() looked at under it; whoever raises an
 * interrupt does so first and takes the lock afterwards to wake. A stop passes through the lock
 * too, so that on its return no sleeper is inside has_work().
 *
 * Waiting for harts: `watchers` is raised before the states are looked at; a hart that rests or
 * acknowledges signals `rested` only when somebody watches, so that the common path costs an atomic
 * load.
 *
 * Locks: control, then rest_lock or a hart's lock; the latter two are leaves.
 */
#include "vmm/cpu/thread.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

enum hart_state { HART_RESTING, HART_RUNNING };

struct hart {
    struct vmm_threads *threads;
    unsigned index;
    struct vmm_cpu *cpu;
    pthread_t thread;
    bool created; /* the thread exists */

    atomic_int state;
    atomic_bool waiting; /* for a page */
    atomic_uint_fast64_t acknowledged;
    uint64_t stops_at_wait; /* the hart's thread only */

    pthread_mutex_t lock;
    pthread_cond_t woken;
    bool wake; /* under lock: somebody kicked */
};

struct vmm_threads {
    struct vmm_threads_config config;
    struct vmm_cpu_host host;
    struct hart harts[VMM_MAX_CPUS];

    atomic_bool stopping;
    atomic_bool quitting;
    atomic_uint_fast64_t stops;
    atomic_uint_fast64_t barriers;

    pthread_mutex_t control; /* one stop or start at a time */
    pthread_mutex_t rest_lock;
    pthread_cond_t rested;
    atomic_uint watchers;
};

static uint64_t thread_ticks(void *opaque)
{
    struct vmm_threads *threads = opaque;

    return vmm_clock_ticks(threads->config.clock);
}

static void tell_watchers(struct vmm_threads *threads)
{
    if (!atomic_load(&threads->watchers))
        return;
    pthread_mutex_lock(&threads->rest_lock);
    pthread_cond_broadcast(&threads->rested);
    pthread_mutex_unlock(&threads->rest_lock);
}

static void rest(struct hart *hart)
{
    atomic_store(&hart->state, HART_RESTING);
    tell_watchers(hart->threads);
}

/* True: the hart is RUNNING and may go on. False: it rests, since a stop is asked for. */
static bool try_running(struct hart *hart)
{
    atomic_store(&hart->state, HART_RUNNING);
    if (!atomic_load(&hart->threads->stopping))
        return true;
    rest(hart);
    return false;
}

static void acknowledge(struct hart *hart)
{
    uint64_t barriers = atomic_load(&hart->threads->barriers);

    if (atomic_load(&hart->acknowledged) == barriers)
        return;
    atomic_store(&hart->acknowledged, barriers);
    tell_watchers(hart->threads);
}

static void wait_begin(void *opaque, unsigned index)
{
    struct vmm_threads *threads = opaque;
    struct hart *hart = &threads->harts[index];

    hart->stops_at_wait = atomic_load(&threads->stops);
    atomic_store(&hart->waiting, true);
    rest(hart);
}

static bool wait_end(void *opaque, unsigned index)
{
    struct vmm_threads *threads = opaque;
    struct hart *hart = &threads->harts[index];

    atomic_store(&hart->waiting, false);
    if (!try_running(hart))
        return true;
    return atomic_load(&threads->stops) != hart->stops_at_wait ||
           atomic_load(&threads->barriers) != atomic_load(&hart->acknowledged);
}

static void park(struct hart *hart)
{
    struct vmm_threads *threads = hart->threads;

    pthread_mutex_lock(&hart->lock);
    while (atomic_load(&threads->stopping) && !atomic_load(&threads->quitting))
        pthread_cond_wait(&hart->woken, &hart->lock);
    pthread_mutex_unlock(&hart->lock);
}

/* Sleeps until there may be something to do. Returns true when the hart's own timer was the reason.
 */
static bool sleep_idle(struct hart *hart)
{
    const struct vmm_threads_config *config = &hart->threads->config;
    bool expired = false;

    pthread_mutex_lock(&hart->lock);
    while (!hart->wake && !expired && !atomic_load(&hart->threads->stopping) &&
           !config->ops->has_work(hart->cpu)) {
        uint64_t at_ns =
            vmm_clock_host_ns(config->clock, config->deadline(config->opaque, hart->index));

        if (at_ns == VMM_CLOCK_NEVER) {
            pthread_cond_wait(&hart->woken, &hart->lock);
        } else {
            struct timespec at = {.tv_sec = (time_t)(at_ns / 1000000000u),
                                  .tv_nsec = (long)(at_ns % 1000000000u)};

            expired = pthread_cond_timedwait(&hart->woken, &hart->lock, &at) == ETIMEDOUT;
        }
    }
    hart->wake = false;
    pthread_mutex_unlock(&hart->lock);
    return expired;
}

static void *hart_thread(void *opaque)
{
    struct hart *hart = opaque;
    struct vmm_threads *threads = hart->threads;
    const struct vmm_threads_config *config = &threads->config;
    bool expired = false;

    /* The default slack of 50 us would be added to every timer that a sleeping hart wakes for. */
    prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
    while (!atomic_load(&threads->quitting)) {
        if (!try_running(hart)) {
            park(hart);
            continue;
        }
        acknowledge(hart);
        if (expired)
            config->expire(config->opaque, hart->index);
        expired = false;
        if (config->ops->run(hart->cpu) == VMM_CPU_EXIT_IDLE) {
            rest(hart);
            expired = sleep_idle(hart);
        }
    }
    rest(hart);
    return NULL;
}

static void wake(struct hart *hart)
{
    pthread_mutex_lock(&hart->lock);
    hart->wake = true;
    pthread_cond_signal(&hart->woken);
    pthread_mutex_unlock(&hart->lock);
}

void vmm_threads_kick(struct vmm_threads *threads, unsigned index)
{
    struct hart *hart = &threads->harts[index];

    threads->config.ops->kick(hart->cpu);
    wake(hart);
}

void vmm_threads_set_irq(struct vmm_threads *threads, unsigned index, unsigned line, bool level)
{
    threads->config.ops->set_irq(threads->harts[index].cpu, line, level);
    if (level)
        vmm_threads_kick(threads, index);
}

void vmm_threads_stop(struct vmm_threads *threads)
{
    unsigned count = threads->config.count;

    pthread_mutex_lock(&threads->control);
    if (!atomic_exchange(&threads->stopping, true))
        atomic_fetch_add(&threads->stops, 1);
    atomic_fetch_add(&threads->watchers, 1);
    for (unsigned i = 0; i < count; i++)
        if (atomic_load(&threads->harts[i].state) == HART_RUNNING)
            threads->config.ops->kick(threads->harts[i].cpu);
    for (unsigned i = 0; i < count; i++) {
        struct hart *hart = &threads->harts[i];

        pthread_mutex_lock(&threads->rest_lock);
        while (atomic_load(&hart->state) == HART_RUNNING)
            pthread_cond_wait(&threads->rested, &threads->rest_lock);
        pthread_mutex_unlock(&threads->rest_lock);
        /* A sleeper that is looking whether it has work finishes doing so; from now on it sees the
         * stop first. */
        pthread_mutex_lock(&hart->lock);
        pthread_mutex_unlock(&hart->lock);
    }
    atomic_fetch_sub(&threads->watchers, 1);
    pthread_mutex_unlock(&threads->control);
}

void vmm_threads_start(struct vmm_threads *threads)
{
    pthread_mutex_lock(&threads->control);
    atomic_store(&threads->stopping, false);
    /* Sleepers too: time stood still, so what they computed as their deadline no longer holds. */
    for (unsigned i = 0; i < threads->config.count; i++)
        wake(&threads->harts[i]);
    pthread_mutex_unlock(&threads->control);
}

static bool barrier_passed(struct hart *hart, uint64_t barrier)
{
    return atomic_load(&hart->state) == HART_RESTING || atomic_load(&hart->acknowledged) >= barrier;
}

void vmm_threads_dirty_barrier(struct vmm_threads *threads)
{
    const struct vmm_cpu_ops *ops = threads->config.ops;
    uint64_t barrier;

    for (unsigned i = 0; i < threads->config.count; i++)
        ops->drop_dirty(threads->harts[i].cpu);
    atomic_fetch_add(&threads->watchers, 1);
    barrier = atomic_fetch_add(&threads->barriers, 1) + 1;
    for (unsigned i = 0; i < threads->config.count; i++)
        if (!barrier_passed(&threads->harts[i], barrier))
            ops->kick(threads->harts[i].cpu);
    pthread_mutex_lock(&threads->rest_lock);
    for (unsigned i = 0; i < threads->config.count; i++)
        while (!barrier_passed(&threads->harts[i], barrier))
            pthread_cond_wait(&threads->rested, &threads->rest_lock);
    pthread_mutex_unlock(&threads->rest_lock);
    atomic_fetch_sub(&threads->watchers, 1);
}

struct vmm_cpu *vmm_threads_cpu(struct vmm_threads *threads, unsigned index)
{
    return threads->harts[index].cpu;
}

static void hart_init(struct hart *hart, struct vmm_threads *threads, unsigned index)
{
    pthread_condattr_t attributes;

    hart->threads = threads;
    hart->index = index;
    pthread_mutex_init(&hart->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&hart->woken, &attributes);
    pthread_condattr_destroy(&attributes);
}

static int hart_start(struct hart *hart, struct baton_error *error)
{
    struct vmm_threads *threads = hart->threads;
    char name[16];
    int code = threads->config.ops->create(hart->index, threads->config.memory, &threads->host,
                                           &hart->cpu, error);

    if (code)
        return code;
    code = pthread_create(&hart->thread, NULL, hart_thread, hart);
    if (code)
        return baton_error_set(error, code, "cannot start the thread of CPU %u: %s", hart->index,
                               strerror(code));
    hart->created = true;
    snprintf(name, sizeof(name), "cpu %u", hart->index);
    pthread_setname_np(hart->thread, name);
    return 0;
}

int vmm_threads_new(const struct vmm_threads_config *config, struct vmm_threads **out,
                    struct baton_error *error)
{
    struct vmm_threads *threads;

    if (config->count < 1 || config->count > VMM_MAX_CPUS)
        return baton_error_set(error, EINVAL, "cannot make %u CPUs: the number must be 1 to %u",
                               config->count, VMM_MAX_CPUS);
    threads = calloc(1, sizeof(*threads));
    if (!threads)
        return baton_error_set(error, ENOMEM, "cannot make the CPUs: out of memory");
    threads->config = *config;
    threads->host = (struct vmm_cpu_host){
        .wait_begin = wait_begin, .wait_end = wait_end, .ticks = thread_ticks, .opaque = threads};
    atomic_store(&threads->stopping, true);
    pthread_mutex_init(&threads->control, NULL);
    pthread_mutex_init(&threads->rest_lock, NULL);
    pthread_cond_init(&threads->rested, NULL);
    for (unsigned i = 0; i < config->count; i++)
        hart_init(&threads->harts[i], threads, i);
    for (unsigned i = 0; i < config->count; i++) {
        int code = hart_start(&threads->harts[i], error);

        if (code) {
            vmm_threads_free(threads);
            return code;
        }
    }
    *out = threads;
    return 0;
}

bool vmm_threads_is_waiting(struct vmm_threads *threads)
{
    for (unsigned i = 0; i < threads->config.count; i++)
        if (atomic_load(&threads->harts[i].waiting))
            return true;
    return false;
}

void vmm_threads_free(struct vmm_threads *threads)
{
    if (!threads)
        return;
    vmm_threads_stop(threads);
    atomic_store(&threads->quitting, true);
    for (unsigned i = 0; i < threads->config.count; i++) {
        struct hart *hart = &threads->harts[i];

        if (hart->created) {
            vmm_threads_kick(threads, i);
            pthread_join(hart->thread, NULL);
        }
    }
    for (unsigned i = 0; i < threads->config.count; i++) {
        struct hart *hart = &threads->harts[i];

        if (hart->cpu)
            threads->config.ops->free(hart->cpu);
        pthread_cond_destroy(&hart->woken);
        pthread_mutex_destroy(&hart->lock);
    }
    pthread_cond_destroy(&threads->rested);
    pthread_mutex_destroy(&threads->rest_lock);
    pthread_mutex_destroy(&threads->control);
    free(threads);
}
