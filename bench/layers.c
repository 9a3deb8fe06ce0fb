/* SPDX-License-Identifier: MIT */
/*
 * How fast the layers below a migration are on this machine: channels, missing pages, the dirty
 * log.
 *
 * Problem: when a migration is slower than hoped, one wants to know what its parts could do at
 * best, here and today. Data: each figure is the best of ROUNDS short rounds, since whatever else
 * runs on the machine can only make it worse; the fault latencies are percentiles of all faults.
 * Memory is touched and discarded once before it is measured, so that the host's own page supply is
 * warm. Output: one line a figure, "name value unit". Failure: a sentence on standard error and
 * exit status 1.
 */
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "baton/guest.h"
#include "channel/channel.h"
#include "memory/dirty.h"
#include "memory/uffd.h"
#include "memory/waiters.h"

#define ROUNDS 5
#define MEMORY_BYTES (128ull << 20)
#define STREAM_BYTES (512ull << 20)
#define WRITE_BYTES (1u << 20)
#define FAULTS 5000u
#define MARKS 5000000u
#define PAGE ((uint64_t)RAM_PAGE_BYTES)

static struct baton_error error;

static void need(int rc)
{
    if (rc < 0) {
        fprintf(stderr, "bench-layers: %s\n", error.text[0] ? error.text : strerror(-rc));
        exit(1);
    }
}

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

static uint8_t *map_memory(void)
{
    void *memory =
        mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED) {
        fprintf(stderr, "bench-layers: no %llu MiB of memory\n", MEMORY_BYTES >> 20);
        exit(1);
    }
    memset(memory, 1, MEMORY_BYTES);
    return memory;
}

static void report_rate(const char *name, uint64_t bytes, uint64_t best_ns)
{
    printf("%-28s %8.2f GB/s\n", name, (double)bytes / (double)best_ns);
}

/* ---- Channels ---- */

static void *drain(void *opaque)
{
    struct channel *channel = opaque;
    uint8_t *buffer = malloc(WRITE_BYTES);
    size_t got = 1;

    while (buffer && got > 0 && channel_read(channel, buffer, WRITE_BYTES, &got, NULL) == 0)
        ;
    free(buffer);
    return NULL;
}

static void bench_stream(const char *name, const char *uri, const uint8_t *from)
{
    struct channel_listener *listener;
    struct channel_dialer dialer;
    struct channel *out, *in;
    uint64_t best_ns = UINT64_MAX;
    pthread_t thread;

    need(channel_listener_open(uri, &listener, &error));
    need(channel_dialer_init(&dialer, &error));
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t begin_ns, took_ns;

        need(channel_dial(channel_listener_uri(listener), &dialer, 5000, &out, &error));
        need(channel_listener_accept(listener, &in, &error));
        need(-pthread_create(&thread, NULL, drain, in));
        begin_ns = now_ns();
        for (uint64_t sent = 0; sent < STREAM_BYTES; sent += WRITE_BYTES)
            need(channel_write(out, from + sent % MEMORY_BYTES, WRITE_BYTES, NULL, &error));
        channel_close(out);
        pthread_join(thread, NULL);
        took_ns = now_ns() - begin_ns;
        best_ns = took_ns < best_ns ? took_ns : best_ns;
        channel_close(in);
    }
    report_rate(name, STREAM_BYTES, best_ns);
    channel_dialer_fini(&dialer);
    channel_listener_close(listener);
}

/* ---- Missing pages ---- */

static void bench_fill(const char *name, struct uffd *uffd, uint8_t *to, const uint8_t *from,
                       uint64_t batch_pages)
{
    uint64_t best_ns = UINT64_MAX;

    for (int round = 0; round < ROUNDS; round++) {
        uint64_t begin_ns, took_ns, done;

        madvise(to, MEMORY_BYTES, MADV_DONTNEED);
        begin_ns = now_ns();
        for (uint64_t at = 0; at < MEMORY_BYTES; at += batch_pages * PAGE)
            need(from ? uffd_copy(uffd, to + at, from + at, batch_pages * PAGE, &done)
                      : uffd_zero(uffd, to + at, batch_pages * PAGE, &done));
        took_ns = now_ns() - begin_ns;
        best_ns = took_ns < best_ns ? took_ns : best_ns;
    }
    report_rate(name, MEMORY_BYTES, best_ns);
}

struct faulter {
    uint8_t *memory;
    struct latency latency;
};

static void *fault(void *opaque)
{
    struct faulter *self = opaque;

    for (uint64_t i = 0; i < FAULTS; i++) {
        uint64_t begin_ns = now_ns();

        (void)baton_guest_load_u8(self->memory + i * PAGE);
        latency_add(&self->latency, now_ns() - begin_ns);
    }
    return NULL;
}

/* From a touch until the thread goes on, with the page at hand: what is left when the network costs
 * nothing. */
static void bench_faults(struct uffd *uffd, uint8_t *to, const uint8_t *from)
{
    static struct faulter faulter;
    struct pollfd poll_fd = {.fd = uffd->fd, .events = POLLIN};
    pthread_t thread;

    madvise(to, MEMORY_BYTES, MADV_DONTNEED);
    faulter.memory = to;
    latency_init(&faulter.latency);
    need(-pthread_create(&thread, NULL, fault, &faulter));
    for (unsigned served = 0; served < FAULTS;) {
        struct uffd_event events[UFFD_READ_MAX];
        uint64_t done;
        int count;

        poll(&poll_fd, 1, -1);
        count = uffd_read(uffd, events, UFFD_READ_MAX);
        need(count);
        for (int i = 0; i < count; i++, served++)
            need(uffd_copy(uffd, events[i].host, from, PAGE, &done));
    }
    pthread_join(thread, NULL);
    printf("%-28s %8.1f us\n", "fault p50",
           (double)latency_percentile(&faulter.latency, 500) / 1000);
    printf("%-28s %8.1f us\n", "fault p99",
           (double)latency_percentile(&faulter.latency, 990) / 1000);
}

/* ---- The dirty log ---- */

static void bench_dirty(uint8_t *memory)
{
    struct baton_ram_block block = {
        .name = "ram", .host = memory, .length_bytes = MEMORY_BYTES, .page_bytes = PAGE};
    static uint64_t words[MEMORY_BYTES / RAM_PAGE_BYTES / 64];
    uint64_t begin_ns, took_ns, best_ns = UINT64_MAX, new_pages;
    struct ram_table table;
    struct dirty_log log;

    need(ram_table_init(&table, &block, 1, &error));
    need(dirty_log_init(&log, &table, &error));
    dirty_log_start(&log);
    begin_ns = now_ns();
    for (uint64_t i = 0; i < MARKS; i++)
        dirty_mark(&log, 0, i * 17 * PAGE % MEMORY_BYTES, 8);
    printf("%-28s %8.1f ns\n", "dirty mark", (double)(now_ns() - begin_ns) / MARKS);
    for (int round = 0; round < ROUNDS; round++) {
        dirty_mark(&log, 0, 0, MEMORY_BYTES);
        begin_ns = now_ns();
        dirty_collect(&log, 0, words, &new_pages);
        took_ns = now_ns() - begin_ns;
        best_ns = took_ns < best_ns ? took_ns : best_ns;
    }
    printf("%-28s %8.1f us/GiB\n", "dirty collect, all dirty",
           (double)best_ns / 1000 * (double)(1ull << 30) / (double)MEMORY_BYTES);
    dirty_log_fini(&log);
}

int main(void)
{
    uint8_t *to = map_memory(), *from = map_memory();
    struct uffd uffd;

    bench_stream("tcp, 1 MiB writes", "tcp:127.0.0.1:0", from);
    bench_stream("unix, 1 MiB writes", "unix:/tmp/baton-bench-layers.sock", from);
    bench_dirty(to);
    need(uffd_open(&uffd, &error));
    need(uffd_register(&uffd, to, MEMORY_BYTES, &error));
    bench_fill("place a page", &uffd, to, from, 1);
    bench_fill("place 64 pages", &uffd, to, from, 64);
    bench_fill("place 1 page of zeros", &uffd, to, NULL, 1);
    bench_fill("place 64 pages of zeros", &uffd, to, NULL, 64);
    bench_faults(&uffd, to, from);
    uffd_close(&uffd);
    return 0;
}
