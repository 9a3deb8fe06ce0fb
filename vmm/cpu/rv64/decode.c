/* SPDX-License-Identifier: MIT */
/*
 * From the bits of an instruction to a `struct rv64_insn`: the fields by instruction format; the
 * handler comes from the exec_*.c file that implements the opcode. An instruction that nobody knows
 * gets the handler that traps, with its bits in `imm`, since the trap reports them.
 *
 * Results for x0 are directed to a register that nobody reads, so that no handler asks. The length
 * of an instruction that sets pc stands in a field that it does not use otherwise: rs2 for jumps,
 * rd for branches.
 */
#include "vmm/cpu/rv64/rv64.h"

static int32_t imm_i(uint32_t raw)
{
    return (int32_t)raw >> 20;
}

static int32_t imm_s(uint32_t raw)
{
    return (int32_t)((uint32_t)((int32_t)raw >> 25) << 5 | (raw >> 7 & 0x1f));
}

static int32_t imm_b(uint32_t raw)
{
    return (int32_t)((uint32_t)((int32_t)raw >> 31) << 12 | (raw >> 7 & 1) << 11 |
                     (raw >> 25 & 0x3f) << 5 | (raw >> 8 & 0xf) << 1);
}

static int32_t imm_j(uint32_t raw)
{
    return (int32_t)((uint32_t)((int32_t)raw >> 31) << 20 | (raw & 0xff000) |
                     (raw >> 20 & 1) << 11 | (raw >> 21 & 0x3ff) << 1);
}

/* Whether an OP-FP instruction writes an integer register: compare, convert to integer, move or
 * classify. */
static bool fp_to_int(uint32_t raw)
{
    uint32_t funct5 = raw >> 27;

    return funct5 == 0x14 || funct5 == 0x18 || funct5 == 0x1c;
}

static bool decode_opcode(uint32_t raw, unsigned bytes, struct rv64_insn *insn)
{
    uint8_t int_rd = insn->rd ? insn->rd : RV64_X_SINK;

    switch (raw & 0x7f) {
    case 0x03: /* loads */
        insn->run = rv64_memory_handler(raw);
        insn->rd = int_rd;
        insn->imm = imm_i(raw);
        return false;
    case 0x07: /* floating-point loads */
        insn->run = rv64_memory_handler(raw);
        insn->imm = imm_i(raw);
        return false;
    case 0x23:
    case 0x27: /* stores */
        insn->run = rv64_memory_handler(raw);
        insn->imm = imm_s(raw);
        return false;
    case 0x13:
    case 0x1b: /* register and immediate */
        insn->run = rv64_int_handler(raw);
        insn->rd = int_rd;
        insn->imm = imm_i(raw);
        return false;
    case 0x17:
    case 0x37: /* auipc, lui */
        insn->run = rv64_int_handler(raw);
        insn->rd = int_rd;
        insn->imm = (int32_t)(raw & 0xfffff000);
        return false;
    case 0x33:
    case 0x3b: /* register and register */
        insn->run = rv64_int_handler(raw);
        insn->rd = int_rd;
        return false;
    case 0x2f:
        insn->run = rv64_atomic_handler(raw);
        insn->rd = int_rd;
        return false;
    case 0x43:
    case 0x47:
    case 0x4b:
    case 0x4f:
        insn->run = rv64_fp_handler(raw);
        return false;
    case 0x53:
        insn->run = rv64_fp_handler(raw);
        insn->rd = fp_to_int(raw) ? int_rd : insn->rd;
        return false;
    case 0x63: /* branches */
        insn->run = rv64_branch_handler(raw);
        insn->imm = imm_b(raw);
        insn->rd = (uint8_t)bytes;
        return true;
    case 0x67: /* jalr */
        insn->run = rv64_branch_handler(raw);
        insn->rd = int_rd;
        insn->imm = imm_i(raw);
        insn->rs2 = (uint8_t)bytes;
        return true;
    case 0x6f: /* jal */
        insn->run = rv64_branch_handler(raw);
        insn->rd = int_rd;
        insn->imm = imm_j(raw);
        insn->rs2 = (uint8_t)bytes;
        return true;
    case 0x0f: /* fences */
        insn->run = rv64_system_handler(raw);
        return (raw >> 12 & 7) != 0;
    case 0x73:
        insn->run = rv64_system_handler(raw);
        insn->rd = int_rd;
        return true;
    default:
        insn->run = NULL;
        return true;
    }
}

bool rv64_decode(uint32_t raw, unsigned bytes, struct rv64_insn *insn)
{
    uint32_t full = bytes == 2 ? rv64_expand((uint16_t)raw) : raw;
    bool end;

    insn->rd = full >> 7 & 0x1f;
    insn->rs1 = full >> 15 & 0x1f;
    insn->rs2 = full >> 20 & 0x1f;
    insn->imm = (int32_t)full;
    end = decode_opcode(full, bytes, insn);
    if (!insn->run) {
        insn->run = rv64_run_illegal;
        insn->imm = (int32_t)raw;
        end = true;
    }
    return end;
}
