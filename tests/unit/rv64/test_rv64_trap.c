/* SPDX-License-Identifier: MIT */
/*
 * Traps, interrupts, delegation, CSRs and who may touch them.
 */
#include "tests/unit/rv64/bench.h"

enum { MSTATUS = 0x300, MEDELEG = 0x302, MIE = 0x304, MTVEC = 0x305, MIP = 0x344, SSTATUS = 0x100 };

static void environment_calls(void **state)
{
    static const unsigned privs[] = {RV64_PRIV_U, RV64_PRIV_S, RV64_PRIV_M};
    struct bench *bench = *state;

    for (unsigned i = 0; i < 3; i++) {
        bench_priv(bench, privs[i]);
        BENCH_RUN(bench, NOP, ECALL);
        bench_expect_trap(bench, CAUSE_ECALL_U + privs[i], CODE + 4, 0);
        assert_int_equal(bench->cpu->mstatus >> MSTATUS_MPP_SHIFT & 3, privs[i]);
    }
    BENCH_RUN(bench, EBREAK);
    bench_expect_trap(bench, CAUSE_BREAKPOINT, CODE, CODE);
}

static void illegal_instructions(void **state)
{
    static const uint32_t codes[] = {
        0xffffffff,                   /* not an instruction */
        0x0000007f,                   /* longer than 32 bits */
        R_(0x33, 0x40, 0, 1, 2, 3),   /* no such funct7 */
        I_(0x03, 7, 1, 2, 0),         /* no such load */
        R_(0x2f, 2 << 2, 2, 1, 2, 3), /* lr with rs2 */
        I_(0x73, 4, 1, 2, 0),         /* hypervisor load */
        CSRRS(1, 0x7c0, 0),           /* no such CSR */
        CSRRW(0, 0xf14, 5),           /* mhartid cannot be written */
        CSRRW(0, 0xc00, 0),           /* nor can cycle, not even with x0 */
        FP(0, 1, 5, 1, 2, 3),         /* reserved rounding mode */
        FP(0, 2, 0, 1, 2, 3),         /* half precision */
    };
    struct bench *bench = *state;
    uint64_t instret;

    bench->cpu->mstatus |= MSTATUS_FS;
    for (unsigned i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        instret = bench->cpu->instret;
        BENCH_RUN(bench, NOP, codes[i], NOP);
        bench_expect_trap(bench, CAUSE_ILLEGAL, CODE + 4, codes[i]);
        assert_int_equal(bench->cpu->instret, instret + 2); /* the NOP and the WFI */
    }
    /* a compressed one reports its 16 bits */
    bench_write32(bench, CODE, 0x00018002);
    rv64_code_fence_i(bench->cpu);
    bench->cpu->pc = CODE;
    bench_go(bench);
    bench_expect_trap(bench, CAUSE_ILLEGAL, CODE, 0x8002);
}

/* Instructions that a privilege may not use, or that mstatus takes away from S. */
static void privileged(void **state)
{
    static const struct {
        unsigned priv;
        uint64_t mstatus;
        uint32_t code;
    } cases[] = {
        {RV64_PRIV_U, 0, SRET},
        {RV64_PRIV_U, 0, MRET},
        {RV64_PRIV_U, 0, WFI},
        {RV64_PRIV_U, 0, SFENCE_VMA(0)},
        {RV64_PRIV_U, 0, CSRRS(1, SSTATUS, 0)},
        {RV64_PRIV_U, 0, CSRRS(1, 0xc00, 0)},
        {RV64_PRIV_S, 0, MRET},
        {RV64_PRIV_S, 0, CSRRS(1, MSTATUS, 0)},
        {RV64_PRIV_S, 0, CSRRS(1, 0xc01, 0)},
        {RV64_PRIV_S, MSTATUS_TSR, SRET},
        {RV64_PRIV_S, MSTATUS_TW, WFI},
        {RV64_PRIV_S, MSTATUS_TVM, SFENCE_VMA(0)},
        {RV64_PRIV_S, MSTATUS_TVM, CSRRS(1, 0x180, 0)},
        {RV64_PRIV_M, 0, CSRRS(1, 0x003, 0)}, /* fcsr while FS is off */
        {RV64_PRIV_M, 0, FLW(1, 2, 0)},
        {RV64_PRIV_M, 0, FP(0, 0, 0, 1, 2, 3)},
    };
    struct bench *bench = *state;

    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        bench->cpu->mstatus = cases[i].mstatus;
        bench_priv(bench, cases[i].priv);
        BENCH_RUN(bench, cases[i].code);
        bench_expect_trap(bench, CAUSE_ILLEGAL, CODE, cases[i].code);
    }
}

static void counters(void **state)
{
    struct bench *bench = *state;
    struct vmm_cpu *cpu = bench->cpu;

    bench->ticks = 0x123456789;
    BENCH_RUN(bench, NOP, CSRRS(5, 0xc02, 0), CSRRS(6, 0xc02, 0), CSRRS(7, 0xc01, 0));
    assert_int_equal(cpu->x[5], 1);
    assert_int_equal(cpu->x[6], 2);
    assert_int_equal(cpu->x[7], 0x123456789);

    cpu->x[5] = 1000;
    BENCH_RUN(bench, CSRRW(0, 0xb02, 5), CSRRS(6, 0xb02, 0), NOP, CSRRS(7, 0xc02, 0));
    assert_int_equal(cpu->x[6], 1000);
    assert_int_equal(cpu->x[7], 1002);

    cpu->mcounteren = 2;
    bench_priv(bench, RV64_PRIV_S);
    BENCH_RUN(bench, CSRRS(7, 0xc01, 0));
    assert_int_equal(cpu->priv, RV64_PRIV_S);
    assert_int_equal(cpu->x[7], 0x123456789);
    bench_priv(bench, RV64_PRIV_U); /* scounteren does not let U */
    BENCH_RUN(bench, CSRRS(7, 0xc01, 0));
    bench_expect_trap(bench, CAUSE_ILLEGAL, CODE, CSRRS(7, 0xc01, 0));
}

/* What registers keep of all ones and all zeros. */
static void write_any_read_legal(void **state)
{
    static const struct {
        unsigned csr;
        uint64_t ones, zeros;
    } cases[] = {
        {0x301, MISA_VALUE, MISA_VALUE},
        {0x302, MEDELEG_WRITABLE, 0},
        {0x303, IRQ_S_MASK, 0},
        {0x304, IRQ_S_MASK | IRQ_M_MASK, 0},
        {0x305, TRAP_WFI, 0}, /* mode 3 is refused */
        {0x306, 0xffffffff, 0},
        {0x30a, 1, 0},
        {0x340, UINT64_MAX, 0},
        {0x341, UINT64_MAX - 1, 0},
        {0x344, IRQ_S_MASK, 0},
        {0x100, 0x80000002000c6122, 0x200000000},
        {0x105, TRAP_WFI, 0},
        {0x140, UINT64_MAX, 0},
        {0x141, UINT64_MAX - 1, 0},
        {0x180, 0, 0}, /* mode 15 is refused */
        {0x003, 0xff, 0},
        {0x3a0, 0x9f9f9f9f9f9f9f9f, 0x9f9f9f9f9f9f9f9f}, /* locked now */
        {0x320, 0, 0},
        {0xb03, 0, 0},
    };
    struct bench *bench = *state;
    struct vmm_cpu *cpu = bench->cpu;

    cpu->pmpcfg[0] = cpu->pmpcfg[1] = 0;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        unsigned csr = cases[i].csr;

        if (csr == 0x3a0) /* a region over nothing, so that locking it harms nobody */
            for (unsigned entry = 0; entry < 8; entry++)
                cpu->pmpaddr[entry] = 0;
        cpu->x[5] = UINT64_MAX;
        cpu->mtvec = TRAP_WFI;
        cpu->mstatus |= MSTATUS_FS;
        BENCH_RUN(bench, CSRRW(0, csr, 5), CSRRW(6, csr, 0), CSRRS(7, csr, 0));
        if (cpu->x[6] != cases[i].ones || cpu->x[7] != cases[i].zeros)
            fail_msg("CSR 0x%x: 0x%llx, 0x%llx", csr, (unsigned long long)cpu->x[6],
                     (unsigned long long)cpu->x[7]);
    }
}

static void set_and_clear(void **state)
{
    struct bench *bench = *state;
    struct vmm_cpu *cpu = bench->cpu;

    cpu->x[5] = 0x0f;
    cpu->x[6] = 0x3c;
    BENCH_RUN(bench, CSRRW(0, 0x340, 5), CSRRS(10, 0x340, 6), CSRRC(11, 0x340, 5),
              CSRRWI(12, 0x340, 31), I_(0x73, 6, 13, 0, 0x340), I_(0x73, 7, 14, 1, 0x340),
              CSRRS(15, 0x340, 0));
    assert_int_equal(cpu->x[10], 0x0f);
    assert_int_equal(cpu->x[11], 0x3f);
    assert_int_equal(cpu->x[12], 0x30);
    assert_int_equal(cpu->x[13], 31);
    assert_int_equal(cpu->x[14], 31);
    assert_int_equal(cpu->x[15], 30);
}

static void mpp_never_becomes_reserved(void **state)
{
    struct bench *bench = *state;

    bench->cpu->mstatus = (uint64_t)1 << MSTATUS_MPP_SHIFT;
    bench->cpu->x[5] = (uint64_t)2 << MSTATUS_MPP_SHIFT;
    BENCH_RUN(bench, CSRRW(0, MSTATUS, 5));
    assert_int_equal(bench->cpu->mstatus >> MSTATUS_MPP_SHIFT & 3, 1);
}

static void delegation(void **state)
{
    struct bench *bench = *state;
    struct vmm_cpu *cpu = bench->cpu;

    cpu->medeleg = RV64_BIT(CAUSE_ECALL_U) | RV64_BIT(CAUSE_ILLEGAL);
    cpu->mstatus = MSTATUS_SIE;
    bench_priv(bench, RV64_PRIV_U);
    BENCH_RUN(bench, ECALL);
    assert_int_equal(cpu->priv, RV64_PRIV_S);
    assert_int_equal(cpu->scause, CAUSE_ECALL_U);
    assert_int_equal(cpu->sepc, CODE);
    assert_int_equal(cpu->mstatus & (MSTATUS_SIE | MSTATUS_SPIE | MSTATUS_SPP), MSTATUS_SPIE);

    bench_priv(bench, RV64_PRIV_M); /* never to a lower privilege */
    BENCH_RUN(bench, CSRRS(1, 0x7c0, 0));
    bench_expect_trap(bench, CAUSE_ILLEGAL, CODE, CSRRS(1, 0x7c0, 0));
}

static void returns(void **state)
{
    struct bench *bench = *state;
    struct vmm_cpu *cpu = bench->cpu;

    cpu->mepc = CODE + 8;
    cpu->mstatus = (uint64_t)1 << MSTATUS_MPP_SHIFT | MSTATUS_MPIE | MSTATUS_MPRV;
    BENCH_RUN(bench, MRET, EBREAK);
    assert_int_equal(cpu->priv, RV64_PRIV_S);
    assert_int_equal(cpu->mstatus, MSTATUS_MIE | MSTATUS_MPIE);

    cpu->sepc = CODE + 8;
    cpu->mstatus = MSTATUS_SPIE;
    cpu->medeleg = RV64_BIT(CAUSE_ILLEGAL);
    BENCH_RUN(bench, SRET, EBREAK); /* to U, where WFI is illegal */
    assert_int_equal(cpu->sepc, CODE + 8);
    assert_int_equal(cpu->mstatus & (MSTATUS_SIE | MSTATUS_SPIE | MSTATUS_SPP), MSTATUS_SPIE);
}

static void interrupts(void **state)
{
    struct bench *bench = *state;
    struct vmm_cpu *cpu = bench->cpu;

    /* pending but not enabled in mstatus: WFI goes on at once */
    cpu->mie = RV64_BIT(IRQ_MTI) | RV64_BIT(IRQ_MSI);
    assert_false(vmm_cpu_rv64.has_work(cpu));
    vmm_cpu_rv64.set_irq(cpu, IRQ_MTI, true);
    assert_true(vmm_cpu_rv64.has_work(cpu));
    cpu->mtvec = TRAP_WFI;
    bench_write32(bench, TRAP_WFI, CSRRWI(0, MIE, 0));
    bench_write32(bench, TRAP_WFI + 4, WFI);
    BENCH_RUN(bench, WFI, CSRRS(6, MIP, 0), CSRRWI(0, MSTATUS, 8), ADDI(7, 0, 1));
    assert_int_equal(cpu->x[6], RV64_BIT(IRQ_MTI));
    assert_int_equal(cpu->mcause, CAUSE_INTERRUPT | IRQ_MTI);
    assert_int_equal(cpu->mepc, CODE + 12); /* right after the enabling write */
    assert_int_equal(cpu->x[7], 0);
    assert_int_equal(cpu->pc, TRAP_WFI + 8);

    /* external before software before timer */
    cpu->mie = IRQ_M_MASK;
    vmm_cpu_rv64.set_irq(cpu, IRQ_MSI, true);
    cpu->mstatus = MSTATUS_MIE;
    BENCH_RUN(bench, NOP);
    assert_int_equal(cpu->mcause, CAUSE_INTERRUPT | IRQ_MSI);
    vmm_cpu_rv64.set_irq(cpu, IRQ_MSI, false);
    vmm_cpu_rv64.set_irq(cpu, IRQ_MTI, false);
    vmm_cpu_rv64.set_irq(cpu, 63, true); /* no such line */
    vmm_cpu_rv64.set_irq(cpu, 64, true);
    assert_false(vmm_cpu_rv64.has_work(cpu));
}

static void vectored_interrupts(void **state)
{
    struct bench *bench = *state;
    struct vmm_cpu *cpu = bench->cpu;

    cpu->mideleg = IRQ_S_MASK;
    cpu->mie = IRQ_S_MASK;
    cpu->mstatus = MSTATUS_SIE;
    cpu->stvec = (RAM_BASE + 0x400) | 1;
    bench_write32(bench, RAM_BASE + 0x400 + 4 * IRQ_SEI, CSRRWI(0, 0x104, 0));
    bench_write32(bench, RAM_BASE + 0x404 + 4 * IRQ_SEI, WFI);
    bench_priv(bench, RV64_PRIV_S);
    vmm_cpu_rv64.set_irq(cpu, IRQ_SEI, true);
    BENCH_RUN(bench, NOP);
    assert_int_equal(cpu->scause, CAUSE_INTERRUPT | IRQ_SEI);
    assert_int_equal(cpu->sepc, CODE);
    assert_int_equal(cpu->mstatus & MSTATUS_SPP, MSTATUS_SPP);

    /* M takes an interrupt delegated to S only when it returns to S */
    cpu->mie = IRQ_S_MASK;
    bench_priv(bench, RV64_PRIV_M);
    cpu->mstatus = MSTATUS_MIE | MSTATUS_SIE;
    BENCH_RUN(bench, ADDI(7, 0, 9), CSRRWI(0, MIE, 0));
    assert_int_equal(cpu->x[7], 9);
    assert_int_equal(cpu->priv, RV64_PRIV_M);
}

/* The line and the bit that software wrote are ORed, and software changes only its own. */
static void external_and_software_pending(void **state)
{
    struct bench *bench = *state;
    struct vmm_cpu *cpu = bench->cpu;

    vmm_cpu_rv64.set_irq(cpu, IRQ_SEI, true);
    cpu->x[5] = RV64_BIT(IRQ_STI);
    BENCH_RUN(bench, CSRRS(6, MIP, 5), CSRRS(7, MIP, 0));
    assert_int_equal(cpu->x[6], RV64_BIT(IRQ_SEI));
    assert_int_equal(cpu->x[7], RV64_BIT(IRQ_SEI) | RV64_BIT(IRQ_STI));
    vmm_cpu_rv64.set_irq(cpu, IRQ_SEI, false);
    BENCH_RUN(bench, CSRRS(6, MIP, 0));
    assert_int_equal(cpu->x[6], RV64_BIT(IRQ_STI));

    /* sip shows and changes what is delegated */
    cpu->mideleg = RV64_BIT(IRQ_SSI);
    cpu->x[5] = UINT64_MAX;
    BENCH_RUN(bench, CSRRW(0, 0x144, 5), CSRRS(6, 0x144, 0), CSRRS(7, MIP, 0));
    assert_int_equal(cpu->x[6], RV64_BIT(IRQ_SSI));
    assert_int_equal(cpu->x[7], RV64_BIT(IRQ_SSI) | RV64_BIT(IRQ_STI));
}

static void kicks(void **state)
{
    struct bench *bench = *state;
    struct vmm_cpu *cpu = bench->cpu;

    bench_write32(bench, CODE, JAL(0, 0)); /* for ever */
    vmm_cpu_rv64.kick(cpu);
    assert_int_equal(vmm_cpu_rv64.run(cpu), VMM_CPU_EXIT_KICKED);
    assert_int_equal(cpu->pc, CODE);
    assert_int_equal(cpu->instret, 0); /* at once, and only once */
    bench_write32(bench, CODE, WFI);
    rv64_code_fence_i(cpu);
    assert_int_equal(vmm_cpu_rv64.run(cpu), VMM_CPU_EXIT_IDLE);

    /* a kick does not swallow an interrupt */
    cpu->mie = RV64_BIT(IRQ_MEI);
    cpu->mstatus = MSTATUS_MIE;
    bench_write32(bench, TRAP_WFI, CSRRWI(0, MIE, 0));
    bench_write32(bench, TRAP_WFI + 4, WFI);
    vmm_cpu_rv64.set_irq(cpu, IRQ_MEI, true);
    vmm_cpu_rv64.kick(cpu);
    assert_int_equal(vmm_cpu_rv64.run(cpu), VMM_CPU_EXIT_KICKED);
    assert_int_equal(vmm_cpu_rv64.run(cpu), VMM_CPU_EXIT_IDLE);
    assert_int_equal(cpu->mcause, CAUSE_INTERRUPT | IRQ_MEI);
}

static void pmp(void **state)
{
    struct bench *bench = *state;
    struct vmm_cpu *cpu = bench->cpu;

    /* a page that S may not touch, as firmware protects itself; M still may */
    cpu->x[5] = (RAM_BASE + 0x10000) >> 2 | 0x1ff; /* NAPOT, 4 KiB */
    cpu->x[6] = PMP_NAPOT;
    cpu->x[7] = RAM_BASE + 0x10000;
    BENCH_RUN(bench, CSRRW(0, 0x3b0, 5), CSRRW(0, 0x3a0, 6), LD(8, 7, 0), SD(8, 7, 0));
    assert_int_equal(cpu->pc, CODE + 20);
    bench_priv(bench, RV64_PRIV_S);
    BENCH_RUN(bench, LD(8, 7, 0));
    bench_expect_trap(bench, CAUSE_LOAD_ACCESS, CODE, RAM_BASE + 0x10000);
    bench_priv(bench, RV64_PRIV_S);
    BENCH_RUN(bench, SD(8, 7, 0));
    bench_expect_trap(bench, CAUSE_STORE_ACCESS, CODE, RAM_BASE + 0x10000);
    bench_priv(bench, RV64_PRIV_S);
    BENCH_RUN(bench, JALR(0, 7, 0));
    bench_expect_trap(bench, CAUSE_FETCH_ACCESS, RAM_BASE + 0x10000, RAM_BASE + 0x10000);

    /* the grain as software finds it */
    cpu->x[5] = UINT64_MAX;
    BENCH_RUN(bench, CSRRW(0, 0x3a0, 0), CSRRW(0, 0x3b0, 5), CSRRS(6, 0x3b0, 0));
    assert_int_equal(cpu->x[6], 0x3ffffffffffc00);

    /* top of range: [RAM, RAM + 64 KiB) read-only for S */
    cpu->pmpaddr[0] = RAM_BASE >> 2;
    cpu->pmpaddr[1] = (RAM_BASE + 0x10000) >> 2;
    cpu->x[6] = (PMP_TOR | PMP_R | PMP_X) << 8;
    cpu->x[7] = RAM_BASE + 0xf000;
    BENCH_RUN(bench, CSRRW(0, 0x3a0, 6));
    bench_priv(bench, RV64_PRIV_S);
    BENCH_RUN(bench, LD(8, 7, 0), SD(8, 7, 0));
    bench_expect_trap(bench, CAUSE_STORE_ACCESS, CODE + 4, RAM_BASE + 0xf000);
    assert_true(rv64_pmp_allows(cpu, RAM_BASE + 0x10000, RV64_PRIV_S, RV64_WRITE));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)
    const struct CMUnitTest tests[] = {
        TEST(environment_calls),
        TEST(illegal_instructions),
        TEST(privileged),
        TEST(counters),
        TEST(write_any_read_legal),
        TEST(set_and_clear),
        TEST(mpp_never_becomes_reserved),
        TEST(delegation),
        TEST(returns),
        TEST(interrupts),
        TEST(vectored_interrupts),
        TEST(external_and_software_pending),
        TEST(kicks),
        TEST(pmp),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
