/* SPDX-License-Identifier: MIT */
/*
 * How a handler is written: OP(name) { ...; NEXT; }. With optimization NEXT is a jump, so that a
 * block runs without returning; without, it is a call, and the depth is bounded by the length of a
 * block. A local variable whose address is taken would turn the jump into a call: slow paths leave
 * their result in the cpu instead.
 */
#ifndef RV64_EXEC_H
#define RV64_EXEC_H

#include "vmm/cpu/rv64/rv64.h"

#define OP(name) static struct rv64_block *op_##name(struct vmm_cpu *cpu, struct rv64_insn *insn)
#define NEXT return insn[1].run(cpu, insn + 1)

#define RD cpu->x[insn->rd]
#define RS1 cpu->x[insn->rs1]
#define RS2 cpu->x[insn->rs2]
#define IMM ((uint64_t)(int64_t)insn->imm)

static inline uint64_t rv64_sext32(uint64_t value)
{
    return (uint64_t)(int64_t)(int32_t)(uint32_t)value;
}

/* The next block through a link, if there is one and no fence.i came since; else the loop finds it
 * and sets the link. */
static inline struct rv64_block *rv64_follow(struct vmm_cpu *cpu, struct rv64_block **link)
{
    struct rv64_block *block = *link;

    if (likely(block && block->generation == cpu->generation))
        return block;
    cpu->patch = link;
    return NULL;
}

static inline struct rv64_links *rv64_links_of(struct rv64_insn *insn)
{
    return (struct rv64_links *)(void *)(insn + 1);
}

#endif
