/* SPDX-License-Identifier: MIT */
/*
 * The destination completes: when its received set is full, and not because a stream ended.
 * Afterwards it lingers: it goes on listening and tells a source that asks "complete", until the
 * source has said BYE or a person ends it, because the message that told the source may have been
 * lost with the link.
 */
#include "base/text.h"
#include "engine/internal.h"

void dest_complete(struct engine *engine)
{
    if (engine->dest.faults)
        engine_emit(engine, ENGINE_ACTION_END_FAULTS);
    engine->dest.faults = false;
    /* Every page is the guest's now: what still comes writes nothing. */
    pageset_revoke(engine->pages);
    engine_clear_reason(engine);
    engine_set_status(engine, BATON_STATUS_COMPLETED, "every page is here");
    if (engine->link) {
        struct engine_action *complete = engine_send(engine, engine->link, ENGINE_MESSAGE_COMPLETE);

        complete->hello.epoch = engine->epoch;
        complete->value = engine->pages->total_pages;
        engine_send(engine, engine->link, ENGINE_MESSAGE_SHUT)->value = 0;
    }
}

void dest_postcopy_on_stream_end(struct engine *engine, const struct engine_event *event)
{
    char sentence[ENGINE_REASON_BYTES];
    struct text text;

    if (!engine->dest.started) {
        dest_any_on_unexpected(engine, event);
        return;
    }
    if (pageset_is_full(engine->pages)) {
        dest_complete(engine);
        return;
    }
    text_init(&text, sentence, sizeof(sentence));
    text_str(&text, "the stream ended although ");
    text_u64(&text, engine->pages->total_pages - pageset_received_pages(engine->pages));
    text_str(&text, " pages are missing; a recovery sends them");
    engine_quiesce(engine, sentence, NULL);
}

static void end_lingering(struct engine *engine)
{
    if (engine->dest.listening)
        engine_emit(engine, ENGINE_ACTION_CLOSE_LISTENERS);
    engine->dest.listening = false;
}

void dest_completed_on_bye(struct engine *engine, const struct engine_event *event)
{
    (void)event;
    engine->dest.said_bye = true;
    end_lingering(engine);
    engine_finish_link(engine);
}

void dest_completed_on_cancel(struct engine *engine, const struct engine_event *event)
{
    (void)event;
    if (!engine->dest.listening)
        return;
    end_lingering(engine);
    /* A link that is left may be half open, and would keep this side in its role for ever. */
    if (!engine->link)
        engine_emit(engine, ENGINE_ACTION_RELEASE);
    else if (!engine->link_dying)
        engine_finish_link(engine);
}

/* Lingering was ended, or its address is not reachable any more, before the source knew: without
 * this it would wait for ever. */
void dest_completed_on_recover(struct engine *engine, const struct engine_event *event)
{
    if (engine->dest.said_bye)
        dest_any_refuse_recover(engine, event);
    else
        engine->dest.listening = true;
}

void dest_completed_on_link_rests(struct engine *engine, const struct engine_event *event)
{
    (void)event;
    engine->link = 0;
    engine->link_dying = false;
    engine->deadline_ns = 0;
    engine_clear_reason(engine);
    if (!engine->dest.listening)
        engine_emit(engine, ENGINE_ACTION_RELEASE);
    dest_adopt_pending(engine);
}
