/* SPDX-License-Identifier: MIT */
/*
 * The fake library. One object at a time. Its worker thread carries out stop and start orders in
 * the order in which they came, so that baton_stop() and baton_cont() return before the VM has
 * stopped or started, as the real ones do.
 */
#include "fake_baton.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct baton {
    const struct baton_host_ops *ops;
    void *host;
    struct baton_device devices[32];
    unsigned device_count;
    pthread_t worker;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool want_running, running, quit;
};

static struct baton *_Atomic newest;
static atomic_bool refuse_quit, vm_may_not_run, pages_missing;
static atomic_uint marks;
static void (*on_free)(void);

void fake_baton_plan(const struct fake_baton_plan *plan)
{
    atomic_store(&refuse_quit, plan->refuse_quit);
    atomic_store(&vm_may_not_run, plan->vm_may_not_run);
    atomic_store(&pages_missing, plan->pages_missing);
}

void fake_baton_on_free(void (*hook)(void))
{
    on_free = hook;
}

unsigned fake_baton_marks(void)
{
    return atomic_load(&marks);
}

const struct baton_device *fake_baton_device(unsigned index)
{
    return &newest->devices[index];
}

unsigned fake_baton_device_count(void)
{
    return newest->device_count;
}

const struct baton_host_ops *fake_baton_ops(void **host)
{
    struct baton *baton = newest;

    *host = baton ? baton->host : NULL;
    return baton ? baton->ops : NULL;
}

static void *work(void *opaque)
{
    struct baton *baton = opaque;

    pthread_mutex_lock(&baton->lock);
    while (!baton->quit) {
        bool running = baton->want_running;

        if (running == baton->running) {
            pthread_cond_wait(&baton->changed, &baton->lock);
            continue;
        }
        pthread_mutex_unlock(&baton->lock);
        (running ? baton->ops->vm_start : baton->ops->vm_stop)(baton->host);
        pthread_mutex_lock(&baton->lock);
        baton->running = running;
    }
    pthread_mutex_unlock(&baton->lock);
    return NULL;
}

int baton_new(const struct baton_config *config, struct baton **out, struct baton_error *error)
{
    struct baton *baton = calloc(1, sizeof(*baton));

    assert(baton && config->device_count <= 32);
    baton->ops = config->ops;
    baton->host = config->host;
    memcpy(baton->devices, config->devices, config->device_count * sizeof(*config->devices));
    baton->device_count = config->device_count;
    baton->want_running = baton->running = config->running;
    pthread_mutex_init(&baton->lock, NULL);
    pthread_cond_init(&baton->changed, NULL);
    pthread_create(&baton->worker, NULL, work, baton);
    *out = baton;
    newest = baton;
    return 0;
}

void baton_free(struct baton *baton)
{
    if (!baton)
        return;
    if (on_free)
        on_free();
    pthread_mutex_lock(&baton->lock);
    baton->quit = true;
    pthread_cond_signal(&baton->changed);
    pthread_mutex_unlock(&baton->lock);
    pthread_join(baton->worker, NULL);
    pthread_cond_destroy(&baton->changed);
    pthread_mutex_destroy(&baton->lock);
    free(baton);
}

static void want(struct baton *baton, bool running)
{
    pthread_mutex_lock(&baton->lock);
    baton->want_running = running;
    pthread_cond_signal(&baton->changed);
    pthread_mutex_unlock(&baton->lock);
}

int baton_stop(struct baton *baton, struct baton_error *error)
{
    want(baton, false);
    return 0;
}

const char *baton_faults_name(enum baton_faults faults)
{
    static const char *const names[] = {"auto", "userfaultfd", "software"};

    return names[faults];
}

const char *baton_status_name(enum baton_status status)
{
    return status == BATON_STATUS_NONE ? "none" : "something";
}

int baton_halt(struct baton *baton, struct baton_error *error)
{
    return baton_stop(baton, error);
}

int baton_cont(struct baton *baton, struct baton_error *error)
{
    want(baton, true);
    return 0;
}

int baton_may_quit(struct baton *baton, struct baton_error *error)
{
    return atomic_load(&refuse_quit)
               ? baton_error_set(error, EBUSY, "another host waits for pages of this VM")
               : 0;
}

void baton_query(struct baton *baton, struct baton_info *info)
{
    memset(info, 0, sizeof(*info));
    info->vm_may_run = !atomic_load(&vm_may_not_run);
}

int baton_incoming(struct baton *baton, const char *uri, struct baton_error *error)
{
    return 0;
}

void baton_ram_ensure(struct baton *baton, unsigned waiter, unsigned block, uint64_t offset)
{
    while (atomic_load(&pages_missing))
        ;
}

bool baton_ram_is_present(struct baton *baton, unsigned block, uint64_t offset,
                          uint64_t length_bytes)
{
    return !atomic_load(&pages_missing);
}

void baton_ram_mark_dirty(struct baton *baton, unsigned block, uint64_t offset,
                          uint64_t length_bytes)
{
    atomic_fetch_add(&marks, 1);
}

/* ---- Sections ---- */

void baton_save_bytes(struct baton_save *save, const void *bytes, size_t length_bytes)
{
    if (save->length_bytes + length_bytes > save->room_bytes) {
        save->room_bytes = 2 * (save->length_bytes + length_bytes);
        save->bytes = realloc(save->bytes, save->room_bytes);
        assert(save->bytes);
    }
    memcpy(save->bytes + save->length_bytes, bytes, length_bytes);
    save->length_bytes += length_bytes;
}

static void put(struct baton_save *save, uint64_t value, unsigned size)
{
    while (size--) {
        uint8_t byte = (uint8_t)(value >> 8 * size);

        baton_save_bytes(save, &byte, 1);
    }
}

void baton_save_u8(struct baton_save *save, uint8_t value)
{
    put(save, value, 1);
}

void baton_save_u16(struct baton_save *save, uint16_t value)
{
    put(save, value, 2);
}

void baton_save_u32(struct baton_save *save, uint32_t value)
{
    put(save, value, 4);
}

void baton_save_u64(struct baton_save *save, uint64_t value)
{
    put(save, value, 8);
}

void baton_load_bytes(struct baton_load *load, void *bytes, size_t length_bytes)
{
    if (length_bytes > load->length_bytes - load->at) {
        load->bad = true;
        load->at = load->length_bytes;
        memset(bytes, 0, length_bytes);
        return;
    }
    memcpy(bytes, load->bytes + load->at, length_bytes);
    load->at += length_bytes;
}

static uint64_t get(struct baton_load *load, unsigned size)
{
    uint8_t bytes[8] = {0};
    uint64_t value = 0;

    baton_load_bytes(load, bytes, size);
    for (unsigned i = 0; i < size; i++)
        value = value << 8 | bytes[i];
    return value;
}

uint8_t baton_load_u8(struct baton_load *load)
{
    return (uint8_t)get(load, 1);
}

uint16_t baton_load_u16(struct baton_load *load)
{
    return (uint16_t)get(load, 2);
}

uint32_t baton_load_u32(struct baton_load *load)
{
    return (uint32_t)get(load, 4);
}

uint64_t baton_load_u64(struct baton_load *load)
{
    return get(load, 8);
}

size_t baton_load_left(const struct baton_load *load)
{
    return load->length_bytes - load->at;
}

bool baton_load_ok(const struct baton_load *load)
{
    return !load->bad;
}

void fake_save(const struct baton_device *device, uint8_t **bytes, size_t *length_bytes)
{
    struct baton_save save = {0};

    device->save(device->opaque, &save);
    *bytes = save.bytes;
    *length_bytes = save.length_bytes;
}

int fake_load(const struct baton_device *device, const uint8_t *bytes, size_t length_bytes,
              struct baton_error *error)
{
    struct baton_load load = {.bytes = bytes, .length_bytes = length_bytes};
    int code = device->load(device->opaque, &load, device->version, error);

    if (!code && load.at != load.length_bytes)
        return -EBADMSG;
    return code;
}
