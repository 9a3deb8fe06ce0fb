/* SPDX-License-Identifier: MIT */
/*
 * One host thread a hart: runs it, lets it sleep, stops it. The theory of operation is in thread.c.
 */
#ifndef VMM_CPU_THREAD_H
#define VMM_CPU_THREAD_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/clock.h"
#include "vmm/cpu/cpu.h"

#define VMM_MAX_CPUS 8

struct vmm_threads;

struct vmm_threads_config {
    const struct vmm_cpu_ops *ops;
    struct vmm_memory *memory;
    unsigned count;
    struct vmm_clock *clock;
    /*
     * The hart's own timer, so that a sleeping hart can wake by itself: when it is due (in ticks,
     * read without a lock), and what to do when it was.
     */
    uint64_t (*deadline)(void *opaque, unsigned index);
    void (*expire)(void *opaque, unsigned index);
    void *opaque;
};

/* Makes the CPUs and their threads, stopped. */
int vmm_threads_new(const struct vmm_threads_config *config, struct vmm_threads **out,
                    struct baton_error *error);
/* Stops the harts and ends their threads, which waits for one that waits for a page: see
 * vmm_threads_is_waiting(). */
void vmm_threads_free(struct vmm_threads *threads);
/* Whether a hart waits for a page. While the harts are stopped this cannot become true. */
bool vmm_threads_is_waiting(struct vmm_threads *threads);

struct vmm_cpu *vmm_threads_cpu(struct vmm_threads *threads, unsigned index);

/* Any thread but a hart's. On return no hart executes; one that waits for a page is not waited for.
 */
void vmm_threads_stop(struct vmm_threads *threads);
void vmm_threads_start(struct vmm_threads *threads);
/* Any thread but a hart's, harts running or stopped: see dirty_barrier in baton/baton.h. */
void vmm_threads_dirty_barrier(struct vmm_threads *threads);

/* Any thread: drives an interrupt input, and sees to it that the hart notices a rising one. */
void vmm_threads_set_irq(struct vmm_threads *threads, unsigned index, unsigned line, bool level);
void vmm_threads_kick(struct vmm_threads *threads, unsigned index);

#endif
