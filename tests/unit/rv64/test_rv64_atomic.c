/* SPDX-License-Identifier: MIT */
/*
 * The A extension: what each operation does, and that two harts on two host threads lose no update.
 */
#include <pthread.h>

#include "tests/unit/rv64/bench.h"

#define DATA (RAM_BASE + 0x10000)
#define NEGATIVE(n) (0 - (uint64_t)(n))

static void operations(void **state)
{
    static const struct {
        unsigned funct5;
        uint64_t memory, operand, word, dword; /* what is in memory afterwards */
    } cases[] = {
        {0x00, 0x00000000ffffffff, 1, 0x0000000000000000, 0x0000000100000000},
        {0x01, 0x1111111122222222, 0x3333333344444444, 0x1111111144444444, 0x3333333344444444},
        {0x04, 0xff00ff00ff00ff00, 0xffffffffffffffff, 0xff00ff0000ff00ff, 0x00ff00ff00ff00ff},
        {0x08, 0xf0f0f0f0f0f0f0f0, 0x0f0f0f0f0f0f0f0f, 0xf0f0f0f0ffffffff, 0xffffffffffffffff},
        {0x0c, 0xffffffffffffffff, 0x00000000f0f0f0f0, 0xfffffffff0f0f0f0, 0x00000000f0f0f0f0},
        {0x10, 5, NEGATIVE(3), 0xfffffffd, NEGATIVE(3)}, /* min */
        {0x10, 0xfffffffd, 2, 0xfffffffd, 2},            /* a word is signed */
        {0x14, NEGATIVE(5), 3, 0xffffffff00000003, 3},   /* max */
        {0x18, 5, NEGATIVE(3), 5, 5},                    /* minu */
        {0x18, 0x100000009, 7, 0x100000007, 7},          /* a word looks at 32 bits */
        {0x1c, 5, NEGATIVE(3), 0xfffffffd, NEGATIVE(3)}, /* maxu */
        {0x1c, 0x80000000, 0x7fffffff, 0x80000000, 0x80000000},
    };
    struct bench *bench = *state;
    struct vmm_cpu *cpu = bench->cpu;

    cpu->x[5] = DATA;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cpu->x[6] = cases[i].operand;
        bench_write64(bench, DATA, cases[i].memory);
        BENCH_RUN(bench, AMO_W(cases[i].funct5, 7, 5, 6));
        assert_int_equal(cpu->x[7], (uint64_t)(int64_t)(int32_t)cases[i].memory);
        if (bench_read64(bench, DATA) != cases[i].word)
            fail_msg("case %u, word: 0x%llx", i, (unsigned long long)bench_read64(bench, DATA));
        bench_write64(bench, DATA, cases[i].memory);
        BENCH_RUN(bench, AMO_D(cases[i].funct5, 7, 5, 6));
        assert_int_equal(cpu->x[7], cases[i].memory);
        if (bench_read64(bench, DATA) != cases[i].dword)
            fail_msg("case %u: 0x%llx", i, (unsigned long long)bench_read64(bench, DATA));
    }
    /* the same register for everything */
    cpu->x[8] = DATA;
    bench_write64(bench, DATA, 10);
    BENCH_RUN(bench, AMO_D(0, 8, 8, 8));
    assert_int_equal(cpu->x[8], 10);
    assert_int_equal(bench_read64(bench, DATA), DATA + 10);
}

static void reservations(void **state)
{
    struct bench *bench = *state;
    struct vmm_cpu *cpu = bench->cpu;

    cpu->x[5] = DATA;
    cpu->x[6] = 0x1122334455667788;
    cpu->x[9] = DATA + 8;
    bench_write64(bench, DATA, 0x8000000080000000);
    BENCH_RUN(bench, LR_D(10, 5), SC_D(11, 5, 6), SC_D(12, 5, 5), LR_W(13, 5), SC_W(14, 5, 6));
    assert_int_equal(cpu->x[10], 0x8000000080000000);
    assert_int_equal(cpu->x[11], 0);
    assert_int_equal(cpu->x[12], 1); /* used up */
    assert_int_equal(cpu->x[13], 0x55667788);
    assert_int_equal(cpu->x[14], 0);
    assert_int_equal(bench_read64(bench, DATA), 0x1122334455667788);

    /* another address, another width, a store in between */
    BENCH_RUN(bench, LR_D(10, 5), SC_D(11, 9, 6), LR_D(10, 5), SC_W(12, 5, 5), LR_D(10, 5),
              SD(5, 5, 0), SC_D(13, 5, 6), SC_D(14, 5, 6));
    assert_int_equal(cpu->x[11], 1);
    assert_int_equal(cpu->x[12], 1);
    assert_int_equal(cpu->x[13], 1);
    assert_int_equal(cpu->x[14], 1);
    assert_int_equal(bench_read64(bench, DATA), DATA);
    assert_int_equal(bench_read64(bench, DATA + 8), 0);
}

static void misaligned_traps(void **state)
{
    struct bench *bench = *state;

    bench->cpu->x[5] = DATA + 4;
    BENCH_RUN(bench, LR_W(7, 5), LR_D(7, 5));
    bench_expect_trap(bench, CAUSE_LOAD_MISALIGNED, CODE + 4, DATA + 4);
    BENCH_RUN(bench, SC_D(7, 5, 6));
    bench_expect_trap(bench, CAUSE_STORE_MISALIGNED, CODE, DATA + 4);
    bench->cpu->x[5] = DATA + 2;
    BENCH_RUN(bench, AMOADD_W(7, 5, 6));
    bench_expect_trap(bench, CAUSE_STORE_MISALIGNED, CODE, DATA + 2);
}

#define ROUNDS 200000

static void *run_hart(void *opaque)
{
    struct vmm_cpu *cpu = opaque;

    while (vmm_cpu_rv64.run(cpu) != VMM_CPU_EXIT_IDLE)
        ;
    return NULL;
}

/*
 * Both harts add to three counters: by AMO, by LR and SC on a word, and by LR and SC on a
 * doubleword. Each is exact in the end.
 */
static void two_harts(void **state)
{
    static const uint32_t code[] = {
        AMOADD_W(0, 5, 6), LR_W(7, 8),       ADDI(7, 7, 1),   SC_W(10, 8, 7),
        BNE(10, 0, -12),   LR_D(7, 9),       ADDI(7, 7, 1),   SC_D(10, 9, 7),
        BNE(10, 0, -12),   ADDI(11, 11, -1), BNE(11, 0, -40), WFI,
    };
    struct bench *bench = *state;
    struct vmm_cpu_host host = bench->cpu->host;
    struct vmm_cpu *cpus[2] = {bench->cpu, NULL};
    pthread_t threads[2];

    assert_int_equal(vmm_cpu_rv64.create(1, &bench->memory, &host, &cpus[1], NULL), 0);
    bench_write(bench, CODE, code, sizeof(code));
    for (unsigned i = 0; i < 2; i++) {
        vmm_cpu_rv64.reset(cpus[i], CODE, 0, 0);
        assert_int_equal(cpus[i]->x[10], i);
        cpus[i]->x[5] = DATA;
        cpus[i]->x[6] = 1;
        cpus[i]->x[8] = DATA + 4; /* shares a doubleword with the first */
        cpus[i]->x[9] = DATA + 8;
        cpus[i]->x[11] = ROUNDS;
    }
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_hart, cpus[i]), 0);
    for (unsigned i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(bench_read32(bench, DATA), 2 * ROUNDS);
    assert_int_equal(bench_read32(bench, DATA + 4), 2 * ROUNDS);
    assert_int_equal(bench_read64(bench, DATA + 8), 2 * ROUNDS);
    vmm_cpu_rv64.free(cpus[1]);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)
    const struct CMUnitTest tests[] = {
        TEST(operations),
        TEST(reservations),
        TEST(misaligned_traps),
        TEST(two_harts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
