/* SPDX-License-Identifier: MIT */
/*
 * The software RISC-V CPU behind vmm/cpu/cpu.h: its life, the loop that runs blocks, and requests
 * from other threads.
 *
 * Requests are bits in one atomic word that the loop reads before each block. Whoever wants
 * something sets its bit after having written what it is about (an interrupt line); the loop takes
 * all bits with one exchange and then acts, so a bit set later is seen by the next block: no kick
 * is lost, and none is delivered twice. A kick that arrives while the CPU rests makes the next
 * run() return at once.
 *
 * A block is at most RV64_BLOCK_MAX instructions, and only the loop goes from one to the next: this
 * bounds how long a request can take to be seen.
 */
#include <errno.h>
#include <stdlib.h>

#include "vmm/cpu/rv64/rv64.h"

void rv64_settle(struct vmm_cpu *cpu)
{
    struct rv64_insn *insn = cpu->current;

    if (!insn)
        return;
    cpu->pc = rv64_insn_pc(cpu, insn);
    cpu->instret -= cpu->block->count - (uint64_t)(insn - cpu->block->insns);
    cpu->current = NULL;
}

/* Carries out what others asked for. True: run() has to return. */
static bool serve_requests(struct vmm_cpu *cpu)
{
    uint32_t requests = __atomic_exchange_n(&cpu->exit_request, 0, __ATOMIC_ACQ_REL);

    cpu->patch = NULL;
    if (requests & RV64_REQUEST_DROP_DIRTY)
        rv64_tlb_drop_dirty(cpu);
    if (requests & (RV64_REQUEST_KICK | RV64_REQUEST_DROP_DIRTY)) {
        /* The interrupt, if any, waits for the next run(): what was asked for may be to stop before
         * it. */
        if (requests & RV64_REQUEST_IRQ)
            __atomic_fetch_or(&cpu->exit_request, RV64_REQUEST_IRQ, __ATOMIC_RELAXED);
        return true;
    }
    (void)rv64_take_interrupt(cpu);
    return false;
}

static enum vmm_cpu_exit take_leave(struct vmm_cpu *cpu)
{
    enum rv64_leave leave = cpu->leave;

    cpu->leave = RV64_STAY;
    return leave == RV64_LEAVE_IDLE ? VMM_CPU_EXIT_IDLE : VMM_CPU_EXIT_KICKED;
}

static enum vmm_cpu_exit cpu_run(struct vmm_cpu *cpu)
{
    struct rv64_block *block = NULL;

    cpu->leave = RV64_STAY;
    for (;;) {
        if (unlikely(__atomic_load_n(&cpu->exit_request, __ATOMIC_RELAXED))) {
            if (serve_requests(cpu))
                return VMM_CPU_EXIT_KICKED;
            block = NULL;
        }
        if (!block) {
            block = rv64_code_find(cpu);
            if (unlikely(!block)) {
                if (cpu->leave)
                    return take_leave(cpu);
                continue;
            }
        }
        cpu->block = block;
        cpu->block_pc = cpu->pc;
        cpu->instret += block->count;
        block = block->insns[0].run(cpu, block->insns);
        if (unlikely(cpu->leave))
            return take_leave(cpu);
    }
}

static void request(struct vmm_cpu *cpu, uint32_t bits)
{
    __atomic_fetch_or(&cpu->exit_request, bits, __ATOMIC_RELEASE);
}

static void cpu_kick(struct vmm_cpu *cpu)
{
    request(cpu, RV64_REQUEST_KICK);
}

static void cpu_drop_dirty(struct vmm_cpu *cpu)
{
    request(cpu, RV64_REQUEST_DROP_DIRTY);
}

static bool cpu_has_work(struct vmm_cpu *cpu)
{
    return rv64_mip(cpu) & __atomic_load_n(&cpu->mie, __ATOMIC_RELAXED);
}

static void cpu_set_irq(struct vmm_cpu *cpu, unsigned line, bool level)
{
    uint64_t bit = line < 64 ? RV64_BIT(line) & IRQ_LINES : 0;

    if (level) {
        __atomic_fetch_or(&cpu->irq_lines, bit, __ATOMIC_RELEASE);
        request(cpu, RV64_REQUEST_IRQ);
    } else {
        __atomic_fetch_and(&cpu->irq_lines, ~bit, __ATOMIC_RELEASE);
    }
}

static void cpu_free(struct vmm_cpu *cpu)
{
    if (!cpu)
        return;
    rv64_code_fini(cpu);
    free(cpu);
}

static int cpu_create(unsigned index, struct vmm_memory *memory, const struct vmm_cpu_host *host,
                      struct vmm_cpu **out, struct baton_error *error)
{
    struct vmm_cpu *cpu = calloc(1, sizeof(*cpu));
    int result;

    if (!cpu)
        return baton_error_set(error, ENOMEM, "Cannot get memory for CPU %u; use fewer CPUs",
                               index);
    cpu->index = index;
    cpu->memory = memory;
    cpu->host = *host;
    result = rv64_code_init(cpu, error);
    if (result) {
        cpu_free(cpu);
        return result;
    }
    for (unsigned mode = 0; mode < RV64_MODE_COUNT; mode++)
        cpu->tlb[mode].used = true;
    rv64_reset(cpu, memory->ram_base, 0, 0);
    *out = cpu;
    return 0;
}

const struct vmm_cpu_ops vmm_cpu_rv64 = {
    .name = "rv64",
    .create = cpu_create,
    .free = cpu_free,
    .reset = rv64_reset,
    .run = cpu_run,
    .kick = cpu_kick,
    .has_work = cpu_has_work,
    .set_irq = cpu_set_irq,
    .drop_dirty = cpu_drop_dirty,
    .save = rv64_save,
    .load = rv64_load,
    .section = "rv64",
    .version = 1,
};
