/* SPDX-License-Identifier: MIT */
/*
 * Loads and stores, of integer and floating-point registers.
 *
 * The fast path is one comparison: a TLB tag equals the address with the bits inside the page
 * removed, except those that an aligned address has clear. So a wrong page, a misaligned address
 * and an absent entry all fail the same test and go to mmu.c. A write entry exists only for a page
 * that is present, marked dirty, and dirty in its page table entry.
 */
#include "vmm/cpu/rv64/exec.h"

#define HOST(entry, va, bytes)                                                                     \
    ((uint8_t *)__builtin_assume_aligned((void *)((va) + (entry)->addend), bytes))

#define HIT(entry, va, bytes) likely(((va) & (RV64_PAGE_MASK | ((bytes)-1))) == (entry)->tag)

/*
 * The slow path is a handler of its own, entered by a jump: a call in the middle of the fast one
 * would make the compiler save registers on every access.
 */
#define LOAD(name, bits, check, target, convert)                                                   \
    static __attribute__((noinline)) struct rv64_block *slow_##name(struct vmm_cpu *cpu,           \
                                                                    struct rv64_insn *insn)        \
    {                                                                                              \
        uint64_t value;                                                                            \
                                                                                                   \
        if (!rv64_load_slow(cpu, insn, RS1 + IMM, bits / 8))                                       \
            return NULL;                                                                           \
        value = cpu->loaded;                                                                       \
        target = (convert);                                                                        \
        NEXT;                                                                                      \
    }                                                                                              \
    OP(name)                                                                                       \
    {                                                                                              \
        uint64_t va = RS1 + IMM;                                                                   \
        const struct rv64_tlb_entry *entry = &cpu->data->read[(va >> 12) % RV64_TLB_ENTRIES];      \
        uint64_t value;                                                                            \
                                                                                                   \
        check;                                                                                     \
        if (!HIT(entry, va, bits / 8))                                                             \
            return slow_##name(cpu, insn);                                                         \
        value = baton_guest_load_u##bits(HOST(entry, va, bits / 8));                               \
        target = (convert);                                                                        \
        NEXT;                                                                                      \
    }

#define STORE(name, bits, check, source)                                                           \
    static __attribute__((noinline)) struct rv64_block *slow_##name(struct vmm_cpu *cpu,           \
                                                                    struct rv64_insn *insn)        \
    {                                                                                              \
        if (!rv64_store_slow(cpu, insn, RS1 + IMM, bits / 8, (source)))                            \
            return NULL;                                                                           \
        NEXT;                                                                                      \
    }                                                                                              \
    OP(name)                                                                                       \
    {                                                                                              \
        uint64_t va = RS1 + IMM;                                                                   \
        const struct rv64_tlb_entry *entry = &cpu->data->write[(va >> 12) % RV64_TLB_ENTRIES];     \
                                                                                                   \
        check;                                                                                     \
        if (!HIT(entry, va, bits / 8))                                                             \
            return slow_##name(cpu, insn);                                                         \
        baton_guest_store_u##bits(HOST(entry, va, bits / 8), (uint##bits##_t)(source));            \
        NEXT;                                                                                      \
    }

#define NO_CHECK ((void)0)
#define FP_ON                                                                                      \
    if (unlikely(!(cpu->mstatus & MSTATUS_FS)))                                                    \
    return rv64_illegal(cpu, insn)
#define FP_RD cpu->mstatus |= MSTATUS_FS, cpu->f[insn->rd]

LOAD(lb, 8, NO_CHECK, RD, (uint64_t)(int64_t)(int8_t)value)
LOAD(lh, 16, NO_CHECK, RD, (uint64_t)(int64_t)(int16_t)value)
LOAD(lw, 32, NO_CHECK, RD, (uint64_t)(int64_t)(int32_t)value)
LOAD(ld, 64, NO_CHECK, RD, value)
LOAD(lbu, 8, NO_CHECK, RD, value)
LOAD(lhu, 16, NO_CHECK, RD, value)
LOAD(lwu, 32, NO_CHECK, RD, value)
LOAD(flw, 32, FP_ON, FP_RD, value | 0xffffffff00000000)
LOAD(fld, 64, FP_ON, FP_RD, value)

STORE(sb, 8, NO_CHECK, RS2)
STORE(sh, 16, NO_CHECK, RS2)
STORE(sw, 32, NO_CHECK, RS2)
STORE(sd, 64, NO_CHECK, RS2)
STORE(fsw, 32, FP_ON, cpu->f[insn->rs2])
STORE(fsd, 64, FP_ON, cpu->f[insn->rs2])

rv64_handler rv64_memory_handler(uint32_t raw)
{
    static const rv64_handler loads[8] = {op_lb, op_lh, op_lw, op_ld, op_lbu, op_lhu, op_lwu, NULL};
    static const rv64_handler stores[8] = {op_sb, op_sh, op_sw, op_sd, NULL, NULL, NULL, NULL};
    uint32_t f3 = raw >> 12 & 7;

    switch (raw & 0x7f) {
    case 0x03:
        return loads[f3];
    case 0x07:
        return f3 == 2 ? op_flw : f3 == 3 ? op_fld : NULL;
    case 0x23:
        return stores[f3];
    case 0x27:
        return f3 == 2 ? op_fsw : f3 == 3 ? op_fsd : NULL;
    default:
        return NULL;
    }
}
