/* SPDX-License-Identifier: MIT */
/*
 * Control and status registers: who may read and write which, and what each keeps of a written
 * value (WARL).
 *
 * Reading changes nothing. Writing carries out what follows from the new value right here (mode,
 * TLB); whether an interrupt is due now is asked by the instruction, once it is finished. Input
 * lines and timer show in mip only when read.
 */
#include "vmm/cpu/rv64/rv64.h"

enum {
    CSR_FFLAGS = 0x001,
    CSR_FRM = 0x002,
    CSR_FCSR = 0x003,
    CSR_SSTATUS = 0x100,
    CSR_SIE = 0x104,
    CSR_STVEC = 0x105,
    CSR_SCOUNTEREN = 0x106,
    CSR_SENVCFG = 0x10a,
    CSR_SSCRATCH = 0x140,
    CSR_SEPC = 0x141,
    CSR_SCAUSE = 0x142,
    CSR_STVAL = 0x143,
    CSR_SIP = 0x144,
    CSR_SATP = 0x180,
    CSR_MSTATUS = 0x300,
    CSR_MISA = 0x301,
    CSR_MEDELEG = 0x302,
    CSR_MIDELEG = 0x303,
    CSR_MIE = 0x304,
    CSR_MTVEC = 0x305,
    CSR_MCOUNTEREN = 0x306,
    CSR_MENVCFG = 0x30a,
    CSR_MCOUNTINHIBIT = 0x320,
    CSR_MHPMEVENT3 = 0x323,
    CSR_MHPMEVENT31 = 0x33f,
    CSR_MSCRATCH = 0x340,
    CSR_MEPC = 0x341,
    CSR_MCAUSE = 0x342,
    CSR_MTVAL = 0x343,
    CSR_MIP = 0x344,
    CSR_PMPCFG0 = 0x3a0,
    CSR_PMPCFG2 = 0x3a2,
    CSR_PMPADDR0 = 0x3b0,
    CSR_PMPADDR15 = 0x3bf,
    CSR_MCYCLE = 0xb00,
    CSR_MINSTRET = 0xb02,
    CSR_MHPMCOUNTER3 = 0xb03,
    CSR_MHPMCOUNTER31 = 0xb1f,
    CSR_CYCLE = 0xc00,
    CSR_TIME = 0xc01,
    CSR_INSTRET = 0xc02,
    CSR_HPMCOUNTER31 = 0xc1f,
    CSR_MVENDORID = 0xf11,
    CSR_MHARTID = 0xf14,
    CSR_MCONFIGPTR = 0xf15
};

uint64_t rv64_mstatus(const struct vmm_cpu *cpu)
{
    uint64_t value = cpu->mstatus | MSTATUS_UXL_64 | MSTATUS_SXL_64;

    if ((value & MSTATUS_FS) == MSTATUS_FS)
        value |= MSTATUS_SD;
    return value;
}

static void write_mstatus(struct vmm_cpu *cpu, uint64_t value, uint64_t writable)
{
    uint64_t old = cpu->mstatus;
    uint64_t new = (old & ~writable) | (value & writable);

    if ((new &MSTATUS_MPP) == (uint64_t)2 << MSTATUS_MPP_SHIFT)
        new = (new & ~MSTATUS_MPP) | (old & MSTATUS_MPP);
    cpu->mstatus = new;
    if ((old ^ new) & MSTATUS_MXR)
        rv64_tlb_flush(cpu); /* entries say "readable" under the old rule */
    rv64_mode_update(cpu);
}

static void write_satp(struct vmm_cpu *cpu, uint64_t value)
{
    uint64_t mode = value >> SATP_MODE_SHIFT;
    uint64_t new = mode << SATP_MODE_SHIFT | (value & SATP_PPN); /* no ASID bits */

    if (mode != 0 && mode != SATP_SV39)
        return;
    if (new != cpu->satp)
        rv64_tlb_flush(cpu);
    cpu->satp = new;
}

static void write_tvec(uint64_t *tvec, uint64_t value)
{
    if ((value & 3) < 2)
        *tvec = value;
}

static void write_mie(struct vmm_cpu *cpu, uint64_t value)
{
    __atomic_store_n(&cpu->mie, value & (IRQ_S_MASK | IRQ_M_MASK), __ATOMIC_RELAXED);
}

static void write_mip(struct vmm_cpu *cpu, uint64_t value, uint64_t writable)
{
    __atomic_store_n(&cpu->mip_soft, (cpu->mip_soft & ~writable) | (value & writable),
                     __ATOMIC_RELAXED);
}

/* Counters: an instruction that reads one does not count itself. */
static uint64_t instructions_before(const struct vmm_cpu *cpu)
{
    return cpu->instret - 1;
}

static bool counter_allowed(const struct vmm_cpu *cpu, unsigned number)
{
    unsigned bit = number & 31;

    if (cpu->priv < RV64_PRIV_M && !(cpu->mcounteren >> bit & 1))
        return false;
    return cpu->priv != RV64_PRIV_U || (cpu->scounteren >> bit & 1);
}

static bool read_counter(struct vmm_cpu *cpu, unsigned number, uint64_t *value)
{
    switch (number) {
    case CSR_CYCLE:
    case CSR_MCYCLE:
        *value = instructions_before(cpu) + cpu->cycle_offset;
        break;
    case CSR_TIME:
        *value = cpu->host.ticks(cpu->host.opaque);
        break;
    case CSR_INSTRET:
    case CSR_MINSTRET:
        *value = instructions_before(cpu) + cpu->instret_offset;
        break;
    default:
        *value = 0;
    }
    return number < CSR_CYCLE || counter_allowed(cpu, number);
}

static bool satp_allowed(const struct vmm_cpu *cpu)
{
    return cpu->priv == RV64_PRIV_M || !(cpu->mstatus & MSTATUS_TVM);
}

static bool read_supervisor(struct vmm_cpu *cpu, unsigned number, uint64_t *value)
{
    switch (number) {
    case CSR_SSTATUS:
        *value = rv64_mstatus(cpu) & SSTATUS_READABLE;
        return true;
    case CSR_SIE:
        *value = cpu->mie & cpu->mideleg;
        return true;
    case CSR_STVEC:
        *value = cpu->stvec;
        return true;
    case CSR_SCOUNTEREN:
        *value = cpu->scounteren;
        return true;
    case CSR_SENVCFG:
        *value = cpu->senvcfg;
        return true;
    case CSR_SSCRATCH:
        *value = cpu->sscratch;
        return true;
    case CSR_SEPC:
        *value = cpu->sepc;
        return true;
    case CSR_SCAUSE:
        *value = cpu->scause;
        return true;
    case CSR_STVAL:
        *value = cpu->stval;
        return true;
    case CSR_SIP:
        *value = rv64_mip(cpu) & cpu->mideleg;
        return true;
    case CSR_SATP:
        *value = cpu->satp;
        return satp_allowed(cpu);
    default:
        return false;
    }
}

static bool write_supervisor(struct vmm_cpu *cpu, unsigned number, uint64_t value)
{
    switch (number) {
    case CSR_SSTATUS:
        write_mstatus(cpu, value, SSTATUS_WRITABLE);
        return true;
    case CSR_SIE:
        write_mie(cpu, (cpu->mie & ~cpu->mideleg) | (value & cpu->mideleg));
        return true;
    case CSR_STVEC:
        write_tvec(&cpu->stvec, value);
        return true;
    case CSR_SCOUNTEREN:
        cpu->scounteren = (uint32_t)value;
        return true;
    case CSR_SENVCFG:
        cpu->senvcfg = value & ENVCFG_FIOM;
        return true;
    case CSR_SSCRATCH:
        cpu->sscratch = value;
        return true;
    case CSR_SEPC:
        cpu->sepc = value & ~(uint64_t)1;
        return true;
    case CSR_SCAUSE:
        cpu->scause = value;
        return true;
    case CSR_STVAL:
        cpu->stval = value;
        return true;
    case CSR_SIP:
        write_mip(cpu, value, cpu->mideleg & RV64_BIT(IRQ_SSI));
        return true;
    case CSR_SATP:
        if (!satp_allowed(cpu))
            return false;
        write_satp(cpu, value);
        return true;
    default:
        return false;
    }
}

static bool read_machine(struct vmm_cpu *cpu, unsigned number, uint64_t *value)
{
    switch (number) {
    case CSR_MSTATUS:
        *value = rv64_mstatus(cpu);
        return true;
    case CSR_MISA:
        *value = MISA_VALUE;
        return true;
    case CSR_MEDELEG:
        *value = cpu->medeleg;
        return true;
    case CSR_MIDELEG:
        *value = cpu->mideleg;
        return true;
    case CSR_MIE:
        *value = cpu->mie;
        return true;
    case CSR_MTVEC:
        *value = cpu->mtvec;
        return true;
    case CSR_MCOUNTEREN:
        *value = cpu->mcounteren;
        return true;
    case CSR_MENVCFG:
        *value = cpu->menvcfg;
        return true;
    case CSR_MSCRATCH:
        *value = cpu->mscratch;
        return true;
    case CSR_MEPC:
        *value = cpu->mepc;
        return true;
    case CSR_MCAUSE:
        *value = cpu->mcause;
        return true;
    case CSR_MTVAL:
        *value = cpu->mtval;
        return true;
    case CSR_MIP:
        *value = rv64_mip(cpu);
        return true;
    case CSR_PMPCFG0:
    case CSR_PMPCFG2:
        *value = rv64_pmp_read_cfg(cpu, (number - CSR_PMPCFG0) * 4);
        return true;
    case CSR_MHARTID:
        *value = cpu->index;
        return true;
    case CSR_PMPADDR0 ... CSR_PMPADDR15:
        *value = rv64_pmp_read_addr(cpu, number - CSR_PMPADDR0);
        return true;
    case CSR_MCOUNTINHIBIT:
    case CSR_MHPMEVENT3 ... CSR_MHPMEVENT31:
    case CSR_MVENDORID ... CSR_MHARTID - 1: /* marchid and mimpid are in between */
    case CSR_MCONFIGPTR:
        *value = 0;
        return true;
    default:
        return false;
    }
}

static bool write_machine(struct vmm_cpu *cpu, unsigned number, uint64_t value)
{
    switch (number) {
    case CSR_MSTATUS:
        write_mstatus(cpu, value, MSTATUS_WRITABLE);
        return true;
    case CSR_MEDELEG:
        cpu->medeleg = value & MEDELEG_WRITABLE;
        return true;
    case CSR_MIDELEG:
        cpu->mideleg = value & IRQ_S_MASK;
        return true;
    case CSR_MIE:
        write_mie(cpu, value);
        return true;
    case CSR_MTVEC:
        write_tvec(&cpu->mtvec, value);
        return true;
    case CSR_MCOUNTEREN:
        cpu->mcounteren = (uint32_t)value;
        return true;
    case CSR_MENVCFG:
        cpu->menvcfg = value & ENVCFG_FIOM;
        return true;
    case CSR_MSCRATCH:
        cpu->mscratch = value;
        return true;
    case CSR_MEPC:
        cpu->mepc = value & ~(uint64_t)1;
        return true;
    case CSR_MCAUSE:
        cpu->mcause = value;
        return true;
    case CSR_MTVAL:
        cpu->mtval = value;
        return true;
    case CSR_MIP:
        write_mip(cpu, value, IRQ_S_MASK);
        return true;
    case CSR_PMPCFG0:
    case CSR_PMPCFG2:
        rv64_pmp_write_cfg(cpu, (number - CSR_PMPCFG0) * 4, value);
        return true;
    case CSR_PMPADDR0 ... CSR_PMPADDR15:
        rv64_pmp_write_addr(cpu, number - CSR_PMPADDR0, value);
        return true;
    case CSR_MCYCLE: /* from the next instruction on it counts from the value written */
        cpu->cycle_offset = value - cpu->instret;
        return true;
    case CSR_MINSTRET:
        cpu->instret_offset = value - cpu->instret;
        return true;
    case CSR_MISA:
    case CSR_MCOUNTINHIBIT:
    case CSR_MHPMEVENT3 ... CSR_MHPMEVENT31:
    case CSR_MHPMCOUNTER3 ... CSR_MHPMCOUNTER31:
        return true; /* fixed */
    default:
        return false;
    }
}

static bool read_fp(const struct vmm_cpu *cpu, unsigned number, uint64_t *value)
{
    if (number == CSR_FFLAGS)
        *value = cpu->fflags;
    else if (number == CSR_FRM)
        *value = cpu->frm;
    else
        *value = (uint64_t)cpu->frm << 5 | cpu->fflags;
    return cpu->mstatus & MSTATUS_FS;
}

static bool write_fp(struct vmm_cpu *cpu, unsigned number, uint64_t value)
{
    if (!(cpu->mstatus & MSTATUS_FS))
        return false;
    if (number != CSR_FRM)
        cpu->fflags = value & 0x1f;
    if (number != CSR_FFLAGS)
        cpu->frm = (number == CSR_FRM ? value : value >> 5) & 7;
    cpu->mstatus |= MSTATUS_FS;
    return true;
}

bool rv64_csr_read(struct vmm_cpu *cpu, unsigned number, uint64_t *value)
{
    if ((number >> 8 & 3) > cpu->priv)
        return false;
    switch (number) {
    case CSR_FFLAGS ... CSR_FCSR:
        return read_fp(cpu, number, value);
    case CSR_CYCLE ... CSR_HPMCOUNTER31:
    case CSR_MCYCLE:
    case CSR_MINSTRET ... CSR_MHPMCOUNTER31:
        return read_counter(cpu, number, value);
    default:
        if ((number >> 8 & 3) == 1)
            return read_supervisor(cpu, number, value);
        return (number >> 8 & 3) == 3 && read_machine(cpu, number, value);
    }
}

bool rv64_csr_write(struct vmm_cpu *cpu, unsigned number, uint64_t value)
{
    if ((number >> 8 & 3) > cpu->priv || number >> 10 == 3)
        return false;
    switch (number >> 8 & 3) {
    case 0:
        return number >= CSR_FFLAGS && number <= CSR_FCSR && write_fp(cpu, number, value);
    case 1:
        return write_supervisor(cpu, number, value);
    default:
        return write_machine(cpu, number, value);
    }
}
