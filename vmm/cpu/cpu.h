/* SPDX-License-Identifier: MIT */
/*
 * The seam between the machine and whatever executes guest code. Nothing here knows an instruction
 * set: rv64 (software) is the first implementation, KVM fits the same table.
 *
 * Life of a CPU. create -> (reset | load) -> run, run, run ... -> free. One host thread, owned by
 * vmm/cpu/thread.c, calls run(); everything marked "any thread" may come from elsewhere at the same
 * time. save, load and reset are called only while the CPU rests (its thread is not inside run(),
 * or is inside wait_begin/wait_end).
 */
#ifndef VMM_CPU_H
#define VMM_CPU_H

#include <stdbool.h>
#include <stdint.h>

#include "baton/baton.h"
#include "vmm/memory.h"

struct vmm_cpu;

enum vmm_cpu_exit {
    VMM_CPU_EXIT_KICKED, /* somebody wants something: look at the requests, then call run again */
    VMM_CPU_EXIT_IDLE /* wait-for-interrupt with nothing pending: sleep until has_work() or a kick
                       */
};

/* What the machine offers to a CPU. All may be called by the CPU's own thread inside run(). */
struct vmm_cpu_host {
    /*
     * Brackets a wait for a missing page. Between the two the CPU counts as stopped, and others may
     * save or stop the VM: the CPU must be at an instruction boundary, with no part of the current
     * instruction carried out. wait_end returns true when the CPU must not go on (it has to leave
     * run() with KICKED and try the instruction again later).
     */
    void (*wait_begin)(void *opaque, unsigned index);
    bool (*wait_end)(void *opaque, unsigned index);
    /* Guest time in ticks of the machine's timebase (virt: 10 MHz). Never goes back on any CPU. */
    uint64_t (*ticks)(void *opaque);
    void *opaque;
};

struct vmm_cpu_ops {
    const char *name;
    int (*create)(unsigned index, struct vmm_memory *memory, const struct vmm_cpu_host *host,
                  struct vmm_cpu **out, struct baton_error *error);
    void (*free)(struct vmm_cpu *cpu);
    /* Power-on state; execution starts at `entry` with the machine's start arguments (virt: a0 hart
     * id, a1 device tree, a2 firmware info). */
    void (*reset)(struct vmm_cpu *cpu, vmm_gpa entry, uint64_t arg1, uint64_t arg2);
    enum vmm_cpu_exit (*run)(struct vmm_cpu *cpu);
    void (*kick)(struct vmm_cpu *cpu); /* any thread: run() returns soon, or at once when entered */
    bool (*has_work)(struct vmm_cpu *cpu); /* any thread: an enabled interrupt is pending */
    /* Any thread: drives an interrupt input. The line numbers are the implementation's (rv64: bit
     * numbers of mip). The caller kicks. */
    void (*set_irq)(struct vmm_cpu *cpu, unsigned line, bool level);
    /*
     * Any thread: asks the CPU to drop cached "page is dirty" knowledge. Carried out by the CPU at
     * its next instruction boundary (or before its next instruction when it rests); thread.c
     * acknowledges when the CPU has left run() or rests.
     */
    void (*drop_dirty)(struct vmm_cpu *cpu);
    void (*save)(struct vmm_cpu *cpu, struct baton_save *save);
    int (*load)(struct vmm_cpu *cpu, struct baton_load *load, uint32_t version,
                struct baton_error *error);
    const char *section; /* idstr of the CPU's section */
    uint32_t version;    /* of that section */
};

extern const struct vmm_cpu_ops vmm_cpu_rv64;

#endif
