/* SPDX-License-Identifier: MIT */
/*
 * Save, load and reset: nothing is lost, nothing impossible is accepted, and nothing old is used
 * afterwards.
 */
#include "tests/unit/rv64/bench.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A state in which every register differs from every other. */
static void scramble(struct vmm_cpu *cpu)
{
    for (unsigned i = 1; i < 32; i++)
        cpu->x[i] = 0x1111111111111111u * (i % 15) + i;
    for (unsigned i = 0; i < 32; i++)
        cpu->f[i] = 0x0123456789abcdefu * (i + 1);
    cpu->pc = CODE + 0x124;
    cpu->mstatus = MSTATUS_SPIE | MSTATUS_FS | MSTATUS_SUM | MSTATUS_MPP;
    cpu->mip_soft = RV64_BIT(IRQ_STI);
    cpu->mie = RV64_BIT(IRQ_MTI);
    cpu->medeleg = 0xb109;
    cpu->mideleg = IRQ_S_MASK;
    cpu->mtvec = 0x80000101;
    cpu->mscratch = 1;
    cpu->mepc = 2;
    cpu->mcause = 3;
    cpu->mtval = 4;
    cpu->mcounteren = 5;
    cpu->menvcfg = 1;
    cpu->stvec = 0x80000200;
    cpu->sscratch = 6;
    cpu->sepc = 8;
    cpu->scause = 9;
    cpu->stval = 10;
    cpu->satp = (uint64_t)SATP_SV39 << SATP_MODE_SHIFT | 0x80020;
    cpu->scounteren = 11;
    cpu->senvcfg = 1;
    cpu->instret = 1000;
    cpu->cycle_offset = 7;
    cpu->instret_offset = 0 - (uint64_t)500;
    for (unsigned i = 0; i < RV64_PMP_ENTRIES; i++)
        cpu->pmpaddr[i] = 0x1000 * (i + 1);
    cpu->pmpcfg[3] = PMP_TOR | PMP_R;
    cpu->priv = RV64_PRIV_S;
    cpu->fflags = FFLAG_DZ;
    cpu->frm = RM_RUP;
    rv64_mode_update(cpu);
}

static void round_trip(void **state)
{
    struct bench *bench = *state;
    struct baton_save *first = calloc(1, sizeof(*first)), *second = calloc(1, sizeof(*second));
    struct baton_load load = {0};
    struct vmm_cpu *other;

    assert_non_null(first);
    assert_non_null(second);
    scramble(bench->cpu);
    vmm_cpu_rv64.save(bench->cpu, first);
    assert_int_equal(vmm_cpu_rv64.create(0, &bench->memory, &bench->cpu->host, &other, NULL), 0);
    load.bytes = first->bytes;
    load.length_bytes = first->length_bytes;
    assert_int_equal(vmm_cpu_rv64.load(other, &load, vmm_cpu_rv64.version, NULL), 0);
    assert_int_equal(load.at, load.length_bytes);
    vmm_cpu_rv64.save(other, second);
    assert_int_equal(first->length_bytes, second->length_bytes);
    assert_memory_equal(first->bytes, second->bytes, first->length_bytes);

    assert_memory_equal(bench->cpu->x, other->x, 32 * 8);
    assert_memory_equal(bench->cpu->f, other->f, sizeof(other->f));
    assert_int_equal(other->pc, CODE + 0x124);
    assert_int_equal(other->instret + other->cycle_offset, 1007);
    assert_int_equal(other->instret + other->instret_offset, 500);
    assert_ptr_equal(other->data, &other->tlb[RV64_MODE_S_SUM]);
    assert_ptr_equal(other->fetch, &other->tlb[RV64_MODE_S]);
    vmm_cpu_rv64.free(other);
    free(first);
    free(second);
}

/* Loads what `change` made of the state; it must be refused with a sentence and leave the hart
 * alone. */
static void expect_refusal(struct bench *bench, void (*change)(struct vmm_cpu *cpu),
                           const char *word)
{
    struct baton_save *save = calloc(1, sizeof(*save));
    struct baton_load load = {0};
    struct baton_error error = {0};

    assert_non_null(save);
    scramble(bench->cpu);
    change(bench->cpu);
    vmm_cpu_rv64.save(bench->cpu, save);
    vmm_cpu_rv64.reset(bench->cpu, CODE, 0, 0);
    load.bytes = save->bytes;
    load.length_bytes = save->length_bytes;
    assert_int_equal(vmm_cpu_rv64.load(bench->cpu, &load, 1, &error), -EINVAL);
    if (!strstr(error.text, word))
        fail_msg("'%s' does not speak of %s", error.text, word);
    assert_int_equal(bench->cpu->pc, CODE);
    assert_int_equal(bench->cpu->priv, RV64_PRIV_M);
    assert_int_equal(bench->cpu->x[1], 0);
    free(save);
}

static void bad_priv(struct vmm_cpu *cpu)
{
    cpu->priv = 2;
}

static void bad_mpp(struct vmm_cpu *cpu)
{
    cpu->mstatus = (uint64_t)2 << MSTATUS_MPP_SHIFT;
}

static void bad_mstatus(struct vmm_cpu *cpu)
{
    cpu->mstatus |= RV64_BIT(37);
}

static void bad_satp(struct vmm_cpu *cpu)
{
    cpu->satp = (uint64_t)10 << SATP_MODE_SHIFT;
}

static void bad_satp_mode(struct vmm_cpu *cpu)
{
    cpu->satp = (uint64_t)1 << 44;
}

static void bad_pc(struct vmm_cpu *cpu)
{
    cpu->pc = CODE + 1;
}

static void bad_frm(struct vmm_cpu *cpu)
{
    cpu->frm = 8;
}

static void bad_pmp(struct vmm_cpu *cpu)
{
    cpu->pmpcfg[7] = PMP_W;
}

static void bad_mip(struct vmm_cpu *cpu)
{
    cpu->mip_soft = RV64_BIT(IRQ_MTI);
}

static void bad_mideleg(struct vmm_cpu *cpu)
{
    cpu->mideleg = RV64_BIT(IRQ_MTI);
}

static void refusals(void **state)
{
    expect_refusal(*state, bad_priv, "privilege");
    expect_refusal(*state, bad_mpp, "mstatus");
    expect_refusal(*state, bad_mstatus, "mstatus");
    expect_refusal(*state, bad_satp, "satp");
    expect_refusal(*state, bad_satp_mode, "satp");
    expect_refusal(*state, bad_pc, "pc");
    expect_refusal(*state, bad_frm, "fcsr");
    expect_refusal(*state, bad_pmp, "pmpcfg");
    expect_refusal(*state, bad_mip, "mip");
    expect_refusal(*state, bad_mideleg, "mideleg");
}

static void too_short(void **state)
{
    struct bench *bench = *state;
    struct baton_save *save = calloc(1, sizeof(*save));
    struct baton_error error = {0};

    assert_non_null(save);
    scramble(bench->cpu);
    vmm_cpu_rv64.save(bench->cpu, save);
    vmm_cpu_rv64.reset(bench->cpu, CODE, 0, 0);
    for (size_t length = 0; length < save->length_bytes; length++) {
        struct baton_load load = {.bytes = save->bytes, .length_bytes = length};

        assert_true(vmm_cpu_rv64.load(bench->cpu, &load, 1, &error) < 0);
        assert_int_equal(bench->cpu->pc, CODE);
    }
    assert_true(vmm_cpu_rv64.load(bench->cpu, &(struct baton_load){0}, 2, &error) < 0);
    free(save);
}

/* Any bytes are either refused or make a hart that runs: nothing in them can hurt the process. */
static void random_bytes(void **state)
{
    struct bench *bench = *state;
    struct baton_save *save = calloc(1, sizeof(*save));
    unsigned loaded = 0;

    assert_non_null(save);
    srand(1);
    for (unsigned round = 0; round < 3000; round++) {
        struct baton_load load = {0};
        unsigned changes = (unsigned)rand() % 3 + 1;

        save->length_bytes = 0;
        scramble(bench->cpu);
        vmm_cpu_rv64.save(bench->cpu, save);
        while (changes--)
            save->bytes[(unsigned)rand() % save->length_bytes] = (uint8_t)rand();
        load.bytes = save->bytes;
        load.length_bytes = save->length_bytes;
        if (vmm_cpu_rv64.load(bench->cpu, &load, 1, NULL))
            continue;
        loaded++;
        /* a hart whose code cannot be fetched traps for ever: a few blocks of it are enough */
        for (unsigned i = 0; i < 3; i++) {
            vmm_cpu_rv64.kick(bench->cpu);
            (void)vmm_cpu_rv64.run(bench->cpu);
        }
    }
    assert_true(loaded > 100);
    free(save);
}

static void old_code_and_translations_are_forgotten(void **state)
{
    struct bench *bench = *state;
    struct vmm_cpu *cpu = bench->cpu;
    struct baton_save *save = calloc(1, sizeof(*save));
    struct baton_load load = {0};

    assert_non_null(save);
    cpu->x[5] = RAM_BASE + 0x10000;
    BENCH_RUN(bench, SD(5, 5, 0), LR_D(6, 5));
    cpu->pc = CODE;
    vmm_cpu_rv64.save(cpu, save);
    load.bytes = save->bytes;
    load.length_bytes = save->length_bytes;
    assert_int_equal(vmm_cpu_rv64.load(cpu, &load, 1, NULL), 0);
    assert_null(cpu->reserved);
    fake_clear_dirty();
    fake_set_present(RAM_BASE + 0x10000, false);
    bench_write32(bench, CODE, ADDI(8, 0, 8)); /* without a FENCE.I: RAM is another now */
    bench_write32(bench, CODE + 4, SD(8, 5, 8));
    bench_go(bench);
    assert_int_equal(cpu->x[8], 8);
    assert_int_equal(fake_ensures(), 1);
    assert_true(fake_is_dirty(RAM_BASE + 0x10000));
    free(save);
}

static void reset(void **state)
{
    struct bench *bench = *state;
    struct vmm_cpu *cpu = bench->cpu;

    scramble(cpu);
    vmm_cpu_rv64.reset(cpu, CODE + 0x40, 0x1234, 0x5678);
    assert_int_equal(cpu->pc, CODE + 0x40);
    assert_int_equal(cpu->priv, RV64_PRIV_M);
    assert_int_equal(cpu->x[10], 0);
    assert_int_equal(cpu->x[11], 0x1234);
    assert_int_equal(cpu->x[12], 0x5678);
    assert_int_equal(cpu->mstatus, 0);
    assert_int_equal(cpu->satp, 0);
    assert_int_equal(cpu->mie, 0);
    assert_int_equal(cpu->pmpcfg[3], 0);
    assert_ptr_equal(cpu->data, &cpu->tlb[RV64_MODE_M]);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)
    const struct CMUnitTest tests[] = {
        TEST(round_trip),
        TEST(refusals),
        TEST(too_short),
        TEST(random_bytes),
        TEST(old_code_and_translations_are_forgotten),
        TEST(reset),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
