/* SPDX-License-Identifier: MIT */
/*
 * The public functions: arguments are checked here, orders become events, and RAM accesses are
 * guarded. See baton/baton.h.
 */
#include "baton/baton.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "runtime/link.h"

/* ---- Life ---- */

static int copy_devices(struct baton *baton, const struct baton_config *config,
                        struct baton_error *error)
{
    if (config->device_count > RUNTIME_MAX_DEVICES)
        return baton_error_set(error, EINVAL, "%u devices, at most %d are possible",
                               config->device_count, RUNTIME_MAX_DEVICES);
    for (unsigned i = 0; i < config->device_count; i++) {
        const struct baton_device *device = &config->devices[i];
        size_t length = device->name ? strlen(device->name) : 0;

        if (!length || length + strlen(WIRE_OWN_SECTION_PREFIX) > 255 || !device->save ||
            !device->load)
            return baton_error_set(error, EINVAL,
                                   "device %u needs a name of 1 to %zu bytes, save and load", i,
                                   255 - strlen(WIRE_OWN_SECTION_PREFIX));
        baton->devices[i] = *device;
        baton->devices[i].name = baton->device_names[i] = strdup(device->name);
        baton->device_count++;
    }
    return 0;
}

static int copy_host(struct baton *baton, const struct baton_config *config,
                     struct baton_error *error)
{
    const struct baton_host_ops *ops = config->ops;

    if (!ops || ops->size < sizeof(*ops) || !ops->vm_stop || !ops->vm_start ||
        !ops->dirty_barrier || !ops->reset)
        return baton_error_set(error, EINVAL,
                               "host operations are missing; vm_stop, vm_start, dirty_barrier and "
                               "reset are needed");
    if (!config->machine || !config->machine[0] ||
        strlen(config->machine) >= sizeof(baton->machine))
        return baton_error_set(error, EINVAL, "the machine needs a name of 1 to 255 bytes");
    baton->ops_copy = *ops;
    baton->ops = &baton->ops_copy;
    baton->host = config->host;
    baton->faults_wanted = config->faults;
    strcpy(baton->machine, config->machine);
    return 0;
}

static int make_memory(struct baton *baton, const struct baton_config *config,
                       struct baton_error *error)
{
    uint64_t pages[BATON_MAX_RAM_BLOCKS];
    int result = ram_table_init(&baton->ram, config->blocks, config->block_count, error);

    if (result < 0)
        return result;
    for (unsigned b = 0; b < baton->ram.count; b++) {
        const struct ram_block *block = &baton->ram.blocks[b];

        pages[b] = block->length_bytes / block->page_bytes;
        baton->wire_blocks.block[b] = (struct wire_block){.name = block->name,
                                                          .used_bytes = block->length_bytes,
                                                          .page_bytes = block->page_bytes};
    }
    baton->wire_blocks.count = baton->ram.count;
    baton->pages_memory = malloc(pageset_memory_words(pages, baton->ram.count) * sizeof(uint64_t));
    if (!baton->pages_memory)
        return baton_error_set(error, ENOMEM, "no memory for the page set");
    pageset_init(&baton->pages, pages, baton->ram.count, baton->pages_memory);
    return dirty_log_init(&baton->dirty, &baton->ram, error);
}

static void init_locks(struct baton *baton)
{
    pthread_condattr_t monotonic;

    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&baton->loop_lock, NULL);
    pthread_cond_init(&baton->loop_wake, &monotonic);
    pthread_cond_init(&baton->loop_done, NULL);
    pthread_mutex_init(&baton->links_lock, NULL);
    pthread_mutex_init(&baton->listeners_lock, NULL);
    pthread_mutex_init(&baton->info_lock, NULL);
    pthread_mutex_init(&baton->faults.lock, NULL);
    pthread_cond_init(&baton->faults.changed, NULL);
    pthread_cond_init(&baton->faults.arrived, NULL);
    pthread_condattr_destroy(&monotonic);
}

static void free_all(struct baton *baton)
{
    channel_dialer_fini(&baton->dialer);
    waiters_fini(&baton->waiters);
    dirty_log_fini(&baton->dirty);
    package_clear(&baton->incoming_package);
    free(baton->pages_memory);
    for (unsigned i = 0; i < baton->device_count; i++)
        free(baton->device_names[i]);
    free(baton);
}

static int make(struct baton *baton, const struct baton_config *config, struct baton_error *error)
{
    struct engine_config engine = {
        .pages = &baton->pages,
        .vm_running = config->running,
        .keep_stopped = config->keep_stopped,
    };
    int result;

    if (getrandom(engine.nonce, sizeof(engine.nonce), 0) != (ssize_t)sizeof(engine.nonce))
        return baton_error_set(error, errno, "no random bytes from the kernel: %s",
                               strerror(errno));
    result = channel_dialer_init(&baton->dialer, error);
    if (result == 0)
        result = copy_host(baton, config, error);
    if (result == 0)
        result = copy_devices(baton, config, error);
    if (result == 0)
        result = make_memory(baton, config, error);
    if (result == 0)
        result = waiters_init(&baton->waiters, config->waiter_count, config->waiter_names, error);
    if (result == 0)
        result = ram_dont_fork(&baton->ram, error);
    if (result < 0)
        return result;
    latency_init(&baton->fault_latency);
    engine_init(&baton->engine, &engine);
    query_update(baton);
    return loop_start(baton, error);
}

int baton_new(const struct baton_config *config, struct baton **out, struct baton_error *error)
{
    struct baton *baton = calloc(1, sizeof(*baton));
    int result;

    *out = NULL;
    if (!baton)
        return baton_error_set(error, ENOMEM, "no memory for a baton object");
    init_locks(baton);
    baton->dialer.cancel_fd = -1;
    baton->faults.wake_fd = -1;
    baton->faults.uffd.fd = -1;
    /* QEMU's defaults (QEMU-WIRE section 11), except that precopy is not throttled unless asked. */
    atomic_store(&baton->parameters[BATON_PARAMETER_DOWNTIME_LIMIT], 300);
    result = make(baton, config, error);
    if (result < 0) {
        free_all(baton);
        return result;
    }
    *out = baton;
    return 0;
}

void baton_free(struct baton *baton)
{
    if (!baton)
        return;
    listen_close_all(baton);
    loop_end(baton);
    fault_end(baton);
    free_all(baton);
}

/* ---- Guest RAM ---- */

void baton_ram_ensure(struct baton *baton, unsigned waiter, unsigned block, uint64_t offset)
{
    uint64_t waited_ns;

    if (baton_ram_is_present(baton, block, offset, 1))
        return;
    waiters_begin(&baton->waiters, waiter, block, offset, runtime_now_ns());
    fault_wait(baton, block, offset / page_bytes(baton, block));
    waited_ns = waiters_end(&baton->waiters, waiter, runtime_now_ns());
    latency_add(&baton->fault_latency, waited_ns);
}

bool baton_ram_is_present(struct baton *baton, unsigned block, uint64_t offset,
                          uint64_t length_bytes)
{
    if (!atomic_load_explicit(&baton->guarded, memory_order_acquire))
        return true;
    if (!ram_range_ok(&baton->ram, block, offset, length_bytes))
        return true; /* not RAM of ours: nothing to wait for */
    for (uint64_t page = offset / page_bytes(baton, block);
         length_bytes && page <= (offset + length_bytes - 1) / page_bytes(baton, block); page++)
        if (!pageset_is_received(&baton->pages, block, page))
            return false;
    return true;
}

void baton_ram_mark_dirty(struct baton *baton, unsigned block, uint64_t offset,
                          uint64_t length_bytes)
{
    dirty_mark(&baton->dirty, block, offset, length_bytes);
}

/* ---- Orders ---- */

static int order(struct baton *baton, enum engine_event_type type, const char *uri,
                 struct baton_error *error)
{
    struct engine_event event = {.type = type};
    int result = uri ? channel_uri_is_one_way(uri, &event.one_way, error) : 0;

    if (result < 0)
        return result;
    if (type == ENGINE_EVENT_MIGRATE &&
        getrandom(event.random, sizeof(event.random), 0) != (ssize_t)sizeof(event.random))
        return baton_error_set(error, errno, "no random bytes from the kernel: %s",
                               strerror(errno));
    return loop_post(baton, &event, uri, error);
}

int baton_migrate(struct baton *baton, const char *uri, bool resume, struct baton_error *error)
{
    int result = channel_uri_check(uri, error);

    if (result < 0)
        return result;
    if (strlen(uri) >= BATON_URI_BYTES)
        return baton_error_set(error, EINVAL, "the URI is longer than %d bytes",
                               BATON_URI_BYTES - 1);
    return order(baton, resume ? ENGINE_EVENT_RESUME : ENGINE_EVENT_MIGRATE, uri, error);
}

/* A listener is opened first, so that a bad address is refused with its own sentence; it lets
 * nobody in before the engine has agreed. */
static int listen_if_agreed(struct baton *baton, enum engine_event_type type, const char *uri,
                            struct baton_error *error)
{
    struct channel_listener *listener;
    int result = listen_open(baton, uri, &listener, error);

    if (result < 0)
        return result;
    result = order(baton, type, uri, error);
    if (result < 0) {
        channel_listener_close(listener);
        return result;
    }
    return listen_start(baton, uri, listener, error);
}

int baton_incoming(struct baton *baton, const char *uri, struct baton_error *error)
{
    return listen_if_agreed(baton, ENGINE_EVENT_INCOMING, uri, error);
}

int baton_recover(struct baton *baton, const char *uri, struct baton_error *error)
{
    /* Listening there already: what was asked for holds, if the state allows the order at all. */
    if (listen_has(baton, uri))
        return order(baton, ENGINE_EVENT_RECOVER, NULL, error);
    return listen_if_agreed(baton, ENGINE_EVENT_RECOVER, uri, error);
}

int baton_start_postcopy(struct baton *baton, struct baton_error *error)
{
    return order(baton, ENGINE_EVENT_START_POSTCOPY, NULL, error);
}

int baton_pause(struct baton *baton, struct baton_error *error)
{
    return order(baton, ENGINE_EVENT_PAUSE, NULL, error);
}

int baton_cancel(struct baton *baton, struct baton_error *error)
{
    return order(baton, ENGINE_EVENT_CANCEL, NULL, error);
}

int baton_stop(struct baton *baton, struct baton_error *error)
{
    return order(baton, ENGINE_EVENT_STOP, NULL, error);
}

int baton_halt(struct baton *baton, struct baton_error *error)
{
    return order(baton, ENGINE_EVENT_HALT, NULL, error);
}

int baton_cont(struct baton *baton, struct baton_error *error)
{
    return order(baton, ENGINE_EVENT_CONT, NULL, error);
}

/* ---- Settings ---- */

static bool is_under_way(struct baton *baton)
{
    enum baton_status status;
    enum baton_role role;

    pthread_mutex_lock(&baton->info_lock);
    status = baton->picture.status;
    role = baton->picture.role;
    pthread_mutex_unlock(&baton->info_lock);
    if (role == BATON_ROLE_DEST && status == BATON_STATUS_SETUP)
        return false; /* listening, nobody has come */
    return status != BATON_STATUS_NONE && status != BATON_STATUS_FAILED &&
           status != BATON_STATUS_COMPLETED && status != BATON_STATUS_CANCELLED;
}

int baton_set_capability(struct baton *baton, enum baton_capability capability, bool on,
                         struct baton_error *error)
{
    /* `events` is the monitor's and may change at any time; the others are looked at when a
     * migration begins. */
    if (capability != BATON_CAPABILITY_EVENTS && is_under_way(baton) &&
        atomic_load(&baton->capabilities[capability]) != on)
        return baton_error_set(error, EBUSY,
                               "capability %s cannot be changed while a migration is under way",
                               baton_capability_name(capability));
    atomic_store(&baton->capabilities[capability], on);
    return 0;
}

bool baton_get_capability(struct baton *baton, enum baton_capability capability)
{
    return atomic_load(&baton->capabilities[capability]);
}

int baton_set_parameter(struct baton *baton, enum baton_parameter parameter, uint64_t value,
                        struct baton_error *error)
{
    /* QEMU's limit for downtime-limit: 2000 seconds. */
    if (parameter == BATON_PARAMETER_DOWNTIME_LIMIT && value > 2000000)
        return baton_error_set(error, EINVAL, "downtime-limit is at most 2000000 milliseconds");
    atomic_store(&baton->parameters[parameter], value);
    return 0;
}

uint64_t baton_get_parameter(struct baton *baton, enum baton_parameter parameter)
{
    return atomic_load(&baton->parameters[parameter]);
}

int baton_save_devices(struct baton *baton, uint8_t **bytes, size_t *length_bytes,
                       struct baton_error *error)
{
    struct package package = {0};
    bool running;

    pthread_mutex_lock(&baton->info_lock);
    running = baton->picture.vm_running;
    pthread_mutex_unlock(&baton->info_lock);
    if (running)
        return baton_error_set(error, EBUSY, "the VM runs: stop it first");
    devices_save(baton, false, &package);
    *bytes = package.bytes;
    *length_bytes = package.used;
    return 0;
}
