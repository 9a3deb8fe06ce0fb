/* SPDX-License-Identifier: MIT */
/*
 * The bare-metal memory checker: what memcheck_core.c needs, on the virt machine, with nothing
 * below it.
 *
 * Problem. A guest that boots in milliseconds, uses every page of RAM, and has as much CPU state in
 * play as possible: several harts in machine mode, timer interrupts, software interrupts at start,
 * wait-for-interrupt, floating point with an unusual rounding mode.
 *
 * Data. RAM is image | table of generations | pages. The device tree stays where it is: its pages
 * are a hole in the numbering. Each hart has a timer interrupt every BARE_TICK_MS, which only
 * counts. Hart 0 looks at that count between two pages, and then reads the UART, and every
 * MC_BEAT_MS prints the heartbeat. Nothing is printed inside an interrupt.
 *
 * Invariants. The UART is written under uart_lock and a line is written whole. Per-hart data has
 * one writer.
 *
 * Failure. An exception or a machine that cannot be used (no device tree, no room) is printed, and
 * the machine powers off.
 */
#include "../memcheck_core.h"
#include "../memcheck_line.h"
#include "fdt.h"

#define BARE_TICK_MS 10
#define TICKS_PER_S UINT64_C(10000000) /* the virt machine's timebase */
#define TICK (TICKS_PER_S / 1000 * BARE_TICK_MS)
#define MIN_PAGES_PER_HART 64

#define UART ((volatile uint8_t *)0x10000000)
#define CLINT_MSIP ((volatile uint32_t *)0x02000000)
#define CLINT_MTIMECMP ((volatile uint64_t *)0x02004000)
#define CLINT_MTIME ((volatile uint64_t *)0x0200bff8)
#define POWEROFF ((volatile uint32_t *)0x00100000)

enum { UART_DATA = 0, UART_IER = 1, UART_FCR = 2, UART_LCR = 3, UART_LSR = 5 };
enum { LSR_DATA_READY = 0x01, LSR_THR_EMPTY = 0x20 };

#define MIE_MTIE UINT64_C(0x80)
#define MSTATUS_MIE UINT64_C(0x8)
#define CAUSE_TIMER (UINT64_C(1) << 63 | 7)

#define csr_read(name)                                                                             \
    ({                                                                                             \
        uint64_t csr_value;                                                                        \
        __asm__ volatile("csrr %0, " #name : "=r"(csr_value) : : "memory");                        \
        csr_value;                                                                                 \
    })
#define csr_write(name, value) __asm__ volatile("csrw " #name ", %0" : : "r"(value) : "memory")
#define csr_set(name, value) __asm__ volatile("csrs " #name ", %0" : : "r"(value) : "memory")

struct hart {
    uint64_t ticks;      /* counted by the interrupt */
    uint64_t ticks_seen; /* by mc_platform_poll() */
    uint64_t next_timer;
};

extern uint32_t bare_release;
extern uint8_t __image_end[];

static struct hart harts[MC_MAX_WORKERS];
static unsigned uart_lock;

void bare_main(uint64_t hart, const uint8_t *fdt);
void bare_secondary(uint64_t hart);
void bare_trap(void);
void *memcpy(void *to, const void *from, size_t bytes);
void *memset(void *to, int byte, size_t bytes);

/* The compiler may call these two even in freestanding code. Volatile: it must not turn the loops
 * into calls of themselves. */
void *memcpy(void *to, const void *from, size_t bytes)
{
    volatile uint8_t *out = to;
    const uint8_t *in = from;

    while (bytes--)
        *out++ = *in++;
    return to;
}

void *memset(void *to, int byte, size_t bytes)
{
    volatile uint8_t *out = to;

    while (bytes--)
        *out++ = (uint8_t)byte;
    return to;
}

/* ---- Console and power ---- */

static void uart_put(char c)
{
    while (!(UART[UART_LSR] & LSR_THR_EMPTY))
        ;
    UART[UART_DATA] = (uint8_t)c;
}

void mc_platform_write(const char *text, size_t length_bytes)
{
    while (__atomic_exchange_n(&uart_lock, 1, __ATOMIC_ACQUIRE))
        ;
    for (size_t i = 0; i < length_bytes; i++) {
        if (text[i] == '\n')
            uart_put('\r');
        uart_put(text[i]);
    }
    __atomic_store_n(&uart_lock, 0, __ATOMIC_RELEASE);
}

static void uart_init(void)
{
    UART[UART_IER] = 0;
    UART[UART_LCR] = 3; /* 8 bits */
    UART[UART_FCR] = 7; /* FIFOs on and empty: a burst of input between two ticks fits */
}

static _Noreturn void power_off(void)
{
    *POWEROFF = 0x5555;
    for (;;)
        __asm__ volatile("wfi");
}

static _Noreturn void die(struct mc_line *line)
{
    mc_line_end(line);
    power_off();
}

static _Noreturn void die_saying(const char *text)
{
    struct mc_line line;

    mc_line_begin(&line);
    mc_line_str(&line, text);
    die(&line);
}

/* ---- Interrupts ---- */

static __attribute__((noinline)) _Noreturn void die_of_exception(uint64_t cause)
{
    struct mc_line line;

    uart_lock = 0; /* it may be ours */
    mc_line_begin(&line);
    mc_line_u64(&line, "TRAP hart=", csr_read(mhartid));
    mc_line_hex(&line, " cause=", cause);
    mc_line_hex(&line, " pc=", csr_read(mepc));
    mc_line_hex(&line, " value=", csr_read(mtval));
    die(&line);
}

static void set_timer(unsigned index, uint64_t now)
{
    struct hart *hart = &harts[index];

    hart->next_timer += TICK;
    if (hart->next_timer <= now) /* ticks that were missed are not made up for */
        hart->next_timer = now + TICK;
    CLINT_MTIMECMP[index] = hart->next_timer;
}

__attribute__((interrupt("machine"), aligned(4))) void bare_trap(void)
{
    uint64_t cause = csr_read(mcause);
    unsigned index = (unsigned)csr_read(mhartid);

    if (cause != CAUSE_TIMER)
        die_of_exception(cause);
    __atomic_store_n(&harts[index].ticks, harts[index].ticks + 1, __ATOMIC_RELAXED);
    set_timer(index, *CLINT_MTIME);
}

uint64_t mc_platform_ticks(void)
{
    return *CLINT_MTIME;
}

void mc_platform_idle(struct mc_worker *worker)
{
    __asm__ volatile("wfi" : : : "memory");
}

/* Every hart rounds in its own way, and notices when that is lost. */
static uint64_t rounding_mode(unsigned index)
{
    return (index + 1) % 5;
}

static void service(const struct hart *hart, uint64_t ticks)
{
    const unsigned beat_ticks = MC_BEAT_MS / BARE_TICK_MS;

    for (unsigned i = 0; i < 64 && (UART[UART_LSR] & LSR_DATA_READY); i++)
        mc_service_byte((char)UART[UART_DATA]);
    mc_service(ticks / beat_ticks != hart->ticks_seen / beat_ticks);
}

void mc_platform_poll(struct mc_worker *worker)
{
    struct hart *hart = &harts[worker->index];
    uint64_t ticks = __atomic_load_n(&hart->ticks, __ATOMIC_RELAXED);

    if (ticks == hart->ticks_seen)
        return;
    if (csr_read(frm) != rounding_mode(worker->index)) {
        mc_worker_error(worker, "WRONG ROUNDING MODE");
        csr_write(frm, rounding_mode(worker->index));
    }
    if (worker->index == 0)
        service(hart, ticks);
    hart->ticks_seen = ticks;
}

/* ---- Start ---- */

static void run(unsigned index)
{
    csr_write(frm, rounding_mode(index));
    set_timer(index, *CLINT_MTIME);
    csr_write(mie, MIE_MTIE);
    csr_set(mstatus, MSTATUS_MIE);
    mc_worker_run(&mc_workers[index]);
}

void bare_secondary(uint64_t hart)
{
    if (hart < mc_control.worker_count)
        run((unsigned)hart);
}

/* Lays out RAM behind the image. */
static void set_up(const struct bare_fdt *tree, uint64_t fdt)
{
    uint64_t table = (uint64_t)__image_end, end = tree->ram_base + tree->ram_bytes;
    uint64_t table_bytes = ((end - table) / MC_PAGE_BYTES * sizeof(uint32_t) + MC_PAGE_BYTES - 1) /
                           MC_PAGE_BYTES * MC_PAGE_BYTES;
    uint64_t memory = table + table_bytes, pages, hole = 0, hole_end = 0;
    unsigned workers = tree->harts < MC_MAX_WORKERS ? tree->harts : MC_MAX_WORKERS;

    if (memory >= end || (end - memory) / MC_PAGE_BYTES < (uint64_t)workers * MIN_PAGES_PER_HART)
        die_saying("not enough memory");
    pages = (end - memory) / MC_PAGE_BYTES;
    if (fdt < memory && fdt + tree->total_bytes > table)
        die_saying("the device tree lies where the table should be");
    if (fdt >= memory && fdt < end) {
        hole = (fdt - memory) / MC_PAGE_BYTES;
        hole_end = (fdt - memory + tree->total_bytes + MC_PAGE_BYTES - 1) / MC_PAGE_BYTES;
        if (hole_end > pages)
            hole_end = pages;
    }
    for (uint64_t *word = (uint64_t *)table; (uint64_t)word < memory; word++)
        *word = 0;
    mc_init(workers, (uint8_t *)memory, (uint32_t *)table, pages, hole, hole_end, TICKS_PER_S);
}

void bare_main(uint64_t hart, const uint8_t *fdt)
{
    struct bare_fdt tree;

    uart_init();
    if (!fdt || !bare_fdt_parse(fdt, (uint64_t)__image_end, &tree))
        die_saying("no usable device tree in a1");
    set_up(&tree, (uint64_t)fdt);
    __atomic_store_n(&bare_release, 1, __ATOMIC_SEQ_CST);
    for (unsigned i = 1; i < mc_control.worker_count; i++)
        CLINT_MSIP[i] = 1;
    run((unsigned)hart);
    power_off();
}
