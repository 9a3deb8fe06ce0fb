/* SPDX-License-Identifier: MIT */
/*
 * One hart on a bench: a small RAM, a fake library behind it, and enough of an assembler to write
 * instructions down.
 *
 * A test puts code into RAM and runs it until the hart waits for an interrupt (every trap goes to a
 * WFI). The fake library keeps presence and dirtiness of each page, counts calls, and can be asked
 * to look at the hart during a wait.
 */
#ifndef RV64_BENCH_H
#define RV64_BENCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "vmm/cpu/rv64/rv64.h"

#define RAM_BASE 0x80000000u
#define RAM_PAGES 256u
#define RAM_BYTES ((uint64_t)RAM_PAGES * 4096)
#define CODE RAM_BASE               /* where bench_code() puts code */
#define TRAP_WFI (RAM_BASE + 0x800) /* mtvec and stvec of a fresh bench */
#define MMIO_BASE 0x10000000u       /* a device that remembers the last access */

struct bench {
    struct vmm_memory memory;
    struct vmm_cpu *cpu;
    uint64_t ticks;
    unsigned waits_begun, waits_ended;
    bool leave_after_wait;
    struct {
        uint64_t offset, value;
        unsigned size, reads, writes;
    } mmio;
};

void bench_init(struct bench *bench);
void bench_fini(struct bench *bench);
/* Setup and teardown for cmocka: *state is a struct bench. */
int bench_setup(void **state);
int bench_teardown(void **state);

void bench_write(struct bench *bench, uint64_t gpa, const void *bytes, size_t length_bytes);
void bench_write32(struct bench *bench, uint64_t gpa, uint32_t value);
void bench_write64(struct bench *bench, uint64_t gpa, uint64_t value);
uint32_t bench_read32(struct bench *bench, uint64_t gpa);
uint64_t bench_read64(struct bench *bench, uint64_t gpa);

/* Puts `count` instructions and a WFI at CODE, forgets decoded code, and runs from there until the
 * WFI. */
void bench_code(struct bench *bench, const uint32_t *code, size_t count);
#define BENCH_RUN(bench, ...)                                                                      \
    do {                                                                                           \
        const uint32_t code_[] = {__VA_ARGS__};                                                    \
        bench_code(bench, code_, sizeof(code_) / sizeof(code_[0]));                                \
    } while (0)
/* Runs on from pc until a WFI. */
void bench_go(struct bench *bench);
/* Drops to `priv` for the next run, without touching anything else. */
void bench_priv(struct bench *bench, unsigned priv);
/* The last run ended in this trap, taken to M. */
void bench_expect_trap(struct bench *bench, uint64_t cause, uint64_t epc, uint64_t tval);

/* ---- The fake library ---- */

extern struct baton *const fake_baton; /* for bench->memory.baton */
void fake_reset(void);                 /* all present, nothing dirty */
void fake_set_present(uint64_t gpa, bool present);
bool fake_is_dirty(uint64_t gpa);
void fake_clear_dirty(void);
unsigned fake_marks(void);   /* calls of baton_ram_mark_dirty */
unsigned fake_ensures(void); /* calls of baton_ram_ensure; each makes its page present */
extern void (*fake_on_ensure)(uint64_t gpa);
extern void (*fake_on_mark)(uint64_t gpa);

/* A section in memory. */
struct baton_save {
    uint8_t bytes[4096];
    size_t length_bytes;
};
struct baton_load {
    const uint8_t *bytes;
    size_t length_bytes, at;
    bool bad;
};

/* ---- Assembler ---- */

#define R_(op, f7, f3, rd, rs1, rs2)                                                               \
    ((uint32_t)(f7) << 25 | (uint32_t)(rs2) << 20 | (uint32_t)(rs1) << 15 | (uint32_t)(f3) << 12 | \
     (uint32_t)(rd) << 7 | (op))
#define I_(op, f3, rd, rs1, imm)                                                                   \
    (((uint32_t)(imm)&0xfff) << 20 | (uint32_t)(rs1) << 15 | (uint32_t)(f3) << 12 |                \
     (uint32_t)(rd) << 7 | (op))
#define S_(op, f3, rs1, rs2, imm)                                                                  \
    (((uint32_t)(imm) >> 5 & 0x7f) << 25 | (uint32_t)(rs2) << 20 | (uint32_t)(rs1) << 15 |         \
     (uint32_t)(f3) << 12 | ((uint32_t)(imm)&0x1f) << 7 | (op))
#define B_(f3, rs1, rs2, imm)                                                                      \
    (((uint32_t)(imm) >> 12 & 1) << 31 | ((uint32_t)(imm) >> 5 & 0x3f) << 25 |                     \
     (uint32_t)(rs2) << 20 | (uint32_t)(rs1) << 15 | (uint32_t)(f3) << 12 |                        \
     ((uint32_t)(imm) >> 1 & 0xf) << 8 | ((uint32_t)(imm) >> 11 & 1) << 7 | 0x63)
#define J_(rd, imm)                                                                                \
    (((uint32_t)(imm) >> 20 & 1) << 31 | ((uint32_t)(imm) >> 1 & 0x3ff) << 21 |                    \
     ((uint32_t)(imm) >> 11 & 1) << 20 | ((uint32_t)(imm) >> 12 & 0xff) << 12 |                    \
     (uint32_t)(rd) << 7 | 0x6f)

#define ADDI(rd, rs1, imm) I_(0x13, 0, rd, rs1, imm)
#define LUI(rd, upper) ((uint32_t)(upper) << 12 | (uint32_t)(rd) << 7 | 0x37)
#define AUIPC(rd, upper) ((uint32_t)(upper) << 12 | (uint32_t)(rd) << 7 | 0x17)
#define ADD(rd, rs1, rs2) R_(0x33, 0, 0, rd, rs1, rs2)
#define LB(rd, rs1, imm) I_(0x03, 0, rd, rs1, imm)
#define LH(rd, rs1, imm) I_(0x03, 1, rd, rs1, imm)
#define LW(rd, rs1, imm) I_(0x03, 2, rd, rs1, imm)
#define LD(rd, rs1, imm) I_(0x03, 3, rd, rs1, imm)
#define LBU(rd, rs1, imm) I_(0x03, 4, rd, rs1, imm)
#define LHU(rd, rs1, imm) I_(0x03, 5, rd, rs1, imm)
#define LWU(rd, rs1, imm) I_(0x03, 6, rd, rs1, imm)
#define SB(rs2, rs1, imm) S_(0x23, 0, rs1, rs2, imm)
#define SH(rs2, rs1, imm) S_(0x23, 1, rs1, rs2, imm)
#define SW(rs2, rs1, imm) S_(0x23, 2, rs1, rs2, imm)
#define SD(rs2, rs1, imm) S_(0x23, 3, rs1, rs2, imm)
#define FLW(rd, rs1, imm) I_(0x07, 2, rd, rs1, imm)
#define FLD(rd, rs1, imm) I_(0x07, 3, rd, rs1, imm)
#define FSD(rs2, rs1, imm) S_(0x27, 3, rs1, rs2, imm)
#define BEQ(rs1, rs2, imm) B_(0, rs1, rs2, imm)
#define BNE(rs1, rs2, imm) B_(1, rs1, rs2, imm)
#define JAL(rd, imm) J_(rd, imm)
#define JALR(rd, rs1, imm) I_(0x67, 0, rd, rs1, imm)
#define CSRRW(rd, csr, rs1) I_(0x73, 1, rd, rs1, csr)
#define CSRRS(rd, csr, rs1) I_(0x73, 2, rd, rs1, csr)
#define CSRRC(rd, csr, rs1) I_(0x73, 3, rd, rs1, csr)
#define CSRRWI(rd, csr, imm) I_(0x73, 5, rd, imm, csr)
#define AMO_W(funct5, rd, rs1, rs2) R_(0x2f, (funct5) << 2, 2, rd, rs1, rs2)
#define AMO_D(funct5, rd, rs1, rs2) R_(0x2f, (funct5) << 2, 3, rd, rs1, rs2)
#define LR_W(rd, rs1) AMO_W(2, rd, rs1, 0)
#define LR_D(rd, rs1) AMO_D(2, rd, rs1, 0)
#define SC_W(rd, rs1, rs2) AMO_W(3, rd, rs1, rs2)
#define SC_D(rd, rs1, rs2) AMO_D(3, rd, rs1, rs2)
#define AMOADD_W(rd, rs1, rs2) AMO_W(0, rd, rs1, rs2)
#define FP(funct5, fmt, rm, rd, rs1, rs2) R_(0x53, (funct5) << 2 | (fmt), rm, rd, rs1, rs2)
#define ECALL 0x00000073u
#define EBREAK 0x00100073u
#define MRET 0x30200073u
#define SRET 0x10200073u
#define WFI 0x10500073u
#define FENCE_I 0x0000100fu
#define FENCE 0x0ff0000fu
#define SFENCE_VMA(rs1) R_(0x73, 0x09, 0, 0, rs1, 0)
#define NOP ADDI(0, 0, 0)

#endif
