/* SPDX-License-Identifier: MIT */
/*
 * See fake.h. One lock guards everything; events are raised outside of it, as the real machine does
 * from its own threads.
 */
#include "fake.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/machine.h"

struct baton {
    int unused;
};

struct vmm_machine {
    struct baton baton;
    pthread_mutex_t lock, event_lock;
    pthread_cond_t changed;
    struct baton_info info;
    bool capabilities[BATON_CAPABILITY_COUNT];
    uint64_t parameters[BATON_PARAMETER_COUNT];
    bool running, shut_down, hold, quit;
    unsigned waiting;
    const char *refusal;
    char order[300];
    void (*listener)(void *opaque, const struct vmm_event *event);
    void *opaque;
};

static struct vmm_machine machine = {.lock = PTHREAD_MUTEX_INITIALIZER,
                                     .event_lock = PTHREAD_MUTEX_INITIALIZER,
                                     .changed = PTHREAD_COND_INITIALIZER,
                                     .running = true};

static int order(struct baton_error *error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

struct vmm_machine *fake_machine(void)
{
    return &machine;
}

void fake_reset(void)
{
    pthread_mutex_lock(&machine.lock);
    machine.info = (struct baton_info){.vm_may_run = true, .vm_running = true};
    memset(machine.capabilities, 0, sizeof(machine.capabilities));
    memset(machine.parameters, 0, sizeof(machine.parameters));
    machine.running = true;
    machine.shut_down = machine.hold = machine.quit = false;
    machine.refusal = NULL;
    machine.order[0] = 0;
    pthread_mutex_unlock(&machine.lock);
}

void fake_set_info(const struct baton_info *info)
{
    pthread_mutex_lock(&machine.lock);
    machine.info = *info;
    pthread_mutex_unlock(&machine.lock);
}

void fake_get_info(struct baton_info *info)
{
    baton_query(&machine.baton, info);
}

static void raise_event(enum vmm_event_type type, const struct baton_event *baton)
{
    struct vmm_event event = {.type = type, .baton = baton};

    pthread_mutex_lock(&machine.event_lock);
    if (machine.listener)
        machine.listener(machine.opaque, &event);
    pthread_mutex_unlock(&machine.event_lock);
}

void fake_enter(enum baton_role role, enum baton_status status)
{
    struct baton_event event = {
        .type = BATON_EVENT_STATUS, .role = role, .status = status, .reason = "the test says so"};

    pthread_mutex_lock(&machine.lock);
    machine.info.role = role;
    machine.info.status = status;
    pthread_mutex_unlock(&machine.lock);
    raise_event(VMM_EVENT_BATON, &event);
}

void fake_pass(uint64_t pass)
{
    struct baton_event event = {.type = BATON_EVENT_PASS, .pass = pass, .reason = ""};

    raise_event(VMM_EVENT_BATON, &event);
}

void fake_refuse(const char *sentence)
{
    pthread_mutex_lock(&machine.lock);
    machine.refusal = sentence;
    pthread_mutex_unlock(&machine.lock);
}

void fake_last_order(char *out, size_t size)
{
    pthread_mutex_lock(&machine.lock);
    snprintf(out, size, "%s", machine.order);
    pthread_mutex_unlock(&machine.lock);
}

void fake_hold_ram(bool hold)
{
    pthread_mutex_lock(&machine.lock);
    machine.hold = hold;
    pthread_cond_broadcast(&machine.changed);
    pthread_mutex_unlock(&machine.lock);
}

unsigned fake_waiting(void)
{
    unsigned waiting;

    pthread_mutex_lock(&machine.lock);
    waiting = machine.waiting;
    pthread_mutex_unlock(&machine.lock);
    return waiting;
}

bool fake_quit_asked(void)
{
    bool quit;

    pthread_mutex_lock(&machine.lock);
    quit = machine.quit;
    pthread_mutex_unlock(&machine.lock);
    return quit;
}

void fake_guest_shutdown(void)
{
    pthread_mutex_lock(&machine.lock);
    machine.shut_down = true;
    pthread_mutex_unlock(&machine.lock);
    raise_event(VMM_EVENT_SHUTDOWN, NULL);
}

uint8_t fake_ram_byte(uint64_t gpa)
{
    return (uint8_t)(gpa * 7 + (gpa >> 8));
}

/* ---- vmm_machine ---- */

struct baton *vmm_machine_baton(struct vmm_machine *m)
{
    return &m->baton;
}

const char *vmm_machine_runstate(struct vmm_machine *m)
{
    const char *state;

    pthread_mutex_lock(&m->lock);
    state = m->shut_down ? "shutdown" : m->running ? "running" : "paused";
    pthread_mutex_unlock(&m->lock);
    return state;
}

int vmm_machine_read_ram(struct vmm_machine *m, vmm_gpa gpa, void *buffer, size_t length_bytes,
                         bool wait, struct baton_error *error)
{
    if (gpa < FAKE_RAM_BASE || length_bytes > FAKE_RAM_BYTES ||
        gpa - FAKE_RAM_BASE > FAKE_RAM_BYTES - length_bytes)
        return baton_error_set(error, EFAULT, "no RAM there");
    pthread_mutex_lock(&m->lock);
    m->waiting++;
    while (m->hold && wait)
        pthread_cond_wait(&m->changed, &m->lock);
    m->waiting--;
    pthread_mutex_unlock(&m->lock);
    for (size_t i = 0; i < length_bytes; i++)
        ((uint8_t *)buffer)[i] = fake_ram_byte(gpa + i);
    return 0;
}

void vmm_machine_on_event(struct vmm_machine *m,
                          void (*listener)(void *opaque, const struct vmm_event *event),
                          void *opaque)
{
    pthread_mutex_lock(&m->event_lock);
    m->listener = listener;
    m->opaque = opaque;
    pthread_mutex_unlock(&m->event_lock);
}

int vmm_machine_reset(struct vmm_machine *m, struct baton_error *error)
{
    struct vmm_event event = {.type = VMM_EVENT_RESET, .by_host = true};
    int result = order(error, "reset");

    if (result < 0)
        return result;
    pthread_mutex_lock(&machine.event_lock);
    if (machine.listener)
        machine.listener(machine.opaque, &event);
    pthread_mutex_unlock(&machine.event_lock);
    return 0;
}

void vmm_machine_quit(struct vmm_machine *m)
{
    pthread_mutex_lock(&m->lock);
    m->quit = true;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
}

/* ---- baton ---- */

static int order(struct baton_error *error, const char *format, ...)
{
    int result = 0;
    va_list args;

    va_start(args, format);
    pthread_mutex_lock(&machine.lock);
    if (machine.refusal)
        result = baton_error_set(error, EBUSY, "%s", machine.refusal);
    else
        vsnprintf(machine.order, sizeof(machine.order), format, args);
    pthread_mutex_unlock(&machine.lock);
    va_end(args);
    return result;
}

int baton_migrate(struct baton *baton, const char *uri, bool resume, struct baton_error *error)
{
    return order(error, "migrate %s%s", uri, resume ? " resume" : "");
}

int baton_incoming(struct baton *baton, const char *uri, struct baton_error *error)
{
    return order(error, "incoming %s", uri);
}

int baton_recover(struct baton *baton, const char *uri, struct baton_error *error)
{
    return order(error, "recover %s", uri);
}

int baton_start_postcopy(struct baton *baton, struct baton_error *error)
{
    return order(error, "postcopy");
}

int baton_pause(struct baton *baton, struct baton_error *error)
{
    return order(error, "pause");
}

int baton_cancel(struct baton *baton, struct baton_error *error)
{
    return order(error, "cancel");
}

static int run(bool running, const char *name, struct baton_error *error)
{
    int result = order(error, "%s", name);
    bool changed;

    if (result < 0)
        return result;
    pthread_mutex_lock(&machine.lock);
    changed = machine.running != running;
    machine.running = running;
    pthread_mutex_unlock(&machine.lock);
    if (changed)
        raise_event(running ? VMM_EVENT_RESUME : VMM_EVENT_STOP, NULL);
    return 0;
}

int baton_stop(struct baton *baton, struct baton_error *error)
{
    return run(false, "stop", error);
}

int baton_cont(struct baton *baton, struct baton_error *error)
{
    return run(true, "cont", error);
}

int baton_may_quit(struct baton *baton, struct baton_error *error)
{
    return order(error, "may-quit");
}

const char *baton_status_name(enum baton_status status)
{
    static const char *const names[] = {"none",
                                        "setup",
                                        "active",
                                        "device",
                                        "postcopy-device",
                                        "postcopy-active",
                                        "postcopy-paused",
                                        "postcopy-recover-setup",
                                        "postcopy-recover",
                                        "completed",
                                        "failed",
                                        "cancelling",
                                        "cancelled"};

    return names[status];
}

const char *baton_capability_name(enum baton_capability capability)
{
    static const char *const names[] = {"postcopy-ram", "x-postcopy-fast", "return-path", "events"};

    return names[capability];
}

int baton_set_capability(struct baton *baton, enum baton_capability capability, bool on,
                         struct baton_error *error)
{
    int result = order(error, "capability %d", capability);

    if (result < 0)
        return result;
    if (capability == BATON_CAPABILITY_RETURN_PATH && on)
        return baton_error_set(error, EINVAL, "this one cannot be set");
    pthread_mutex_lock(&machine.lock);
    machine.capabilities[capability] = on;
    pthread_mutex_unlock(&machine.lock);
    return 0;
}

bool baton_get_capability(struct baton *baton, enum baton_capability capability)
{
    bool on;

    pthread_mutex_lock(&machine.lock);
    on = machine.capabilities[capability];
    pthread_mutex_unlock(&machine.lock);
    return on;
}

const char *baton_parameter_name(enum baton_parameter parameter)
{
    static const char *const names[] = {"max-bandwidth", "max-postcopy-bandwidth",
                                        "downtime-limit"};

    return names[parameter];
}

int baton_set_parameter(struct baton *baton, enum baton_parameter parameter, uint64_t value,
                        struct baton_error *error)
{
    if (parameter == BATON_PARAMETER_DOWNTIME_LIMIT && value > 2000000)
        return baton_error_set(error, EINVAL, "too long a downtime");
    pthread_mutex_lock(&machine.lock);
    machine.parameters[parameter] = value;
    pthread_mutex_unlock(&machine.lock);
    return 0;
}

uint64_t baton_get_parameter(struct baton *baton, enum baton_parameter parameter)
{
    uint64_t value;

    pthread_mutex_lock(&machine.lock);
    value = machine.parameters[parameter];
    pthread_mutex_unlock(&machine.lock);
    return value;
}

void baton_query(struct baton *baton, struct baton_info *info)
{
    pthread_mutex_lock(&machine.lock);
    *info = machine.info;
    pthread_mutex_unlock(&machine.lock);
}

int baton_received_map(struct baton *baton, unsigned block, unsigned cells, uint8_t *out_percent,
                       struct baton_error *error)
{
    int result = order(error, "map");

    for (unsigned i = 0; i < cells && !result; i++)
        out_percent[i] = (uint8_t)((i + block) % 101);
    return result;
}

int baton_save_devices(struct baton *baton, uint8_t **bytes, size_t *length_bytes,
                       struct baton_error *error)
{
    int result = order(error, "save");

    if (result < 0)
        return result;
    *length_bytes = 4;
    *bytes = malloc(4);
    memcpy(*bytes, "QEVM", 4);
    return 0;
}
