/* SPDX-License-Identifier: MIT */
/*
 * Traps and the returns from them: which mode takes an exception or an interrupt (delegation), and
 * what changes when it does.
 *
 * rv64_trap() is the only way into a handler of the guest. It first settles the instruction that is
 * being carried out, so the saved pc and the count of retired instructions are those of the
 * boundary before it.
 */
#include "vmm/cpu/rv64/rv64.h"

static void enter_s(struct vmm_cpu *cpu, uint64_t cause, uint64_t tval)
{
    uint64_t status = cpu->mstatus & ~(MSTATUS_SPIE | MSTATUS_SPP | MSTATUS_SIE);

    if (cpu->mstatus & MSTATUS_SIE)
        status |= MSTATUS_SPIE;
    if (cpu->priv == RV64_PRIV_S)
        status |= MSTATUS_SPP;
    cpu->mstatus = status;
    cpu->sepc = cpu->pc;
    cpu->scause = cause;
    cpu->stval = tval;
    cpu->priv = RV64_PRIV_S;
    cpu->pc = cpu->stvec & ~(uint64_t)3;
    if ((cause & CAUSE_INTERRUPT) && (cpu->stvec & 1))
        cpu->pc += 4 * (cause & ~CAUSE_INTERRUPT);
}

static void enter_m(struct vmm_cpu *cpu, uint64_t cause, uint64_t tval)
{
    uint64_t status = cpu->mstatus & ~(MSTATUS_MPIE | MSTATUS_MPP | MSTATUS_MIE);

    if (cpu->mstatus & MSTATUS_MIE)
        status |= MSTATUS_MPIE;
    status |= (uint64_t)cpu->priv << MSTATUS_MPP_SHIFT;
    cpu->mstatus = status;
    cpu->mepc = cpu->pc;
    cpu->mcause = cause;
    cpu->mtval = tval;
    cpu->priv = RV64_PRIV_M;
    cpu->pc = cpu->mtvec & ~(uint64_t)3;
    if ((cause & CAUSE_INTERRUPT) && (cpu->mtvec & 1))
        cpu->pc += 4 * (cause & ~CAUSE_INTERRUPT);
}

struct rv64_block *rv64_trap(struct vmm_cpu *cpu, uint64_t cause, uint64_t tval)
{
    uint64_t delegated = (cause & CAUSE_INTERRUPT) ? cpu->mideleg : cpu->medeleg;

    rv64_settle(cpu);
    cpu->patch = NULL;
    if (cpu->priv <= RV64_PRIV_S && (delegated >> (cause & 63) & 1))
        enter_s(cpu, cause, tval);
    else
        enter_m(cpu, cause, tval);
    rv64_mode_update(cpu);
    return NULL;
}

struct rv64_block *rv64_illegal(struct vmm_cpu *cpu, struct rv64_insn *insn)
{
    const uint8_t *code = cpu->block->code + 2 * (size_t)insn->half;
    uint64_t raw = (uint64_t)(code[0] | code[1] << 8);

    if ((raw & 3) == 3)
        raw |= (uint64_t)(code[2] | code[3] << 8) << 16;
    cpu->current = insn;
    return rv64_trap(cpu, CAUSE_ILLEGAL, raw);
}

bool rv64_take_interrupt(struct vmm_cpu *cpu)
{
    static const uint8_t order[] = {IRQ_MEI, IRQ_MSI, IRQ_MTI, IRQ_SEI, IRQ_SSI, IRQ_STI};
    uint64_t pending = rv64_mip(cpu) & cpu->mie;
    uint64_t due = 0;

    if (likely(!pending))
        return false;
    if (cpu->priv < RV64_PRIV_M || (cpu->mstatus & MSTATUS_MIE))
        due = pending & ~cpu->mideleg;
    if (!due &&
        (cpu->priv < RV64_PRIV_S || (cpu->priv == RV64_PRIV_S && (cpu->mstatus & MSTATUS_SIE))))
        due = pending & cpu->mideleg;
    for (unsigned i = 0; i < sizeof(order); i++) {
        if (due >> order[i] & 1) {
            rv64_trap(cpu, CAUSE_INTERRUPT | order[i], 0);
            return true;
        }
    }
    return false;
}

struct rv64_block *rv64_mret(struct vmm_cpu *cpu)
{
    uint64_t status = cpu->mstatus;
    uint8_t priv = (uint8_t)(status >> MSTATUS_MPP_SHIFT & 3);

    status &= ~(MSTATUS_MIE | MSTATUS_MPP);
    if (status & MSTATUS_MPIE)
        status |= MSTATUS_MIE;
    status |= MSTATUS_MPIE;
    if (priv != RV64_PRIV_M)
        status &= ~MSTATUS_MPRV;
    cpu->mstatus = status;
    cpu->priv = priv;
    cpu->pc = cpu->mepc;
    rv64_mode_update(cpu);
    (void)rv64_take_interrupt(cpu);
    return NULL;
}

struct rv64_block *rv64_sret(struct vmm_cpu *cpu)
{
    uint64_t status = cpu->mstatus;
    uint8_t priv = (status & MSTATUS_SPP) ? RV64_PRIV_S : RV64_PRIV_U;

    status &= ~(MSTATUS_SIE | MSTATUS_SPP | MSTATUS_MPRV);
    if (status & MSTATUS_SPIE)
        status |= MSTATUS_SIE;
    status |= MSTATUS_SPIE;
    cpu->mstatus = status;
    cpu->priv = priv;
    cpu->pc = cpu->sepc;
    rv64_mode_update(cpu);
    (void)rv64_take_interrupt(cpu);
    return NULL;
}
