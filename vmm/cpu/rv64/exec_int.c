/* SPDX-License-Identifier: MIT */
/*
 * Integer arithmetic: OP, OP-IMM, their 32-bit forms, LUI, AUIPC and the M extension. None of these
 * can trap.
 */
#include "vmm/cpu/rv64/exec.h"

#define SIMPLE(name, value)                                                                        \
    OP(name)                                                                                       \
    {                                                                                              \
        RD = (value);                                                                              \
        NEXT;                                                                                      \
    }

SIMPLE(lui, IMM)
SIMPLE(auipc, rv64_insn_pc(cpu, insn) + IMM)

SIMPLE(addi, RS1 + IMM)
SIMPLE(slti, (int64_t)RS1 < (int64_t)IMM)
SIMPLE(sltiu, RS1 < IMM)
SIMPLE(xori, RS1 ^ IMM)
SIMPLE(ori, RS1 | IMM)
SIMPLE(andi, RS1 &IMM)
SIMPLE(slli, RS1 << (IMM & 63))
SIMPLE(srli, RS1 >> (IMM & 63))
SIMPLE(srai, (uint64_t)((int64_t)RS1 >> (IMM & 63)))

SIMPLE(addiw, rv64_sext32(RS1 + IMM))
SIMPLE(slliw, rv64_sext32(RS1 << (IMM & 31)))
SIMPLE(srliw, rv64_sext32((uint32_t)RS1 >> (IMM & 31)))
SIMPLE(sraiw, (uint64_t)(int64_t)((int32_t)RS1 >> (IMM & 31)))

SIMPLE(add, RS1 + RS2)
SIMPLE(sub, RS1 - RS2)
SIMPLE(sll, RS1 << (RS2 & 63))
SIMPLE(slt, (int64_t)RS1 < (int64_t)RS2)
SIMPLE(sltu, RS1 < RS2)
SIMPLE(xor, RS1 ^ RS2)
SIMPLE(srl, RS1 >> (RS2 & 63))
SIMPLE(sra, (uint64_t)((int64_t)RS1 >> (RS2 & 63)))
SIMPLE(or, RS1 | RS2)
SIMPLE(and, RS1 &RS2)

SIMPLE(addw, rv64_sext32(RS1 + RS2))
SIMPLE(subw, rv64_sext32(RS1 - RS2))
SIMPLE(sllw, rv64_sext32(RS1 << (RS2 & 31)))
SIMPLE(srlw, rv64_sext32((uint32_t)RS1 >> (RS2 & 31)))
SIMPLE(sraw, (uint64_t)(int64_t)((int32_t)RS1 >> (RS2 & 31)))

/* M extension: division never traps; by zero, and the one overflow, give the manual's values. */

static uint64_t mulhsu(uint64_t a, uint64_t b)
{
    return (uint64_t)(((__int128)(int64_t)a * (__int128)b) >> 64);
}

static uint64_t divide(int64_t a, int64_t b)
{
    if (b == 0)
        return UINT64_MAX;
    if (b == -1)
        return 0 - (uint64_t)a;
    return (uint64_t)(a / b);
}

static uint64_t remainder64(int64_t a, int64_t b)
{
    if (b == 0)
        return (uint64_t)a;
    if (b == -1)
        return 0;
    return (uint64_t)(a % b);
}

static uint64_t remainder_unsigned(uint64_t a, uint64_t b)
{
    return b ? a % b : a;
}

static uint64_t divide_unsigned(uint64_t a, uint64_t b)
{
    return b ? a / b : UINT64_MAX;
}

SIMPLE(mul, RS1 *RS2)
SIMPLE(mulh, (uint64_t)(((__int128)(int64_t)RS1 * (int64_t)RS2) >> 64))
SIMPLE(mulhsu, mulhsu(RS1, RS2))
SIMPLE(mulhu, (uint64_t)(((unsigned __int128)RS1 * RS2) >> 64))
SIMPLE(div, divide((int64_t)RS1, (int64_t)RS2))
SIMPLE(divu, divide_unsigned(RS1, RS2))
SIMPLE(rem, remainder64((int64_t)RS1, (int64_t)RS2))
SIMPLE(remu, remainder_unsigned(RS1, RS2))
SIMPLE(mulw, rv64_sext32(RS1 *RS2))
SIMPLE(divw, rv64_sext32(divide((int32_t)RS1, (int32_t)RS2)))
SIMPLE(divuw, rv64_sext32(divide_unsigned((uint32_t)RS1, (uint32_t)RS2)))
SIMPLE(remw, rv64_sext32(remainder64((int32_t)RS1, (int32_t)RS2)))
SIMPLE(remuw, rv64_sext32(remainder_unsigned((uint32_t)RS1, (uint32_t)RS2)))

static rv64_handler immediate_handler(uint32_t raw)
{
    static const rv64_handler plain[8] = {op_addi, NULL, op_slti, op_sltiu,
                                          op_xori, NULL, op_ori,  op_andi};
    uint32_t f3 = raw >> 12 & 7;

    if (f3 == 1)
        return raw >> 26 == 0 ? op_slli : NULL;
    if (f3 == 5)
        return raw >> 26 == 0 ? op_srli : raw >> 26 == 0x10 ? op_srai : NULL;
    return plain[f3];
}

static rv64_handler immediate_32_handler(uint32_t raw)
{
    uint32_t f7 = raw >> 25;

    switch (raw >> 12 & 7) {
    case 0:
        return op_addiw;
    case 1:
        return f7 == 0 ? op_slliw : NULL;
    case 5:
        return f7 == 0 ? op_srliw : f7 == 0x20 ? op_sraiw : NULL;
    default:
        return NULL;
    }
}

static rv64_handler register_handler(uint32_t raw)
{
    static const rv64_handler base[8] = {op_add, op_sll, op_slt, op_sltu,
                                         op_xor, op_srl, op_or,  op_and};
    static const rv64_handler multiply[8] = {op_mul, op_mulh, op_mulhsu, op_mulhu,
                                             op_div, op_divu, op_rem,    op_remu};
    uint32_t f3 = raw >> 12 & 7;

    switch (raw >> 25) {
    case 0:
        return base[f3];
    case 1:
        return multiply[f3];
    case 0x20:
        return f3 == 0 ? op_sub : f3 == 5 ? op_sra : NULL;
    default:
        return NULL;
    }
}

static rv64_handler register_32_handler(uint32_t raw)
{
    static const rv64_handler base[8] = {op_addw, op_sllw, NULL, NULL, NULL, op_srlw, NULL, NULL};
    static const rv64_handler multiply[8] = {op_mulw, NULL,     NULL,    NULL,
                                             op_divw, op_divuw, op_remw, op_remuw};
    uint32_t f3 = raw >> 12 & 7;

    switch (raw >> 25) {
    case 0:
        return base[f3];
    case 1:
        return multiply[f3];
    case 0x20:
        return f3 == 0 ? op_subw : f3 == 5 ? op_sraw : NULL;
    default:
        return NULL;
    }
}

rv64_handler rv64_int_handler(uint32_t raw)
{
    switch (raw & 0x7f) {
    case 0x13:
        return immediate_handler(raw);
    case 0x17:
        return op_auipc;
    case 0x1b:
        return immediate_32_handler(raw);
    case 0x33:
        return register_handler(raw);
    case 0x37:
        return op_lui;
    case 0x3b:
        return register_32_handler(raw);
    default:
        return NULL;
    }
}
