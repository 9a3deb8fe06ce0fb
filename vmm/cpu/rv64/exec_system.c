/* SPDX-License-Identifier: MIT */
/*
 * SYSTEM and MISC-MEM: environment calls, returns from traps, WFI, fences, and the CSR
 * instructions.
 *
 * All of them but the plain fence end their block, since they may change what the next instruction
 * means (mode, translation, interrupts); so the count of retired instructions is exact when a CSR
 * instruction reads it.
 */
#include "vmm/cpu/rv64/exec.h"

/* Ends an instruction of four bytes that goes on with the next one, at a boundary where an
 * interrupt may be due. */
static struct rv64_block *finish(struct vmm_cpu *cpu, struct rv64_insn *insn)
{
    cpu->pc = rv64_insn_pc(cpu, insn) + 4;
    (void)rv64_take_interrupt(cpu);
    return NULL;
}

struct rv64_block *rv64_run_illegal(struct vmm_cpu *cpu, struct rv64_insn *insn)
{
    return rv64_illegal(cpu, insn);
}

OP(ecall)
{
    cpu->current = insn;
    return rv64_trap(cpu, CAUSE_ECALL_U + cpu->priv, 0);
}

OP(ebreak)
{
    cpu->current = insn;
    return rv64_trap(cpu, CAUSE_BREAKPOINT, rv64_insn_pc(cpu, insn));
}

OP(mret)
{
    if (cpu->priv != RV64_PRIV_M)
        return rv64_illegal(cpu, insn);
    return rv64_mret(cpu);
}

OP(sret)
{
    if (cpu->priv == RV64_PRIV_U || (cpu->priv == RV64_PRIV_S && (cpu->mstatus & MSTATUS_TSR)))
        return rv64_illegal(cpu, insn);
    return rv64_sret(cpu);
}

OP(wfi)
{
    if (cpu->priv == RV64_PRIV_U || (cpu->priv == RV64_PRIV_S && (cpu->mstatus & MSTATUS_TW)))
        return rv64_illegal(cpu, insn);
    cpu->pc = rv64_insn_pc(cpu, insn) + 4;
    if (!(rv64_mip(cpu) & cpu->mie))
        cpu->leave = RV64_LEAVE_IDLE;
    else
        (void)rv64_take_interrupt(cpu);
    return NULL;
}

OP(sfence_vma)
{
    if (cpu->priv == RV64_PRIV_U || (cpu->priv == RV64_PRIV_S && (cpu->mstatus & MSTATUS_TVM)))
        return rv64_illegal(cpu, insn);
    if (insn->rs1)
        rv64_tlb_flush_page(cpu, RS1);
    else
        rv64_tlb_flush(cpu);
    return finish(cpu, insn);
}

/*
 * Only a fence that orders earlier writes before later reads costs anything on hosts with total
 * store order; the others just hold the compiler. ThreadSanitizer knows no fences, and needs none
 * here: guest memory is all atomics.
 */
#if defined(__SANITIZE_THREAD__)
#define FENCE(order) ((void)0)
#else
#define FENCE(order) __atomic_thread_fence(order)
#endif

OP(fence)
{
    FENCE(__ATOMIC_SEQ_CST);
    NEXT;
}

OP(fence_light)
{
    FENCE(__ATOMIC_ACQ_REL);
    NEXT;
}

static rv64_handler fence_handler(uint32_t raw)
{
    bool write_before = raw >> 24 & 5, read_after = raw >> 20 & 10; /* devices count as memory */

    return write_before && read_after ? op_fence : op_fence_light;
}

OP(fence_i)
{
    rv64_code_fence_i(cpu);
    return finish(cpu, insn);
}

static bool csr_operate(struct vmm_cpu *cpu, struct rv64_insn *insn)
{
    uint32_t raw = (uint32_t)insn->imm, f3 = raw >> 12 & 7;
    unsigned number = raw >> 20;
    uint64_t operand = f3 & 4 ? insn->rs1 : RS1;
    bool writes = (f3 & 3) == 1 || insn->rs1;
    uint64_t old, base;

    if (writes && number >> 10 == 3)
        return false;
    if (!rv64_csr_read(cpu, number, &old))
        return false;
    /* Set and clear work on what software wrote; the input lines only show in what is read. */
    base = number == 0x344 || number == 0x144 ? cpu->mip_soft : old;
    if ((f3 & 3) == 2)
        operand = base | operand;
    else if ((f3 & 3) == 3)
        operand = base & ~operand;
    if (writes && !rv64_csr_write(cpu, number, operand))
        return false;
    RD = old;
    return true;
}

OP(csr)
{
    if (!csr_operate(cpu, insn))
        return rv64_illegal(cpu, insn);
    return finish(cpu, insn);
}

rv64_handler rv64_system_handler(uint32_t raw)
{
    uint32_t f3 = raw >> 12 & 7;

    if ((raw & 0x7f) == 0x0f)
        return f3 == 0 ? fence_handler(raw) : f3 == 1 ? op_fence_i : NULL;
    if (f3 & 3)
        return op_csr;
    if (f3)
        return NULL;
    switch (raw) {
    case 0x00000073:
        return op_ecall;
    case 0x00100073:
        return op_ebreak;
    case 0x10200073:
        return op_sret;
    case 0x30200073:
        return op_mret;
    case 0x10500073:
        return op_wfi;
    default:
        return (raw & 0xfe007fff) == 0x12000073 ? op_sfence_vma : NULL;
    }
}
