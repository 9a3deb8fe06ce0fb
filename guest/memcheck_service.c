/* SPDX-License-Identifier: MIT */
/*
 * The memory checker's service: heartbeat and commands (guest/README.md lists both).
 *
 * Runs in one thread or hart only. It reads the workers' counters, asks for things by atomics, and
 * never waits for a worker: a worker may stand still for as long as its page is on another host,
 * and the heartbeat should go on where it can.
 *
 * Input comes byte by byte from a person or a script. A line that is too long or not understood is
 * answered and forgotten.
 */
#include "memcheck_core.h"
#include "memcheck_line.h"

#define load(p) __atomic_load_n(p, __ATOMIC_RELAXED)

static void say(const char *text)
{
    struct mc_line line;

    mc_line_begin(&line);
    mc_line_str(&line, text);
    mc_line_end(&line);
}

static uint64_t total(size_t field_offset)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < mc_control.worker_count; i++)
        sum += load((uint64_t *)(void *)((char *)&mc_workers[i] + field_offset));
    return sum;
}

uint64_t mc_errors(void)
{
    return total(offsetof(struct mc_worker, errors));
}

bool mc_quitting(void)
{
    return __atomic_load_n(&mc_control.quit, __ATOMIC_ACQUIRE);
}

/* ---- Reports ---- */

static void print_beat(void)
{
    uint64_t ms = (mc_platform_ticks() - mc_control.start_ticks) / (mc_control.ticks_per_s / 1000);
    struct mc_line line;

    mc_line_begin(&line);
    mc_line_u64(&line, "beat=", ++mc_control.beat);
    mc_line_u64(&line, " pages=", mc_control.page_count);
    mc_line_u64(&line, " verified=", total(offsetof(struct mc_worker, verified)));
    mc_line_u64(&line, " rewritten=", total(offsetof(struct mc_worker, rewritten)));
    mc_line_u64(&line, " errors=", mc_errors());
    mc_line_u64(&line, " t=", ms / 1000);
    mc_line_char(&line, '.');
    mc_line_char(&line, (char)('0' + ms / 100 % 10));
    mc_line_char(&line, (char)('0' + ms / 10 % 10));
    mc_line_char(&line, (char)('0' + ms % 10));
    mc_line_end(&line);
}

static void print_ready(void)
{
    struct mc_line line;

    mc_line_begin(&line);
    mc_line_u64(&line, "ready harts=", mc_control.worker_count);
    mc_line_u64(&line, " pages=", mc_control.page_count);
    mc_line_end(&line);
}

static void print_verdict(void)
{
    uint64_t errors = mc_errors();
    struct mc_line line;

    mc_line_begin(&line);
    mc_line_u64(&line, "full verify pages=", mc_control.page_count);
    mc_line_u64(&line, " errors=", errors);
    mc_line_str(&line, errors ? " FAILED" : " OK");
    mc_line_end(&line);
}

static bool is_filled(void)
{
    return __atomic_load_n(&mc_control.filled, __ATOMIC_ACQUIRE) >= mc_control.worker_count;
}

bool mc_service_waits(void)
{
    return !mc_control.ready_reported || mc_control.verify_reported != mc_control.verify_request;
}

void mc_service(bool beat)
{
    if (!mc_control.ready_reported && is_filled()) {
        mc_control.ready_reported = true;
        print_ready();
    }
    if (mc_control.verify_reported != mc_control.verify_request &&
        __atomic_load_n(&mc_control.finished, __ATOMIC_ACQUIRE) ==
            mc_control.verify_request * mc_control.worker_count) {
        mc_control.verify_reported = mc_control.verify_request;
        print_verdict();
    }
    if (beat && mc_control.ready_reported)
        print_beat();
}

/* ---- Commands ---- */

/* Parses a decimal number that is all of the text. */
static bool parse_u64(const char *text, uint64_t *value)
{
    uint64_t result = 0;

    if (!*text)
        return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9' || result > UINT64_MAX / 10 - 1)
            return false;
        result = result * 10 + (uint64_t)(*text - '0');
    }
    *value = result;
    return true;
}

/* The rest of the text behind the word, or NULL when it does not begin with it. */
static const char *after_word(const char *text, const char *word)
{
    while (*word)
        if (*text++ != *word++)
            return NULL;
    return text;
}

static void command_verify(void)
{
    if (mc_control.verify_request != mc_control.verify_reported) {
        say("a full verify is under way");
        return;
    }
    __atomic_store_n(&mc_control.verify_request, mc_control.verify_request + 1, __ATOMIC_RELEASE);
}

static void command_rate(const char *argument)
{
    struct mc_line line;
    uint64_t rate;

    if (!parse_u64(argument, &rate)) {
        say("rate: wants a number of rewrites per second, 0 for no limit");
        return;
    }
    mc_set_rate(rate);
    mc_line_begin(&line);
    mc_line_u64(&line, "rate=", mc_control.rate);
    mc_line_end(&line);
}

static void command_corrupt(const char *argument)
{
    uint64_t number;

    if (parse_u64(argument, &number))
        for (unsigned i = 0; i < mc_control.worker_count; i++) {
            struct mc_worker *worker = &mc_workers[i];

            if (number < worker->first || number >= worker->first + worker->count ||
                (number >= worker->hole && number < worker->hole_end))
                continue;
            __atomic_store_n(&worker->corrupt, number + 1, __ATOMIC_RELAXED);
            return;
        }
    say("corrupt: wants the number of a page");
}

static void command(const char *text)
{
    const char *argument;

    if (!*text)
        return;
    if ((argument = after_word(text, "verify")) && !*argument)
        command_verify();
    else if ((argument = after_word(text, "rate ")))
        command_rate(argument);
    else if ((argument = after_word(text, "corrupt ")))
        command_corrupt(argument);
    else if ((argument = after_word(text, "quit")) && !*argument) {
        say("quit");
        __atomic_store_n(&mc_control.quit, true, __ATOMIC_RELEASE);
    } else {
        say("unknown command; there are: verify, rate N, corrupt N, quit");
    }
}

void mc_service_byte(char byte)
{
    if (byte == '\n' || byte == '\r') {
        mc_control.line[mc_control.line_length] = 0;
        if (mc_control.line_too_long)
            say("the line is too long");
        else
            command(mc_control.line);
        mc_control.line_length = 0;
        mc_control.line_too_long = false;
        return;
    }
    if (mc_control.line_length < sizeof(mc_control.line) - 1)
        mc_control.line[mc_control.line_length++] = byte;
    else
        mc_control.line_too_long = true;
}
