/* SPDX-License-Identifier: MIT */
/* A VM of a few threads for tests of the library; see pair.h. */
#include "pair.h"

#include <assert.h>
#include <linux/mman.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "baton/guest.h"

static uint64_t word_of(uint64_t page, uint32_t generation, unsigned i)
{
    /* One page in eight is zero until it is written for the first time. */
    if (page % 8 == 7 && generation == 1)
        return 0;
    return (page * 0x9e3779b97f4a7c15u + generation * 0xc2b2ae3d27d4eb4fu) ^
           (i * 0x165667b19e3779f9u);
}

static void write_page(struct vm *vm, uint64_t page)
{
    uint8_t *at = vm->ram + page * PAIR_PAGE_BYTES;

    for (unsigned i = 0; i < PAIR_PAGE_BYTES / 8; i++)
        baton_guest_store_u64(at + 8 * i, word_of(page, vm->generation[page], i));
}

static bool check_page(const struct vm *vm, uint64_t page)
{
    const uint8_t *at = vm->ram + page * PAIR_PAGE_BYTES;

    for (unsigned i = 0; i < PAIR_PAGE_BYTES / 8; i++)
        if (baton_guest_load_u64(at + 8 * i) != word_of(page, vm->generation[page], i))
            return false;
    return true;
}

/* ---- The CPU ---- */

static void see_barrier(struct vm *vm)
{
    unsigned wanted = atomic_load(&vm->barrier_wanted);

    if (wanted != atomic_load(&vm->barrier)) {
        memset(vm->own_dirty, 0, sizeof(vm->own_dirty));
        atomic_store(&vm->barrier, wanted);
        pthread_cond_broadcast(&vm->changed);
    }
}

/* One guest instruction, so to speak: a page is checked, and often rewritten. False: it has to be
 * tried again, because of a wait. */
static bool step(struct vm *vm)
{
    uint64_t page = (vm->seed >> 33) % PAIR_PAGES;
    uint64_t bit = UINT64_C(1) << page % 64;

    if (!baton_ram_is_present(vm->baton, 0, page * PAIR_PAGE_BYTES, PAIR_PAGE_BYTES)) {
        pthread_mutex_lock(&vm->lock);
        vm->waiting = true;
        pthread_cond_broadcast(&vm->changed);
        pthread_mutex_unlock(&vm->lock);
        baton_ram_ensure(vm->baton, 0, 0, page * PAIR_PAGE_BYTES);
        pthread_mutex_lock(&vm->lock);
        vm->waiting = false;
        pthread_mutex_unlock(&vm->lock);
        return false;
    }
    if (!check_page(vm, page))
        atomic_fetch_add(&vm->wrong, 1);
    if (vm->seed & 0x10000000) {
        if (!(vm->own_dirty[page / 64] & bit)) {
            baton_ram_mark_dirty(vm->baton, 0, page * PAIR_PAGE_BYTES, PAIR_PAGE_BYTES);
            vm->own_dirty[page / 64] |= bit;
        }
        vm->generation[page]++;
        write_page(vm, page);
    }
    vm->seed = vm->seed * 6364136223846793005u + 1442695040888963407u;
    return true;
}

static void *cpu_main(void *opaque)
{
    struct vm *vm = opaque;

    pthread_mutex_lock(&vm->lock);
    while (!vm->end) {
        see_barrier(vm);
        if (!vm->run) {
            vm->running = false;
            pthread_cond_broadcast(&vm->changed);
            pthread_cond_wait(&vm->changed, &vm->lock);
            continue;
        }
        vm->running = true;
        pthread_mutex_unlock(&vm->lock);
        if (step(vm)) {
            pthread_mutex_lock(&vm->lock);
            vm->steps++;
            pthread_cond_broadcast(&vm->changed);
        } else {
            pthread_mutex_lock(&vm->lock);
        }
    }
    pthread_mutex_unlock(&vm->lock);
    return NULL;
}

/* ---- The host operations ---- */

static void vm_stop(void *host)
{
    struct vm *vm = host;

    pthread_mutex_lock(&vm->lock);
    vm->run = false;
    pthread_cond_broadcast(&vm->changed);
    while (vm->running && !vm->waiting)
        pthread_cond_wait(&vm->changed, &vm->lock);
    pthread_mutex_unlock(&vm->lock);
}

static void vm_start(void *host)
{
    struct vm *vm = host;

    pthread_mutex_lock(&vm->lock);
    vm->run = true;
    atomic_fetch_add(&vm->starts, 1);
    pthread_cond_broadcast(&vm->changed);
    pthread_mutex_unlock(&vm->lock);
}

static void vm_dirty_barrier(void *host)
{
    struct vm *vm = host;
    unsigned wanted = atomic_fetch_add(&vm->barrier_wanted, 1) + 1;

    pthread_mutex_lock(&vm->lock);
    pthread_cond_broadcast(&vm->changed);
    /* A CPU that has ended relies on nothing any more. */
    while (!vm->end && (int)(atomic_load(&vm->barrier) - wanted) < 0)
        pthread_cond_wait(&vm->changed, &vm->lock);
    pthread_mutex_unlock(&vm->lock);
}

static void vm_reset(void *host)
{
    struct vm *vm = host;

    memset(vm->generation, 0, sizeof(vm->generation));
    vm->steps = 0;
}

static void vm_event(void *host, const struct baton_event *event)
{
    struct vm *vm = host;

    if (getenv("PAIR_TRACE"))
        fprintf(stderr, "%s: %s%s%s %s\n", vm->name, baton_status_name(event->previous),
                event->type == BATON_EVENT_STATUS ? " -> " : " | ",
                baton_status_name(event->status), event->reason);
    if (event->type != BATON_EVENT_STATUS)
        return;
    pthread_mutex_lock(&vm->lock);
    vm->seen[atomic_load(&vm->seen_count) % 256] = event->status;
    atomic_fetch_add(&vm->seen_count, 1);
    pthread_cond_broadcast(&vm->changed);
    pthread_mutex_unlock(&vm->lock);
}

static const struct baton_host_ops ops = {
    .size = sizeof(ops),
    .vm_stop = vm_stop,
    .vm_start = vm_start,
    .dirty_barrier = vm_dirty_barrier,
    .reset = vm_reset,
    .event = vm_event,
};

static void device_save(void *opaque, struct baton_save *save)
{
    struct vm *vm = opaque;

    baton_save_u64(save, vm->steps);
    baton_save_u64(save, vm->seed);
    for (unsigned i = 0; i < PAIR_PAGES; i++)
        baton_save_u32(save, vm->generation[i]);
}

static int device_load(void *opaque, struct baton_load *load, uint32_t version,
                       struct baton_error *error)
{
    struct vm *vm = opaque;

    (void)version;
    (void)error;
    vm->steps = baton_load_u64(load);
    vm->seed = baton_load_u64(load);
    for (unsigned i = 0; i < PAIR_PAGES; i++)
        vm->generation[i] = baton_load_u32(load);
    return 0;
}

/* ---- For the tests ---- */

/* PAIR_BACKEND: memfd, hugetlb, or private anonymous memory. Without huge pages the program is
 * skipped. */
static void map_ram(struct vm *vm, struct baton_ram_block *block)
{
    const char *backend = getenv("PAIR_BACKEND");
    int flags = MAP_PRIVATE | MAP_ANONYMOUS, fd = -1;

    if (backend && strcmp(backend, "memfd") == 0) {
        fd = memfd_create("pair", MFD_CLOEXEC);
        assert(fd >= 0 && ftruncate(fd, (off_t)block->length_bytes) == 0);
        flags = MAP_SHARED;
        block->shared = true;
    } else if (backend && strcmp(backend, "hugetlb") == 0) {
        flags |= MAP_HUGETLB | 21 << MAP_HUGE_SHIFT;
        block->page_bytes = 2u << 20;
    }
    vm->ram = mmap(NULL, block->length_bytes, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (vm->ram == MAP_FAILED && backend) {
        printf("no memory of that kind here: try sysctl vm.nr_hugepages=16\n");
        exit(77);
    }
    assert(vm->ram != MAP_FAILED);
    if (fd >= 0)
        close(fd);
}

void vm_init(struct vm *vm, const char *name, bool incoming)
{
    static const char *const waiters[] = {"cpu 0"};
    struct baton_ram_block block = {
        .name = "ram", .length_bytes = PAIR_PAGES * PAIR_PAGE_BYTES, .page_bytes = PAIR_PAGE_BYTES};
    struct baton_device device = {
        .name = "cpu", .version = 1, .opaque = vm, .save = device_save, .load = device_load};
    struct baton_config config = {
        .machine = "pair",
        .blocks = &block,
        .block_count = 1,
        .devices = &device,
        .device_count = 1,
        .ops = &ops,
        .host = vm,
        .waiter_count = 1,
        .waiter_names = waiters,
        .running = !incoming,
        .faults = getenv("PAIR_FAULTS") ? BATON_FAULTS_SOFTWARE : BATON_FAULTS_USERFAULTFD,
    };
    struct baton_error error;

    memset(vm, 0, sizeof(*vm));
    vm->name = name;
    vm->seed = 42;
    pthread_mutex_init(&vm->lock, NULL);
    pthread_cond_init(&vm->changed, NULL);
    map_ram(vm, &block);
    block.host = vm->ram;
    for (unsigned i = 0; i < PAIR_PAGES && !incoming; i++) {
        vm->generation[i] = 1;
        write_page(vm, i);
    }
    vm->run = !incoming;
    if (baton_new(&config, &vm->baton, &error) < 0) {
        fprintf(stderr, "baton_new: %s\n", error.text);
        abort();
    }
    pthread_create(&vm->cpu, NULL, cpu_main, vm);
}

void vm_fini(struct vm *vm)
{
    pthread_mutex_lock(&vm->lock);
    vm->end = true;
    pthread_cond_broadcast(&vm->changed);
    pthread_mutex_unlock(&vm->lock);
    pthread_join(vm->cpu, NULL);
    baton_free(vm->baton);
    munmap(vm->ram, PAIR_PAGES * PAIR_PAGE_BYTES);
    pthread_cond_destroy(&vm->changed);
    pthread_mutex_destroy(&vm->lock);
}

static struct timespec in_ms(unsigned limit_ms)
{
    struct timespec at;

    clock_gettime(CLOCK_REALTIME, &at);
    at.tv_sec += limit_ms / 1000;
    at.tv_nsec += (long)(limit_ms % 1000) * 1000000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000;
    }
    return at;
}

bool vm_wait_status(struct vm *vm, enum baton_status status, unsigned limit_ms)
{
    struct timespec until = in_ms(limit_ms);
    unsigned count;
    bool ok = true;

    pthread_mutex_lock(&vm->lock);
    for (;;) {
        count = atomic_load(&vm->seen_count);
        if (count && vm->seen[(count - 1) % 256] == status)
            break;
        if (pthread_cond_timedwait(&vm->changed, &vm->lock, &until)) {
            ok = false;
            fprintf(stderr, "%s: is %s, not %s\n", vm->name,
                    count ? baton_status_name(vm->seen[(count - 1) % 256]) : "nothing",
                    baton_status_name(status));
            break;
        }
    }
    pthread_mutex_unlock(&vm->lock);
    return ok;
}

bool vm_wait_steps(struct vm *vm, uint64_t steps, unsigned limit_ms)
{
    struct timespec until = in_ms(limit_ms);
    bool ok = true;

    pthread_mutex_lock(&vm->lock);
    steps += vm->steps;
    while (ok && vm->steps < steps)
        ok = pthread_cond_timedwait(&vm->changed, &vm->lock, &until) == 0;
    pthread_mutex_unlock(&vm->lock);
    return ok;
}

uint64_t vm_verify(struct vm *vm)
{
    uint64_t wrong;

    vm_stop(vm);
    wrong = atomic_load(&vm->wrong);
    for (unsigned i = 0; i < PAIR_PAGES; i++)
        wrong += !check_page(vm, i);
    return wrong;
}
