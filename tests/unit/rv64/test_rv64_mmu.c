/* SPDX-License-Identifier: MIT */
/*
 * Sv39: permissions, superpages, accessed and dirty bits, and what a fault reports.
 */
#include "tests/unit/rv64/bench.h"

#define ROOT (RAM_BASE + 0x20000)
#define MID (RAM_BASE + 0x21000)
#define LEAVES (RAM_BASE + 0x22000)
#define DATA (RAM_BASE + 0x30000)
#define VA 0x40201000u /* in the second gigabyte: entries 1, 1, 1 */
#define ALL (PTE_V | PTE_R | PTE_W | PTE_X | PTE_A | PTE_D)

static uint64_t pte(uint64_t gpa, uint64_t bits)
{
    return gpa >> 12 << PTE_PPN_SHIFT | bits;
}

/* Maps VA to DATA with `bits`, and the code where it is with a gigabyte leaf for `priv`; then goes
 * there. */
static void map(struct bench *bench, unsigned priv, uint64_t bits)
{
    uint64_t code = pte(RAM_BASE, ALL | (priv == RV64_PRIV_U ? PTE_U : 0));

    bench_write64(bench, ROOT + 8 * 2, code);
    bench_write64(bench, ROOT + 8 * 1, pte(MID, PTE_V));
    bench_write64(bench, MID + 8 * 1, pte(LEAVES, PTE_V));
    bench_write64(bench, LEAVES + 8 * 1, pte(DATA, bits));
    bench->cpu->satp = (uint64_t)SATP_SV39 << SATP_MODE_SHIFT | ROOT >> 12;
    rv64_tlb_flush(bench->cpu);
    bench->cpu->x[5] = VA;
    bench_priv(bench, priv);
}

static uint64_t leaf(struct bench *bench)
{
    return bench_read64(bench, LEAVES + 8);
}

static void runs_translated(void **state)
{
    struct bench *bench = *state;

    bench_write64(bench, DATA + 0x128, 0x55);
    map(bench, RV64_PRIV_S, ALL);
    BENCH_RUN(bench, LD(7, 5, 0x128), ADDI(7, 7, 1), SD(7, 5, 0x130), LD(8, 5, 0x130));
    assert_int_equal(bench->cpu->priv, RV64_PRIV_S);
    assert_int_equal(bench->cpu->x[8], 0x56);
    assert_int_equal(bench_read64(bench, DATA + 0x130), 0x56);
}

/* One access each: what the entry says, who comes, and whether it may. */
static void permissions(void **state)
{
    enum { LOAD, STORE, FETCH };
    static const struct {
        unsigned priv;
        uint64_t bits, mstatus;
        unsigned access;
        bool allowed;
    } cases[] = {
        {RV64_PRIV_S, PTE_V | PTE_R | PTE_A, 0, LOAD, true},
        {RV64_PRIV_S, PTE_V | PTE_R | PTE_A | PTE_D, 0, STORE, false},
        {RV64_PRIV_S, PTE_V | PTE_R | PTE_A, 0, FETCH, false},
        {RV64_PRIV_S, PTE_V | PTE_X | PTE_A, 0, LOAD, false},
        {RV64_PRIV_S, PTE_V | PTE_X | PTE_A, MSTATUS_MXR, LOAD, true},
        {RV64_PRIV_S, PTE_V | PTE_X | PTE_A, 0, FETCH, true},
        {RV64_PRIV_S, PTE_V | PTE_R | PTE_W | PTE_A | PTE_D, 0, STORE, true},
        {RV64_PRIV_S, PTE_V | PTE_W | PTE_A | PTE_D, 0, STORE, false}, /* reserved */
        {RV64_PRIV_S, PTE_R | PTE_W | PTE_A | PTE_D, 0, LOAD, false},  /* not valid */
        {RV64_PRIV_S, ALL | RV64_BIT(63), 0, LOAD, false},             /* reserved bits */
        {RV64_PRIV_S, ALL | RV64_BIT(54), 0, LOAD, false},
        {RV64_PRIV_S, PTE_V, 0, LOAD, false}, /* a pointer at the last level */
        {RV64_PRIV_S, ALL | PTE_U, 0, LOAD, false},
        {RV64_PRIV_S, ALL | PTE_U, MSTATUS_SUM, LOAD, true},
        {RV64_PRIV_S, ALL | PTE_U, MSTATUS_SUM, STORE, true},
        {RV64_PRIV_S, ALL | PTE_U, MSTATUS_SUM, FETCH, false},
        {RV64_PRIV_U, ALL, 0, LOAD, false},
        {RV64_PRIV_U, ALL, 0, FETCH, false},
        {RV64_PRIV_U, ALL | PTE_U, 0, LOAD, true},
        {RV64_PRIV_U, ALL | PTE_U, 0, STORE, true},
        {RV64_PRIV_U, ALL | PTE_U, 0, FETCH, true},
    };
    static const uint64_t causes[] = {CAUSE_LOAD_PAGE, CAUSE_STORE_PAGE, CAUSE_FETCH_PAGE};
    static const uint32_t codes[] = {LD(7, 5, 8), SD(7, 5, 8), JALR(0, 5, 8)};
    struct bench *bench = *state;

    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t epc = cases[i].access == FETCH ? VA + 8 : CODE;

        bench_write32(bench, DATA + 8, ECALL); /* where a fetch arrives */
        bench->cpu->mstatus = cases[i].mstatus;
        map(bench, cases[i].priv, cases[i].bits);
        BENCH_RUN(bench, codes[cases[i].access], ECALL);
        if (cases[i].allowed) {
            if (bench->cpu->mcause != CAUSE_ECALL_U + cases[i].priv)
                fail_msg("case %u: trap %u", i, (unsigned)bench->cpu->mcause);
        } else {
            if (bench->cpu->mcause != causes[cases[i].access])
                fail_msg("case %u: trap %u", i, (unsigned)bench->cpu->mcause);
            bench_expect_trap(bench, causes[cases[i].access], epc, VA + 8);
        }
    }
}

/* Rights that changed take effect without a fence where the mode changed: SUM and the privilege
 * itself. */
static void modes_do_not_share_entries(void **state)
{
    struct bench *bench = *state;

    map(bench, RV64_PRIV_S, ALL | PTE_U);
    bench->cpu->x[6] = MSTATUS_SUM;
    BENCH_RUN(bench, CSRRS(0, 0x100, 6), LD(7, 5, 0), SD(7, 5, 0), CSRRC(0, 0x100, 6), LD(7, 5, 0));
    bench_expect_trap(bench, CAUSE_LOAD_PAGE, CODE + 16, VA);
}

static void mprv(void **state)
{
    struct bench *bench = *state;

    bench_write64(bench, DATA, 0x77);
    map(bench, RV64_PRIV_M, ALL);
    bench->cpu->mstatus = (uint64_t)RV64_PRIV_S << MSTATUS_MPP_SHIFT;
    bench->cpu->x[6] = MSTATUS_MPRV;
    BENCH_RUN(bench, CSRRS(0, 0x300, 6), LD(7, 5, 0), CSRRC(0, 0x300, 6));
    assert_int_equal(bench->cpu->x[7], 0x77);
    BENCH_RUN(bench, LD(7, 5, 0)); /* physical again: nothing is there */
    bench_expect_trap(bench, CAUSE_LOAD_ACCESS, CODE, VA);
}

static void accessed_and_dirty(void **state)
{
    struct bench *bench = *state;

    map(bench, RV64_PRIV_S, PTE_V | PTE_R | PTE_W);
    BENCH_RUN(bench, LD(7, 5, 0));
    assert_int_equal(leaf(bench) & (PTE_A | PTE_D), PTE_A);
    BENCH_RUN(bench, SD(7, 5, 0));
    assert_int_equal(leaf(bench) & (PTE_A | PTE_D), PTE_A | PTE_D);

    /* a refused access leaves them alone */
    map(bench, RV64_PRIV_S, PTE_V | PTE_R);
    BENCH_RUN(bench, SD(7, 5, 0));
    bench_expect_trap(bench, CAUSE_STORE_PAGE, CODE, VA);
    assert_int_equal(leaf(bench) & (PTE_A | PTE_D), 0);

    /* so does the first half of an access whose second half is refused */
    map(bench, RV64_PRIV_S, PTE_V | PTE_R | PTE_W);
    BENCH_RUN(bench, ADDI(6, 5, 0x7ff), SD(7, 6, 0x7ff));
    bench_expect_trap(bench, CAUSE_STORE_PAGE, CODE + 4, VA + 0x1000);
    assert_int_equal(leaf(bench) & (PTE_A | PTE_D), 0);

    /* atomics count as stores */
    map(bench, RV64_PRIV_S, PTE_V | PTE_R | PTE_W);
    BENCH_RUN(bench, AMOADD_W(7, 5, 0));
    assert_int_equal(leaf(bench) & (PTE_A | PTE_D), PTE_A | PTE_D);
}

static void superpages(void **state)
{
    struct bench *bench = *state;
    struct vmm_cpu *cpu = bench->cpu;

    /* a 2 MiB page: VA 0x40200000 to RAM_BASE */
    bench_write64(bench, DATA + 8, 0x99);
    map(bench, RV64_PRIV_S, ALL);
    bench_write64(bench, MID + 8, pte(RAM_BASE, PTE_V | PTE_R | PTE_W));
    cpu->x[5] = 0x40200000 + (DATA - RAM_BASE);
    BENCH_RUN(bench, LD(7, 5, 8), SD(7, 5, 16));
    assert_int_equal(cpu->x[7], 0x99);
    assert_int_equal(bench_read64(bench, DATA + 16), 0x99);
    assert_int_equal(bench_read64(bench, MID + 8) & (PTE_A | PTE_D), PTE_A | PTE_D);

    /* misaligned: the low page number bits must be zero */
    map(bench, RV64_PRIV_S, ALL);
    bench_write64(bench, MID + 8, pte(RAM_BASE + 0x1000, ALL));
    BENCH_RUN(bench, LD(7, 5, 0));
    bench_expect_trap(bench, CAUSE_LOAD_PAGE, CODE, VA);

    /* a fence for one address drops the whole superpage */
    map(bench, RV64_PRIV_S, ALL);
    bench_write64(bench, MID + 8, pte(RAM_BASE, ALL));
    cpu->x[5] = 0x40200000 + (DATA - RAM_BASE);
    cpu->x[6] = 0x40200000;
    cpu->x[9] = MID + 8 - RAM_BASE + 0x40200000; /* the entry, seen through itself */
    BENCH_RUN(bench, LD(7, 5, 0), SD(0, 9, 0), SFENCE_VMA(6), LD(7, 5, 0));
    bench_expect_trap(bench, CAUSE_LOAD_PAGE, CODE + 12, cpu->x[5]);
}

static void broken_tables(void **state)
{
    struct bench *bench = *state;
    struct vmm_cpu *cpu = bench->cpu;

    map(bench, RV64_PRIV_S, ALL);
    cpu->x[5] = (uint64_t)1 << 38; /* bit 38 without those above it */
    BENCH_RUN(bench, LD(7, 5, 0));
    bench_expect_trap(bench, CAUSE_LOAD_PAGE, CODE, (uint64_t)1 << 38);
    bench_priv(bench, RV64_PRIV_S);
    BENCH_RUN(bench, JALR(0, 5, 0));
    bench_expect_trap(bench, CAUSE_FETCH_PAGE, (uint64_t)1 << 38, (uint64_t)1 << 38);

    map(bench, RV64_PRIV_S, ALL);
    bench_write64(bench, ROOT + 8, pte(0x1000, PTE_V)); /* a table that is not in RAM */
    BENCH_RUN(bench, LD(7, 5, 0));
    bench_expect_trap(bench, CAUSE_LOAD_ACCESS, CODE, VA);

    map(bench, RV64_PRIV_S, ALL);
    bench_write64(bench, ROOT + 8, pte(MID, PTE_V | PTE_A)); /* reserved in a pointer */
    BENCH_RUN(bench, SD(7, 5, 0));
    bench_expect_trap(bench, CAUSE_STORE_PAGE, CODE, VA);

    map(bench, RV64_PRIV_S, ALL);
    bench_write64(bench, LEAVES + 8, pte((uint64_t)1 << 55, ALL)); /* far beyond all memory */
    BENCH_RUN(bench, AMOADD_W(7, 5, 0));
    bench_expect_trap(bench, CAUSE_STORE_ACCESS, CODE, VA);
}

static void fences(void **state)
{
    struct bench *bench = *state;
    struct vmm_cpu *cpu = bench->cpu;
    uint64_t other = DATA + 0x1000;

    bench_write64(bench, DATA, 1);
    bench_write64(bench, other, 2);
    map(bench, RV64_PRIV_S, ALL);
    cpu->x[8] = LEAVES + 8;
    cpu->x[9] = pte(other, ALL);
    BENCH_RUN(bench, LD(6, 5, 0), SD(9, 8, 0), SFENCE_VMA(5), LD(7, 5, 0));
    assert_int_equal(cpu->x[6], 1);
    assert_int_equal(cpu->x[7], 2);

    /* code as well: the same virtual page with other instructions behind it */
    bench_write32(bench, DATA, ADDI(10, 0, 1));
    bench_write32(bench, DATA + 4, JALR(0, 1, 0));
    bench_write32(bench, other, ADDI(10, 0, 2));
    bench_write32(bench, other + 4, JALR(0, 1, 0));
    map(bench, RV64_PRIV_S, ALL);
    BENCH_RUN(bench, JALR(1, 5, 0), ADDI(11, 10, 0), SD(9, 8, 0), SFENCE_VMA(0), JALR(1, 5, 0));
    assert_int_equal(cpu->x[11], 1);
    assert_int_equal(cpu->x[10], 2);
}

static void satp_modes(void **state)
{
    struct bench *bench = *state;
    struct vmm_cpu *cpu = bench->cpu;

    cpu->x[5] = (uint64_t)9 << SATP_MODE_SHIFT | 0x1234; /* Sv48: refused as a whole */
    cpu->x[6] = (uint64_t)SATP_SV39 << SATP_MODE_SHIFT | (uint64_t)0xffff << 44 | 0x1234;
    BENCH_RUN(bench, CSRRW(0, 0x180, 5), CSRRS(7, 0x180, 0), CSRRW(0, 0x180, 6),
              CSRRS(8, 0x180, 0));
    assert_int_equal(cpu->x[7], 0);
    assert_int_equal(cpu->x[8], (uint64_t)SATP_SV39 << SATP_MODE_SHIFT | 0x1234); /* no ASIDs */
}

/* An instruction across two pages, the second of which is not mapped: the fault names the second,
 * epc the first. */
static void straddling_fetch_fault(void **state)
{
    struct bench *bench = *state;
    uint32_t code = NOP;

    bench_write(bench, DATA + 0xffe, &code, 2);
    map(bench, RV64_PRIV_S, ALL);
    BENCH_RUN(bench, LUI(6, 1), ADD(5, 5, 6), JALR(0, 5, -2));
    bench_expect_trap(bench, CAUSE_FETCH_PAGE, VA + 0xffe, VA + 0x1000);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)
    const struct CMUnitTest tests[] = {
        TEST(runs_translated),
        TEST(permissions),
        TEST(modes_do_not_share_entries),
        TEST(mprv),
        TEST(accessed_and_dirty),
        TEST(superpages),
        TEST(broken_tables),
        TEST(fences),
        TEST(satp_modes),
        TEST(straddling_fetch_fault),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
