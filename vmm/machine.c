/* SPDX-License-Identifier: MIT */
/*
 * The `virt` machine at work: the host operations, through which the library says when the VM runs,
 * and what the monitor asks.
 *
 * Threads that come in: harts (device registers, through the memory's table), the clock's timer
 * thread, the console's thread, the library's threads (host operations, save and load), the
 * monitor. One thread is the machine's own: see machine_power.c.
 *
 * Stopped means: no hart executes, guest time stands, no timer is being carried out, and the serial
 * port takes no input; so that what is saved stays what it is. Interrupt inputs of CPUs are not
 * saved: they are levels that the devices drive, and drive anew before the harts start.
 *
 * Locks, in order: power (a change between running and stopped, a reset), event_lock, lock (the
 * plain state; a leaf that harts take, so nothing that waits for harts is done under it).
 * monitor_lock is apart: it guards one waiter index.
 */
#include <errno.h>
#include <stdio.h>

#include "baton/guest.h"
#include "vmm/machine_internal.h"

void machine_emit_event(struct vmm_machine *machine, const struct vmm_event *event)
{
    pthread_mutex_lock(&machine->event_lock);
    if (machine->listener)
        machine->listener(machine->listener_opaque, event);
    pthread_mutex_unlock(&machine->event_lock);
}

void machine_emit(struct vmm_machine *machine, enum vmm_event_type type,
                  const struct baton_event *baton)
{
    struct vmm_event event = {.type = type, .baton = baton};

    machine_emit_event(machine, &event);
}

void vmm_machine_on_event(struct vmm_machine *machine,
                          void (*listener)(void *opaque, const struct vmm_event *event),
                          void *opaque)
{
    pthread_mutex_lock(&machine->event_lock);
    machine->listener = listener;
    machine->listener_opaque = opaque;
    pthread_mutex_unlock(&machine->event_lock);
}

/* ---- Host operations ---- */

/* Sets the state and says whether it was different. */
static bool set_running(struct vmm_machine *machine, bool running)
{
    bool was;

    pthread_mutex_lock(&machine->lock);
    was = machine->running;
    machine->running = running;
    machine->started_once |= running;
    if (!running)
        machine->stop_calls++;
    pthread_cond_broadcast(&machine->changed);
    pthread_mutex_unlock(&machine->lock);
    return was != running;
}

static void host_vm_stop(void *host)
{
    struct vmm_machine *machine = host;
    bool changed;

    pthread_mutex_lock(&machine->power);
    if (!machine->closing) {
        vmm_threads_stop(machine->threads);
        vmm_clock_stop(machine->clock);
        vmm_uart_pause(machine->uart, true);
    }
    changed = set_running(machine, false);
    pthread_mutex_unlock(&machine->power);
    if (changed)
        machine_emit(machine, VMM_EVENT_STOP, NULL);
}

void machine_start(struct vmm_machine *machine)
{
    unsigned exit_code;
    bool changed = false;

    pthread_mutex_lock(&machine->power);
    if (!machine->closing && !vmm_machine_is_running(machine)) {
        vmm_clint_redrive(machine->clint);
        vmm_uart_redrive(machine->uart);
        vmm_rtc_redrive(machine->rtc);
        vmm_plic_redrive(machine->plic);
        changed = set_running(machine, true);
        vmm_clock_start(machine->clock);
        vmm_uart_pause(machine->uart, false);
        vmm_threads_start(machine->threads);
    }
    pthread_mutex_unlock(&machine->power);
    if (changed)
        machine_emit(machine, VMM_EVENT_RESUME, NULL);
    if (vmm_syscon_order(machine->syscon, &exit_code) != VMM_SYSCON_NOTHING)
        machine_note_order(machine);
}

static void host_vm_start(void *host)
{
    machine_start(host);
}

static void host_dirty_barrier(void *host)
{
    struct vmm_machine *machine = host;

    vmm_threads_dirty_barrier(machine->threads);
}

void machine_reset_all(struct vmm_machine *machine)
{
    const struct vmm_cpu_ops *ops = machine->config.cpu_ops;

    vmm_uart_reset(machine->uart);
    vmm_rtc_reset(machine->rtc);
    vmm_syscon_reset(machine->syscon);
    for (unsigned i = 0; i < machine->config.cpus; i++)
        ops->reset(vmm_threads_cpu(machine->threads, i), machine->entry, machine->arg1,
                   machine->arg2);
    /* After the CPUs, whose inputs these drive. */
    vmm_clint_reset(machine->clint);
    vmm_plic_reset(machine->plic);
}

static void host_reset(void *host)
{
    struct vmm_machine *machine = host;

    pthread_mutex_lock(&machine->power);
    machine_reset_all(machine);
    pthread_mutex_unlock(&machine->power);
}

/* State changes by name, with their reasons, for whoever keeps the log of this process. */
static void trace_status(const struct baton_event *event)
{
    fprintf(stderr, "baton: %s: %s -> %s: %s\n",
            event->role == BATON_ROLE_DEST ? "destination" : "source",
            baton_status_name(event->previous), baton_status_name(event->status), event->reason);
}

static void host_event(void *host, const struct baton_event *event)
{
    struct vmm_machine *machine = host;

    if (event->type == BATON_EVENT_STATUS)
        trace_status(event);

    /* A guest that has powered off may be waiting for leave to go. */
    pthread_mutex_lock(&machine->lock);
    pthread_cond_broadcast(&machine->changed);
    pthread_mutex_unlock(&machine->lock);
    machine_emit(machine, VMM_EVENT_BATON, event);
}

const struct baton_host_ops machine_host_ops = {
    .size = sizeof(machine_host_ops),
    .vm_stop = host_vm_stop,
    .vm_start = host_vm_start,
    .dirty_barrier = host_dirty_barrier,
    .reset = host_reset,
    .event = host_event,
};

/* ---- For the monitor and the command line ---- */

struct baton *vmm_machine_baton(struct vmm_machine *machine)
{
    return machine->baton;
}

unsigned vmm_machine_cpus(struct vmm_machine *machine)
{
    return machine->config.cpus;
}

uint64_t vmm_machine_memory_bytes(struct vmm_machine *machine)
{
    return machine->config.memory_bytes;
}

bool vmm_machine_is_running(struct vmm_machine *machine)
{
    bool running;

    pthread_mutex_lock(&machine->lock);
    running = machine->running;
    pthread_mutex_unlock(&machine->lock);
    return running;
}

const char *vmm_machine_runstate(struct vmm_machine *machine)
{
    const char *state = "paused";

    pthread_mutex_lock(&machine->lock);
    if (machine->shut_down)
        state = "shutdown";
    else if (machine->running)
        state = "running";
    else if (!machine->started_once)
        state = machine->config.incoming ? "inmigrate" : "prelaunch";
    pthread_mutex_unlock(&machine->lock);
    return state;
}

int vmm_machine_read_ram(struct vmm_machine *machine, vmm_gpa gpa, void *buffer,
                         size_t length_bytes, bool wait, struct baton_error *error)
{
    const uint8_t *ram = vmm_memory_ram(&machine->memory, gpa, length_bytes);
    uint64_t offset = gpa - machine->memory.ram_base;

    if (!ram)
        return baton_error_set(
            error, EFAULT,
            "cannot read %zu bytes at %#llx: the guest's RAM is from %#llx to "
            "%#llx",
            length_bytes, (unsigned long long)gpa, (unsigned long long)machine->memory.ram_base,
            (unsigned long long)machine->memory.ram_base + machine->memory.ram_bytes);
    if (!wait && !baton_ram_is_present(machine->baton, 0, offset, length_bytes))
        return baton_error_set(error, EAGAIN,
                               "cannot read %zu bytes at %#llx yet: they have not come from the "
                               "other host; try again later",
                               length_bytes, (unsigned long long)gpa);
    if (wait && length_bytes) {
        atomic_fetch_add(&machine->waits, 1);
        pthread_mutex_lock(&machine->monitor_lock);
        for (uint64_t page = offset / MACHINE_PAGE_BYTES;
             page <= (offset + length_bytes - 1) / MACHINE_PAGE_BYTES; page++)
            baton_ram_ensure(machine->baton, machine_monitor_waiter(machine), 0,
                             page * MACHINE_PAGE_BYTES);
        pthread_mutex_unlock(&machine->monitor_lock);
        atomic_fetch_sub(&machine->waits, 1);
    }
    baton_guest_read(buffer, ram, length_bytes);
    return 0;
}

int vmm_machine_wait(struct vmm_machine *machine)
{
    int exit_code;

    pthread_mutex_lock(&machine->lock);
    while (!machine->quit)
        pthread_cond_wait(&machine->changed, &machine->lock);
    exit_code = machine->exit_code;
    pthread_mutex_unlock(&machine->lock);
    return exit_code;
}

void vmm_machine_quit(struct vmm_machine *machine)
{
    pthread_mutex_lock(&machine->lock);
    machine->quit = true;
    pthread_cond_broadcast(&machine->changed);
    pthread_mutex_unlock(&machine->lock);
}
