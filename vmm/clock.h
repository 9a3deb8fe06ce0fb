/* SPDX-License-Identifier: MIT */
/*
 * Guest time and the timers that follow it.
 *
 * Time is counted in ticks of the `virt` machine's timebase. It runs only between start and stop,
 * never goes back while it is not set, and is the same on every CPU. The theory of operation is in
 * clock.c.
 */
#ifndef VMM_CLOCK_H
#define VMM_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "baton/error.h"

#define VMM_CLOCK_HZ 10000000u
#define VMM_CLOCK_TICK_NS 100u
#define VMM_CLOCK_NEVER UINT64_MAX
/* The largest value that is accepted from a peer: from there it still takes 29 thousand years to
 * wrap. */
#define VMM_CLOCK_MAX_TICKS (UINT64_MAX / 2)

struct vmm_clock;

/*
 * Calls `fire` from the timer thread, once, when guest time has reached the deadline. It may fire
 * late, never early, and may fire once after having been armed anew: the callee looks at its own
 * state again.
 */
struct vmm_timer {
    void (*fire)(void *opaque);
    void *opaque;
    struct vmm_clock *clock;
    struct vmm_timer *next;
    uint64_t deadline_ticks; /* VMM_CLOCK_NEVER: not armed; under the clock's lock */
};

/* A clock that stands at 0. */
int vmm_clock_new(struct vmm_clock **out, struct baton_error *error);
void vmm_clock_free(struct vmm_clock *clock);

uint64_t vmm_clock_ticks(struct vmm_clock *clock); /* any thread, lock-free */
void vmm_clock_start(struct vmm_clock *clock);
/* On return time stands and no timer's `fire` is being carried out. Not to be called from `fire`,
 * nor under a lock that it takes. */
void vmm_clock_stop(struct vmm_clock *clock);
void vmm_clock_set(struct vmm_clock *clock, uint64_t ticks);
/* When guest time will be `ticks`, on CLOCK_MONOTONIC; VMM_CLOCK_NEVER if it stands or that is too
 * far away to count. */
uint64_t vmm_clock_host_ns(struct vmm_clock *clock, uint64_t ticks);

/* Before the clock is first started. The timer is the caller's and must outlive the clock's thread.
 */
void vmm_clock_add_timer(struct vmm_clock *clock, struct vmm_timer *timer, void (*fire)(void *),
                         void *opaque);
void vmm_timer_arm(struct vmm_timer *timer, uint64_t deadline_ticks); /* any thread */

#endif
