/* SPDX-License-Identifier: MIT */
/*
 * The memory checker: workers and service.
 *
 * Problem. A migration may lose a page, bring an old copy, mix two copies, or lose a register. A
 * guest that uses all its memory hard and knows at any time what every byte must be notices, and
 * says so.
 *
 * Data. Each worker owns a slice of pages (memcheck_page.h) and, for each page, the generation that
 * it must have: the table is guest memory too, so a sum over it stands beside it in the worker.
 * Between two pages slice, table and sum agree; nobody but the worker writes them, so nothing is
 * locked. Counters have one writer and are read with relaxed atomics.
 *
 * A full verification first stops all workers (each arrives and waits until all have), then every
 * worker checks its own slice, ballast and zero pages included, and counts itself as finished; the
 * service sees the last one and prints the verdict.
 *
 * Floating point. The worker's loop keeps running values in floating-point registers whose closed
 * form is exact, whatever the rounding mode; they are compared at every turn.
 *
 * Failure. A wrong page is described once in a while (MC_MAX_REPORTS a worker), always counted,
 * never repaired by a rewrite: the count never goes down and every later verification says FAILED.
 */
#include "memcheck_core.h"
#include "memcheck_line.h"

#define MC_MAX_REPORTS 8

#ifdef __riscv
#define MC_REGISTER(variable) "+f"(variable)
#else /* natively, in a unit test: only the arithmetic matters */
#define MC_REGISTER(variable) "+m"(variable)
#endif

#define load(p) __atomic_load_n(p, __ATOMIC_RELAXED)
#define store(p, v) __atomic_store_n(p, v, __ATOMIC_RELAXED)

struct mc_control mc_control;
struct mc_worker mc_workers[MC_MAX_WORKERS];

static void count(uint64_t *counter)
{
    store(counter, *counter + 1);
}

static uint64_t *page_at(const struct mc_worker *worker, uint64_t index)
{
    return (uint64_t *)(void *)(worker->memory + index * MC_PAGE_BYTES);
}

static uint64_t table_hash(uint64_t number, uint64_t generation)
{
    return (number * UINT64_C(0x9e3779b97f4a7c15) ^ generation) * UINT64_C(0xd1342543de82ef95);
}

static bool in_hole(const struct mc_worker *worker, uint64_t index)
{
    uint64_t number = worker->first + index;

    return number >= worker->hole && number < worker->hole_end;
}

static void set_generation(struct mc_worker *worker, uint64_t index, uint32_t generation)
{
    uint64_t number = worker->first + index;

    worker->table_sum -= table_hash(number, worker->generations[index]);
    worker->generations[index] = generation;
    worker->table_sum += table_hash(number, generation);
}

/* ---- Wrong pages ---- */

static const char *page_diagnosis(const uint64_t *page, uint64_t number, uint64_t generation)
{
    uint64_t unused;

    if (mc_page_check_zero(page) == MC_PAGE_WORDS)
        return "(all zero)";
    if (mc_page_check(page, page[0], page[1], &unused) != MC_PAGE_WORDS)
        return "(torn or overwritten)";
    if (page[0] != number)
        return "(whole, but another page)";
    return page[1] < generation ? "(whole, but stale)" : "(whole, but too new)";
}

static void report_wrong(struct mc_worker *worker, const uint64_t *page, uint64_t number,
                         uint64_t generation, unsigned word, uint64_t expected)
{
    uint64_t found = page[word];
    unsigned byte = 0;
    struct mc_line line;

    count(&worker->errors);
    if (worker->reports >= MC_MAX_REPORTS)
        return;
    worker->reports++;
    while (byte < 7 && ((expected ^ found) >> (8 * byte) & 0xff) == 0)
        byte++;
    mc_line_begin(&line);
    mc_line_u64(&line, "WRONG PAGE number=", number);
    mc_line_u64(&line, " expected generation=", generation);
    mc_line_u64(&line, " found number=", page[0]);
    mc_line_u64(&line, " generation=", page[1]);
    mc_line_u64(&line, " offset=", word * 8 + byte);
    mc_line_hex(&line, " expected_byte=", expected >> (8 * byte) & 0xff);
    mc_line_hex(&line, " found_byte=", found >> (8 * byte) & 0xff);
    mc_line_char(&line, ' ');
    mc_line_str(&line, page_diagnosis(page, number, generation));
    mc_line_end(&line);
}

void mc_worker_error(struct mc_worker *worker, const char *what)
{
    struct mc_line line;

    count(&worker->errors);
    mc_line_begin(&line);
    mc_line_str(&line, what);
    mc_line_u64(&line, " worker=", worker->index);
    mc_line_end(&line);
}

static bool check_page(struct mc_worker *worker, uint64_t index)
{
    const uint64_t *page = page_at(worker, index);
    uint64_t number = worker->first + index, generation = worker->generations[index];
    uint64_t expected = 0;
    unsigned word;

    if (mc_page_kind(number) == MC_ZERO)
        word = mc_page_check_zero(page);
    else
        word = mc_page_check(page, number, generation, &expected);
    if (word == MC_PAGE_WORDS)
        return true;
    report_wrong(worker, page, number, generation, word, expected);
    return false;
}

/* ---- A worker's work ---- */

static void fill(struct mc_worker *worker)
{
    for (uint64_t i = 0; i < worker->count; i++) {
        mc_platform_poll(worker);
        if (mc_quitting())
            return;
        if (in_hole(worker, i))
            continue;
        worker->table_sum += table_hash(worker->first + i, worker->generations[i]);
        if (mc_page_kind(worker->first + i) == MC_ZERO)
            continue;
        set_generation(worker, i, 1);
        mc_page_write(page_at(worker, i), worker->first + i, 1);
    }
}

static void verify_slice(struct mc_worker *worker)
{
    uint64_t sum = 0;

    for (uint64_t i = 0; i < worker->count; i++) {
        mc_platform_poll(worker);
        if (mc_quitting())
            return;
        if (in_hole(worker, i))
            continue;
        sum += table_hash(worker->first + i, worker->generations[i]);
        check_page(worker, i);
    }
    if (sum != worker->table_sum)
        mc_worker_error(worker, "WRONG TABLE of generations");
}

static void verify_round(struct mc_worker *worker)
{
    unsigned everyone;

    worker->verify_seen++;
    everyone = worker->verify_seen * mc_control.worker_count;
    __atomic_fetch_add(&mc_control.arrived, 1, __ATOMIC_ACQ_REL);
    while (__atomic_load_n(&mc_control.arrived, __ATOMIC_ACQUIRE) < everyone) {
        mc_platform_poll(worker);
        mc_platform_idle(worker);
    }
    verify_slice(worker);
    __atomic_fetch_add(&mc_control.finished, 1, __ATOMIC_RELEASE);
}

static void spoil(struct mc_worker *worker)
{
    uint64_t index = load(&worker->corrupt) - 1 - worker->first;
    struct mc_line line;

    worker->memory[index * MC_PAGE_BYTES + 2049] ^= 0x10;
    store(&worker->corrupt, 0);
    mc_line_begin(&line);
    mc_line_u64(&line, "corrupted page=", worker->first + index);
    mc_line_str(&line, " offset=2049");
    mc_line_end(&line);
}

/* Whether the rate allows one more rewrite now. */
static bool may_rewrite(struct mc_worker *worker)
{
    uint64_t hz = mc_control.ticks_per_s, now, rate;

    if (!__atomic_load_n(&mc_control.limited, __ATOMIC_ACQUIRE))
        return true;
    rate = load(&mc_control.rate);
    rate = rate / mc_control.worker_count + (worker->index < rate % mc_control.worker_count);
    now = mc_platform_ticks();
    if (now - worker->window_ticks >= hz) {
        worker->window_ticks = now;
        worker->window_rewrites = 0;
    }
    /* One more than has been earned: the window's first rewrite is free, so a rate of 1 is 1. */
    return worker->window_rewrites < rate &&
           worker->window_rewrites <= (now - worker->window_ticks) * rate / hz;
}

/* The next page to look at: half of them in order, half at random. Only active ones. */
static bool pick(struct mc_worker *worker, uint64_t *index)
{
    uint64_t random = mc_next(&worker->random);

    for (unsigned tries = 0; tries < 64; tries++) {
        if (random & 1) {
            *index = worker->cursor++;
            if (worker->cursor >= worker->count)
                worker->cursor = 0;
        } else {
            *index = (mc_next(&worker->random) >> 8) % worker->count;
        }
        if (!in_hole(worker, *index) && mc_page_kind(worker->first + *index) == MC_ACTIVE)
            return true;
        if (in_hole(worker, *index) && (random & 1))
            worker->cursor = worker->hole_end - worker->first < worker->count
                                 ? worker->hole_end - worker->first
                                 : 0;
    }
    return false; /* hardly any active page in the slice */
}

/* Checks a page and perhaps rewrites it. False: nothing more may be done for now. */
static bool work(struct mc_worker *worker)
{
    bool wants_rewrite = mc_next(&worker->random) >> 20 & 1, allowed = true;
    uint64_t index;

    if (!pick(worker, &index))
        return false;
    if (wants_rewrite)
        allowed = may_rewrite(worker);
    if (check_page(worker, index) && wants_rewrite && allowed) {
        uint32_t generation = worker->generations[index] + 1;

        mc_page_write(page_at(worker, index), worker->first + index, generation);
        set_generation(worker, index, generation);
        worker->window_rewrites++;
        count(&worker->rewritten);
    }
    count(&worker->verified);
    return allowed;
}

void mc_worker_run(struct mc_worker *worker)
{
    uint64_t turn = 0;
    double up = 0, quarter = 0, down = 0;

    fill(worker);
    __atomic_fetch_add(&mc_control.filled, 1, __ATOMIC_RELEASE);
    while (load(&mc_control.filled) < mc_control.worker_count && !mc_quitting()) {
        mc_platform_poll(worker);
        mc_platform_idle(worker);
    }

    while (!mc_quitting()) {
        mc_platform_poll(worker);
        if (__atomic_load_n(&mc_control.verify_request, __ATOMIC_ACQUIRE) != worker->verify_seen)
            verify_round(worker);
        if (load(&worker->corrupt))
            spoil(worker);
        if (!work(worker))
            mc_platform_idle(worker);

        turn++;
        up += 1.0;
        quarter += 0.25;
        down -= 3.0;
        /* Keeps the values in registers and the compiler from knowing the outcome. */
        __asm__ volatile("" : MC_REGISTER(up), MC_REGISTER(quarter), MC_REGISTER(down));
        if (up != (double)turn || quarter != 0.25 * (double)turn || down != -3.0 * (double)turn) {
            mc_worker_error(worker, "WRONG FLOATING POINT REGISTER");
            turn = 0;
        }
        if (turn == 0 || turn == UINT64_C(1) << 40) {
            turn = 0;
            up = quarter = down = 0;
        }
    }
}

/* ---- Set-up ---- */

void mc_init(unsigned workers, uint8_t *memory, uint32_t *generations, uint64_t pages,
             uint64_t hole, uint64_t hole_end, uint64_t ticks_per_s)
{
    uint64_t first = 0;

    mc_control.worker_count = workers;
    mc_control.page_count = pages - (hole_end - hole);
    mc_control.ticks_per_s = ticks_per_s;
    mc_control.start_ticks = mc_platform_ticks();
    for (unsigned i = 0; i < workers; i++) {
        struct mc_worker *worker = &mc_workers[i];

        worker->index = i;
        worker->first = first;
        worker->count = pages / workers + (i < pages % workers);
        worker->memory = memory + first * MC_PAGE_BYTES;
        worker->generations = generations + first;
        worker->hole = hole;
        worker->hole_end = hole_end;
        worker->random = mc_mix(i + 1);
        first += worker->count;
    }
}

void mc_set_rate(uint64_t rewrites_per_s)
{
    /* Far above what can be done, far below what overflows in may_rewrite(). */
    if (rewrites_per_s > 1000000000)
        rewrites_per_s = 1000000000;
    store(&mc_control.rate, rewrites_per_s);
    __atomic_store_n(&mc_control.limited, rewrites_per_s != 0, __ATOMIC_RELEASE);
}
