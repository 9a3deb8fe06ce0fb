/* SPDX-License-Identifier: MIT */
/*
 * Physical memory protection: sixteen entries with a grain of one page, so that a TLB entry, once
 * filled, never has to ask again. The grain shows in pmpaddr as the manual defines it (G = 10):
 * four-byte regions cannot be chosen, and the low bits read as zeros (off, top of range) or ones
 * (naturally aligned).
 */
#include "vmm/cpu/rv64/rv64.h"

#define GRAIN_BITS 10
#define ADDR_MASK (RV64_BIT(54) - 1)

/* The region of an entry as [start, end) in bytes; false if the entry is off. */
static bool region(const struct vmm_cpu *cpu, unsigned entry, uint64_t *start, uint64_t *end)
{
    uint64_t addr = cpu->pmpaddr[entry];
    uint64_t grain = RV64_BIT(GRAIN_BITS) - 1;
    unsigned ones;

    switch (cpu->pmpcfg[entry] & PMP_A) {
    case PMP_TOR:
        *start = entry ? (cpu->pmpaddr[entry - 1] & ~grain) << 2 : 0;
        *end = (addr & ~grain) << 2;
        return true;
    case PMP_NAPOT:
        addr |= grain >> 1;
        ones = (unsigned)__builtin_ctzll(~addr); /* addr has 54 bits: never all ones */
        *start = (addr & ~(RV64_BIT(ones) - 1)) << 2;
        *end = *start + RV64_BIT(ones + 3);
        return true;
    default:
        return false;
    }
}

bool rv64_pmp_allows(const struct vmm_cpu *cpu, uint64_t gpa, unsigned priv,
                     enum rv64_access access)
{
    static const uint8_t needs[] = {
        [RV64_READ] = PMP_R, [RV64_WRITE] = PMP_W, [RV64_FETCH] = PMP_X};
    uint64_t start, end;

    for (unsigned i = 0; i < RV64_PMP_ENTRIES; i++) {
        if (!region(cpu, i, &start, &end) || gpa < start || gpa >= end)
            continue;
        if (priv == RV64_PRIV_M && !(cpu->pmpcfg[i] & PMP_L))
            return true;
        return cpu->pmpcfg[i] & needs[access];
    }
    return priv == RV64_PRIV_M;
}

uint64_t rv64_pmp_read_addr(const struct vmm_cpu *cpu, unsigned entry)
{
    uint64_t grain = RV64_BIT(GRAIN_BITS) - 1;

    if (cpu->pmpcfg[entry] & 0x10)
        return cpu->pmpaddr[entry] | grain >> 1;
    return cpu->pmpaddr[entry] & ~grain;
}

void rv64_pmp_write_addr(struct vmm_cpu *cpu, unsigned entry, uint64_t value)
{
    bool guards_next = entry + 1 < RV64_PMP_ENTRIES && (cpu->pmpcfg[entry + 1] & PMP_L) &&
                       (cpu->pmpcfg[entry + 1] & PMP_A) == PMP_TOR;

    if ((cpu->pmpcfg[entry] & PMP_L) || guards_next)
        return;
    cpu->pmpaddr[entry] = value & ADDR_MASK;
    rv64_tlb_flush(cpu);
}

uint64_t rv64_pmp_read_cfg(const struct vmm_cpu *cpu, unsigned first)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < 8; i++)
        value |= (uint64_t)cpu->pmpcfg[first + i] << (8 * i);
    return value;
}

void rv64_pmp_write_cfg(struct vmm_cpu *cpu, unsigned first, uint64_t value)
{
    for (unsigned i = 0; i < 8; i++) {
        uint8_t *cfg = &cpu->pmpcfg[first + i];
        uint8_t new = (uint8_t)(value >> (8 * i)) & (PMP_L | PMP_A | PMP_R | PMP_W | PMP_X);

        if (*cfg & PMP_L)
            continue;
        if ((new &(PMP_R | PMP_W)) == PMP_W)
            continue; /* reserved: keeps the old value */
        if ((new &PMP_A) == PMP_NA4)
            new = (uint8_t)((new & ~PMP_A) | (*cfg & PMP_A)); /* below the grain */
        *cfg = new;
    }
    rv64_tlb_flush(cpu);
}
