/* SPDX-License-Identifier: MIT */
/*
 * Floating point where RISC-V is particular: boxing, canonical NaNs, flags, rounding modes,
 * saturation.
 */
#include "tests/unit/rv64/bench.h"

enum { S, D };
enum { ADD_ = 0, SUB_ = 1, MUL_ = 2, DIV_ = 3, SQRT_ = 0x0b, SGN = 4, MINMAX = 5, FCVT_FF = 8 };
enum { CMP = 0x14, TO_INT = 0x18, FROM_INT = 0x1a, CLASS = 0x1c, MV_F = 0x1e };

#define BOX(bits) (0xffffffff00000000 | (bits))
#define NAN_S BOX(0x7fc00000)
#define NAN_D 0x7ff8000000000000
#define SNAN_S BOX(0x7f800001)
#define SNAN_D 0x7ff0000000000001
#define INF_S BOX(0x7f800000)
#define INF_D 0x7ff0000000000000
#define ONE_S BOX(0x3f800000)
#define ONE_D 0x3ff0000000000000
#define TWO_D 0x4000000000000000
#define MINUS 0x8000000000000000
#define MINUS_S 0x80000000

static struct bench *bench;

static int setup(void **state)
{
    int result = bench_setup(state);

    bench = *state;
    bench->cpu->mstatus |= MSTATUS_FS;
    return result;
}

/* f1 and f2 (and f4) into f3; the result and exactly these flags. */
static void check(uint32_t code, uint64_t a, uint64_t b, uint64_t result, unsigned flags)
{
    struct vmm_cpu *cpu = bench->cpu;

    cpu->f[1] = a;
    cpu->f[2] = b;
    cpu->f[3] = 0x5555;
    cpu->fflags = 0;
    BENCH_RUN(bench, code);
    if (cpu->f[3] != result || cpu->fflags != flags)
        fail_msg("0x%08x of 0x%llx, 0x%llx: 0x%llx with flags 0x%x, not 0x%llx with 0x%x", code,
                 (unsigned long long)a, (unsigned long long)b, (unsigned long long)cpu->f[3],
                 cpu->fflags, (unsigned long long)result, flags);
}

/* The same into x7. */
static void check_x(uint32_t code, uint64_t a, uint64_t b, uint64_t result, unsigned flags)
{
    struct vmm_cpu *cpu = bench->cpu;

    cpu->f[1] = a;
    cpu->f[2] = b;
    cpu->fflags = 0;
    BENCH_RUN(bench, code);
    if (cpu->x[7] != result || cpu->fflags != flags)
        fail_msg("0x%08x of 0x%llx, 0x%llx: 0x%llx with flags 0x%x, not 0x%llx with 0x%x", code,
                 (unsigned long long)a, (unsigned long long)b, (unsigned long long)cpu->x[7],
                 cpu->fflags, (unsigned long long)result, flags);
}

static void boxing(void **state)
{
    /* a single that is not boxed in ones is a NaN, for every instruction but moves and stores */
    check(FP(ADD_, S, 0, 3, 1, 2), 0x3f800000, ONE_S, NAN_S, 0);
    check(FP(MINMAX, S, 0, 3, 1, 2), 0x3f800000, ONE_S, ONE_S, 0);
    check(FP(SGN, S, 0, 3, 1, 2), 0xfffffffe3f800000, BOX(0xbf800000), BOX(0xffc00000), 0);
    check(FP(FCVT_FF, D, 0, 3, 1, 0), 0x3f800000, 0, NAN_D, 0);
    check_x(FP(CLASS, S, 1, 7, 1, 0), 0x3f800000, 0, 1 << 9, 0);
    check_x(FP(CLASS, S, 0, 7, 1, 0), 0x00000000bf800000, 0, 0xffffffffbf800000, 0); /* fmv.x.w */
    check(FP(ADD_, S, 0, 3, 1, 2), ONE_S, ONE_S, BOX(0x40000000), 0);
    bench->cpu->x[5] = 0x12345678bf800000;
    check(FP(MV_F, S, 0, 3, 5, 0), 0, 0, BOX(0xbf800000), 0);
    check(FP(MV_F, D, 0, 3, 5, 0), 0, 0, 0x12345678bf800000, 0);
}

static void nan_results(void **state)
{
    check(FP(ADD_, D, 0, 3, 1, 2), 0x7ff8000000000123, ONE_D, NAN_D, 0);
    check(FP(ADD_, D, 0, 3, 1, 2), 0xfff8000000000123, ONE_D, NAN_D, 0);
    check(FP(ADD_, D, 0, 3, 1, 2), SNAN_D, ONE_D, NAN_D, FFLAG_NV);
    check(FP(SUB_, D, 0, 3, 1, 2), INF_D, INF_D, NAN_D, FFLAG_NV);
    check(FP(MUL_, S, 0, 3, 1, 2), INF_S, BOX(0), NAN_S, FFLAG_NV);
    check(FP(DIV_, S, 0, 3, 1, 2), BOX(0), BOX(0), NAN_S, FFLAG_NV);
    check(FP(SQRT_, D, 0, 3, 1, 0), MINUS | ONE_D, 0, NAN_D, FFLAG_NV);
    check(FP(SQRT_, D, 0, 3, 1, 0), MINUS, 0, MINUS, 0);
    check(FP(FCVT_FF, D, 0, 3, 1, 0), SNAN_S, 0, NAN_D, FFLAG_NV);
    check(FP(FCVT_FF, S, 0, 3, 1, 1), 0xfff8000000000001, 0, NAN_S, 0);
    check(FP(FCVT_FF, S, 0, 3, 1, 1), SNAN_D, 0, NAN_S, FFLAG_NV);
}

static void flags(void **state)
{
    check(FP(DIV_, D, 0, 3, 1, 2), ONE_D, 0, INF_D, FFLAG_DZ);
    check(FP(DIV_, D, 0, 3, 1, 2), ONE_D, 0x4008000000000000, 0x3fd5555555555555, FFLAG_NX);
    check(FP(MUL_, D, 0, 3, 1, 2), 0x7fe0000000000000, TWO_D, INF_D, FFLAG_OF | FFLAG_NX);
    check(FP(MUL_, D, 0, 3, 1, 2), 0x0000000000000001, 0x3fe0000000000000, 0, FFLAG_UF | FFLAG_NX);
    /* an exact denormal is no underflow */
    check(FP(MUL_, D, 0, 3, 1, 2), 0x0010000000000000, 0x3fe0000000000000, 0x0008000000000000, 0);
    /* tininess is found after rounding: 2^-126 less 2^-152 is rounded to normal, less 2^-150 would
     * not be */
    bench->cpu->f[4] = BOX(0x00800000);
    for (unsigned rm = RM_RNE; rm <= RM_RMM; rm += RM_RMM) {
        check(R_(0x43, 4 << 2 | S, rm, 3, 1, 2), BOX(0x19800000), BOX(0x99800000), BOX(0x00800000),
              FFLAG_NX);
        check(R_(0x43, 4 << 2 | S, rm, 3, 1, 2), BOX(0x1a000000), BOX(0x9a000000), BOX(0x00800000),
              FFLAG_UF | FFLAG_NX);
    }
    /* flags add up over instructions, and only the guest's own: the host divides by zero in between
     */
    bench->cpu->fflags = FFLAG_DZ;
    bench->cpu->f[1] = ONE_D;
    bench->cpu->f[2] = 0x4008000000000000;
    BENCH_RUN(bench, FP(DIV_, D, 0, 3, 1, 2));
    assert_int_equal(bench->cpu->fflags, FFLAG_DZ | FFLAG_NX);
    volatile double zero = 0;
    volatile double infinite = 1 / zero;
    assert_true(infinite > 1);
    check(FP(ADD_, D, 0, 3, 1, 2), ONE_D, ONE_D, TWO_D, 0);
}

/* 1 + 2^-53 (a tie), a little more and a little less, in all modes and both signs. */
static void rounding_modes(void **state)
{
    static const struct {
        uint64_t addend;
        unsigned up; /* modes that round a positive sum up, as a mask */
    } cases[] = {
        {0x3ca0000000000000, 1 << RM_RUP | 1 << RM_RMM},
        {0x3ca0000000000001, 1 << RM_RUP | 1 << RM_RMM | 1 << RM_RNE},
        {0x3c9fffffffffffff, 1 << RM_RUP},
    };
    static const unsigned mirrored[] = {RM_RNE, RM_RTZ, RM_RUP, RM_RDN, RM_RMM};

    for (unsigned i = 0; i < 3; i++) {
        for (unsigned rm = 0; rm < 5; rm++) {
            uint64_t sum = ONE_D + (cases[i].up >> rm & 1);

            check(FP(ADD_, D, rm, 3, 1, 2), ONE_D, cases[i].addend, sum, FFLAG_NX);
            check(FP(ADD_, D, mirrored[rm], 3, 1, 2), MINUS | ONE_D, MINUS | cases[i].addend,
                  MINUS | sum, FFLAG_NX);
            check(FP(SUB_, D, rm, 3, 1, 2), ONE_D, MINUS | cases[i].addend, sum, FFLAG_NX);
            bench->cpu->frm = (uint8_t)rm;
            check(FP(ADD_, D, 7, 3, 1, 2), ONE_D, cases[i].addend, sum, FFLAG_NX);
        }
    }
    bench->cpu->frm = 5; /* reserved: illegal when used */
    BENCH_RUN(bench, FP(ADD_, D, 7, 3, 1, 2));
    bench_expect_trap(bench, CAUSE_ILLEGAL, CODE, FP(ADD_, D, 7, 3, 1, 2));
    assert_true(1.0 / 3.0 == 0x1.5555555555555p-2); /* the host rounds to nearest again */
}

/* Ties away from zero, which the host cannot do: one of each operation. */
static void ties_away(void **state)
{
    unsigned rm = RM_RMM;

    /* (1 + 2^-52) * (1 + 2^-1) = 1.5 + 1.5 * 2^-52: a tie; to even would be the same, so take 2^-23
     * in single */
    check(FP(MUL_, S, rm, 3, 1, 2), BOX(0x3f800001), BOX(0x3fc00000), BOX(0x3fc00002), FFLAG_NX);
    check(FP(MUL_, S, RM_RNE, 3, 1, 2), BOX(0x3f800001), BOX(0x3fc00000), BOX(0x3fc00002),
          FFLAG_NX);
    /* 0x800003 * 1.5 = 0xc00004.8: to even down, away up */
    check(FP(MUL_, S, RM_RNE, 3, 1, 2), BOX(0x3f800003), BOX(0x3fc00000), BOX(0x3fc00004),
          FFLAG_NX);
    check(FP(MUL_, S, rm, 3, 1, 2), BOX(0x3f800003), BOX(0x3fc00000), BOX(0x3fc00005), FFLAG_NX);
    check(FP(DIV_, D, rm, 3, 1, 2), ONE_D, 0x4008000000000000, 0x3fd5555555555555, FFLAG_NX);
    /* ties in denormals: 1 or 5 units over 2 */
    check(FP(DIV_, D, rm, 3, 1, 2), 1, TWO_D, 1, FFLAG_UF | FFLAG_NX);
    check(FP(DIV_, D, rm, 3, 1, 2), 5, TWO_D, 3, FFLAG_UF | FFLAG_NX);
    check(FP(DIV_, D, RM_RNE, 3, 1, 2), 5, TWO_D, 2, FFLAG_UF | FFLAG_NX);
    /* overflow goes to infinity */
    check(FP(ADD_, D, rm, 3, 1, 2), 0x7fefffffffffffff, 0x7fefffffffffffff, INF_D,
          FFLAG_OF | FFLAG_NX);
    check(FP(SQRT_, D, rm, 3, 1, 0), TWO_D, 0, 0x3ff6a09e667f3bcd, FFLAG_NX);
    /* narrowing 1 + 2^-24, a tie */
    check(FP(FCVT_FF, S, rm, 3, 1, 1), 0x3ff0000010000000, 0, BOX(0x3f800001), FFLAG_NX);
    check(FP(FCVT_FF, S, RM_RNE, 3, 1, 1), 0x3ff0000010000000, 0, ONE_S, FFLAG_NX);
    check(FP(FCVT_FF, S, rm, 3, 1, 1), 0x3690000000000000, 0, BOX(1), FFLAG_UF | FFLAG_NX);
    /* integers: 2^24 + 1 and its negative as singles, 2^53 + 1 as a double */
    bench->cpu->x[5] = ((uint64_t)1 << 24) + 1;
    check(FP(FROM_INT, S, rm, 3, 5, 2), 0, 0, BOX(0x4b800001), FFLAG_NX);
    check(FP(FROM_INT, S, RM_RNE, 3, 5, 2), 0, 0, BOX(0x4b800000), FFLAG_NX);
    bench->cpu->x[5] = 0 - bench->cpu->x[5];
    check(FP(FROM_INT, S, rm, 3, 5, 2), 0, 0, BOX(0xcb800001), FFLAG_NX);
    bench->cpu->x[5] = ((uint64_t)1 << 53) + 1;
    check(FP(FROM_INT, D, rm, 3, 5, 3), 0, 0, 0x4340000000000001, FFLAG_NX);
}

static void fused(void **state)
{
    struct vmm_cpu *cpu = bench->cpu;
    /* f1 * f2 + f4, and the three other signs */
    static const struct {
        unsigned opcode;
        uint64_t result;
    } signs[] = {{0x43, 0x401c000000000000}, /* 2 * 3 + 1 = 7 */
                 {0x47, 0x4014000000000000}, /* 5 */
                 {0x4b, 0xc014000000000000}, /* -5 */
                 {0x4f, 0xc01c000000000000}};

    cpu->f[4] = ONE_D;
    for (unsigned i = 0; i < 4; i++)
        check(R_(signs[i].opcode, 4 << 2 | D, 0, 3, 1, 2), TWO_D, 0x4008000000000000,
              signs[i].result, 0);
    /* one rounding: (1 + 2^-52)^2 - 1 keeps the 2^-104 */
    cpu->f[4] = MINUS | ONE_D;
    check(R_(0x43, 4 << 2 | D, 0, 3, 1, 2), ONE_D + 1, ONE_D + 1, 0x3cc0000000000000, FFLAG_NX);
    /* infinity times zero is invalid even when a quiet NaN is added */
    cpu->f[4] = NAN_D;
    check(R_(0x43, 4 << 2 | D, 0, 3, 1, 2), INF_D, 0, NAN_D, FFLAG_NV);
    check(R_(0x43, 4 << 2 | D, 0, 3, 1, 2), ONE_D, 0, NAN_D, 0);
    /* ties away from zero: 1 * 1 + 2^-53 */
    cpu->f[4] = 0x3ca0000000000000;
    check(R_(0x43, 4 << 2 | D, RM_RMM, 3, 1, 2), ONE_D, ONE_D, ONE_D + 1, FFLAG_NX);
    check(R_(0x43, 4 << 2 | D, RM_RNE, 3, 1, 2), ONE_D, ONE_D, ONE_D, FFLAG_NX);
    check(R_(0x4f, 4 << 2 | D, RM_RMM, 3, 1, 2), ONE_D, ONE_D, MINUS | (ONE_D + 1), FFLAG_NX);
}

static void minimum_maximum(void **state)
{
    check(FP(MINMAX, D, 0, 3, 1, 2), 0, MINUS, MINUS, 0);
    check(FP(MINMAX, D, 0, 3, 1, 2), MINUS, 0, MINUS, 0);
    check(FP(MINMAX, D, 1, 3, 1, 2), 0, MINUS, 0, 0);
    check(FP(MINMAX, D, 1, 3, 1, 2), MINUS, 0, 0, 0);
    check(FP(MINMAX, D, 0, 3, 1, 2), NAN_D, ONE_D, ONE_D, 0);
    check(FP(MINMAX, D, 0, 3, 1, 2), ONE_D, SNAN_D, ONE_D, FFLAG_NV);
    check(FP(MINMAX, D, 1, 3, 1, 2), 0xfff8000000000001, NAN_D, NAN_D, 0);
    check(FP(MINMAX, D, 1, 3, 1, 2), MINUS | ONE_D, MINUS | TWO_D, MINUS | ONE_D, 0);
    check(FP(MINMAX, S, 0, 3, 1, 2), BOX(0x3f800000 | MINUS_S), ONE_S, BOX(0xbf800000), 0);
}

static void comparisons(void **state)
{
    enum { LE, LT, EQ };

    check_x(FP(CMP, D, EQ, 7, 1, 2), 0, MINUS, 1, 0);
    check_x(FP(CMP, D, LT, 7, 1, 2), MINUS, 0, 0, 0);
    check_x(FP(CMP, D, LE, 7, 1, 2), 0, MINUS, 1, 0);
    check_x(FP(CMP, D, LT, 7, 1, 2), MINUS | TWO_D, MINUS | ONE_D, 1, 0);
    check_x(FP(CMP, D, EQ, 7, 1, 2), NAN_D, NAN_D, 0, 0);
    check_x(FP(CMP, D, EQ, 7, 1, 2), SNAN_D, ONE_D, 0, FFLAG_NV);
    check_x(FP(CMP, D, LT, 7, 1, 2), NAN_D, ONE_D, 0, FFLAG_NV);
    check_x(FP(CMP, S, LE, 7, 1, 2), ONE_S, NAN_S, 0, FFLAG_NV);
    check_x(FP(CMP, S, LE, 7, 1, 2), ONE_S, ONE_S, 1, 0);
}

static void classes(void **state)
{
    static const struct {
        uint64_t value;
        unsigned bit;
    } doubles[] = {
        {MINUS | INF_D, 0}, {MINUS | ONE_D, 1}, {MINUS | 1, 2}, {MINUS, 3}, {0, 4}, {1, 5},
        {ONE_D, 6},         {INF_D, 7},         {SNAN_D, 8},    {NAN_D, 9},
    };

    for (unsigned i = 0; i < 10; i++)
        check_x(FP(CLASS, D, 1, 7, 1, 0), doubles[i].value, 0, 1u << doubles[i].bit, 0);
    check_x(FP(CLASS, S, 1, 7, 1, 0), BOX(0x00000001), 0, 1 << 5, 0);
}

static void to_integers(void **state)
{
    enum { W, WU, L, LU };
    unsigned nv = FFLAG_NV, nx = FFLAG_NX;

    /* 2.5 in all modes, and -2.5 */
    check_x(FP(TO_INT, D, RM_RNE, 7, 1, W), 0x4004000000000000, 0, 2, nx);
    check_x(FP(TO_INT, D, RM_RTZ, 7, 1, W), 0x4004000000000000, 0, 2, nx);
    check_x(FP(TO_INT, D, RM_RDN, 7, 1, W), 0xc004000000000000, 0, 0xfffffffffffffffd, nx);
    check_x(FP(TO_INT, D, RM_RUP, 7, 1, L), 0x4004000000000000, 0, 3, nx);
    check_x(FP(TO_INT, D, RM_RMM, 7, 1, L), 0x4004000000000000, 0, 3, nx);
    check_x(FP(TO_INT, D, RM_RMM, 7, 1, L), 0xc004000000000000, 0, 0xfffffffffffffffd, nx);
    /* saturation, without inexact */
    check_x(FP(TO_INT, D, 0, 7, 1, W), NAN_D, 0, 0x7fffffff, nv);
    check_x(FP(TO_INT, D, 0, 7, 1, WU), MINUS | NAN_D, 0, UINT64_MAX, nv);
    check_x(FP(TO_INT, D, 0, 7, 1, W), INF_D, 0, 0x7fffffff, nv);
    check_x(FP(TO_INT, D, 0, 7, 1, W), MINUS | INF_D, 0, 0xffffffff80000000, nv);
    check_x(FP(TO_INT, D, 0, 7, 1, W), 0x41e0000000000000, 0, 0x7fffffff, nv);
    check_x(FP(TO_INT, D, 0, 7, 1, W), 0xc1e0000000000000, 0, 0xffffffff80000000, 0);
    check_x(FP(TO_INT, D, 0, 7, 1, WU), 0x41efffffffe00000, 0, UINT64_MAX, 0); /* 2^32 - 1 */
    check_x(FP(TO_INT, D, 0, 7, 1, WU), MINUS | ONE_D, 0, 0, nv);
    check_x(FP(TO_INT, D, RM_RTZ, 7, 1, WU), 0xbfe0000000000000, 0, 0, nx); /* -0.5 */
    check_x(FP(TO_INT, D, RM_RDN, 7, 1, WU), 0xbfe0000000000000, 0, 0, nv);
    check_x(FP(TO_INT, D, 0, 7, 1, L), 0x43e0000000000000, 0, INT64_MAX, nv);
    check_x(FP(TO_INT, D, 0, 7, 1, L), 0xc3e0000000000000, 0, MINUS, 0);
    check_x(FP(TO_INT, D, 0, 7, 1, LU), 0x43e0000000000000, 0, MINUS, 0);
    check_x(FP(TO_INT, D, 0, 7, 1, LU), 0x43f0000000000000, 0, UINT64_MAX, nv);
    check_x(FP(TO_INT, S, 0, 7, 1, LU), BOX(0x5f7fffff), 0, 0xffffff0000000000, 0);
    check_x(FP(TO_INT, S, 0, 7, 1, LU), BOX(0xbf800000), 0, 0, nv);
}

static void from_integers(void **state)
{
    enum { W, WU, L, LU };

    bench->cpu->x[5] = UINT64_MAX;
    check(FP(FROM_INT, D, 0, 3, 5, W), 0, 0, MINUS | ONE_D, 0);
    check(FP(FROM_INT, D, 0, 3, 5, WU), 0, 0, 0x41efffffffe00000, 0);
    check(FP(FROM_INT, D, 0, 3, 5, L), 0, 0, MINUS | ONE_D, 0);
    check(FP(FROM_INT, D, 0, 3, 5, LU), 0, 0, 0x43f0000000000000, FFLAG_NX);
    check(FP(FROM_INT, D, RM_RTZ, 3, 5, LU), 0, 0, 0x43efffffffffffff, FFLAG_NX);
    check(FP(FROM_INT, S, RM_RDN, 3, 5, LU), 0, 0, BOX(0x5f7fffff), FFLAG_NX);
    check(FP(FROM_INT, S, RM_RUP, 3, 5, LU), 0, 0, BOX(0x5f800000), FFLAG_NX);
    check(FP(FROM_INT, S, 0, 3, 5, W), 0, 0, BOX(0xbf800000), 0);
}

static void dirty_state(void **state)
{
    static const struct {
        uint32_t code;
        bool dirties;
    } cases[] = {
        {FSD(1, 5, 0), false},          {FP(CLASS, D, 1, 7, 1, 0), false},
        {FLD(1, 5, 0), true},           {FP(ADD_, D, 0, 3, 1, 2), true},
        {CSRRWI(0, 0x002, 1), true},    {FP(MV_F, D, 0, 3, 5, 0), true},
        {CSRRS(7, 0x003, 0), false},    {FP(CLASS, D, 0, 7, 1, 0), false},
        {FP(SGN, D, 0, 3, 1, 2), true},
    };

    bench->cpu->x[5] = RAM_BASE + 0x10000;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        bench->cpu->mstatus = (uint64_t)1 << 13; /* initial */
        BENCH_RUN(bench, cases[i].code, CSRRS(8, 0x100, 0));
        if (bench->cpu->x[8] >> 63 != cases[i].dirties)
            fail_msg("0x%08x leaves sstatus 0x%llx", cases[i].code,
                     (unsigned long long)bench->cpu->x[8]);
    }
}

static void sign_injection(void **state)
{
    check(FP(SGN, D, 0, 3, 1, 2), SNAN_D, MINUS, MINUS | SNAN_D,
          0); /* not an operation: no flags */
    check(FP(SGN, D, 1, 3, 1, 2), ONE_D, ONE_D, MINUS | ONE_D, 0);
    check(FP(SGN, D, 2, 3, 1, 2), MINUS | ONE_D, MINUS | ONE_D, ONE_D, 0);
    check(FP(SGN, S, 1, 3, 1, 2), ONE_S, ONE_S, BOX(0xbf800000), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, bench_teardown)
    const struct CMUnitTest tests[] = {
        TEST(boxing),         TEST(nan_results), TEST(flags),           TEST(rounding_modes),
        TEST(ties_away),      TEST(fused),       TEST(minimum_maximum), TEST(comparisons),
        TEST(classes),        TEST(to_integers), TEST(from_integers),   TEST(dirty_state),
        TEST(sign_injection),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
