/* SPDX-License-Identifier: MIT */
/*
 * A CPU that executes nothing in particular, for tests of what is around CPUs. What it does is
 * steered by a struct fake_cpu_plan, and what it did can be looked at.
 */
#ifndef FAKE_CPU_H
#define FAKE_CPU_H

#include <stdatomic.h>

#include "vmm/cpu/cpu.h"

struct vmm_cpu {
    unsigned index;
    const struct vmm_cpu_host *host;
    struct vmm_memory *memory;
    atomic_bool exit_request;
    atomic_bool drop_request;
    atomic_uint irq_lines;
    atomic_bool running;          /* inside run() and not waiting */
    atomic_uint_fast64_t waits;   /* page waits begun */
    atomic_uint_fast64_t refused; /* page waits that ended with true */
    atomic_uint_fast64_t idles;   /* runs that ended idle */
    uint64_t executed;            /* plain on purpose: thread sanitizers watch who reads it when */
    bool dirty_known;
    uint32_t random;
    vmm_gpa entry;
    uint64_t arg1, arg2;
};

/* Set before the harts start, or atomically meant. */
struct fake_cpu_plan {
    atomic_bool idle;       /* go idle whenever there is no interrupt */
    atomic_bool wait_pages; /* now and then wait for a page */
    atomic_bool page_held;  /* page waits last until this is false */
    /* The fake's one page of "guest RAM" a hart, and its dirty log. */
    atomic_uint_fast64_t value[8];
    atomic_bool log[8];
    /* What the guest does to devices, once: a store to this address by hart 0. */
    atomic_uint_fast64_t store_to;
    uint32_t store_value;
};
extern struct fake_cpu_plan fake_cpu_plan;
extern const struct vmm_cpu_ops fake_cpu_ops;

#endif
