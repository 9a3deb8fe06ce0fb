/* SPDX-License-Identifier: MIT */
/*
 * Switching on, off and over: the guest's images in RAM, and what the guest orders.
 *
 * A guest orders its end or its reset through the syscon, on a hart's thread, which cannot stop
 * itself; so a thread of its own, `control`, carries it out. The order is latched in the syscon.
 * The control thread asks the library to stop the VM and waits until it has. If the VM may no
 * longer run here (it is being handed over at this very moment), the order is left alone: the latch
 * has moved with the VM, or, should the VM be started here again, machine_start() wakes the control
 * thread again. `stop_calls` tells it that the library has stopped the VM for reasons of its own
 * between the question and the deed.
 *
 * An operator's reset goes the same way: it is written to the syscon as a guest would do it.
 *
 * A reset writes the images again, as switching on did. Pages that have not come yet are waited for
 * first, without any lock.
 *
 * A guest that has powered off may still be needed: it has pages that another host waits for. The
 * machine then stays, stopped, until baton_may_quit() agrees.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "baton/guest.h"
#include "vmm/machine_internal.h"

#define RETRY_MS 200

int machine_read_images(struct vmm_machine *machine, struct vmm_boot *boot,
                        struct baton_error *error)
{
    struct vmm_boot_config config = {.ram_bytes = machine->config.memory_bytes,
                                     .cpus = machine->config.cpus,
                                     .kernel = machine->config.kernel,
                                     .initrd = machine->config.initrd,
                                     .append = machine->config.append,
                                     .firmware = machine->config.firmware};

    if (!config.kernel)
        return baton_error_set(error, EINVAL, "there is no kernel to boot; name one with --kernel");
    return vmm_boot_init(boot, &config, error);
}

/* Writes the images. RAM that was never touched is zero already, and is left untouched. */
void machine_place_images(struct vmm_machine *machine, const struct vmm_boot *boot, bool fresh)
{
    static const uint8_t zeros[MACHINE_PAGE_BYTES];

    for (unsigned i = 0; i < boot->piece_count; i++) {
        const struct vmm_boot_piece *piece = &boot->pieces[i];
        uint64_t total = piece->length_bytes + piece->zero_bytes;
        uint8_t *ram = vmm_memory_ram(&machine->memory, piece->at, total);

        if (!ram) /* of length 0 at the end of RAM */
            continue;
        baton_guest_write(ram, piece->bytes, piece->length_bytes);
        for (uint64_t done = piece->length_bytes; !fresh && done < total;) {
            uint64_t chunk = total - done < sizeof(zeros) ? total - done : sizeof(zeros);

            baton_guest_write(ram + done, zeros, chunk);
            done += chunk;
        }
        baton_ram_mark_dirty(machine->baton, 0, piece->at - machine->memory.ram_base, total);
    }
    machine->entry = boot->entry;
    machine->arg1 = boot->arg1;
    machine->arg2 = boot->arg2;
}

/* The guest has written to the syscon (a hart's thread), or the VM was started with an order
 * pending. */
void machine_note_order(void *opaque)
{
    struct vmm_machine *machine = opaque;

    pthread_mutex_lock(&machine->lock);
    machine->ordered = true;
    pthread_cond_broadcast(&machine->changed);
    pthread_mutex_unlock(&machine->lock);
}

/* Under `lock`: sleeps until something has changed, or a short while. */
static void wait_a_little(struct vmm_machine *machine)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += RETRY_MS * 1000000l;
    until.tv_sec += until.tv_nsec / 1000000000l;
    until.tv_nsec %= 1000000000l;
    pthread_cond_timedwait(&machine->changed, &machine->lock, &until);
}

/* Has the library stop the VM. Returns whether the VM is (still) ours to end or to reset. */
static bool halt(struct vmm_machine *machine, uint64_t *stop_calls)
{
    struct baton_info *info;
    uint64_t before;
    bool ours;

    pthread_mutex_lock(&machine->lock);
    before = machine->stop_calls;
    pthread_mutex_unlock(&machine->lock);
    if (baton_halt(machine->baton, NULL)) {
        /* Not now; the order stays latched, and the guest, which has nothing else to do, waits. */
        pthread_mutex_lock(&machine->lock);
        wait_a_little(machine);
        machine->ordered = true;
        pthread_mutex_unlock(&machine->lock);
        return false;
    }
    pthread_mutex_lock(&machine->lock);
    while (machine->running && machine->stop_calls == before && !machine->quit)
        pthread_cond_wait(&machine->changed, &machine->lock);
    *stop_calls = machine->stop_calls;
    machine->ordered |= machine->running; /* somebody let it go on at once: once more */
    ours = !machine->running && !machine->quit;
    pthread_mutex_unlock(&machine->lock);
    info = calloc(1, sizeof(*info)); /* too large for a thread's stack to like */
    if (!info)
        return false;
    if (ours) {
        baton_query(machine->baton, info);
        ours = info->vm_may_run;
    }
    free(info);
    return ours;
}

static void shut_down(struct vmm_machine *machine, int exit_code)
{
    bool quit;

    pthread_mutex_lock(&machine->lock);
    machine->shut_down = true;
    machine->exit_code = exit_code;
    pthread_mutex_unlock(&machine->lock);
    machine_emit(machine, VMM_EVENT_SHUTDOWN, NULL);
    do {
        bool may = baton_may_quit(machine->baton, NULL) == 0;

        pthread_mutex_lock(&machine->lock);
        if (may) {
            machine->quit = true;
            pthread_cond_broadcast(&machine->changed);
        } else if (!machine->quit) {
            wait_a_little(machine);
        }
        quit = machine->quit;
        pthread_mutex_unlock(&machine->lock);
    } while (!quit);
}

static void ensure_images(struct vmm_machine *machine, const struct vmm_boot *boot)
{
    atomic_fetch_add(&machine->waits, 1);
    for (unsigned i = 0; i < boot->piece_count; i++) {
        const struct vmm_boot_piece *piece = &boot->pieces[i];
        uint64_t first = (piece->at - machine->memory.ram_base) / MACHINE_PAGE_BYTES;
        uint64_t end = (piece->at - machine->memory.ram_base + piece->length_bytes +
                        piece->zero_bytes + MACHINE_PAGE_BYTES - 1) /
                       MACHINE_PAGE_BYTES;

        for (uint64_t page = first; page < end; page++)
            baton_ram_ensure(machine->baton, machine_control_waiter(machine), 0,
                             page * MACHINE_PAGE_BYTES);
    }
    atomic_fetch_sub(&machine->waits, 1);
}

static void reset_guest(struct vmm_machine *machine, uint64_t stop_calls)
{
    struct vmm_event event = {.type = VMM_EVENT_RESET};
    struct baton_error error = {0};
    struct vmm_boot boot = {0};
    bool ours;

    if (machine_read_images(machine, &boot, &error)) {
        fprintf(stderr, "baton: the guest wants to reboot, but cannot: %s\n", error.text);
        shut_down(machine, 1);
        return;
    }
    ensure_images(machine, &boot);
    pthread_mutex_lock(&machine->power);
    pthread_mutex_lock(&machine->lock);
    ours = !machine->running && machine->stop_calls == stop_calls && !machine->quit;
    pthread_mutex_unlock(&machine->lock);
    if (ours) {
        machine_place_images(machine, &boot, false);
        machine_reset_all(machine);
    }
    pthread_mutex_unlock(&machine->power);
    vmm_boot_fini(&boot);
    if (!ours)
        return;
    pthread_mutex_lock(&machine->lock);
    event.by_host = machine->reset_by_host;
    machine->reset_by_host = false;
    pthread_mutex_unlock(&machine->lock);
    machine_emit_event(machine, &event);
    /* Refused when the VM left just now: then it goes on over there. */
    baton_cont(machine->baton, NULL);
}

static void carry_out_order(struct vmm_machine *machine)
{
    unsigned exit_code;
    uint64_t stop_calls;
    enum vmm_syscon_order order = vmm_syscon_order(machine->syscon, &exit_code);

    /* A VM that somebody has stopped stays so; machine_start() will bring the order up again. */
    if (order == VMM_SYSCON_DO_RESET && !vmm_machine_is_running(machine))
        return;
    if (order == VMM_SYSCON_NOTHING || !halt(machine, &stop_calls))
        return;
    if (order == VMM_SYSCON_DO_POWEROFF)
        shut_down(machine, (int)exit_code);
    else
        reset_guest(machine, stop_calls);
}

/* Whether there is a VM here to reset, and all that it takes; the files are looked at now, so that
 * a missing one is a refusal and not the end of the VM. */
static int may_reset(struct vmm_machine *machine, struct baton_error *error)
{
    struct baton_info *info = calloc(1, sizeof(*info));
    struct vmm_boot boot;
    bool shut_down, here;
    int code;

    if (!info)
        return baton_error_set(error, ENOMEM, "cannot reset the VM: out of memory");
    baton_query(machine->baton, info);
    here = info->vm_running || info->vm_may_run;
    free(info);
    pthread_mutex_lock(&machine->lock);
    shut_down = machine->shut_down;
    pthread_mutex_unlock(&machine->lock);
    if (shut_down)
        return baton_error_set(error, EPERM, "cannot reset the VM: its guest has powered off");
    if (!here)
        return baton_error_set(error, EPERM,
                               "cannot reset the VM: it does not run on this host now; give the "
                               "order where it does");
    code = machine_read_images(machine, &boot, error);
    if (code)
        return baton_error_prefix(error, "cannot reset the VM");
    vmm_boot_fini(&boot);
    return 0;
}

/* The button is wired to the syscon, as the guest's own order is, so that it travels with the VM.
 */
int vmm_machine_reset(struct vmm_machine *machine, struct baton_error *error)
{
    int code = may_reset(machine, error);

    if (code)
        return code;
    pthread_mutex_lock(&machine->lock);
    machine->reset_by_host = true;
    pthread_mutex_unlock(&machine->lock);
    vmm_syscon_mmio.write(machine->syscon, 0, 4, VMM_SYSCON_REBOOT);
    return 0;
}

void *machine_control_thread(void *opaque)
{
    struct vmm_machine *machine = opaque;
    bool quit = false;

    while (!quit) {
        pthread_mutex_lock(&machine->lock);
        while (!machine->ordered && !machine->quit)
            pthread_cond_wait(&machine->changed, &machine->lock);
        machine->ordered = false;
        quit = machine->quit;
        pthread_mutex_unlock(&machine->lock);
        if (!quit)
            carry_out_order(machine);
    }
    return NULL;
}
