/* SPDX-License-Identifier: MIT */
/*
 * Moves the memory of a plain process into another process, over a link that breaks on the way.
 *
 *   ninja -C build examples/process_memory
 *   build/examples/process_memory receive unix:/tmp/memory.sock &
 *   build/examples/process_memory send unix:/tmp/memory.sock
 *
 * (Or tcp:HOST:PORT.) There is no VM: the "RAM" is 64 MiB of counters, the "CPU" a thread that adds
 * 1 to one of them at a time, its "registers" where it goes next and how often it has added. The
 * counters sum up to that number, so that a page which is lost or out of date shows.
 *
 * The worker holds the lock while it counts, so whoever has it knows that the worker rests. Without
 * it the worker waits for a missing page; then it looks at everything anew.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "baton/baton.h"
#include "baton/guest.h"

#define RAM_BYTES (64u << 20)

struct process {
    struct baton *baton;
    uint8_t *ram;
    pthread_mutex_t lock;  /* of what follows, and of writing to ram */
    bool runs;             /* what the library wants */
    uint64_t place, added; /* the "registers" */
};

/* Adds 1 somewhere. False: the page at *offset is not here. */
static bool count_one(struct process *process, uint64_t *offset)
{
    *offset = (process->place >> 33) % (RAM_BYTES / 8) * 8;
    if (!baton_ram_is_present(process->baton, 0, *offset, 8))
        return false;
    baton_ram_mark_dirty(process->baton, 0, *offset, 8); /* always before the store */
    baton_guest_store_u64(process->ram + *offset, baton_guest_load_u64(process->ram + *offset) + 1);
    process->place = process->place * 6364136223846793005u + 1442695040888963407u;
    process->added++;
    return true;
}

static void *work(void *opaque)
{
    struct process *process = opaque;
    uint64_t offset;

    for (bool present = true;; present = true) {
        pthread_mutex_lock(&process->lock);
        for (unsigned i = 0; i < 1000 && process->runs && present; i++)
            present = count_one(process, &offset);
        pthread_mutex_unlock(&process->lock);
        if (!present)
            baton_ram_ensure(process->baton, 0, 0, offset); /* never with a lock held */
        usleep(1000);                                       /* leaves the lock to others */
    }
    return NULL;
}

static void set_running(struct process *process, bool runs)
{
    pthread_mutex_lock(&process->lock);
    process->runs = runs;
    pthread_mutex_unlock(&process->lock);
}

static void start(void *host)
{
    set_running(host, true);
}

static void stop(void *host)
{
    set_running(host, false);
}

/* The worker remembers nothing about dirty pages: it is enough that its last addition is over. */
static void dirty_barrier(void *host)
{
    struct process *process = host;

    pthread_mutex_lock(&process->lock);
    pthread_mutex_unlock(&process->lock);
}

static void reset(void *host) /* the worker rests */
{
    ((struct process *)host)->added = 0;
}

static void tell(void *host, const struct baton_event *event)
{
    if (event->type == BATON_EVENT_STATUS)
        printf("%s -> %s: %s\n", baton_status_name(event->previous),
               baton_status_name(event->status), event->reason);
}

static void save(void *opaque, struct baton_save *to) /* the worker rests */
{
    const struct process *process = opaque;

    baton_save_u64(to, process->place);
    baton_save_u64(to, process->added);
}

static int load(void *opaque, struct baton_load *from, uint32_t version, struct baton_error *error)
{
    struct process *process = opaque;

    process->place = baton_load_u64(from);
    process->added = baton_load_u64(from);
    return 0; /* a section that is too short or too long is refused by the library */
}

static void check(int result, const struct baton_error *error)
{
    if (result < 0) {
        fprintf(stderr, "process_memory: %s\n", error->text);
        exit(1);
    }
}

static void wait_for(struct baton *baton, enum baton_status status)
{
    struct baton_info info;

    for (baton_query(baton, &info); info.status != status; baton_query(baton, &info)) {
        if (info.status == BATON_STATUS_FAILED)
            exit(1); /* tell() has said why */
        usleep(2000);
    }
}

static int send_it(struct baton *baton, const char *uri)
{
    struct baton_error error;

    usleep(300000); /* until something was counted */
    baton_set_parameter(baton, BATON_PARAMETER_MAX_POSTCOPY_BANDWIDTH, 4 << 20, NULL);
    check(baton_migrate(baton, uri, false, &error), &error);
    baton_start_postcopy(baton, NULL); /* refused if it has failed already: seen right below */
    wait_for(baton, BATON_STATUS_POSTCOPY_ACTIVE);
    check(baton_pause(baton, &error), &error); /* what a broken cable does as well */
    wait_for(baton, BATON_STATUS_POSTCOPY_PAUSED);
    baton_set_parameter(baton, BATON_PARAMETER_MAX_POSTCOPY_BANDWIDTH, 0, NULL);
    check(baton_migrate(baton, uri, true, &error), &error);
    wait_for(baton, BATON_STATUS_COMPLETED);
    return 0;
}

static int receive_it(struct process *process, const char *uri)
{
    struct baton_error error;
    uint64_t sum = 0;

    check(baton_incoming(process->baton, uri, &error), &error);
    wait_for(process->baton, BATON_STATUS_COMPLETED);
    usleep(300000); /* it counts here now, and the source has been told */
    set_running(process, false);
    for (uint64_t i = 0; i < RAM_BYTES; i += 8)
        sum += baton_guest_load_u64(process->ram + i);
    printf("%lu additions, the counters sum up to %lu: %s\n", process->added, sum,
           sum == process->added ? "right" : "WRONG");
    return sum != process->added;
}

int main(int argc, char **argv)
{
    static struct process process = {.lock = PTHREAD_MUTEX_INITIALIZER};
    static const struct baton_host_ops ops = {sizeof(ops), stop, start, dirty_barrier, reset, tell};
    bool receives = argc == 3 && strcmp(argv[1], "receive") == 0;
    struct baton_ram_block block = {"counters", NULL, RAM_BYTES, 4096};
    struct baton_device worker = {"worker", 0, 1, &process, save, load, NULL};
    struct baton_config config = {"process", &block, 1, &worker, 1, &ops, &process, 1, NULL};
    struct baton_error error;
    pthread_t thread;
    int result;

    if (argc != 3) {
        fprintf(stderr, "usage: process_memory receive|send tcp:HOST:PORT|unix:PATH\n");
        return 2;
    }
    block.host = process.ram =
        mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    config.running = process.runs = !receives;
    check(baton_new(&config, &process.baton, &error), &error);
    baton_set_capability(process.baton, BATON_CAPABILITY_POSTCOPY_RAM, true, NULL);
    if (pthread_create(&thread, NULL, work, &process))
        return 1;
    result = receives ? receive_it(&process, argv[2]) : send_it(process.baton, argv[2]);
    set_running(&process, false);
    baton_free(process.baton);
    return result;
}
