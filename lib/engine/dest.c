/* SPDX-License-Identifier: MIT */
/*
 * The destination: what holds in all of its situations.
 *
 * It listens (setup, or failed and still listening), lets one connection become the current link by
 * its hello (dest_hello.c), loads (dest_load.c), runs on RUN, and completes (dest_end.c). What a
 * broken link means is in dest_link_lost.c, how the source comes back in dest_hello.c and
 * dest_recover.c.
 */
#include <string.h>

#include "engine/internal.h"

enum engine_peer_state dest_peer_state(const struct engine *engine)
{
    const struct engine_dest *dest = &engine->dest;

    if (engine->status == BATON_STATUS_COMPLETED)
        return ENGINE_PEER_COMPLETE;
    if (dest->voided)
        return ENGINE_PEER_NEVER;
    if (dest->started)
        return ENGINE_PEER_RUNNING;
    if (dest->ready)
        return ENGINE_PEER_NOT_STARTED;
    return engine_id_is_zero(dest->session) ? ENGINE_PEER_FRESH : ENGINE_PEER_LOADING;
}

void dest_none_on_incoming(struct engine *engine, const struct engine_event *event)
{
    (void)event;
    engine->role = BATON_ROLE_DEST;
    memset(&engine->dest, 0, sizeof(engine->dest));
    memset(&engine->times, 0, sizeof(engine->times));
    engine->dest.listening = true;
    engine_clear_reason(engine);
    engine_set_status(engine, BATON_STATUS_SETUP, "listening for a VM");
}

void dest_any_on_ping(struct engine *engine, const struct engine_event *event)
{
    engine_send(engine, event->link, ENGINE_MESSAGE_PONG)->value = event->value;
}

void dest_any_on_barrier(struct engine *engine, const struct engine_event *event)
{
    engine_send(engine, event->link, ENGINE_MESSAGE_BARRIER_ACK)->value = event->value;
}

/* ---- Cancel ---- */

static void stop_listening(struct engine *engine)
{
    engine->dest.listening = false;
    engine_emit(engine, ENGINE_ACTION_CLOSE_LISTENERS);
}

void dest_setup_on_cancel(struct engine *engine, const struct engine_event *event)
{
    (void)event;
    if (!engine->dest.listening)
        return;
    stop_listening(engine);
    engine_set_status(engine, BATON_STATUS_CANCELLED, "migrate_cancel was ordered");
}

void dest_loading_on_cancel(struct engine *engine, const struct engine_event *event)
{
    if (engine->dest.started) {
        dest_any_refuse_cancel(engine, event);
        return;
    }
    /* From this moment RUN counts no more, even if it is in the old socket already. */
    engine->dest.voided = true;
    engine->dest.cancelled = true;
    engine_quiesce(engine, "migrate_cancel was ordered at the destination", NULL);
}

void dest_paused_on_cancel(struct engine *engine, const struct engine_event *event)
{
    if (engine->dest.started) {
        dest_any_refuse_cancel(engine, event);
        return;
    }
    dest_abandon_session(engine, BATON_STATUS_CANCELLED,
                         "migrate_cancel was ordered at the destination; the source may have the "
                         "VM back");
}

/* Outlives `dest`, which the next migration overwrites. */
static void remember_given_up(struct engine *engine)
{
    struct engine_given_up *entry = &engine->given_up[engine->given_up_next];

    engine->given_up_next = (engine->given_up_next + 1) % ENGINE_MAX_GIVEN_UP;
    memcpy(entry->session, engine->dest.session, ENGINE_ID_BYTES);
    memcpy(entry->source_nonce, engine->dest.source_nonce, ENGINE_ID_BYTES);
}

/* Something that only we know went wrong: tell the source why before the link goes. */
void dest_give_up_link(struct engine *engine, const char *before, const char *reason)
{
    struct engine_action *fault;

    if (engine->dest.one_way) { /* nobody to tell */
        engine_quiesce(engine, before, reason);
        return;
    }
    engine_note_reason(engine, before, reason);
    fault = engine_send(engine, engine->link, ENGINE_MESSAGE_FAULT);
    for (unsigned i = 0; i < sizeof(fault->reason); i++)
        fault->reason[i] = engine->reason[i];
    engine_finish_link(engine);
}

void dest_abandon_session(struct engine *engine, enum baton_status status, const char *reason)
{
    struct engine_dest *dest = &engine->dest;

    if (dest->ready)
        remember_given_up(engine);

    /* The session and its end are remembered: a source that asks must get the binding answer.
     * Loading may have written RAM. */
    dest->voided = true;
    dest->ready = false;
    dest->cancelled = false;
    if (dest->faults)
        engine_emit(engine, ENGINE_ACTION_END_FAULTS);
    dest->faults = false;
    pageset_discard_all(engine->pages);
    engine_emit(engine, ENGINE_ACTION_RESET_VM);
    engine_emit(engine, ENGINE_ACTION_RELEASE);
    engine_note_reason(engine, "", reason);
    engine_set_status(engine, status, reason);
    if (dest->one_way)
        dest_one_way_failed(engine);
}
