/* SPDX-License-Identifier: MIT */
/*
 * Carrying out what the engine has decided, in its order, on the loop thread. Nothing here waits
 * for the network: what is to be sent goes into the queue of a link, dialing has a thread of its
 * own.
 */
#include <string.h>

#include "runtime/link.h"

static void tell_host(struct baton *baton, const struct baton_event *event)
{
    if (baton->ops->event)
        baton->ops->event(baton->host, event);
}

/* Counts are of one migration. Nobody counts yet when it begins. */
static void reset_counts(struct baton *baton)
{
    struct runtime_stats *stats = &baton->stats;

    atomic_store(&stats->transferred_bytes, 0);
    atomic_store(&stats->precopy_bytes, 0);
    atomic_store(&stats->downtime_bytes, 0);
    atomic_store(&stats->postcopy_bytes, 0);
    atomic_store(&stats->normal_pages, 0);
    atomic_store(&stats->zero_pages, 0);
    atomic_store(&stats->requested_pages, 0);
    atomic_store(&stats->dirty_syncs, 0);
    atomic_store(&stats->faults, 0);
    latency_init(&baton->fault_latency);
}

static void apply_status(struct baton *baton, const struct engine_action *action)
{
    struct baton_event event = {
        .type = BATON_EVENT_STATUS,
        .role = baton->engine.role,
        .previous = action->previous,
        .status = action->status,
        .reason = action->reason,
    };

    if (action->status == BATON_STATUS_SETUP)
        reset_counts(baton);
    /* Who hears of it and asks at once must be told the same. */
    query_update(baton);
    tell_host(baton, &event);
}

static void trace(struct baton *baton, const char *line)
{
    struct baton_event event = {
        .type = BATON_EVENT_TRACE, .role = baton->engine.role, .reason = line};

    tell_host(baton, &event);
}

/* The counter of the phase that the source is in. */
static _Atomic uint64_t *phase_bytes(struct baton *baton)
{
    switch (baton->engine.status) {
    case BATON_STATUS_DEVICE:
    case BATON_STATUS_POSTCOPY_DEVICE:
        return &baton->stats.downtime_bytes;
    case BATON_STATUS_POSTCOPY_ACTIVE:
        return &baton->stats.postcopy_bytes;
    default:
        return &baton->stats.precopy_bytes;
    }
}

static void apply_send(struct baton *baton, struct link *link, const struct engine_action *action)
{
    struct package bytes = {0};

    if (action->message == ENGINE_MESSAGE_BITMAP) {
        link_order(link, ORDER_BITMAP, NULL, 0, action->block, 0, NULL);
        return;
    }
    encode_message(baton, action, &bytes);
    link_order(link, action->message == ENGINE_MESSAGE_RUN ? ORDER_RUN : ORDER_BYTES, bytes.bytes,
               bytes.used, 0, 0,
               baton->engine.role == BATON_ROLE_SOURCE ? phase_bytes(baton) : NULL);
    package_clear(&bytes);
}

static void apply_package(struct baton *baton, struct link *link, bool precopy)
{
    struct package blob = {0}, bytes = {0};
    struct wire_message message = {.type = WIRE_LISTEN};
    uint8_t head[WIRE_MAX_CONTROL_BYTES];

    if (!precopy)
        package_add(&blob, head, wire_encode(&message, head, sizeof(head)));
    devices_save(baton, baton->engine.source.vm_was_running, &blob);
    if (precopy) {
        message.type = WIRE_EOF;
        package_add(&blob, head, wire_encode(&message, head, sizeof(head)));
    } else {
        message.type = WIRE_PACKAGED;
        message.u.length = (uint32_t)blob.used;
        package_add(&bytes, head, wire_encode(&message, head, sizeof(head)));
    }
    package_add(&bytes, blob.bytes, blob.used);
    link_order(link, ORDER_BYTES, bytes.bytes, bytes.used, 0, 0, &baton->stats.downtime_bytes);
    package_clear(&blob);
    package_clear(&bytes);
}

static void apply_discard(struct baton *baton, const struct engine_action *action)
{
    struct engine_event result = {.type = ENGINE_EVENT_FAULTS_READY, .link = baton->engine.link};
    static struct baton_error error; /* the result's sentence; loop thread only */

    if (!atomic_load(&baton->guarded))
        return; /* registering failed, which was reported; nothing may be forgotten unguarded */
    if (ram_discard(&baton->ram, action->block,
                    action->first_page * page_bytes(baton, action->block),
                    action->page_count * page_bytes(baton, action->block), &error) < 0) {
        result.reason = error.text;
        loop_result(baton, &result);
    }
}

static void apply_register_faults(struct baton *baton)
{
    struct engine_event result = {
        .type = ENGINE_EVENT_FAULTS_READY, .link = baton->engine.link, .ok = true};
    static struct baton_error error;

    if (fault_register(baton, &error) < 0) {
        result.ok = false;
        result.reason = error.text;
    } else {
        atomic_store(&baton->guarded, true);
    }
    loop_result(baton, &result);
}

static void apply_load_devices(struct baton *baton)
{
    struct engine_event result = {.type = ENGINE_EVENT_LOADED, .link = baton->engine.link};
    static struct baton_error error;
    bool running = false;

    result.ok = devices_load(baton, baton->incoming_package.bytes, baton->incoming_package.used,
                             &running, &error) == 0;
    result.vm_was_running = running;
    result.reason = result.ok ? NULL : error.text;
    package_clear(&baton->incoming_package);
    loop_result(baton, &result);
}

static void apply_prepare(struct baton *baton)
{
    struct engine_event result = {.type = ENGINE_EVENT_PREPARED, .link = baton->engine.link};
    static struct baton_error error;

    result.ok = devices_resume_prepare(baton, &error) == 0;
    result.reason = result.ok ? NULL : error.text;
    loop_result(baton, &result);
}

static void apply_reset(struct baton *baton)
{
    struct baton_error error;

    for (unsigned b = 0; b < baton->ram.count; b++)
        if (ram_discard(&baton->ram, b, 0, baton->ram.blocks[b].length_bytes, &error) < 0)
            trace(baton, error.text);
    baton->ops->reset(baton->host);
}

static void apply_pass(struct baton *baton)
{
    struct baton_event event = {
        .type = BATON_EVENT_PASS,
        .role = BATON_ROLE_SOURCE,
        .status = baton->engine.status,
        .pass = baton->engine.source.pass,
        .reason = "a pass over the dirty pages",
    };

    tell_host(baton, &event);
}

static void track_dirty(struct baton *baton)
{
    dirty_log_start(&baton->dirty);
    baton->ops->dirty_barrier(baton->host);
    pageset_set_all_dirty(&baton->pages);
}

static void quiesce(struct baton *baton, struct link *link, const char *reason)
{
    trace(baton, reason);
    if (baton->engine.role == BATON_ROLE_DEST)
        fault_halt(baton, link);
    link_quit(link);
}

/* Actions that are about a link; it exists as long as the engine speaks of it, or has just died
 * with the threads of its peer. */
static void apply_to_link(struct baton *baton, const struct engine_action *action)
{
    struct link *link = link_find(baton, action->link);

    if (!link)
        return;
    switch (action->type) {
    case ENGINE_ACTION_SEND:
        apply_send(baton, link, action);
        break;
    case ENGINE_ACTION_START_LINK:
        link->adopted = true;
        link_start(link);
        break;
    case ENGINE_ACTION_ADOPT_LINK:
        link->adopted = true;
        link->ram_learnt = baton->ram_learnt;
        break;
    case ENGINE_ACTION_DROP_LINK:
        trace(baton, action->reason);
        link->dropped = true;
        if (link->role == BATON_ROLE_SOURCE)
            link_free(link); /* dialed for nothing: its threads were never started */
        else
            link_finish(link);
        break;
    case ENGINE_ACTION_QUIESCE:
        quiesce(baton, link, action->reason);
        break;
    case ENGINE_ACTION_FINISH_LINK:
        link_finish(link);
        break;
    case ENGINE_ACTION_PASS:
        apply_pass(baton);
        link_order(link, ORDER_PASS, NULL, 0, 0, action->value, &baton->stats.precopy_bytes);
        break;
    case ENGINE_ACTION_FINAL_PASS:
        link_order(link, ORDER_FINAL_PASS, NULL, 0, 0, action->value, &baton->stats.downtime_bytes);
        break;
    case ENGINE_ACTION_END_PASS:
        link_end_pass(link);
        break;
    case ENGINE_ACTION_SEND_DISCARDS:
        link_order(link, ORDER_DISCARDS, NULL, 0, 0, action->value, &baton->stats.downtime_bytes);
        break;
    case ENGINE_ACTION_SEND_PACKAGE:
        apply_package(baton, link, action->precopy);
        break;
    case ENGINE_ACTION_END_STREAM:
        link_order(link, ORDER_END_STREAM, NULL, 0, 0, 0, NULL);
        break;
    case ENGINE_ACTION_BULK:
        link_order(link, ORDER_BULK, NULL, 0, 0, action->value, &baton->stats.postcopy_bytes);
        break;
    case ENGINE_ACTION_LOAD_PRECOPY:
        baton->ram_learnt = link->ram_learnt;
        link->load = LOAD_PRECOPY;
        link->load_epoch = action->value;
        break;
    case ENGINE_ACTION_LOAD_POSTCOPY:
        link->load = LOAD_POSTCOPY;
        link->load_epoch = action->value;
        break;
    case ENGINE_ACTION_REQUEST_FAULTS:
        fault_work(baton, link);
        break;
    default:
        break;
    }
}

static void apply(struct baton *baton, const struct engine_action *action)
{
    switch (action->type) {
    case ENGINE_ACTION_STATUS:
        apply_status(baton, action);
        break;
    case ENGINE_ACTION_START_CPUS:
        baton->ops->vm_start(baton->host);
        break;
    case ENGINE_ACTION_STOP_CPUS:
        baton->ops->vm_stop(baton->host);
        break;
    case ENGINE_ACTION_RESET_VM:
        apply_reset(baton);
        break;
    case ENGINE_ACTION_DIAL:
        dial_start(baton);
        break;
    case ENGINE_ACTION_CANCEL_DIAL:
        channel_dialer_cancel(&baton->dialer);
        break;
    case ENGINE_ACTION_CLOSE_LISTENERS:
        listen_close_all(baton);
        break;
    case ENGINE_ACTION_TRACK_DIRTY:
        track_dirty(baton);
        break;
    case ENGINE_ACTION_UNTRACK_DIRTY:
        dirty_log_stop(&baton->dirty);
        break;
    case ENGINE_ACTION_PREPARE_DEVICES:
        apply_prepare(baton);
        break;
    case ENGINE_ACTION_REGISTER_FAULTS:
        apply_register_faults(baton);
        break;
    case ENGINE_ACTION_DISCARD_PAGES:
        apply_discard(baton, action);
        break;
    case ENGINE_ACTION_LOAD_DEVICES:
        apply_load_devices(baton);
        break;
    case ENGINE_ACTION_END_FAULTS:
        fault_end(baton);
        break;
    case ENGINE_ACTION_RELEASE:
        package_clear(&baton->incoming_package);
        break;
    default:
        apply_to_link(baton, action);
        break;
    }
}

void apply_actions(struct baton *baton, const struct engine_out *out)
{
    for (unsigned i = 0; i < out->count; i++)
        apply(baton, &out->actions[i]);
}
