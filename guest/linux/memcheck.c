/* SPDX-License-Identifier: MIT */
/*
 * The memory checker as a program for Linux: what memcheck_core.c needs, from threads and files.
 *
 * Problem. The same checker inside a real kernel: page tables, scheduling and the console's driver
 * come along.
 *
 * Data. One mapping holds the pages, another the table of generations. A thread per worker, tied to
 * a hart; the main thread is the service: it waits for input and for the next heartbeat.
 *
 * Invariants. Workers are never cancelled: they leave their loop when the service sets quit.
 *
 * Failure. Bad arguments or no memory: one sentence, status 2. Wrong pages: status 1 at the end.
 * Where standard input ends or cannot be read, the checker goes on without commands.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "../memcheck_core.h"

#define NS_PER_S UINT64_C(1000000000)
#define MIB_BYTES (UINT64_C(1) << 20)
#define IDLE_NS 10000000
#define VERIFY_POLL_MS 20

struct options {
    uint64_t mib, threads, rate;
};

/* ---- What the core asks for ---- */

void mc_platform_write(const char *text, size_t length_bytes)
{
    /* stdio's lock keeps lines whole. */
    fwrite(text, 1, length_bytes, stdout);
    fflush(stdout);
}

uint64_t mc_platform_ticks(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

void mc_platform_poll(struct mc_worker *worker)
{
    (void)worker; /* the service has its own thread */
}

void mc_platform_idle(struct mc_worker *worker)
{
    struct timespec wait = {.tv_nsec = IDLE_NS};

    (void)worker;
    nanosleep(&wait, NULL);
}

/* ---- Start ---- */

static _Noreturn void die(const char *what, int error)
{
    fprintf(stderr, "memcheck: %s%s%s\n", what, error ? ": " : "", error ? strerror(error) : "");
    exit(2);
}

static uint64_t parse_number(const char *text)
{
    char *end;
    unsigned long long value;

    errno = 0;
    value = strtoull(text, &end, 10);
    if (errno || end == text || *end || *text == '-')
        die("an option wants a number; usage: memcheck [--mib N] [--threads N] [--rate N]", 0);
    return value;
}

static struct options parse_options(int argc, char **argv)
{
    struct options options = {
        .mib = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) / MIB_BYTES / 2,
        .threads = (uint64_t)sysconf(_SC_NPROCESSORS_ONLN),
    };

    if (options.threads > MC_MAX_WORKERS)
        options.threads = MC_MAX_WORKERS;
    for (int i = 1; i < argc; i += 2) {
        uint64_t value = i + 1 < argc ? parse_number(argv[i + 1]) : 0;

        if (i + 1 == argc)
            die("usage: memcheck [--mib N] [--threads N] [--rate N]", 0);
        if (!strcmp(argv[i], "--mib"))
            options.mib = value;
        else if (!strcmp(argv[i], "--threads"))
            options.threads = value;
        else if (!strcmp(argv[i], "--rate"))
            options.rate = value;
        else
            die("unknown option; usage: memcheck [--mib N] [--threads N] [--rate N]", 0);
    }
    if (options.mib < 1 || options.mib > UINT64_C(1) << 24)
        die("--mib must be at least 1 and at most 16777216", 0);
    if (options.threads < 1 || options.threads > MC_MAX_WORKERS)
        die("--threads must be at least 1 and at most 16", 0);
    return options;
}

static void *map(uint64_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        die("no memory for so many pages; use a smaller --mib", errno);
    return memory;
}

/* Tied to a hart, so that every hart has work. Where that is refused the scheduler may do as it
 * likes. */
static void tie_to_hart(unsigned index)
{
    cpu_set_t set;
    long harts = sysconf(_SC_NPROCESSORS_ONLN);

    CPU_ZERO(&set);
    CPU_SET(index % (unsigned)(harts > 0 ? harts : 1), &set);
    sched_setaffinity(0, sizeof(set), &set);
}

static void *worker_main(void *opaque)
{
    struct mc_worker *worker = opaque;

    tie_to_hart(worker->index);
    mc_worker_run(worker);
    return NULL;
}

/* A terminal that repeats what is sent to it would mix it into our lines. */
static void stop_echo(void)
{
    struct termios settings;

    if (tcgetattr(STDIN_FILENO, &settings))
        return;
    settings.c_lflag &= ~(tcflag_t)ECHO;
    tcsetattr(STDIN_FILENO, TCSANOW, &settings);
}

/* Waits for input for at most wait_ms and passes it on. False: there will be none any more. */
static bool read_input(int wait_ms)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    char bytes[64];
    ssize_t length;

    if (poll(&input, 1, wait_ms) <= 0)
        return true;
    length = read(STDIN_FILENO, bytes, sizeof(bytes));
    if (length < 0)
        return errno == EINTR || errno == EAGAIN;
    for (ssize_t i = 0; i < length; i++)
        mc_service_byte(bytes[i]);
    return length > 0;
}

static void serve(void)
{
    const uint64_t period = MC_BEAT_MS * (NS_PER_S / 1000);
    uint64_t next = mc_platform_ticks() + period;
    bool input = true;

    while (!mc_quitting()) {
        uint64_t now = mc_platform_ticks();
        bool beat = now >= next;
        int wait_ms;

        mc_service(beat);
        if (beat)
            next = next + period > now ? next + period : now + period;
        wait_ms = (int)((next - now) / (NS_PER_S / 1000)) + 1;
        if ((mc_service_waits() || !input) && wait_ms > VERIFY_POLL_MS)
            wait_ms = VERIFY_POLL_MS;
        if (input)
            input = read_input(wait_ms);
        else
            poll(NULL, 0, wait_ms);
    }
}

int main(int argc, char **argv)
{
    struct options options = parse_options(argc, argv);
    uint64_t pages = options.mib * MIB_BYTES / MC_PAGE_BYTES;
    pthread_t threads[MC_MAX_WORKERS];

    stop_echo();
    mc_init((unsigned)options.threads, map(pages * MC_PAGE_BYTES), map(pages * sizeof(uint32_t)),
            pages, 0, 0, NS_PER_S);
    mc_set_rate(options.rate);
    for (unsigned i = 0; i < options.threads; i++) {
        int error = pthread_create(&threads[i], NULL, worker_main, &mc_workers[i]);

        if (error)
            die("cannot start a thread; use fewer --threads", error);
    }
    serve();
    for (unsigned i = 0; i < options.threads; i++)
        pthread_join(threads[i], NULL);
    return mc_errors() ? 1 : 0;
}
