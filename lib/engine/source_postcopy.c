/* SPDX-License-Identifier: MIT */
/*
 * The source in postcopy, and the end. The writer sends what is dirty, requested pages first. When
 * nothing is dirty the stream ends, but that is not completion: complete is when the destination
 * says that its received set is full. Until then every page is kept, because what was sent may
 * still be lost.
 */
#include "engine/internal.h"

void source_postcopy_on_all_sent(struct engine *engine, const struct engine_event *event)
{
    (void)event;
    if (engine->source.stream_ended)
        return;
    engine->source.stream_ended = true;
    engine_send(engine, engine->link, ENGINE_MESSAGE_RAM_END);
    engine_send(engine, engine->link, ENGINE_MESSAGE_STREAM_END);
}

void source_complete(struct engine *engine, const char *reason)
{
    engine->source.run = ENGINE_RUN_KNOWN;
    if (!engine->times.run_ns)
        engine->times.run_ns = engine->now_ns;
    engine_clear_reason(engine);
    engine_set_status(engine, BATON_STATUS_COMPLETED, reason);
    engine_send(engine, engine->link, ENGINE_MESSAGE_BYE)->value = engine->epoch;
    engine_finish_link(engine);
    engine_emit(engine, ENGINE_ACTION_UNTRACK_DIRTY);
}

void source_any_on_complete(struct engine *engine, const struct engine_event *event)
{
    bool over = engine->status == BATON_STATUS_DEVICE ? engine->source.run != ENGINE_RUN_HELD
                                                      : engine->source.stream_ended;

    if (!over || event->hello.epoch != engine->epoch ||
        event->value != engine->pages->total_pages) {
        source_any_on_unexpected(engine, event);
        return;
    }
    source_complete(engine, "the destination has every page");
}
