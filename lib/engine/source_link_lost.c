/* SPDX-License-Identifier: MIT */
/*
 * What happens on the source when the link breaks.
 *
 * Detection: the reader or the writer fails, the peer's bytes make no sense, the peer reports a
 * fault, an answer does not come in time, or a person orders migrate-pause. All of them come down
 * to engine_quiesce(): the link is killed and both threads are told to rest. Nothing is decided
 * before LINK_RESTS, because only then is it known whether RUN has left and no thread claims pages
 * any more. Then:
 *
 *   setup, active                   the VM runs here and goes on; the migration has failed
 *   device, postcopy-device         RUN not written: the VM is taken back, as if nothing had
 * happened RUN written, even in part: postcopy-paused; on the next link the destination is asked
 *   postcopy-active, -recover       postcopy-paused: CPUs stopped, pages kept, nothing forgotten;
 * `migrate` with resume goes on
 *
 * The stories are told by tests/sim; what the operator sees then is engine_explain().
 */
#include "engine/internal.h"

void source_any_on_link_lost(struct engine *engine, const struct engine_event *event)
{
    engine_quiesce(engine,
                   engine->source.one_way ? "the VM was not written away"
                                          : "the link to the destination broke",
                   event->reason);
}

void source_any_on_fault(struct engine *engine, const struct engine_event *event)
{
    engine_quiesce(engine, "the destination reports", event->reason);
}

void source_any_on_shut(struct engine *engine, const struct engine_event *event)
{
    if (event->value)
        engine_quiesce(engine, "the destination reports a failure at the end of the return path",
                       event->reason);
    else
        source_any_on_unexpected(engine, event);
}

void source_any_on_timeout(struct engine *engine, const struct engine_event *event)
{
    (void)event;
    engine_quiesce(engine, "the destination did not answer in time", NULL);
}

void source_postcopy_on_pause(struct engine *engine, const struct engine_event *event)
{
    (void)event;
    engine_quiesce(engine, "paused by migrate-pause at the source", NULL);
}

/* The last message could not be written in time: the link ends without it; the destination lingers
 * and will be told when asked. */
void source_ending_on_timeout(struct engine *engine, const struct engine_event *event)
{
    (void)event;
    engine->deadline_ns = 0;
    if (engine->link)
        engine_emit(engine, ENGINE_ACTION_QUIESCE);
}

static void forget_link(struct engine *engine)
{
    engine->link = 0;
    engine->link_dying = false;
    engine->deadline_ns = 0;
}

void source_precopy_on_link_rests(struct engine *engine, const struct engine_event *event)
{
    (void)event;
    forget_link(engine);
    engine_set_status(engine, BATON_STATUS_FAILED, engine->reason);
    engine_emit(engine, ENGINE_ACTION_UNTRACK_DIRTY);
    engine_emit(engine, ENGINE_ACTION_RELEASE);
}

static void pause(struct engine *engine)
{
    engine->source.proved = false;
    engine->source.stream_ended = false;
    engine_set_status(engine, BATON_STATUS_POSTCOPY_PAUSED, engine->reason);
}

void source_device_on_link_rests(struct engine *engine, const struct engine_event *event)
{
    forget_link(engine);
    if (engine->source.run == ENGINE_RUN_ORDERED)
        engine->source.run = event->run_written ? ENGINE_RUN_LEFT : ENGINE_RUN_HELD;
    if (engine->source.run != ENGINE_RUN_HELD) {
        pause(engine);
        return;
    }
    engine_set_status(engine, BATON_STATUS_FAILED, engine->reason);
    source_take_back(engine);
}

void source_postcopy_on_link_rests(struct engine *engine, const struct engine_event *event)
{
    (void)event;
    forget_link(engine);
    if (engine->source.run == ENGINE_RUN_HELD) { /* the binding answer: source_recover.c */
        engine_set_status(engine, BATON_STATUS_FAILED, engine->reason);
        source_take_back(engine);
        return;
    }
    pause(engine);
}

void source_completed_on_link_rests(struct engine *engine, const struct engine_event *event)
{
    (void)event;
    forget_link(engine);
    engine_emit(engine, ENGINE_ACTION_RELEASE);
}
