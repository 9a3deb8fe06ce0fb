/* SPDX-License-Identifier: MIT */
/* What the files of the machine share: machine.c, machine_build.c, machine_power.c. */
#ifndef VMM_MACHINE_INTERNAL_H
#define VMM_MACHINE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "vmm/boot.h"
#include "vmm/clock.h"
#include "vmm/console.h"
#include "vmm/cpu/thread.h"
#include "vmm/device/clint.h"
#include "vmm/device/plic.h"
#include "vmm/device/rtc.h"
#include "vmm/device/syscon.h"
#include "vmm/device/uart.h"
#include "vmm/machine.h"

#define MACHINE_PAGE_BYTES 4096u

/* A CPU as a section of the stream. */
struct vmm_cpu_section {
    const struct vmm_cpu_ops *ops;
    struct vmm_cpu *cpu;
};

struct vmm_machine {
    struct vmm_machine_config config;
    struct vmm_memory memory;
    bool memory_made;
    struct vmm_clock *clock;
    struct vmm_clint *clint;
    struct vmm_plic *plic;
    struct vmm_uart *uart;
    struct vmm_rtc *rtc;
    struct vmm_syscon *syscon;
    struct vmm_console *console;
    struct vmm_threads *threads;
    struct baton *baton;
    struct vmm_cpu_section cpu_sections[VMM_MAX_CPUS];

    pthread_mutex_t power;
    bool closing;  /* under power: the library's orders no longer count */
    vmm_gpa entry; /* under power, as the next two */
    uint64_t arg1, arg2;

    pthread_mutex_t event_lock;
    void (*listener)(void *opaque, const struct vmm_event *event);
    void *listener_opaque;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool running;
    bool started_once;
    bool shut_down;     /* the guest has powered off */
    bool reset_by_host; /* the reset that is pending was ordered here */
    bool ordered;       /* the control thread shall look at the syscon */
    bool quit;          /* vmm_machine_wait() shall return, and the control thread end */
    int exit_code;
    uint64_t stop_calls;

    pthread_mutex_t monitor_lock;
    pthread_t control;
    bool control_made;
    atomic_uint waits; /* threads but harts that may be waiting for a page */
};

/* Indexes for baton_ram_ensure(): the harts come first. */
static inline unsigned machine_monitor_waiter(const struct vmm_machine *machine)
{
    return machine->config.cpus;
}

static inline unsigned machine_control_waiter(const struct vmm_machine *machine)
{
    return machine->config.cpus + 1;
}

/* machine.c */
extern const struct baton_host_ops machine_host_ops;
void machine_emit(struct vmm_machine *machine, enum vmm_event_type type,
                  const struct baton_event *baton);
void machine_emit_event(struct vmm_machine *machine, const struct vmm_event *event);
void machine_start(struct vmm_machine *machine);
/* Under `power`, or before anything runs: devices and CPUs as at power-on. */
void machine_reset_all(struct vmm_machine *machine);

/* machine_power.c */
void machine_note_order(void *opaque);
int machine_read_images(struct vmm_machine *machine, struct vmm_boot *boot,
                        struct baton_error *error);
void machine_place_images(struct vmm_machine *machine, const struct vmm_boot *boot, bool fresh);
void *machine_control_thread(void *opaque);

#endif
