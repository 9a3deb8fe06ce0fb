/* SPDX-License-Identifier: MIT */
/*
 * The fake CPU. Its run() has the shape of a real one: look at requests, execute a little, again. A
 * step of execution changes `executed` (a plain field: a save at the wrong time is a data race) and
 * writes to the hart's page, marking it dirty only when it does not know that it is dirty already:
 * the pattern that the dirty barrier is for.
 */
#include "fake_cpu.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>

struct fake_cpu_plan fake_cpu_plan;

static int fake_create(unsigned index, struct vmm_memory *memory, const struct vmm_cpu_host *host,
                       struct vmm_cpu **out, struct baton_error *error)
{
    struct vmm_cpu *cpu = calloc(1, sizeof(*cpu));

    if (!cpu)
        return baton_error_set(error, ENOMEM, "no memory");
    cpu->index = index;
    cpu->host = host;
    cpu->memory = memory;
    cpu->random = index + 1;
    *out = cpu;
    return 0;
}

static void fake_free(struct vmm_cpu *cpu)
{
    free(cpu);
}

static void fake_reset(struct vmm_cpu *cpu, vmm_gpa entry, uint64_t arg1, uint64_t arg2)
{
    cpu->executed = 0;
    cpu->dirty_known = false;
    cpu->entry = entry;
    cpu->arg1 = arg1;
    cpu->arg2 = arg2;
}

static bool fake_has_work(struct vmm_cpu *cpu)
{
    return atomic_load(&cpu->irq_lines) != 0;
}

static uint32_t next_random(struct vmm_cpu *cpu)
{
    cpu->random = cpu->random * 1664525u + 1013904223u;
    return cpu->random >> 16;
}

static void execute(struct vmm_cpu *cpu)
{
    uint64_t address = cpu->index == 0 ? atomic_exchange(&fake_cpu_plan.store_to, 0) : 0;

    cpu->executed++;
    if (!cpu->dirty_known) {
        atomic_store(&fake_cpu_plan.log[cpu->index], true);
        cpu->dirty_known = true;
    }
    atomic_fetch_add(&fake_cpu_plan.value[cpu->index], 1);
    if (address)
        vmm_memory_mmio_write(cpu->memory, address, 4, fake_cpu_plan.store_value);
}

/* True: leave run(). */
static bool wait_for_page(struct vmm_cpu *cpu)
{
    bool refused;

    atomic_store(&cpu->running, false);
    cpu->host->wait_begin(cpu->host->opaque, cpu->index);
    atomic_fetch_add(&cpu->waits, 1);
    do
        sched_yield();
    while (atomic_load(&fake_cpu_plan.page_held));
    refused = cpu->host->wait_end(cpu->host->opaque, cpu->index);
    if (refused)
        atomic_fetch_add(&cpu->refused, 1);
    else
        atomic_store(&cpu->running, true);
    return refused;
}

static enum vmm_cpu_exit fake_run(struct vmm_cpu *cpu)
{
    enum vmm_cpu_exit exit = VMM_CPU_EXIT_KICKED;

    atomic_store(&cpu->running, true);
    while (!atomic_exchange(&cpu->exit_request, false)) {
        uint32_t random = next_random(cpu);

        if (atomic_exchange(&cpu->drop_request, false))
            cpu->dirty_known = false;
        execute(cpu);
        if (atomic_load(&fake_cpu_plan.wait_pages) && random % 64 == 0 && wait_for_page(cpu))
            break;
        if (atomic_load(&fake_cpu_plan.idle) && !fake_has_work(cpu)) {
            atomic_fetch_add(&cpu->idles, 1);
            exit = VMM_CPU_EXIT_IDLE;
            break;
        }
    }
    atomic_store(&cpu->running, false);
    return exit;
}

static void fake_kick(struct vmm_cpu *cpu)
{
    atomic_store(&cpu->exit_request, true);
}

static void fake_set_irq(struct vmm_cpu *cpu, unsigned line, bool level)
{
    if (level)
        atomic_fetch_or(&cpu->irq_lines, 1u << line);
    else
        atomic_fetch_and(&cpu->irq_lines, ~(1u << line));
}

static void fake_drop_dirty(struct vmm_cpu *cpu)
{
    atomic_store(&cpu->drop_request, true);
}

static void fake_cpu_save(struct vmm_cpu *cpu, struct baton_save *save)
{
    baton_save_u64(save, cpu->executed);
}

static int fake_cpu_load(struct vmm_cpu *cpu, struct baton_load *load, uint32_t version,
                         struct baton_error *error)
{
    cpu->executed = baton_load_u64(load);
    return baton_load_ok(load) ? 0 : baton_error_set(error, EINVAL, "cut short");
}

const struct vmm_cpu_ops fake_cpu_ops = {
    .name = "fake",
    .create = fake_create,
    .free = fake_free,
    .reset = fake_reset,
    .run = fake_run,
    .kick = fake_kick,
    .has_work = fake_has_work,
    .set_irq = fake_set_irq,
    .drop_dirty = fake_drop_dirty,
    .save = fake_cpu_save,
    .load = fake_cpu_load,
    .section = "fake-cpu",
    .version = 1,
};
