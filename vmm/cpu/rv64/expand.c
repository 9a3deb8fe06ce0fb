/* SPDX-License-Identifier: MIT */
/*
 * Compressed instructions (C extension, RV64): each is rewritten as the full instruction that it
 * stands for, so that only one decoder exists. Zero means illegal: no full instruction is all
 * zeros. Encodings that the manual calls reserved are illegal; hints expand to instructions without
 * effect.
 */
#include "vmm/cpu/rv64/rv64.h"

/* Bits `high` to `low` of a compressed instruction, moved to bit `to` of an immediate. */
#define FIELD(c, high, low, to)                                                                    \
    ((((uint32_t)(c) >> (low)) & ((1u << ((high) - (low) + 1)) - 1)) << (to))

enum {
    OPCODE_LOAD = 0x03,
    OPCODE_LOAD_FP = 0x07,
    OPCODE_OP_IMM = 0x13,
    OPCODE_OP_IMM_32 = 0x1b,
    OPCODE_STORE = 0x23,
    OPCODE_STORE_FP = 0x27,
    OPCODE_OP = 0x33,
    OPCODE_LUI = 0x37,
    OPCODE_OP_32 = 0x3b,
    OPCODE_BRANCH = 0x63,
    OPCODE_JALR = 0x67,
    OPCODE_JAL = 0x6f
};

static uint32_t sign_extend(uint32_t value, unsigned bits)
{
    uint32_t sign = 1u << (bits - 1);

    return (value ^ sign) - sign;
}

static uint32_t i_type(uint32_t opcode, uint32_t f3, uint32_t rd, uint32_t rs1, uint32_t imm)
{
    return imm << 20 | rs1 << 15 | f3 << 12 | rd << 7 | opcode;
}

static uint32_t r_type(uint32_t opcode, uint32_t f7, uint32_t f3, uint32_t rd, uint32_t rs1,
                       uint32_t rs2)
{
    return f7 << 25 | rs2 << 20 | rs1 << 15 | f3 << 12 | rd << 7 | opcode;
}

static uint32_t s_type(uint32_t opcode, uint32_t f3, uint32_t rs1, uint32_t rs2, uint32_t imm)
{
    return (imm >> 5 & 0x7f) << 25 | rs2 << 20 | rs1 << 15 | f3 << 12 | (imm & 0x1f) << 7 | opcode;
}

static uint32_t jal(uint32_t rd, uint32_t imm)
{
    return (imm >> 20 & 1) << 31 | (imm >> 1 & 0x3ff) << 21 | (imm >> 11 & 1) << 20 |
           (imm >> 12 & 0xff) << 12 | rd << 7 | OPCODE_JAL;
}

static uint32_t branch(uint32_t f3, uint32_t rs1, uint32_t imm)
{
    return (imm >> 12 & 1) << 31 | (imm >> 5 & 0x3f) << 25 | rs1 << 15 | f3 << 12 |
           (imm >> 1 & 0xf) << 8 | (imm >> 11 & 1) << 7 | OPCODE_BRANCH;
}

/* Quadrant 0: loads and stores with the eight popular registers. */
static uint32_t expand_0(uint16_t c)
{
    uint32_t rd = FIELD(c, 4, 2, 0) + 8;
    uint32_t rs1 = FIELD(c, 9, 7, 0) + 8;
    uint32_t word = FIELD(c, 12, 10, 3) | FIELD(c, 6, 6, 2) | FIELD(c, 5, 5, 6);
    uint32_t dword = FIELD(c, 12, 10, 3) | FIELD(c, 6, 5, 6);
    uint32_t imm;

    switch (c >> 13) {
    case 0: /* c.addi4spn */
        imm = FIELD(c, 12, 11, 4) | FIELD(c, 10, 7, 6) | FIELD(c, 6, 6, 2) | FIELD(c, 5, 5, 3);
        return imm ? i_type(OPCODE_OP_IMM, 0, rd, 2, imm) : 0;
    case 1:
        return i_type(OPCODE_LOAD_FP, 3, rd, rs1, dword);
    case 2:
        return i_type(OPCODE_LOAD, 2, rd, rs1, word);
    case 3:
        return i_type(OPCODE_LOAD, 3, rd, rs1, dword);
    case 5:
        return s_type(OPCODE_STORE_FP, 3, rs1, rd, dword);
    case 6:
        return s_type(OPCODE_STORE, 2, rs1, rd, word);
    case 7:
        return s_type(OPCODE_STORE, 3, rs1, rd, dword);
    default:
        return 0;
    }
}

/* Quadrant 1, funct3 100: arithmetic on the eight popular registers. */
static uint32_t expand_arithmetic(uint16_t c)
{
    static const struct {
        uint8_t opcode, f7, f3;
    } ops[8] = {
        {OPCODE_OP, 0x20, 0},    /* c.sub */
        {OPCODE_OP, 0, 4},       /* c.xor */
        {OPCODE_OP, 0, 6},       /* c.or */
        {OPCODE_OP, 0, 7},       /* c.and */
        {OPCODE_OP_32, 0x20, 0}, /* c.subw */
        {OPCODE_OP_32, 0, 0},    /* c.addw */
        {0, 0, 0},
        {0, 0, 0},
    };
    uint32_t rd = FIELD(c, 9, 7, 0) + 8;
    uint32_t shift = FIELD(c, 12, 12, 5) | FIELD(c, 6, 2, 0);
    unsigned op;

    switch (c >> 10 & 3) {
    case 0:
        return i_type(OPCODE_OP_IMM, 5, rd, rd, shift);
    case 1:
        return i_type(OPCODE_OP_IMM, 5, rd, rd, shift | 0x400);
    case 2:
        return i_type(OPCODE_OP_IMM, 7, rd, rd, sign_extend(shift, 6));
    default:
        op = FIELD(c, 12, 12, 2) | FIELD(c, 6, 5, 0);
        if (!ops[op].opcode)
            return 0;
        return r_type(ops[op].opcode, ops[op].f7, ops[op].f3, rd, rd, FIELD(c, 4, 2, 0) + 8);
    }
}

static uint32_t expand_1(uint16_t c)
{
    uint32_t rd = FIELD(c, 11, 7, 0);
    uint32_t imm6 = sign_extend(FIELD(c, 12, 12, 5) | FIELD(c, 6, 2, 0), 6);
    uint32_t imm;

    switch (c >> 13) {
    case 0: /* c.addi, c.nop */
        return i_type(OPCODE_OP_IMM, 0, rd, rd, imm6);
    case 1: /* c.addiw */
        return rd ? i_type(OPCODE_OP_IMM_32, 0, rd, rd, imm6) : 0;
    case 2: /* c.li */
        return i_type(OPCODE_OP_IMM, 0, rd, 0, imm6);
    case 3:
        if (rd != 2) /* c.lui */
            return imm6 ? (imm6 << 12 | rd << 7 | OPCODE_LUI) : 0;
        imm = FIELD(c, 12, 12, 9) | FIELD(c, 6, 6, 4) | FIELD(c, 5, 5, 6) | FIELD(c, 4, 3, 7) |
              FIELD(c, 2, 2, 5);
        return imm ? i_type(OPCODE_OP_IMM, 0, 2, 2, sign_extend(imm, 10)) : 0; /* c.addi16sp */
    case 4:
        return expand_arithmetic(c);
    case 5: /* c.j */
        imm = FIELD(c, 12, 12, 11) | FIELD(c, 11, 11, 4) | FIELD(c, 10, 9, 8) | FIELD(c, 8, 8, 10) |
              FIELD(c, 7, 7, 6) | FIELD(c, 6, 6, 7) | FIELD(c, 5, 3, 1) | FIELD(c, 2, 2, 5);
        return jal(0, sign_extend(imm, 12));
    default: /* c.beqz, c.bnez */
        imm = FIELD(c, 12, 12, 8) | FIELD(c, 11, 10, 3) | FIELD(c, 6, 5, 6) | FIELD(c, 4, 3, 1) |
              FIELD(c, 2, 2, 5);
        return branch(c >> 13 & 1, FIELD(c, 9, 7, 0) + 8, sign_extend(imm, 9));
    }
}

/* Quadrant 2, funct3 100: jumps through a register, moves, c.ebreak. */
static uint32_t expand_jump_move(uint16_t c)
{
    uint32_t rd = FIELD(c, 11, 7, 0), rs2 = FIELD(c, 6, 2, 0);

    if (c & 0x1000) {
        if (rs2)
            return r_type(OPCODE_OP, 0, 0, rd, rd, rs2); /* c.add */
        return rd ? i_type(OPCODE_JALR, 0, 1, rd, 0) : 0x00100073;
    }
    if (rs2)
        return r_type(OPCODE_OP, 0, 0, rd, 0, rs2); /* c.mv */
    return rd ? i_type(OPCODE_JALR, 0, 0, rd, 0) : 0;
}

static uint32_t expand_2(uint16_t c)
{
    uint32_t rd = FIELD(c, 11, 7, 0), rs2 = FIELD(c, 6, 2, 0);
    uint32_t load_word = FIELD(c, 12, 12, 5) | FIELD(c, 6, 4, 2) | FIELD(c, 3, 2, 6);
    uint32_t load_dword = FIELD(c, 12, 12, 5) | FIELD(c, 6, 5, 3) | FIELD(c, 4, 2, 6);
    uint32_t store_word = FIELD(c, 12, 9, 2) | FIELD(c, 8, 7, 6);
    uint32_t store_dword = FIELD(c, 12, 10, 3) | FIELD(c, 9, 7, 6);

    switch (c >> 13) {
    case 0: /* c.slli */
        return i_type(OPCODE_OP_IMM, 1, rd, rd, FIELD(c, 12, 12, 5) | FIELD(c, 6, 2, 0));
    case 1:
        return i_type(OPCODE_LOAD_FP, 3, rd, 2, load_dword);
    case 2:
        return rd ? i_type(OPCODE_LOAD, 2, rd, 2, load_word) : 0;
    case 3:
        return rd ? i_type(OPCODE_LOAD, 3, rd, 2, load_dword) : 0;
    case 4:
        return expand_jump_move(c);
    case 5:
        return s_type(OPCODE_STORE_FP, 3, 2, rs2, store_dword);
    case 6:
        return s_type(OPCODE_STORE, 2, 2, rs2, store_word);
    default:
        return s_type(OPCODE_STORE, 3, 2, rs2, store_dword);
    }
}

uint32_t rv64_expand(uint16_t raw)
{
    switch (raw & 3) {
    case 0:
        return expand_0(raw);
    case 1:
        return expand_1(raw);
    case 2:
        return expand_2(raw);
    default:
        return 0;
    }
}
