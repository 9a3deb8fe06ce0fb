/* SPDX-License-Identifier: MIT */
/*
 * The source has come back and asks what arrived. The fault thread and all placing threads rest
 * since the old link was retired, and stay so until RESUME: the received set that is reported is
 * exact. RESUME lends the page set to the new link's threads and asks again for every page that
 * somebody waits for.
 */
#include "engine/internal.h"

void dest_paused_on_recover(struct engine *engine, const struct engine_event *event)
{
    /* The listener is the caller's work; that it is welcome is all there is to decide. */
    (void)engine;
    (void)event;
}

void dest_recover_on_bitmap_request(struct engine *engine, const struct engine_event *event)
{
    engine_send(engine, engine->link, ENGINE_MESSAGE_BITMAP)->block = event->block;
}

void dest_recover_on_resume_request(struct engine *engine, const struct engine_event *event)
{
    (void)event;
    engine->deadline_ns = 0;
    pageset_lease(engine->pages, engine->epoch);
    engine_emit(engine, ENGINE_ACTION_LOAD_POSTCOPY)->value = engine->epoch;
    engine_send(engine, engine->link, ENGINE_MESSAGE_RESUME_ACK);
    if (engine->dest.faults)
        engine_emit(engine, ENGINE_ACTION_REQUEST_FAULTS);
    engine_set_status(
        engine, engine->dest.started ? BATON_STATUS_POSTCOPY_ACTIVE : BATON_STATUS_POSTCOPY_DEVICE,
        "recovered");
}
