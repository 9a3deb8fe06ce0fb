/* SPDX-License-Identifier: MIT */
/*
 * The destination of a stream without a way back: a VM that was saved to a file, or that comes out
 * of a pipe or a command.
 *
 * Such a stream has no hello. It is let in because the operator named it, and only he can: the
 * runtime says ONE_WAY for what was opened by file:, exec: or a pipe's fd:, and never for a
 * connection that somebody made to a listener. From then on it is the current link, and may bring
 * memory and devices and nothing else: there is nobody to answer. The runtime hands over the device
 * state when the stream has ended in order (a command that makes it has status 0), so RUN is
 * implied by a complete set. Whatever is wrong before that empties this side, and the order can be
 * given again.
 */
#include <string.h>

#include "base/text.h"
#include "engine/internal.h"

void dest_any_on_one_way(struct engine *engine, const struct engine_event *event)
{
    struct engine_dest *dest = &engine->dest;
    bool idle = engine->status == BATON_STATUS_SETUP || engine->status == BATON_STATUS_FAILED ||
                engine->status == BATON_STATUS_CANCELLED;

    if (engine->link || !dest->listening || !idle) {
        struct engine_action *drop = engine_emit(engine, ENGINE_ACTION_DROP_LINK);
        struct text text;

        drop->link = event->link;
        text_init(&text, drop->reason, sizeof(drop->reason));
        text_str(&text, "a saved VM came when none was awaited");
        return;
    }
    memset(dest, 0, sizeof(*dest));
    memset(&engine->times, 0, sizeof(engine->times));
    dest->listening = true;
    dest->one_way = true;
    engine->epoch++;
    engine->link = event->link;
    engine->link_dying = false;
    engine->times.began_ns = engine->now_ns;
    engine_clear_reason(engine);
    engine_emit(engine, ENGINE_ACTION_ADOPT_LINK)->value = engine->epoch;
    if (engine->status != BATON_STATUS_SETUP)
        engine_set_status(engine, BATON_STATUS_SETUP, "another stream is read");
    engine_set_status(engine, BATON_STATUS_ACTIVE, "a stream without a way back is read");
}

bool dest_one_way_takes(const struct engine_event *event)
{
    switch (event->type) {
    case ENGINE_EVENT_RAM_START:
    case ENGINE_EVENT_LOADED:
    case ENGINE_EVENT_LINK_LOST:
    case ENGINE_EVENT_LINK_RESTS:
        return true;
    case ENGINE_EVENT_PACKAGE:
        return event->precopy;
    default:
        return event->type <= ENGINE_EVENT_CONT || event->type == ENGINE_EVENT_TIMEOUT;
    }
}

/* Nobody has to be told: the listeners and the link end. */
void dest_one_way_complete(struct engine *engine)
{
    struct engine_dest *dest = &engine->dest;

    dest->ready = dest->started = dest->said_bye = true;
    dest->listening = false;
    engine->times.run_ns = engine->now_ns;
    if (dest->start_on_run && !engine->keep_stopped)
        engine_start_cpus(engine);
    pageset_revoke(engine->pages);
    engine_clear_reason(engine);
    engine_set_status(engine, BATON_STATUS_COMPLETED, "every page was read");
    engine_emit(engine, ENGINE_ACTION_CLOSE_LISTENERS);
    engine_finish_link(engine);
}

/* The same bytes would not get better: whoever has others gives the order again. */
void dest_one_way_failed(struct engine *engine)
{
    if (!engine->dest.listening)
        return;
    engine->dest.listening = false;
    engine_emit(engine, ENGINE_ACTION_CLOSE_LISTENERS);
}
