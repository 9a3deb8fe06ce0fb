/* SPDX-License-Identifier: MIT */
/*
 * Real harts that sleep and wake each other: the software CPU, its threads, the CLINT and the clock
 * together, driven by a guest program of a few instructions. A wake-up that is lost anywhere on
 * that way is a hart that sleeps for ever.
 *
 * Each hart waits in WFI with interrupts off, as an operating system's idle loop does, until its
 * interrupt handler has set a flag; then it counts a round and wakes the other. The first argument
 * multiplies the number of rounds.
 */
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "tests/unit/rv64/bench.h"
#include "vmm/cpu/thread.h"
#include "vmm/device/clint.h"
#include "vmm/device/irq.h"

#define HARTS 2u
#define BOX(hart) (RAM_BASE + 0x10000 + 0x1000 * (uint64_t)(hart)) /* mail, rounds, done */
#define SCRATCH (RAM_BASE + 0x20000)
#define HANDLER (RAM_BASE + 0x400)
#define STUCK_S 60

enum { /* registers */
       TMP = 5,
       TMP2 = 6,
       RANDOM = 7,
       MY_MSIP = 9,
       ITS_MSIP = 18,
       MY_BOX = 19,
       ITS_BOX = 20,
       MY_TIMER = 21,
       MTIME = 22,
       ROUNDS = 23,
       WANTED = 24,
       FLAG = 25,
       MASK = 27,
       TIMER_FLAG = 29
};

#define OR(rd, rs1, rs2) R_(0x33, 0, 6, rd, rs1, rs2)
#define XOR(rd, rs1, rs2) R_(0x33, 0, 4, rd, rs1, rs2)
#define AND(rd, rs1, rs2) R_(0x33, 0, 7, rd, rs1, rs2)
#define SLLI(rd, rs1, by) I_(0x13, 1, rd, rs1, by)
#define SRLI(rd, rs1, by) I_(0x13, 5, rd, rs1, by)
#define ANDI(rd, rs1, imm) I_(0x13, 7, rd, rs1, imm)
#define IRQS_ON I_(0x73, 6, 0, 8, 0x300)
#define IRQS_OFF I_(0x73, 7, 0, 8, 0x300)
#define CSR_MIE 0x304
#define CSR_MCAUSE 0x342

static const uint32_t program[] = {
    IRQS_OFF,
    BNE(FLAG, 0, 16),
    WFI,
    IRQS_ON,
    JAL(0, -16),
    ADDI(FLAG, 0, 0), /* a round */
    ADDI(ROUNDS, ROUNDS, 1),
    SD(ROUNDS, MY_BOX, 8),
    ADDI(TMP, 0, 1),
    AMO_W(1, 0, ITS_BOX, TMP),
    FENCE,
    SW(TMP, ITS_MSIP, 0),
    BNE(ROUNDS, WANTED, -48),
    SD(TMP, MY_BOX, 16),
    CSRRWI(0, CSR_MIE, 0),
    WFI,
    JAL(0, -4),
};

static const uint32_t handler[] = {
    CSRRS(TMP, CSR_MCAUSE, 0),
    ANDI(TMP, TMP, 15),
    ADDI(TMP, TMP, -3),
    BNE(TMP, 0, 24),
    SW(0, MY_MSIP, 0), /* a software interrupt: take the mail after having acknowledged */
    FENCE,
    AMO_W(1, TMP2, MY_BOX, 0),
    OR(FLAG, FLAG, TMP2),
    MRET,
    OR(FLAG, FLAG, TIMER_FLAG), /* the timer: again in a short while, or at once */
    SLLI(TMP, RANDOM, 13),
    XOR(RANDOM, RANDOM, TMP),
    SRLI(TMP, RANDOM, 7),
    XOR(RANDOM, RANDOM, TMP),
    SLLI(TMP, RANDOM, 17),
    XOR(RANDOM, RANDOM, TMP),
    AND(TMP2, RANDOM, MASK),
    LD(TMP, MTIME, 0),
    ADD(TMP, TMP, TMP2),
    SD(TMP, MY_TIMER, 0),
    MRET,
};

static unsigned factor = 1;

struct rig {
    struct vmm_memory memory;
    struct vmm_clock *clock;
    struct vmm_clint *clint;
    struct vmm_threads *threads;
};

static void set_irq(void *opaque, unsigned hart, unsigned line, bool level)
{
    struct rig *rig = opaque;

    vmm_threads_set_irq(rig->threads, hart, line, level);
}

static uint64_t deadline(void *opaque, unsigned hart)
{
    struct rig *rig = opaque;

    return vmm_clint_deadline(rig->clint, hart);
}

static void expire(void *opaque, unsigned hart)
{
    struct rig *rig = opaque;

    vmm_clint_expire(rig->clint, hart);
}

static void make(struct rig *rig)
{
    struct baton_error error = {0};
    struct vmm_hart_irqs irqs = {set_irq, rig};
    struct vmm_threads_config config = {.ops = &vmm_cpu_rv64,
                                        .memory = &rig->memory,
                                        .count = HARTS,
                                        .deadline = deadline,
                                        .expire = expire,
                                        .opaque = rig};

    *rig = (struct rig){0};
    assert_int_equal(vmm_memory_init(&rig->memory, RAM_BASE, RAM_BYTES, &error), 0);
    assert_int_equal(vmm_clock_new(&rig->clock, &error), 0);
    assert_int_equal(vmm_clint_new(rig->clock, HARTS, &irqs, &rig->clint, &error), 0);
    vmm_memory_add_mmio(&rig->memory, "clint", VMM_CLINT_BASE, VMM_CLINT_BYTES, &vmm_clint_mmio,
                        rig->clint);
    config.clock = rig->clock;
    assert_int_equal(vmm_threads_new(&config, &rig->threads, &error), 0);
    vmm_clint_reset(rig->clint);
    baton_guest_write(rig->memory.ram, program, sizeof(program));
    baton_guest_write(rig->memory.ram + (HANDLER - RAM_BASE), handler, sizeof(handler));
}

static void break_down(struct rig *rig)
{
    vmm_threads_stop(rig->threads);
    vmm_clock_stop(rig->clock);
    vmm_threads_free(rig->threads);
    vmm_clock_free(rig->clock);
    vmm_clint_free(rig->clint);
    vmm_memory_fini(&rig->memory);
}

struct plan {
    bool mail;         /* a round at the other's software interrupt */
    bool timer_rounds; /* a round at each timer interrupt */
    uint64_t mask;     /* of the timer's interval in ticks; 0: no timer */
    bool disturb;      /* stop, start and barriers all the while */
    uint64_t rounds;
};

static void prepare(struct rig *rig, const struct plan *plan)
{
    for (unsigned hart = 0; hart < HARTS; hart++) {
        struct vmm_cpu *cpu = vmm_threads_cpu(rig->threads, hart);
        unsigned other = 1 - hart;

        vmm_cpu_rv64.reset(cpu, RAM_BASE, 0, 0);
        cpu->x[RANDOM] = 0x9e3779b97f4a7c15u + hart;
        cpu->x[MY_MSIP] = VMM_CLINT_BASE + 4 * hart;
        cpu->x[ITS_MSIP] = plan->mail ? VMM_CLINT_BASE + 4 * other : SCRATCH;
        cpu->x[MY_BOX] = BOX(hart);
        cpu->x[ITS_BOX] = BOX(other);
        cpu->x[MY_TIMER] = VMM_CLINT_BASE + 0x4000 + 8 * hart;
        cpu->x[MTIME] = VMM_CLINT_BASE + 0xbff8;
        cpu->x[WANTED] = plan->rounds;
        cpu->x[FLAG] = hart == 0;
        cpu->x[MASK] = plan->mask;
        cpu->x[TIMER_FLAG] = plan->timer_rounds;
        cpu->mtvec = HANDLER;
        cpu->mie = 0x88;
        if (plan->mask)
            vmm_clint_mmio.write(rig->clint, 0x4000 + 8 * hart, 8, plan->mask);
    }
}

static uint64_t word(struct rig *rig, unsigned hart, unsigned offset)
{
    return baton_guest_load_u64(rig->memory.ram + (BOX(hart) - RAM_BASE) + offset);
}

static void doze(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
}

static void play(struct plan plan)
{
    struct rig rig;
    uint64_t seen = 0;
    time_t moved = time(NULL);

    plan.rounds *= factor;
    make(&rig);
    prepare(&rig, &plan);
    vmm_clock_start(rig.clock);
    vmm_threads_start(rig.threads);
    for (unsigned turn = 0; !word(&rig, 0, 16) || !word(&rig, 1, 16); turn++) {
        uint64_t rounds = word(&rig, 0, 8) + word(&rig, 1, 8);

        doze();
        if (rounds != seen)
            moved = time(NULL);
        else if (time(NULL) - moved > STUCK_S)
            fail_msg("the harts sleep for ever after %llu and %llu rounds",
                     (unsigned long long)word(&rig, 0, 8), (unsigned long long)word(&rig, 1, 8));
        seen = rounds;
        if (plan.disturb && turn % 3 == 0)
            vmm_threads_dirty_barrier(rig.threads);
        if (plan.disturb && turn % 5 == 0) {
            vmm_threads_stop(rig.threads);
            vmm_clock_stop(rig.clock);
            if (turn % 2)
                doze();
            vmm_clock_start(rig.clock);
            vmm_threads_start(rig.threads);
        }
    }
    assert_int_equal(word(&rig, 0, 8), plan.rounds);
    assert_int_equal(word(&rig, 1, 8), plan.rounds);
    break_down(&rig);
}

static void harts_wake_each_other(void **state)
{
    play((struct plan){.mail = true, .rounds = 20000});
}

static void timers_wake_harts(void **state)
{
    play((struct plan){.timer_rounds = true, .mask = 0x7f, .rounds = 20000});
}

static void late_timers_wake_harts(void **state)
{
    play((struct plan){.timer_rounds = true, .mask = 0xfff, .rounds = 2000});
}

static void timers_get_in_the_way_of_mail(void **state)
{
    play((struct plan){.mail = true, .mask = 0x1ff, .rounds = 20000});
}

static void stops_lose_no_mail(void **state)
{
    play((struct plan){.mail = true, .disturb = true, .rounds = 5000});
}

static void stops_lose_no_timer(void **state)
{
    play((struct plan){.timer_rounds = true, .mask = 0x3ff, .disturb = true, .rounds = 5000});
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(harts_wake_each_other),  cmocka_unit_test(timers_wake_harts),
        cmocka_unit_test(late_timers_wake_harts), cmocka_unit_test(timers_get_in_the_way_of_mail),
        cmocka_unit_test(stops_lose_no_mail),     cmocka_unit_test(stops_lose_no_timer),
    };

    if (argc > 1)
        factor = (unsigned)strtoul(argv[1], NULL, 10);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
