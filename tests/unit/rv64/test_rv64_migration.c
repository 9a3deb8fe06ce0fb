/* SPDX-License-Identifier: MIT */
/*
 * What live migration asks of the CPU: a page is ensured before it is touched, nothing of an
 * unfinished instruction shows while it waits, and a page is marked dirty before it is written,
 * again after each barrier.
 *
 * The hooks run inside the library's calls, where another thread would save the VM.
 */
#include <stdlib.h>

#include "tests/unit/rv64/bench.h"

#define DATA (RAM_BASE + 0x10000)
#define ROOT (RAM_BASE + 0x20000)
#define MID (RAM_BASE + 0x21000)
#define LEAVES (RAM_BASE + 0x22000)
#define VA 0x40201000u
#define OLD 0x0101010101010101
#define NEW 0x2222222222222222

static struct bench *bench;

/* What the hooks expect of the hart at each wait, and what they saw. */
static struct {
    uint64_t pc, x7, instret;
    uint64_t waited_for[8];
    unsigned waits;
} seen;

static void look(uint64_t gpa)
{
    assert_int_equal(bench->waits_begun, bench->waits_ended + 1);
    assert_int_equal(bench->cpu->pc, seen.pc);
    assert_int_equal(bench->cpu->x[7], seen.x7);
    assert_int_equal(bench->cpu->instret, seen.instret);
    assert_int_equal(bench_read64(bench, DATA), OLD);
    assert_int_equal(bench_read64(bench, DATA + 0xff8), OLD);
    assert_int_equal(bench_read64(bench, DATA + 0x1000), OLD);
    assert_int_equal(bench_read64(bench, LEAVES + 8) & (PTE_A | PTE_D), 0);
    seen.waited_for[seen.waits++] = gpa;
}

static int setup(void **state)
{
    int result = bench_setup(state);

    bench = *state;
    bench_write64(bench, DATA, OLD);
    bench_write64(bench, DATA + 0xff8, OLD);
    bench_write64(bench, DATA + 0x1000, OLD);
    bench->cpu->x[5] = DATA;
    bench->cpu->x[6] = NEW;
    bench->cpu->x[7] = 0x77;
    seen.x7 = 0x77;
    seen.pc = CODE + 4;
    seen.instret = 1;
    seen.waits = 0;
    fake_on_ensure = look;
    return result;
}

static void map_data(uint64_t bits)
{
    bench_write64(bench, ROOT + 8 * 2,
                  RAM_BASE >> 12 << PTE_PPN_SHIFT | PTE_V | PTE_R | PTE_W | PTE_X | PTE_A | PTE_D);
    bench_write64(bench, ROOT + 8, (uint64_t)MID >> 12 << PTE_PPN_SHIFT | PTE_V);
    bench_write64(bench, MID + 8, (uint64_t)LEAVES >> 12 << PTE_PPN_SHIFT | PTE_V);
    bench_write64(bench, LEAVES + 8, (uint64_t)DATA >> 12 << PTE_PPN_SHIFT | bits);
    bench->cpu->satp = (uint64_t)SATP_SV39 << SATP_MODE_SHIFT | ROOT >> 12;
    bench->cpu->x[5] = VA;
    bench_priv(bench, RV64_PRIV_S);
}

/* One instruction at CODE + 4, in the middle of a block, that meets a missing page. */
static void waits_once(uint32_t code)
{
    fake_set_present(DATA, false);
    BENCH_RUN(bench, NOP, code, NOP);
    assert_int_equal(seen.waits, 1);
    assert_int_equal(seen.waited_for[0], DATA);
    assert_int_equal(bench->waits_begun, 1);
    assert_int_equal(bench->waits_ended, 1);
    assert_int_equal(bench->cpu->pc, CODE + 16);
    assert_int_equal(bench->cpu->instret, 4);
}

static void load_waits(void **state)
{
    waits_once(LD(7, 5, 0));
    assert_int_equal(bench->cpu->x[7], OLD);
    assert_int_equal(fake_marks(), 0);
}

static void store_waits(void **state)
{
    waits_once(SD(6, 5, 0));
    assert_int_equal(bench_read64(bench, DATA), NEW);
    assert_true(fake_is_dirty(DATA));
}

static void amo_waits(void **state)
{
    waits_once(AMO_D(1, 7, 5, 6));
    assert_int_equal(bench_read64(bench, DATA), NEW);
    assert_int_equal(bench->cpu->x[7], OLD);
    assert_true(fake_is_dirty(DATA));
}

static void lr_waits(void **state)
{
    waits_once(LR_D(7, 5));
    assert_int_equal(bench->cpu->x[7], OLD);
    assert_false(fake_is_dirty(DATA));
}

static void fp_load_waits(void **state)
{
    bench->cpu->mstatus |= MSTATUS_FS;
    waits_once(FLD(7, 5, 0));
    assert_int_equal(bench->cpu->f[7], OLD);
}

static void address_register_may_be_the_result(void **state)
{
    bench->cpu->x[7] = seen.x7 = DATA;
    waits_once(LD(7, 7, 0));
    assert_int_equal(bench->cpu->x[7], OLD);
}

/* The hart is told to leave: the instruction has not happened, and happens with the next run. */
static void leaves_when_told(void **state)
{
    bench_write32(bench, CODE, NOP);
    bench_write32(bench, CODE + 4, SD(6, 5, 0));
    bench_write32(bench, CODE + 8, WFI);
    fake_set_present(DATA, false);
    bench->leave_after_wait = true;
    assert_int_equal(vmm_cpu_rv64.run(bench->cpu), VMM_CPU_EXIT_KICKED);
    assert_int_equal(bench->cpu->pc, CODE + 4);
    assert_int_equal(bench->cpu->instret, 1);
    assert_int_equal(bench_read64(bench, DATA), OLD);
    assert_false(fake_is_dirty(DATA));
    bench_go(bench);
    assert_int_equal(bench_read64(bench, DATA), NEW);
    assert_int_equal(bench->cpu->instret, 3);
    assert_int_equal(seen.waits, 1);
}

/* An access across two pages waits for both before a byte of either changes. */
static void crossing_store(void **state)
{
    fake_set_present(DATA, false);
    fake_set_present(DATA + 0x1000, false);
    bench->cpu->x[5] = DATA + 0xffc;
    BENCH_RUN(bench, NOP, SD(6, 5, 0));
    assert_int_equal(seen.waits, 2);
    assert_int_equal(seen.waited_for[0], DATA);
    assert_int_equal(seen.waited_for[1], DATA + 0x1000);
    assert_int_equal(bench_read64(bench, DATA + 0xff8), 0x2222222201010101);
    assert_int_equal(bench_read64(bench, DATA + 0x1000), 0x0101010122222222);
    assert_true(fake_is_dirty(DATA));
    assert_true(fake_is_dirty(DATA + 0x1000));
}

static void crossing_load(void **state)
{
    fake_set_present(DATA + 0x1000, false);
    bench->cpu->x[5] = DATA + 0xffc;
    BENCH_RUN(bench, NOP, LD(7, 5, 0));
    assert_int_equal(seen.waits, 1);
    assert_int_equal(bench->cpu->x[7], OLD);
}

/* Every level of the page table and the page itself, in order; only then is the entry changed. */
static void walk_waits(void **state)
{
    map_data(PTE_V | PTE_R | PTE_W);
    fake_set_present(MID, false);
    fake_set_present(LEAVES, false);
    fake_set_present(DATA, false);
    BENCH_RUN(bench, NOP, SD(6, 5, 0), NOP);
    assert_int_equal(seen.waits, 3);
    assert_int_equal(seen.waited_for[0], MID);
    assert_int_equal(seen.waited_for[1], LEAVES);
    assert_int_equal(seen.waited_for[2], DATA);
    assert_int_equal(bench_read64(bench, DATA), NEW);
    assert_int_equal(bench_read64(bench, LEAVES + 8) & (PTE_A | PTE_D), PTE_A | PTE_D);
    assert_true(fake_is_dirty(LEAVES)); /* the entry was written */
    assert_true(fake_is_dirty(DATA));
    assert_false(fake_is_dirty(MID));
    assert_false(fake_is_dirty(ROOT));
    assert_int_equal(bench->cpu->instret, 4);
}

static void root_waits(void **state)
{
    map_data(PTE_V | PTE_R | PTE_W);
    fake_set_present(ROOT, false);
    seen.pc = CODE; /* the fetch needs it */
    seen.instret = 0;
    BENCH_RUN(bench, LD(7, 5, 0));
    assert_int_equal(seen.waits, 1);
    assert_int_equal(seen.waited_for[0], ROOT);
    assert_int_equal(bench->cpu->x[7], OLD);
}

/* Code: a page that a jump goes to, and the second page of an instruction that lies across two. */
static void fetch_waits(void **state)
{
    uint32_t code = ADDI(8, 0, 8);

    bench_write(bench, RAM_BASE + 0x5ffe, &code, 4);
    bench_write32(bench, RAM_BASE + 0x6002, WFI);
    bench->cpu->x[5] = RAM_BASE + 0x5ffe;
    fake_set_present(RAM_BASE + 0x5000, false);
    fake_set_present(RAM_BASE + 0x6000, false);
    seen.pc = RAM_BASE + 0x5ffe;
    BENCH_RUN(bench, JALR(0, 5, 0));
    assert_int_equal(seen.waits, 2);
    assert_int_equal(seen.waited_for[0], RAM_BASE + 0x5000);
    assert_int_equal(seen.waited_for[1], RAM_BASE + 0x6000);
    assert_int_equal(bench->cpu->x[8], 8);
    assert_int_equal(bench->cpu->instret, 3);
}

/* A VM that is stopped during the wait and gets another state goes on with that one. */
static void become_another(uint64_t gpa)
{
    vmm_cpu_rv64.reset(bench->cpu, CODE + 0x100, 0, 0);
    bench->leave_after_wait = true;
}

static void state_changes_during_a_wait(void **state)
{
    fake_on_ensure = become_another;
    fake_set_present(DATA, false);
    bench_write32(bench, CODE, NOP);
    bench_write32(bench, CODE + 4, LD(7, 5, 0));
    bench_write32(bench, CODE + 0x100, ADDI(9, 0, 9));
    bench_write32(bench, CODE + 0x104, WFI);
    assert_int_equal(vmm_cpu_rv64.run(bench->cpu), VMM_CPU_EXIT_KICKED);
    assert_int_equal(bench->cpu->pc, CODE + 0x100);
    assert_int_equal(bench->cpu->instret, 0);
    bench_go(bench);
    assert_int_equal(bench->cpu->x[9], 9);
    assert_int_equal(bench->cpu->x[7], 0);
}

/* Saved during the wait, loaded into another hart: that one does the instruction. */
static struct baton_save *image;

static void save_image(uint64_t gpa)
{
    vmm_cpu_rv64.save(bench->cpu, image);
}

static void saved_during_a_wait(void **state)
{
    struct baton_load load = {0};
    struct vmm_cpu *other;

    image = calloc(1, sizeof(*image));
    assert_non_null(image);
    fake_on_ensure = save_image;
    fake_set_present(DATA, false);
    BENCH_RUN(bench, ADDI(8, 8, 1), ADDI(8, 8, 1), LD(7, 5, 0), ADDI(8, 8, 1));
    assert_int_equal(vmm_cpu_rv64.create(0, &bench->memory, &bench->cpu->host, &other, NULL), 0);
    load.bytes = image->bytes;
    load.length_bytes = image->length_bytes;
    assert_int_equal(vmm_cpu_rv64.load(other, &load, 1, NULL), 0);
    assert_int_equal(other->pc, CODE + 8);
    assert_int_equal(other->x[8], 2);
    assert_int_equal(vmm_cpu_rv64.run(other), VMM_CPU_EXIT_IDLE);
    assert_memory_equal(other->x, bench->cpu->x, 32 * 8);
    assert_int_equal(other->instret + other->instret_offset, bench->cpu->instret);
    vmm_cpu_rv64.free(other);
    free(image);
}

static void check_mark(uint64_t gpa)
{
    if (gpa == DATA)
        assert_int_equal(bench_read64(bench, DATA), OLD); /* before the store */
}

static void marks_before_the_first_store_only(void **state)
{
    fake_on_mark = check_mark;
    BENCH_RUN(bench, LD(7, 5, 0), SD(6, 5, 0), SD(6, 5, 8), SD(6, 5, 16));
    assert_int_equal(fake_marks(), 1);
    assert_true(fake_is_dirty(DATA));
    assert_false(fake_is_dirty(DATA + 0x1000));
    assert_int_equal(fake_ensures(), 0);
}

static void drop_dirty_marks_again(void **state)
{
    static const uint32_t stores[] = {SD(6, 5, 8), AMOADD_W(0, 5, 6), SC_D(8, 5, 6)};

    BENCH_RUN(bench, SD(6, 5, 8));
    for (unsigned i = 0; i < sizeof(stores) / sizeof(stores[0]); i++) {
        fake_clear_dirty();
        BENCH_RUN(bench, stores[i]);
        assert_int_equal(fake_marks(), 0); /* known to be dirty */
        vmm_cpu_rv64.drop_dirty(bench->cpu);
        BENCH_RUN(bench, stores[i]);
        assert_int_equal(fake_marks(), 1);
        assert_true(fake_is_dirty(DATA));
    }
    /* also through another view of the same page, and in a translated one */
    map_data(PTE_V | PTE_R | PTE_W | PTE_A | PTE_D);
    BENCH_RUN(bench, SD(6, 5, 8));
    fake_clear_dirty();
    vmm_cpu_rv64.drop_dirty(bench->cpu);
    BENCH_RUN(bench, SD(6, 5, 8));
    assert_int_equal(fake_marks(), 1);
}

/* The request makes run() return, so that the caller can acknowledge, and is obeyed before the next
 * instruction. */
static void drop_dirty_leaves_run(void **state)
{
    BENCH_RUN(bench, SD(6, 5, 8));
    bench->cpu->pc = CODE;
    vmm_cpu_rv64.drop_dirty(bench->cpu);
    assert_int_equal(vmm_cpu_rv64.run(bench->cpu), VMM_CPU_EXIT_KICKED);
    assert_int_equal(bench->cpu->pc, CODE);
    for (unsigned i = 0; i < RV64_TLB_ENTRIES; i++)
        assert_int_equal(bench->cpu->tlb[RV64_MODE_M].write[i].tag, RV64_TLB_NONE);
}

static void ask_for_a_drop(uint64_t gpa)
{
    vmm_cpu_rv64.drop_dirty(bench->cpu);
}

/* A barrier that comes while the hart waits: the store after the wait marks again. */
static void drop_dirty_during_a_wait(void **state)
{
    fake_on_ensure = ask_for_a_drop;
    BENCH_RUN(bench, SD(6, 5, 8));
    fake_clear_dirty();
    fake_set_present(DATA + 0x2000, false);
    bench->cpu->x[8] = DATA + 0x2000;
    BENCH_RUN(bench, LD(7, 8, 0), SD(6, 5, 8));
    assert_true(fake_is_dirty(DATA));
}

static void works_without_a_library(void **state)
{
    bench->memory.baton = NULL;
    BENCH_RUN(bench, SD(6, 5, 0), LD(7, 5, 0));
    assert_int_equal(bench->cpu->x[7], NEW);
    assert_int_equal(fake_marks(), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, bench_teardown)
    const struct CMUnitTest tests[] = {
        TEST(load_waits),
        TEST(store_waits),
        TEST(amo_waits),
        TEST(lr_waits),
        TEST(fp_load_waits),
        TEST(address_register_may_be_the_result),
        TEST(leaves_when_told),
        TEST(crossing_store),
        TEST(crossing_load),
        TEST(walk_waits),
        TEST(root_waits),
        TEST(fetch_waits),
        TEST(state_changes_during_a_wait),
        TEST(saved_during_a_wait),
        TEST(marks_before_the_first_store_only),
        TEST(drop_dirty_marks_again),
        TEST(drop_dirty_leaves_run),
        TEST(drop_dirty_during_a_wait),
        TEST(works_without_a_library),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
