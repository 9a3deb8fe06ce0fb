/* SPDX-License-Identifier: MIT */
/*
 * The destination loads a VM: from the block list to RUN.
 *
 * In precopy the newest copy of a page wins, and the received set is no evidence of anything. The
 * first DISCARD changes the rules: userfaultfd is registered over all RAM before any page is
 * forgotten, so that a missing page is missing and never a page of zeros. The package holds the
 * device state; after it was loaded the answer is READY: a promise to stay and to wait, and nothing
 * runs. RUN alone starts the CPUs, once.
 */
#include "engine/internal.h"

void dest_active_on_advise(struct engine *engine, const struct engine_event *event)
{
    if (engine->dest.packaged)
        dest_any_on_unexpected(engine, event);
    else if (!event->ok)
        dest_give_up_link(engine, "postcopy is not possible at the destination", event->reason);
}

void dest_active_on_ram_start(struct engine *engine, const struct engine_event *event)
{
    if (engine->dest.packaged) {
        dest_any_on_unexpected(engine, event);
        return;
    }
    engine->deadline_ns = 0;
    pageset_lease(engine->pages, engine->epoch);
    engine->times.first_page_ns = engine->now_ns;
    engine_emit(engine, ENGINE_ACTION_LOAD_PRECOPY)->value = engine->epoch;
}

void dest_active_on_discard(struct engine *engine, const struct engine_event *event)
{
    struct engine_action *discard;

    if (engine->dest.packaged) {
        dest_any_on_unexpected(engine, event);
        return;
    }
    if (!engine->dest.faults) {
        engine->dest.faults = true;
        engine_emit(engine, ENGINE_ACTION_REGISTER_FAULTS);
    }
    pageset_discard(engine->pages, event->block, event->first_page, event->page_count);
    discard = engine_emit(engine, ENGINE_ACTION_DISCARD_PAGES);
    discard->block = event->block;
    discard->first_page = event->first_page;
    discard->page_count = event->page_count;
}

void dest_active_on_faults_ready(struct engine *engine, const struct engine_event *event)
{
    if (!event->ok)
        dest_give_up_link(engine, "missing pages cannot be caught at the destination",
                          event->reason);
}

void dest_active_on_package(struct engine *engine, const struct engine_event *event)
{
    if (engine->dest.packaged) {
        dest_any_on_unexpected(engine, event);
        return;
    }
    engine->dest.packaged = true;
    engine->dest.precopy = event->precopy;
    if (event->precopy && !pageset_is_full(engine->pages)) {
        dest_give_up_link(engine, "the stream ended although pages are missing", event->reason);
        return;
    }
    /* Without userfaultfd a missing page would be read as zeros. */
    if (!engine->dest.faults && !pageset_is_full(engine->pages)) {
        dest_give_up_link(engine, "pages are missing and none was discarded", event->reason);
        return;
    }
    if (!event->precopy)
        engine_set_status(engine, BATON_STATUS_POSTCOPY_DEVICE, "the device state has come");
    engine->times.stopped_ns = engine->now_ns;
    engine_emit(engine, ENGINE_ACTION_LOAD_DEVICES);
}

void dest_device_on_loaded(struct engine *engine, const struct engine_event *event)
{
    struct engine_action *ready;

    if (!event->ok) {
        dest_give_up_link(engine, "the device state could not be loaded", event->reason);
        return;
    }
    engine->dest.start_on_run = event->vm_was_running;
    if (engine->dest.one_way) {
        dest_one_way_complete(engine);
        return;
    }
    engine->dest.ready = true;
    if (!engine->dest.precopy) {
        engine_emit(engine, ENGINE_ACTION_LOAD_POSTCOPY)->value = engine->epoch;
        engine_emit(engine, ENGINE_ACTION_REQUEST_FAULTS);
    }
    ready = engine_send(engine, engine->link, ENGINE_MESSAGE_READY);
    for (unsigned i = 0; i < ENGINE_ID_BYTES; i++)
        ready->hello.nonce[i] = engine->nonce[i];
    ready->hello.epoch = engine->epoch;
}

void dest_device_on_run(struct engine *engine, const struct engine_event *event)
{
    struct engine_dest *dest = &engine->dest;

    if (!dest->ready || dest->started || dest->voided) {
        dest_any_on_unexpected(engine, event);
        return;
    }
    dest->started = true;
    engine->times.run_ns = engine->now_ns;
    if (dest->start_on_run && !engine->keep_stopped)
        engine_start_cpus(engine);
    if (dest->precopy && engine->status == BATON_STATUS_ACTIVE)
        dest_complete(engine);
    else
        engine_set_status(engine, BATON_STATUS_POSTCOPY_ACTIVE, "the source has let the VM go");
}

void dest_any_on_void(struct engine *engine, const struct engine_event *event)
{
    if (engine->dest.started || !engine_id_equal(event->hello.session, engine->dest.session)) {
        dest_any_on_unexpected(engine, event);
        return;
    }
    engine->dest.voided = true;
    engine_quiesce(engine, "the source has taken its VM back", NULL);
}
