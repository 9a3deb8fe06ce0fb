/* SPDX-License-Identifier: MIT */
/*
 * Jumps and branches: the ends of most blocks. A direct jump within its page goes straight to the
 * next block through a link (the page is mapped the same way for both, so nothing needs to be
 * checked); any other goes through the lookup by pc. With 16-bit instructions no target can be
 * misaligned.
 */
#include "vmm/cpu/rv64/exec.h"

#define BRANCH(name, condition)                                                                    \
    OP(name)                                                                                       \
    {                                                                                              \
        uint64_t pc = rv64_insn_pc(cpu, insn);                                                     \
                                                                                                   \
        if (condition) {                                                                           \
            cpu->pc = pc + IMM;                                                                    \
            return rv64_follow(cpu, &rv64_links_of(insn)->taken);                                  \
        }                                                                                          \
        cpu->pc = pc + insn->rd;                                                                   \
        return rv64_follow(cpu, &rv64_links_of(insn)->next);                                       \
    }

BRANCH(beq, RS1 == RS2)
BRANCH(bne, RS1 != RS2)
BRANCH(blt, (int64_t)RS1 < (int64_t)RS2)
BRANCH(bge, (int64_t)RS1 >= (int64_t)RS2)
BRANCH(bltu, RS1 < RS2)
BRANCH(bgeu, RS1 >= RS2)

OP(jal)
{
    uint64_t pc = rv64_insn_pc(cpu, insn);

    RD = pc + insn->rs2;
    cpu->pc = pc + IMM;
    return rv64_follow(cpu, &rv64_links_of(insn)->taken);
}

OP(jalr)
{
    uint64_t target = (RS1 + IMM) & ~(uint64_t)1;

    RD = rv64_insn_pc(cpu, insn) + insn->rs2;
    cpu->pc = target;
    return NULL;
}

struct rv64_block *rv64_run_end(struct vmm_cpu *cpu, struct rv64_insn *insn)
{
    cpu->pc = rv64_insn_pc(cpu, insn);
    return rv64_follow(cpu, &rv64_links_of(insn)->next);
}

rv64_handler rv64_branch_handler(uint32_t raw)
{
    static const rv64_handler branches[8] = {op_beq, op_bne, NULL,    NULL,
                                             op_blt, op_bge, op_bltu, op_bgeu};
    uint32_t f3 = raw >> 12 & 7;

    switch (raw & 0x7f) {
    case 0x63:
        return branches[f3];
    case 0x67:
        return f3 == 0 ? op_jalr : NULL;
    case 0x6f:
        return op_jal;
    default:
        return NULL;
    }
}
