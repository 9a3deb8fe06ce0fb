/* SPDX-License-Identifier: MIT */
/*
 * The bench of bench.h, and the fake library that stands in for libbaton at link time.
 */
#include "tests/unit/rv64/bench.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static struct {
    pthread_mutex_t lock;
    bool missing[RAM_PAGES], dirty[RAM_PAGES];
    unsigned marks, ensures;
} fake = {.lock = PTHREAD_MUTEX_INITIALIZER};

struct baton {
    int nothing;
};
static struct baton the_baton;
struct baton *const fake_baton = &the_baton;
void (*fake_on_ensure)(uint64_t gpa);
void (*fake_on_mark)(uint64_t gpa);

void fake_reset(void)
{
    memset(fake.missing, 0, sizeof(fake.missing));
    memset(fake.dirty, 0, sizeof(fake.dirty));
    fake.marks = fake.ensures = 0;
    fake_on_ensure = fake_on_mark = NULL;
}

static unsigned page_of(uint64_t gpa)
{
    return (unsigned)((gpa - RAM_BASE) / 4096);
}

void fake_set_present(uint64_t gpa, bool present)
{
    fake.missing[page_of(gpa)] = !present;
}

bool fake_is_dirty(uint64_t gpa)
{
    return fake.dirty[page_of(gpa)];
}

void fake_clear_dirty(void)
{
    memset(fake.dirty, 0, sizeof(fake.dirty));
    fake.marks = 0;
}

unsigned fake_marks(void)
{
    return fake.marks;
}

unsigned fake_ensures(void)
{
    return fake.ensures;
}

void baton_ram_ensure(struct baton *baton, unsigned waiter, unsigned block, uint64_t offset)
{
    fake.ensures++;
    if (fake_on_ensure)
        fake_on_ensure(RAM_BASE + offset);
    fake.missing[offset / 4096] = false;
}

bool baton_ram_is_present(struct baton *baton, unsigned block, uint64_t offset,
                          uint64_t length_bytes)
{
    for (uint64_t at = offset; at < offset + length_bytes; at += 4096)
        if (fake.missing[at / 4096])
            return false;
    return true;
}

void baton_ram_mark_dirty(struct baton *baton, unsigned block, uint64_t offset,
                          uint64_t length_bytes)
{
    if (fake_on_mark)
        fake_on_mark(RAM_BASE + offset);
    pthread_mutex_lock(&fake.lock);
    for (uint64_t at = offset; at < offset + length_bytes; at += 4096)
        fake.dirty[at / 4096] = true;
    fake.marks++;
    pthread_mutex_unlock(&fake.lock);
}

void baton_save_bytes(struct baton_save *save, const void *bytes, size_t length_bytes)
{
    assert_true(save->length_bytes + length_bytes <= sizeof(save->bytes));
    memcpy(save->bytes + save->length_bytes, bytes, length_bytes);
    save->length_bytes += length_bytes;
}

void baton_save_u8(struct baton_save *save, uint8_t value)
{
    baton_save_bytes(save, &value, 1);
}

void baton_save_u64(struct baton_save *save, uint64_t value)
{
    value = __builtin_bswap64(value);
    baton_save_bytes(save, &value, 8);
}

void baton_load_bytes(struct baton_load *load, void *bytes, size_t length_bytes)
{
    memset(bytes, 0, length_bytes);
    if (length_bytes > load->length_bytes - load->at) {
        load->bad = true;
        load->at = load->length_bytes;
        return;
    }
    memcpy(bytes, load->bytes + load->at, length_bytes);
    load->at += length_bytes;
}

uint8_t baton_load_u8(struct baton_load *load)
{
    uint8_t value;

    baton_load_bytes(load, &value, 1);
    return value;
}

uint64_t baton_load_u64(struct baton_load *load)
{
    uint64_t value;

    baton_load_bytes(load, &value, 8);
    return __builtin_bswap64(value);
}

bool baton_load_ok(const struct baton_load *load)
{
    return !load->bad;
}

static void wait_begin(void *opaque, unsigned index)
{
    struct bench *bench = opaque;

    bench->waits_begun++;
}

static bool wait_end(void *opaque, unsigned index)
{
    struct bench *bench = opaque;

    bench->waits_ended++;
    return bench->leave_after_wait;
}

static uint64_t ticks(void *opaque)
{
    struct bench *bench = opaque;

    return bench->ticks;
}

static uint64_t mmio_read(void *opaque, uint64_t offset, unsigned size)
{
    struct bench *bench = opaque;

    bench->mmio.reads++;
    bench->mmio.offset = offset;
    bench->mmio.size = size;
    return bench->mmio.value;
}

static void mmio_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct bench *bench = opaque;

    bench->mmio.writes++;
    bench->mmio.offset = offset;
    bench->mmio.size = size;
    bench->mmio.value = value;
}

static const struct vmm_mmio_ops mmio_ops = {mmio_read, mmio_write};

void bench_init(struct bench *bench)
{
    struct vmm_cpu_host host = {wait_begin, wait_end, ticks, bench};
    struct baton_error error;

    memset(bench, 0, sizeof(*bench));
    fake_reset();
    assert_int_equal(vmm_memory_init(&bench->memory, RAM_BASE, RAM_BYTES, &error), 0);
    vmm_memory_add_mmio(&bench->memory, "device", MMIO_BASE, 0x100, &mmio_ops, bench);
    bench->memory.baton = fake_baton;
    assert_int_equal(vmm_cpu_rv64.create(0, &bench->memory, &host, &bench->cpu, &error), 0);
    vmm_cpu_rv64.reset(bench->cpu, CODE, 0, 0);
    bench->cpu->mtvec = TRAP_WFI;
    bench->cpu->stvec = TRAP_WFI;
    bench_write32(bench, TRAP_WFI, WFI);
    /* all memory for S and U */
    bench->cpu->pmpaddr[15] = ((uint64_t)1 << 54) - 1;
    bench->cpu->pmpcfg[15] = PMP_NAPOT | PMP_R | PMP_W | PMP_X;
}

void bench_fini(struct bench *bench)
{
    vmm_cpu_rv64.free(bench->cpu);
    vmm_memory_fini(&bench->memory);
}

int bench_setup(void **state)
{
    struct bench *bench = malloc(sizeof(*bench));

    if (!bench)
        return -1;
    bench_init(bench);
    *state = bench;
    return 0;
}

int bench_teardown(void **state)
{
    bench_fini(*state);
    free(*state);
    return 0;
}

void bench_write(struct bench *bench, uint64_t gpa, const void *bytes, size_t length_bytes)
{
    uint8_t *host = vmm_memory_ram(&bench->memory, gpa, length_bytes);

    assert_non_null(host);
    baton_guest_write(host, bytes, length_bytes);
}

void bench_write32(struct bench *bench, uint64_t gpa, uint32_t value)
{
    bench_write(bench, gpa, &value, 4);
}

void bench_write64(struct bench *bench, uint64_t gpa, uint64_t value)
{
    bench_write(bench, gpa, &value, 8);
}

uint32_t bench_read32(struct bench *bench, uint64_t gpa)
{
    return baton_guest_load_u32(vmm_memory_ram(&bench->memory, gpa, 4));
}

uint64_t bench_read64(struct bench *bench, uint64_t gpa)
{
    return baton_guest_load_u64(vmm_memory_ram(&bench->memory, gpa, 8));
}

void bench_go(struct bench *bench)
{
    for (unsigned tries = 0; tries < 100; tries++)
        if (vmm_cpu_rv64.run(bench->cpu) == VMM_CPU_EXIT_IDLE)
            return;
    fail_msg("the hart does not come to a WFI");
}

void bench_code(struct bench *bench, const uint32_t *code, size_t count)
{
    for (size_t i = 0; i < count; i++)
        bench_write32(bench, CODE + 4 * i, code[i]);
    bench_write32(bench, CODE + 4 * count, WFI);
    rv64_code_fence_i(bench->cpu);
    bench->cpu->pc = CODE;
    bench_go(bench);
}

void bench_priv(struct bench *bench, unsigned priv)
{
    bench->cpu->priv = (uint8_t)priv;
    rv64_mode_update(bench->cpu);
}

void bench_expect_trap(struct bench *bench, uint64_t cause, uint64_t epc, uint64_t tval)
{
    struct vmm_cpu *cpu = bench->cpu;

    assert_int_equal(cpu->pc, TRAP_WFI + 4);
    assert_int_equal(cpu->priv, RV64_PRIV_M);
    assert_int_equal(cpu->mcause, cause);
    assert_int_equal(cpu->mepc, epc);
    assert_int_equal(cpu->mtval, tval);
}
