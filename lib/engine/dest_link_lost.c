/* SPDX-License-Identifier: MIT */
/*
 * What happens on the destination when the link breaks.
 *
 * As on the source nothing is decided before LINK_RESTS: the loading thread, the return-path writer
 * and the fault thread have halted, so the received set stands still. Then:
 *
 *   active, postcopy-device before READY   the session is over: all RAM is discarded, the devices
 * are reset, and it listens again after READY, before RUN                postcopy-paused: READY was
 * a promise to wait; the source will say after RUN                              postcopy-paused:
 * the VM goes on with the pages it has; CPUs that need others wait after RUN with every page here
 * completed, with or without the link completed                              it lingers and tells a
 * source that asks
 */
#include "engine/internal.h"

void dest_any_on_link_lost(struct engine *engine, const struct engine_event *event)
{
    if (engine->dest.one_way) {
        engine_quiesce(engine, "the VM cannot be loaded", event->reason);
        return;
    }
    /* The link still carries, it is its bytes that make no sense: before READY the source is told
     * why, and the session ends. */
    if (event->ok && !engine->dest.ready && engine->status != BATON_STATUS_COMPLETED)
        dest_give_up_link(engine, "the destination refuses the stream", event->reason);
    else
        engine_quiesce(engine, "the link to the source broke", event->reason);
}

void dest_any_on_timeout(struct engine *engine, const struct engine_event *event)
{
    (void)event;
    engine->deadline_ns = 0;
    if (engine->link_dying)
        engine_emit(engine, ENGINE_ACTION_QUIESCE); /* a last message could not be written */
    else
        engine_quiesce(engine, "the source did not go on in time", NULL);
}

void dest_postcopy_on_pause(struct engine *engine, const struct engine_event *event)
{
    (void)event;
    engine_quiesce(engine, "paused by migrate-pause at the destination", NULL);
}

static void forget_link(struct engine *engine)
{
    engine->link = 0;
    engine->link_dying = false;
    engine->deadline_ns = 0;
}

static void pause_or_complete(struct engine *engine)
{
    if (engine->dest.started && pageset_is_full(engine->pages))
        dest_complete(engine);
    else
        engine_set_status(engine, BATON_STATUS_POSTCOPY_PAUSED, engine->reason);
    dest_adopt_pending(engine);
}

void dest_loading_on_link_rests(struct engine *engine, const struct engine_event *event)
{
    (void)event;
    forget_link(engine);
    if (engine->dest.ready && !engine->dest.voided) {
        pause_or_complete(engine);
        return;
    }
    dest_abandon_session(engine,
                         engine->dest.cancelled ? BATON_STATUS_CANCELLED : BATON_STATUS_FAILED,
                         engine->reason);
    dest_adopt_pending(engine);
}

void dest_postcopy_on_link_rests(struct engine *engine, const struct engine_event *event)
{
    if (engine->dest.voided) {
        dest_loading_on_link_rests(engine, event);
        return;
    }
    forget_link(engine);
    pause_or_complete(engine);
}
