/* SPDX-License-Identifier: MIT */
/*
 * Integer instructions, loads and stores, jumps, and the compressed forms.
 */
#include "tests/unit/rv64/bench.h"

#include <string.h>

#define MIN64 ((uint64_t)1 << 63)
#define NEGATIVE(n) (0 - (uint64_t)(n))

/* Each case: one instruction on x5 and x6 into x7. */
static void arithmetic(void **state)
{
    static const struct {
        const char *name;
        uint32_t code;
        uint64_t a, b, result;
    } cases[] = {
        {"addi", ADDI(7, 5, -1), 0, 0, UINT64_MAX},
        {"slti", I_(0x13, 2, 7, 5, -5), NEGATIVE(6), 0, 1},
        {"sltiu", I_(0x13, 3, 7, 5, -1), 7, 0, 1},
        {"xori", I_(0x13, 4, 7, 5, -1), 0x0f, 0, NEGATIVE(16)},
        {"ori", I_(0x13, 6, 7, 5, 0x700), 0x0f, 0, 0x70f},
        {"andi", I_(0x13, 7, 7, 5, -16), 0x1234567f, 0, 0x12345670},
        {"slli", I_(0x13, 1, 7, 5, 63), 3, 0, MIN64},
        {"srli", I_(0x13, 5, 7, 5, 63), MIN64, 0, 1},
        {"srai", I_(0x13, 5, 7, 5, 0x400 | 63), MIN64, 0, UINT64_MAX},
        {"addiw", I_(0x1b, 0, 7, 5, 1), 0x7fffffff, 0, 0xffffffff80000000},
        {"slliw", I_(0x1b, 1, 7, 5, 31), 0xf00000001, 0, 0xffffffff80000000},
        {"srliw", I_(0x1b, 5, 7, 5, 4), 0xf80000000, 0, 0x08000000},
        {"sraiw", I_(0x1b, 5, 7, 5, 0x400 | 4), 0x80000000, 0, 0xfffffffff8000000},
        {"lui", LUI(7, 0x80000), 0, 0, 0xffffffff80000000},
        {"auipc", AUIPC(7, 1), 0, 0, CODE + 0x1000},
        {"add", ADD(7, 5, 6), UINT64_MAX, 2, 1},
        {"sub", R_(0x33, 0x20, 0, 7, 5, 6), 1, 2, UINT64_MAX},
        {"sll", R_(0x33, 0, 1, 7, 5, 6), 1, 64 + 4, 16},
        {"slt", R_(0x33, 0, 2, 7, 5, 6), MIN64, 0, 1},
        {"sltu", R_(0x33, 0, 3, 7, 5, 6), MIN64, 0, 0},
        {"xor", R_(0x33, 0, 4, 7, 5, 6), 0xff, 0x0f, 0xf0},
        {"srl", R_(0x33, 0, 5, 7, 5, 6), MIN64, 62, 2},
        {"sra", R_(0x33, 0x20, 5, 7, 5, 6), MIN64, 62, NEGATIVE(2)},
        {"or", R_(0x33, 0, 6, 7, 5, 6), 0xf0, 0x0f, 0xff},
        {"and", R_(0x33, 0, 7, 7, 5, 6), 0xff, 0x18, 0x18},
        {"addw", R_(0x3b, 0, 0, 7, 5, 6), 0x7fffffff, 1, 0xffffffff80000000},
        {"subw", R_(0x3b, 0x20, 0, 7, 5, 6), 0x80000000, 1, 0x7fffffff},
        {"sllw", R_(0x3b, 0, 1, 7, 5, 6), 1, 32 + 31, 0xffffffff80000000},
        {"srlw", R_(0x3b, 0, 5, 7, 5, 6), 0xffffffff80000000, 31, 1},
        {"sraw", R_(0x3b, 0x20, 5, 7, 5, 6), 0x80000000, 31, UINT64_MAX},
        {"mul", R_(0x33, 1, 0, 7, 5, 6), NEGATIVE(3), 5, NEGATIVE(15)},
        {"mulh", R_(0x33, 1, 1, 7, 5, 6), MIN64, MIN64, (uint64_t)1 << 62},
        {"mulhsu", R_(0x33, 1, 2, 7, 5, 6), UINT64_MAX, UINT64_MAX, UINT64_MAX},
        {"mulhu", R_(0x33, 1, 3, 7, 5, 6), UINT64_MAX, UINT64_MAX, UINT64_MAX - 1},
        {"div", R_(0x33, 1, 4, 7, 5, 6), NEGATIVE(7), 2, NEGATIVE(3)},
        {"div by 0", R_(0x33, 1, 4, 7, 5, 6), 7, 0, UINT64_MAX},
        {"div overflow", R_(0x33, 1, 4, 7, 5, 6), MIN64, UINT64_MAX, MIN64},
        {"divu", R_(0x33, 1, 5, 7, 5, 6), UINT64_MAX, 2, INT64_MAX},
        {"divu by 0", R_(0x33, 1, 5, 7, 5, 6), 1, 0, UINT64_MAX},
        {"rem", R_(0x33, 1, 6, 7, 5, 6), NEGATIVE(7), 2, UINT64_MAX},
        {"rem by 0", R_(0x33, 1, 6, 7, 5, 6), NEGATIVE(7), 0, NEGATIVE(7)},
        {"rem overflow", R_(0x33, 1, 6, 7, 5, 6), MIN64, UINT64_MAX, 0},
        {"remu", R_(0x33, 1, 7, 7, 5, 6), 7, 4, 3},
        {"remu by 0", R_(0x33, 1, 7, 7, 5, 6), 7, 0, 7},
        {"mulw", R_(0x3b, 1, 0, 7, 5, 6), 0x10000, 0x8000, 0xffffffff80000000},
        {"divw", R_(0x3b, 1, 4, 7, 5, 6), 0x80000000, UINT64_MAX, 0xffffffff80000000},
        {"divw by 0", R_(0x3b, 1, 4, 7, 5, 6), 3, (uint64_t)1 << 32, UINT64_MAX},
        {"divuw", R_(0x3b, 1, 5, 7, 5, 6), 0x1ffffffff, 1, UINT64_MAX},
        {"divuw by 0", R_(0x3b, 1, 5, 7, 5, 6), 3, 0, UINT64_MAX},
        {"remw", R_(0x3b, 1, 6, 7, 5, 6), 0x80000000, UINT64_MAX, 0},
        {"remuw by 0", R_(0x3b, 1, 7, 7, 5, 6), 0x80000000, 0, 0xffffffff80000000},
    };
    struct bench *bench = *state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        bench->cpu->x[5] = cases[i].a;
        bench->cpu->x[6] = cases[i].b;
        BENCH_RUN(bench, cases[i].code);
        if (bench->cpu->x[7] != cases[i].result || bench->cpu->pc != CODE + 8)
            fail_msg("%s: 0x%llx instead of 0x%llx", cases[i].name,
                     (unsigned long long)bench->cpu->x[7], (unsigned long long)cases[i].result);
    }
}

static void x0_stays_zero(void **state)
{
    struct bench *bench = *state;

    bench->cpu->x[5] = RAM_BASE + 0x1000;
    bench_write64(bench, RAM_BASE + 0x1000, 77);
    BENCH_RUN(bench, ADDI(0, 0, 5), LD(0, 5, 0), JAL(0, 4), LUI(0, 3), CSRRS(0, 0x301, 0),
              AMOADD_W(0, 5, 5), ADD(7, 0, 0));
    assert_int_equal(bench->cpu->x[0], 0);
    assert_int_equal(bench->cpu->x[7], 0);
}

static void loads_and_stores(void **state)
{
    struct bench *bench = *state;
    struct vmm_cpu *cpu = bench->cpu;

    cpu->x[5] = RAM_BASE + 0x2010;
    bench_write64(bench, RAM_BASE + 0x2008, 0x8182838485868788);
    BENCH_RUN(bench, LB(10, 5, -8), LH(11, 5, -8), LW(12, 5, -8), LD(13, 5, -8), LBU(14, 5, -8),
              LHU(15, 5, -8), LWU(16, 5, -8), SB(13, 5, 0), SH(13, 5, 8), SW(13, 5, 16),
              SD(13, 5, 24));
    assert_int_equal(cpu->x[10], 0xffffffffffffff88);
    assert_int_equal(cpu->x[11], 0xffffffffffff8788);
    assert_int_equal(cpu->x[12], 0xffffffff85868788);
    assert_int_equal(cpu->x[13], 0x8182838485868788);
    assert_int_equal(cpu->x[14], 0x88);
    assert_int_equal(cpu->x[15], 0x8788);
    assert_int_equal(cpu->x[16], 0x85868788);
    assert_int_equal(bench_read64(bench, RAM_BASE + 0x2010), 0x88);
    assert_int_equal(bench_read64(bench, RAM_BASE + 0x2018), 0x8788);
    assert_int_equal(bench_read64(bench, RAM_BASE + 0x2020), 0x85868788);
    assert_int_equal(bench_read64(bench, RAM_BASE + 0x2028), 0x8182838485868788);
}

static void misaligned(void **state)
{
    struct bench *bench = *state;
    struct vmm_cpu *cpu = bench->cpu;

    cpu->x[5] = RAM_BASE + 0x3ffd; /* crosses into the next page */
    cpu->x[6] = 0x1122334455667788;
    cpu->x[7] = RAM_BASE + 0x5003; /* stays within its page */
    BENCH_RUN(bench, SD(6, 5, 0), LD(10, 5, 0), LW(11, 5, 1), LHU(12, 5, 2), SD(6, 7, 0),
              LD(13, 7, 0), SW(6, 7, 2), LD(14, 7, 0), LD(15, 5, 0), LD(16, 7, 0));
    assert_int_equal(cpu->x[10], 0x1122334455667788);
    assert_int_equal(cpu->x[11], 0x44556677);
    assert_int_equal(cpu->x[12], 0x5566);
    assert_int_equal(cpu->x[13], 0x1122334455667788);
    assert_int_equal(cpu->x[14], 0x1122556677887788);
    assert_int_equal(cpu->x[15], 0x1122334455667788);
    assert_int_equal(bench_read32(bench, RAM_BASE + 0x4000), 0x22334455);
}

static void jumps(void **state)
{
    struct bench *bench = *state;
    struct vmm_cpu *cpu = bench->cpu;

    /* counts x5 down to 0, x6 up */
    cpu->x[5] = 10;
    BENCH_RUN(bench, ADDI(6, 6, 1), ADDI(5, 5, -1), BNE(5, 0, -8));
    assert_int_equal(cpu->x[6], 10);
    assert_int_equal(cpu->instret, 31);

    cpu->x[7] = CODE + 13; /* the low bit is dropped */
    BENCH_RUN(bench, JALR(7, 7, 0), ADDI(8, 0, 1), ADDI(8, 8, 2), ADDI(8, 8, 4));
    assert_int_equal(cpu->x[7], CODE + 4);
    assert_int_equal(cpu->x[8], 4);

    BENCH_RUN(bench, JAL(1, 12), ADDI(9, 0, 1), JAL(0, 8), JAL(2, -8), ADDI(9, 9, 8));
    assert_int_equal(cpu->x[1], CODE + 4);
    assert_int_equal(cpu->x[2], CODE + 16);
    assert_int_equal(cpu->x[9], 9);
}

/* A 4-byte instruction across two pages, and a jump through it from both sides. */
static void straddling(void **state)
{
    struct bench *bench = *state;
    struct vmm_cpu *cpu = bench->cpu;
    uint32_t code = ADDI(7, 7, 3);

    for (unsigned round = 0; round < 3; round++) {
        cpu->x[7] = 0;
        bench_write(bench, RAM_BASE + 0x1ffe, &code, 4);
        bench_write32(bench, RAM_BASE + 0x2002, WFI);
        cpu->pc = RAM_BASE + 0x1ffe;
        bench_go(bench);
        assert_int_equal(cpu->x[7], 3 + round);
        assert_int_equal(cpu->pc, RAM_BASE + 0x2006);
        code = ADDI(7, 7, 3 + (int)round + 1);
        rv64_code_fence_i(cpu);
    }
}

static void fence_i_shows_new_code(void **state)
{
    struct bench *bench = *state;
    struct vmm_cpu *cpu = bench->cpu;

    /* Runs the instruction at CODE+16 twice, rewriting it in between. */
    cpu->x[5] = CODE + 20;
    cpu->x[6] = ADDI(7, 7, 16);
    cpu->x[7] = 0;
    cpu->x[8] = 2;
    BENCH_RUN(bench, JAL(0, 20), SW(6, 5, 0), FENCE_I, ADDI(8, 8, -1), BNE(8, 0, 4), ADDI(7, 7, 1),
              BEQ(8, 0, 8), JAL(0, -24));
    assert_int_equal(cpu->x[7], 1 + 16 + 16);
}

/* Compressed forms and what they stand for. */
static void compressed(void **state)
{
    static const struct {
        uint16_t raw;
        uint32_t full;
    } cases[] = {
        {0x0001, NOP},
        {0x0505, ADDI(10, 10, 1)},
        {0x157d, ADDI(10, 10, -1)},
        {0x2505, I_(0x1b, 0, 10, 10, 1)},          /* c.addiw a0, 1 */
        {0x4501, ADDI(10, 0, 0)},                  /* c.li a0, 0 */
        {0x557d, ADDI(10, 0, -1)},                 /* c.li a0, -1 */
        {0x6505, LUI(10, 1)},                      /* c.lui a0, 1 */
        {0x757d, LUI(10, 0xfffff)},                /* c.lui a0, 0xfffff */
        {0x7139, ADDI(2, 2, -64)},                 /* c.addi16sp -64 */
        {0x6121, ADDI(2, 2, 64)},                  /* c.addi16sp 64 */
        {0x0808, ADDI(10, 2, 16)},                 /* c.addi4spn a0, sp, 16 */
        {0x1ffc, ADDI(15, 2, 1020)},               /* c.addi4spn a5, sp, 1020 */
        {0x4108, LW(10, 10, 0)},                   /* c.lw a0, 0(a0) */
        {0x5d6c, LW(11, 10, 124)},                 /* c.lw a1, 124(a0) */
        {0x6108, LD(10, 10, 0)},                   /* c.ld */
        {0x7d6c, LD(11, 10, 248)},                 /* c.ld a1, 248(a0) */
        {0xc10c, SW(11, 10, 0)},                   /* c.sw a1, 0(a0) */
        {0xfd6c, SD(11, 10, 248)},                 /* c.sd a1, 248(a0) */
        {0x2108, FLD(10, 10, 0)},                  /* c.fld fa0, 0(a0) */
        {0xa10c, FSD(11, 10, 0)},                  /* c.fsd fa1, 0(a0) */
        {0x812d, I_(0x13, 5, 10, 10, 11)},         /* c.srli a0, 11 */
        {0x957d, I_(0x13, 5, 10, 10, 0x400 | 63)}, /* c.srai a0, 63 */
        {0x997d, I_(0x13, 7, 10, 10, -1)},         /* c.andi a0, -1 */
        {0x8d0d, R_(0x33, 0x20, 0, 10, 10, 11)},   /* c.sub a0, a1 */
        {0x8d2d, R_(0x33, 0, 4, 10, 10, 11)},      /* c.xor */
        {0x8d4d, R_(0x33, 0, 6, 10, 10, 11)},      /* c.or */
        {0x8d6d, R_(0x33, 0, 7, 10, 10, 11)},      /* c.and */
        {0x9d0d, R_(0x3b, 0x20, 0, 10, 10, 11)},   /* c.subw */
        {0x9d2d, R_(0x3b, 0, 0, 10, 10, 11)},      /* c.addw */
        {0xa001, JAL(0, 0)},                       /* c.j . */
        {0xbffd, JAL(0, -2)},                      /* c.j .-2 */
        {0xaffd, JAL(0, 2046)},                    /* c.j .+2046 */
        {0xc101, BEQ(10, 0, 0)},                   /* c.beqz a0, . */
        {0xfd7d, BNE(10, 0, -2)},                  /* c.bnez a0, .-2 */
        {0x1502, I_(0x13, 1, 10, 10, 32)},         /* c.slli a0, 32 */
        {0x4502, LW(10, 2, 0)},                    /* c.lwsp a0, 0(sp) */
        {0x50fe, LW(1, 2, 252)},                   /* c.lwsp ra, 252(sp) */
        {0x70fe, LD(1, 2, 504)},                   /* c.ldsp ra, 504(sp) */
        {0x30fe, FLD(1, 2, 504)},                  /* c.fldsp ft1, 504(sp) */
        {0xdf86, SW(1, 2, 252)},                   /* c.swsp ra, 252(sp) */
        {0xff86, SD(1, 2, 504)},                   /* c.sdsp ra, 504(sp) */
        {0xbf86, FSD(1, 2, 504)},                  /* c.fsdsp ft1, 504(sp) */
        {0x8082, JALR(0, 1, 0)},                   /* ret */
        {0x9502, JALR(1, 10, 0)},                  /* c.jalr a0 */
        {0x852e, ADD(10, 0, 11)},                  /* c.mv a0, a1 */
        {0x952e, ADD(10, 10, 11)},                 /* c.add a0, a1 */
        {0x9002, EBREAK},
        {0x0000, 0}, /* defined illegal */
        {0x8002, 0}, /* c.jr x0 */
        {0x2001, 0}, /* c.addiw x0 */
        {0x6101, 0}, /* c.addi16sp 0 */
        {0x6501, 0}, /* c.lui a0, 0 */
        {0x4002, 0}, /* c.lwsp x0 */
        {0x6002, 0}, /* c.ldsp x0 */
        {0x9c41, 0}, /* reserved arithmetic */
        {0x8000, 0}, /* reserved quadrant 0 */
        {0x0004, 0}, /* c.addi4spn with 0 */
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint32_t full = rv64_expand(cases[i].raw);

        if (full != cases[i].full)
            fail_msg("0x%04x expands to 0x%08x, not 0x%08x", cases[i].raw, full, cases[i].full);
    }
}

static void compressed_runs(void **state)
{
    /* li a0,5; loop: addi a1,a1,2 (compressed); addi a0,a0,-1; bnez a0,loop; wfi */
    static const uint16_t code[] = {0x4515, 0x0589, 0x157d, 0xfd75, 0x0073, 0x1050};
    struct bench *bench = *state;

    bench_write(bench, CODE, code, sizeof(code));
    bench->cpu->pc = CODE;
    bench->cpu->x[11] = 0;
    bench_go(bench);
    assert_int_equal(bench->cpu->x[11], 10);
    assert_int_equal(bench->cpu->pc, CODE + sizeof(code));
}

static void devices(void **state)
{
    struct bench *bench = *state;
    struct vmm_cpu *cpu = bench->cpu;

    cpu->x[5] = MMIO_BASE;
    cpu->x[6] = 0xffffffff80000001;
    BENCH_RUN(bench, SW(6, 5, 8), LW(7, 5, 16));
    assert_int_equal(bench->mmio.writes, 1);
    assert_int_equal(bench->mmio.reads, 1);
    assert_int_equal(bench->mmio.offset, 16);
    assert_int_equal(bench->mmio.value, 0x80000001);
    assert_int_equal(cpu->x[7], 0xffffffff80000001);

    BENCH_RUN(bench, LW(7, 5, 2));
    bench_expect_trap(bench, CAUSE_LOAD_ACCESS, CODE, MMIO_BASE + 2);
    BENCH_RUN(bench, SD(7, 5, 0x100));
    bench_expect_trap(bench, CAUSE_STORE_ACCESS, CODE, MMIO_BASE + 0x100);
    BENCH_RUN(bench, LR_W(7, 5));
    bench_expect_trap(bench, CAUSE_LOAD_ACCESS, CODE, MMIO_BASE);
    cpu->x[5] = RAM_BASE + RAM_BYTES - 4; /* half in RAM */
    BENCH_RUN(bench, LD(7, 5, 0));
    bench_expect_trap(bench, CAUSE_LOAD_ACCESS, CODE, RAM_BASE + RAM_BYTES);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)
    const struct CMUnitTest tests[] = {
        TEST(arithmetic),      TEST(x0_stays_zero), TEST(loads_and_stores),       TEST(misaligned),
        TEST(jumps),           TEST(straddling),    TEST(fence_i_shows_new_code), TEST(compressed),
        TEST(compressed_runs), TEST(devices),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
