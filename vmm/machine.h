/* SPDX-License-Identifier: MIT */
/*
 * The `virt` machine: memory, harts, devices and the baton object that moves them. The theory of
 * operation is in machine.c.
 */
#ifndef VMM_MACHINE_H
#define VMM_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "baton/baton.h"
#include "vmm/cpu/cpu.h"
#include "vmm/memory.h"

#define VMM_MACHINE_NAME "virt"
#define VMM_MIN_MEMORY_BYTES (4ull << 20)
#define VMM_MAX_MEMORY_BYTES (256ull << 30)

struct vmm_machine;

/* The strings are borrowed and must outlive the machine. */
struct vmm_machine_config {
    uint64_t memory_bytes;                            /* a multiple of 4096 */
    unsigned cpus;                                    /* 1 to VMM_MAX_CPUS */
    const char *kernel;                               /* needed unless incoming */
    const char *initrd, *append, *firmware, *console; /* may be NULL, see boot.h and console.h */
    bool paused;                                      /* the CPUs wait for an order to go on */
    bool incoming;                     /* the VM comes from elsewhere: RAM is not touched */
    enum vmm_backend backend;          /* what RAM is made of */
    enum baton_faults faults;          /* how missing pages are caught */
    const struct vmm_cpu_ops *cpu_ops; /* NULL: rv64 */
    /* The person at the terminal wants to quit. Called from the console's thread; NULL: nothing
     * happens. */
    void (*on_quit_key)(void *opaque);
    void *opaque;
};

/* Makes the machine and, unless it is paused or incoming, starts it. */
int vmm_machine_new(const struct vmm_machine_config *config, struct vmm_machine **out,
                    struct baton_error *error);
/*
 * Stops and frees everything. If a hart, a reset or a reader waits for a page that has not come,
 * only the console is closed; the rest is left to the end of the process, which is all that may
 * follow.
 */
void vmm_machine_free(struct vmm_machine *machine);

struct baton *vmm_machine_baton(struct vmm_machine *machine);

/* Any thread. */
bool vmm_machine_is_running(struct vmm_machine *machine);
const char *vmm_machine_runstate(struct vmm_machine *machine); /* QMP's RunState */
unsigned vmm_machine_cpus(struct vmm_machine *machine);
uint64_t vmm_machine_memory_bytes(struct vmm_machine *machine);

/*
 * Any thread: copies guest RAM out. A missing page is waited for, however long that takes, or
 * (`wait` false) answered with -EAGAIN.
 */
int vmm_machine_read_ram(struct vmm_machine *machine, vmm_gpa gpa, void *buffer,
                         size_t length_bytes, bool wait, struct baton_error *error);

enum vmm_event_type {
    VMM_EVENT_BATON,    /* `baton` says what */
    VMM_EVENT_STOP,     /* the CPUs have stopped */
    VMM_EVENT_RESUME,   /* the CPUs go on */
    VMM_EVENT_SHUTDOWN, /* the guest has powered off */
    VMM_EVENT_RESET     /* the guest has reset itself, or was (`by_host`) */
};

struct vmm_event {
    enum vmm_event_type type;
    const struct baton_event *baton; /* with VMM_EVENT_BATON, during the call only; else NULL */
    bool by_host;                    /* with VMM_EVENT_RESET */
};

/*
 * One listener; NULL: none. It is called from any thread, one event at a time, must be quick and
 * must not call into the machine or the library. When this returns the previous listener is not
 * being called any more.
 */
void vmm_machine_on_event(struct vmm_machine *machine,
                          void (*listener)(void *opaque, const struct vmm_event *event),
                          void *opaque);

/*
 * Any thread: presses the reset button. Returns at once; the reset is carried out when the CPUs
 * rest, for a VM that is stopped as soon as it goes on. Should the VM move before, it is reset over
 * there.
 */
int vmm_machine_reset(struct vmm_machine *machine, struct baton_error *error);

/* Waits until the guest has powered off and the process may end, or somebody quits. Returns the
 * exit code. */
int vmm_machine_wait(struct vmm_machine *machine);
void vmm_machine_quit(struct vmm_machine *machine); /* any thread; does not ask baton_may_quit() */

#endif
