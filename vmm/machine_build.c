/* SPDX-License-Identifier: MIT */
/*
 * Making the `virt` machine and taking it apart.
 *
 * Order of making: memory, clock, devices, harts, console, images' place, the baton object over all
 * of it, the images, the threads of the console and of the machine; then, unless somebody else
 * shall say when, the VM is started. Devices have no thread of their own, and no hart runs before
 * the last step, so nothing needs a lock until then.
 *
 * Order of taking apart: the harts stop; whoever could start them again (the library) is told to
 * leave; then the threads end, then what they used. A hart that waits for a page can be in the
 * middle of the library and cannot be ended: then all is left as it is, but for the console, which
 * has a terminal to give back.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/machine_internal.h"

#define DEVICE_COUNT 5

static void set_hart_irq(void *opaque, unsigned hart, unsigned line, bool level)
{
    struct vmm_machine *machine = opaque;

    vmm_threads_set_irq(machine->threads, hart, line, level);
}

static uint64_t hart_deadline(void *opaque, unsigned index)
{
    struct vmm_machine *machine = opaque;

    return vmm_clint_deadline(machine->clint, index);
}

static void hart_expire(void *opaque, unsigned index)
{
    struct vmm_machine *machine = opaque;

    vmm_clint_expire(machine->clint, index);
}

static void wire_put(void *opaque, uint8_t byte)
{
    struct vmm_machine *machine = opaque;

    vmm_console_put(machine->console, byte);
}

static size_t wire_take(void *opaque, uint8_t *bytes, size_t size)
{
    struct vmm_machine *machine = opaque;

    return vmm_console_take(machine->console, bytes, size);
}

static void console_input(void *opaque)
{
    struct vmm_machine *machine = opaque;

    vmm_uart_input(machine->uart);
}

static void console_quit(void *opaque)
{
    struct vmm_machine *machine = opaque;

    if (machine->config.on_quit_key)
        machine->config.on_quit_key(machine->config.opaque);
}

static int make_devices(struct vmm_machine *machine, struct baton_error *error)
{
    struct vmm_hart_irqs harts = {set_hart_irq, machine};
    struct vmm_irq uart_irq = {.set = vmm_plic_set, .line = VMM_UART_IRQ};
    struct vmm_irq rtc_irq = {.set = vmm_plic_set, .line = VMM_RTC_IRQ};
    struct vmm_uart_wire wire = {wire_put, wire_take, machine};
    unsigned cpus = machine->config.cpus;
    int code = vmm_clint_new(machine->clock, cpus, &harts, &machine->clint, error);

    if (!code)
        code = vmm_plic_new(cpus, &harts, &machine->plic, error);
    uart_irq.opaque = rtc_irq.opaque = machine->plic;
    if (!code)
        code = vmm_uart_new(&uart_irq, &wire, &machine->uart, error);
    if (!code)
        code = vmm_rtc_new(machine->clock, &rtc_irq, &machine->rtc, error);
    if (!code)
        code = vmm_syscon_new(machine_note_order, machine, &machine->syscon, error);
    if (code)
        return code;
    vmm_memory_add_mmio(&machine->memory, "syscon", VMM_SYSCON_BASE, VMM_SYSCON_BYTES,
                        &vmm_syscon_mmio, machine->syscon);
    vmm_memory_add_mmio(&machine->memory, "rtc", VMM_RTC_BASE, VMM_RTC_BYTES, &vmm_rtc_mmio,
                        machine->rtc);
    vmm_memory_add_mmio(&machine->memory, "clint", VMM_CLINT_BASE, VMM_CLINT_BYTES, &vmm_clint_mmio,
                        machine->clint);
    vmm_memory_add_mmio(&machine->memory, "plic", VMM_PLIC_BASE, VMM_PLIC_BYTES, &vmm_plic_mmio,
                        machine->plic);
    vmm_memory_add_mmio(&machine->memory, "uart", VMM_UART_BASE, VMM_UART_BYTES, &vmm_uart_mmio,
                        machine->uart);
    return 0;
}

static void cpu_save(void *opaque, struct baton_save *save)
{
    struct vmm_cpu_section *section = opaque;

    section->ops->save(section->cpu, save);
}

static int cpu_load(void *opaque, struct baton_load *load, uint32_t version,
                    struct baton_error *error)
{
    struct vmm_cpu_section *section = opaque;

    return section->ops->load(section->cpu, load, version, error);
}

static int make_baton(struct vmm_machine *machine, struct baton_error *error)
{
    const struct vmm_machine_config *config = &machine->config;
    const struct vmm_cpu_ops *ops = config->cpu_ops;
    struct baton_device devices[VMM_MAX_CPUS + DEVICE_COUNT];
    struct baton_ram_block block = {.name = "riscv_virt_board.ram",
                                    .host = machine->memory.ram,
                                    .length_bytes = machine->memory.ram_bytes,
                                    .page_bytes = vmm_backend_page_bytes(config->backend),
                                    .shared = config->backend == VMM_BACKEND_MEMFD};
    struct baton_config baton = {.machine = VMM_MACHINE_NAME,
                                 .blocks = &block,
                                 .block_count = 1,
                                 .devices = devices,
                                 .device_count = config->cpus + DEVICE_COUNT,
                                 .ops = &machine_host_ops,
                                 .host = machine,
                                 .waiter_count = config->cpus + 2,
                                 .running = !config->paused && !config->incoming,
                                 .keep_stopped = config->paused,
                                 .faults = config->faults};
    const char *names[VMM_MAX_CPUS + 2];
    char cpu_names[VMM_MAX_CPUS][16];
    int code;

    for (unsigned i = 0; i < config->cpus; i++) {
        snprintf(cpu_names[i], sizeof(cpu_names[i]), "cpu %u", i);
        names[i] = cpu_names[i];
        machine->cpu_sections[i] =
            (struct vmm_cpu_section){ops, vmm_threads_cpu(machine->threads, i)};
        devices[i] = (struct baton_device){.name = ops->section,
                                           .instance = i,
                                           .version = ops->version,
                                           .opaque = &machine->cpu_sections[i],
                                           .save = cpu_save,
                                           .load = cpu_load};
    }
    names[machine_monitor_waiter(machine)] = "monitor";
    names[machine_control_waiter(machine)] = "machine";
    baton.waiter_names = names;
    vmm_clint_section(machine->clint, &devices[config->cpus]);
    vmm_plic_section(machine->plic, &devices[config->cpus + 1]);
    vmm_uart_section(machine->uart, &devices[config->cpus + 2]);
    vmm_rtc_section(machine->rtc, &devices[config->cpus + 3]);
    vmm_syscon_section(machine->syscon, &devices[config->cpus + 4]);
    code = baton_new(&baton, &machine->baton, error);
    if (!code)
        machine->memory.baton = machine->baton;
    return code;
}

static int make_parts(struct vmm_machine *machine, struct baton_error *error)
{
    const struct vmm_machine_config *config = &machine->config;
    struct vmm_console_config console = {.where = config->console,
                                         .on_input = console_input,
                                         .on_quit = console_quit,
                                         .opaque = machine};
    struct vmm_threads_config threads = {.ops = config->cpu_ops,
                                         .memory = &machine->memory,
                                         .count = config->cpus,
                                         .deadline = hart_deadline,
                                         .expire = hart_expire,
                                         .opaque = machine};
    int code = vmm_memory_init_backend(&machine->memory, config->backend, VMM_RAM_BASE,
                                       config->memory_bytes, error);

    if (code)
        return code;
    machine->memory_made = true;
    code = vmm_clock_new(&machine->clock, error);
    if (code)
        return code;
    threads.clock = machine->clock;
    code = make_devices(machine, error);
    if (!code)
        code = vmm_threads_new(&threads, &machine->threads, error);
    if (!code)
        code = vmm_console_new(&console, &machine->console, error);
    return code;
}

static int make_running(struct vmm_machine *machine, struct baton_error *error)
{
    struct vmm_boot boot = {0};
    int code;

    machine->entry = VMM_RAM_BASE;
    if (!machine->config.incoming) {
        code = machine_read_images(machine, &boot, error);
        if (code)
            return code;
    }
    code = make_baton(machine, error);
    if (!code && !machine->config.incoming)
        machine_place_images(machine, &boot, true);
    vmm_boot_fini(&boot);
    if (code)
        return code;
    machine_reset_all(machine);
    code = vmm_console_start(machine->console, error);
    if (code)
        return code;
    code = pthread_create(&machine->control, NULL, machine_control_thread, machine);
    if (code)
        return baton_error_set(error, code, "cannot start the machine's thread: %s",
                               strerror(code));
    machine->control_made = true;
    pthread_setname_np(machine->control, "machine");
    if (!machine->config.paused && !machine->config.incoming)
        machine_start(machine);
    return 0;
}

static int check(const struct vmm_machine_config *config, struct baton_error *error)
{
    if (config->memory_bytes < VMM_MIN_MEMORY_BYTES ||
        config->memory_bytes > VMM_MAX_MEMORY_BYTES || config->memory_bytes % MACHINE_PAGE_BYTES)
        return baton_error_set(error, EINVAL,
                               "cannot make a machine with %llu bytes of memory: it must be from "
                               "%lluM to %lluG, in steps of 4K",
                               (unsigned long long)config->memory_bytes, VMM_MIN_MEMORY_BYTES >> 20,
                               VMM_MAX_MEMORY_BYTES >> 30);
    if (config->cpus < 1 || config->cpus > VMM_MAX_CPUS)
        return baton_error_set(error, EINVAL,
                               "cannot make a machine with %u CPUs: it must be 1 to %u",
                               config->cpus, VMM_MAX_CPUS);
    return 0;
}

int vmm_machine_new(const struct vmm_machine_config *config, struct vmm_machine **out,
                    struct baton_error *error)
{
    struct vmm_machine *machine;
    pthread_condattr_t attributes;
    int code = check(config, error);

    if (code)
        return code;
    machine = calloc(1, sizeof(*machine));
    if (!machine)
        return baton_error_set(error, ENOMEM, "cannot make the machine: out of memory");
    machine->config = *config;
    if (!machine->config.cpu_ops)
        machine->config.cpu_ops = &vmm_cpu_rv64;
    pthread_mutex_init(&machine->power, NULL);
    pthread_mutex_init(&machine->event_lock, NULL);
    pthread_mutex_init(&machine->lock, NULL);
    pthread_mutex_init(&machine->monitor_lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&machine->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    code = make_parts(machine, error);
    if (!code)
        code = make_running(machine, error);
    if (code) {
        vmm_machine_free(machine);
        return code;
    }
    *out = machine;
    return 0;
}

static void stop_for_good(struct vmm_machine *machine)
{
    pthread_mutex_lock(&machine->power);
    machine->closing = true;
    if (machine->threads)
        vmm_threads_stop(machine->threads);
    if (machine->clock)
        vmm_clock_stop(machine->clock);
    pthread_mutex_unlock(&machine->power);
    vmm_machine_quit(machine);
}

void vmm_machine_free(struct vmm_machine *machine)
{
    if (!machine)
        return;
    stop_for_good(machine);
    vmm_console_free(machine->console);
    if (atomic_load(&machine->waits) ||
        (machine->threads && vmm_threads_is_waiting(machine->threads)))
        return;
    if (machine->control_made)
        pthread_join(machine->control, NULL);
    baton_free(machine->baton);
    vmm_threads_free(machine->threads);
    vmm_clock_free(machine->clock);
    vmm_syscon_free(machine->syscon);
    vmm_rtc_free(machine->rtc);
    vmm_uart_free(machine->uart);
    vmm_plic_free(machine->plic);
    vmm_clint_free(machine->clint);
    if (machine->memory_made)
        vmm_memory_fini(&machine->memory);
    pthread_cond_destroy(&machine->changed);
    pthread_mutex_destroy(&machine->monitor_lock);
    pthread_mutex_destroy(&machine->lock);
    pthread_mutex_destroy(&machine->event_lock);
    pthread_mutex_destroy(&machine->power);
    free(machine);
}
