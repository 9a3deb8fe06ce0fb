/* SPDX-License-Identifier: MIT */
/*
 * The software RV64GC hart: what its files share. Nothing outside this folder includes it.
 *
 * How code runs. Guest code is decoded once into blocks of `struct rv64_insn` (block.c), straight
 * pieces of code that never leave their 4 KiB page and end with the first instruction that may go
 * elsewhere. Each decoded instruction holds the address of its handler; a handler ends by jumping
 * to the next one's (NEXT), and the last one returns to the loop in cpu.c: the block to go on with,
 * or NULL for "look it up by pc".
 *
 * What is true while a block runs. `pc` is stale (the last handler sets it); the address of an
 * instruction is rv64_insn_pc(). `instret` already counts the whole block. A handler that cannot
 * finish its instruction (a trap, a missing page) sets `current` and calls rv64_settle(), which
 * makes both exact again: after it the hart is at the boundary before that instruction. No handler
 * changes a register, a CSR or memory before it knows that it will finish.
 *
 * Who may change what. Everything belongs to the hart's own thread, except `irq_lines` and
 * `exit_request`, which are atomic and written by anyone, and `mie` and `mip_soft`, which others
 * read (has_work).
 */
#ifndef RV64_H
#define RV64_H

#include "baton/guest.h"
#include "vmm/cpu/cpu.h"
#include "vmm/cpu/rv64/bits.h"

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define RV64_PAGE_BYTES 4096u
#define RV64_PAGE_MASK (~(uint64_t)(RV64_PAGE_BYTES - 1))
#define RV64_TLB_ENTRIES 256u
#define RV64_TLB_NONE 0x800u /* a tag that no access compares with: bit 11 is in no mask */
#define RV64_PMP_ENTRIES 16u
#define RV64_BLOCK_MAX 64u /* instructions in a block: bounds how long a kick takes to be seen */
#define RV64_X_SINK 32u    /* where a result for x0 goes */

struct vmm_cpu;
struct rv64_insn;
struct rv64_block;

typedef struct rv64_block *(*rv64_handler)(struct vmm_cpu *cpu, struct rv64_insn *insn);

/* One decoded instruction. Which fields mean what is up to the handler (decode.c fills them in). */
struct rv64_insn {
    rv64_handler run;
    uint8_t rd, rs1, rs2;
    uint8_t half; /* distance from the block's start in half-words */
    int32_t imm;  /* immediate, or the raw instruction where there is none */
};

/* Follows a block's last instruction: where a direct jump went the last time, if within the page.
 */
struct rv64_links {
    struct rv64_block *taken, *next;
};

_Static_assert(sizeof(struct rv64_links) == sizeof(struct rv64_insn), "links take one slot");

struct rv64_block {
    uint32_t generation; /* of the last fence.i since which the bytes are known to be the guest's */
    uint16_t count;      /* instructions that retire when the block runs to its end */
    uint16_t code_bytes;
    uint8_t *code;  /* the bytes it was decoded from */
    bool straddles; /* a lone instruction across two pages: valid by its bits, not by its address */
    struct rv64_insn insns[];
};

struct rv64_tlb_entry {
    uint64_t tag;     /* virtual page, or RV64_TLB_NONE */
    uintptr_t addend; /* data: host address minus virtual; fetch: guest-physical page */
};

/* One per way of looking at memory, so that a trap or a change of SUM flushes nothing. */
enum rv64_mode { RV64_MODE_U, RV64_MODE_S, RV64_MODE_S_SUM, RV64_MODE_M, RV64_MODE_COUNT };

struct rv64_tlb {
    struct rv64_tlb_entry read[RV64_TLB_ENTRIES];
    struct rv64_tlb_entry write[RV64_TLB_ENTRIES]; /* page present, marked dirty, PTE dirty */
    struct rv64_tlb_entry fetch[RV64_TLB_ENTRIES];
    bool used;     /* something was put in since the last flush */
    bool large[2]; /* from a superpage, in the lower or upper half of the addresses */
};

enum rv64_access { RV64_READ, RV64_WRITE, RV64_FETCH };

enum { /* exit_request */
       RV64_REQUEST_KICK = 1,
       RV64_REQUEST_DROP_DIRTY = 2,
       RV64_REQUEST_IRQ = 4
};

enum rv64_leave { RV64_STAY, RV64_LEAVE_KICKED, RV64_LEAVE_IDLE };

struct rv64_code; /* block.c */

struct vmm_cpu {
    uint64_t x[33]; /* the last one is RV64_X_SINK */
    uint64_t pc;
    struct rv64_tlb *data; /* for loads and stores now */
    uint64_t block_pc;
    struct rv64_block *block;
    uint64_t instret;
    uint32_t generation; /* counts fence.i */
    uint32_t exit_request;
    uint64_t mstatus;
    uint64_t loaded; /* result of rv64_load_slow */
    struct rv64_tlb *fetch;
    struct rv64_block **patch; /* link to set when the next block is found */
    struct rv64_insn
        *current; /* the instruction a slow path works for; NULL between instructions */
    enum rv64_leave leave;

    uint64_t f[32];
    uint8_t fflags, frm;

    uint8_t priv;
    uint8_t data_priv; /* with MPRV applied */
    uint64_t irq_lines, mip_soft, mie;
    uint64_t medeleg, mideleg, mtvec, mscratch, mepc, mcause, mtval, mcounteren, menvcfg;
    uint64_t stvec, sscratch, sepc, scause, stval, satp, scounteren, senvcfg;
    uint64_t cycle_offset, instret_offset; /* counter = instret + offset */
    uint8_t pmpcfg[RV64_PMP_ENTRIES];
    uint64_t pmpaddr[RV64_PMP_ENTRIES];

    uint8_t *reserved; /* LR's host address, or NULL */
    uint64_t reserved_value;
    unsigned reserved_bytes;

    unsigned index;
    struct vmm_memory *memory;
    struct vmm_cpu_host host;
    struct rv64_code *code;
    struct rv64_tlb tlb[RV64_MODE_COUNT];
};

static inline uint64_t rv64_insn_pc(const struct vmm_cpu *cpu, const struct rv64_insn *insn)
{
    return cpu->block_pc + 2 * (uint64_t)insn->half;
}

/* cpu.c */
void rv64_settle(struct vmm_cpu *cpu); /* back to the boundary before `current`, if there is one */

/* block.c */
int rv64_code_init(struct vmm_cpu *cpu, struct baton_error *error);
void rv64_code_fini(struct vmm_cpu *cpu);
void rv64_code_flush(struct vmm_cpu *cpu); /* forgets every block */
void rv64_code_fence_i(
    struct vmm_cpu *cpu); /* blocks are compared with memory before their next use */
/* The block at pc. NULL: a trap was taken, or a wait has happened; look at `leave`, then try again.
 */
struct rv64_block *rv64_code_find(struct vmm_cpu *cpu);

/* decode.c, expand.c */
/* Fills everything but `half`. `bytes`: 2 or 4. True: the block ends here. */
bool rv64_decode(uint32_t raw, unsigned bytes, struct rv64_insn *insn);
uint32_t rv64_expand(uint16_t raw); /* a compressed instruction in full, 0 if illegal */

/* exec_*.c: the handler of an instruction, NULL if there is none */
rv64_handler rv64_int_handler(uint32_t raw);
rv64_handler rv64_branch_handler(uint32_t raw);
rv64_handler rv64_memory_handler(uint32_t raw);
rv64_handler rv64_atomic_handler(uint32_t raw);
rv64_handler rv64_fp_handler(uint32_t raw);
rv64_handler rv64_system_handler(uint32_t raw);
struct rv64_block *rv64_run_illegal(struct vmm_cpu *cpu, struct rv64_insn *insn);
struct rv64_block *rv64_run_end(struct vmm_cpu *cpu, struct rv64_insn *insn); /* of a cut block */

/* trap.c */
/* Both take the trap at once; after it nothing of the current instruction may be done. Return NULL,
 * for handlers. */
struct rv64_block *rv64_trap(struct vmm_cpu *cpu, uint64_t cause, uint64_t tval);
struct rv64_block *rv64_illegal(struct vmm_cpu *cpu, struct rv64_insn *insn);
bool rv64_take_interrupt(struct vmm_cpu *cpu); /* if one is due at this boundary */
struct rv64_block *rv64_mret(struct vmm_cpu *cpu);
struct rv64_block *rv64_sret(struct vmm_cpu *cpu);
static inline uint64_t rv64_mip(const struct vmm_cpu *cpu)
{
    return __atomic_load_n(&cpu->irq_lines, __ATOMIC_ACQUIRE) |
           __atomic_load_n(&cpu->mip_soft, __ATOMIC_RELAXED);
}

/* mmu.c */
/* These return false when the instruction is over: a trap was taken or a page was waited for. */
bool rv64_load_slow(struct vmm_cpu *cpu, struct rv64_insn *insn, uint64_t va, unsigned bytes);
bool rv64_store_slow(struct vmm_cpu *cpu, struct rv64_insn *insn, uint64_t va, unsigned bytes,
                     uint64_t value);
/* Host address for an LR (RV64_READ), SC or AMO (RV64_WRITE, marked dirty) at an aligned address in
 * RAM. */
uint8_t *rv64_atomic_place(struct vmm_cpu *cpu, struct rv64_insn *insn, uint64_t va, unsigned bytes,
                           enum rv64_access access);
/* The guest-physical address of the page of code at `va`, entered into the TLB. */
bool rv64_fetch_page(struct vmm_cpu *cpu, uint64_t va, uint64_t *page);
void rv64_mode_update(struct vmm_cpu *cpu); /* after a change of priv or mstatus */
void rv64_tlb_flush(struct vmm_cpu *cpu);
void rv64_tlb_flush_page(struct vmm_cpu *cpu, uint64_t va);
void rv64_tlb_drop_dirty(struct vmm_cpu *cpu);

/* pmp.c */
bool rv64_pmp_allows(const struct vmm_cpu *cpu, uint64_t gpa, unsigned priv,
                     enum rv64_access access);
uint64_t rv64_pmp_read_addr(const struct vmm_cpu *cpu, unsigned entry);
void rv64_pmp_write_addr(struct vmm_cpu *cpu, unsigned entry, uint64_t value);
uint64_t rv64_pmp_read_cfg(const struct vmm_cpu *cpu, unsigned first);
void rv64_pmp_write_cfg(struct vmm_cpu *cpu, unsigned first, uint64_t value);

/* csr.c */
/* False: no such register here, at this privilege, or not for writing. */
bool rv64_csr_read(struct vmm_cpu *cpu, unsigned number, uint64_t *value);
bool rv64_csr_write(struct vmm_cpu *cpu, unsigned number, uint64_t value);
uint64_t rv64_mstatus(const struct vmm_cpu *cpu); /* with SD and the fixed fields */

/* state.c */
void rv64_reset(struct vmm_cpu *cpu, vmm_gpa entry, uint64_t arg1, uint64_t arg2);
void rv64_save(struct vmm_cpu *cpu, struct baton_save *save);
int rv64_load(struct vmm_cpu *cpu, struct baton_load *load, uint32_t version,
              struct baton_error *error);

#endif
