/* SPDX-License-Identifier: MIT */
/*
 * The source gives the migration up: `migrate_cancel`.
 *
 * Before RUN is ordered the VM is still ours and simply goes on (or is started again). The
 * destination is told with VOID when the link lives, so that it does not wait for a RUN that never
 * comes. After RUN it cannot be undone from here alone; but if it is not known whether RUN arrived,
 * the order is remembered and put to the destination on the next link: it gives the VM back if it
 * has never run it.
 */
#include <string.h>

#include "engine/internal.h"

void source_precopy_on_cancel(struct engine *engine, const struct engine_event *event)
{
    (void)event;
    if (engine->source.run != ENGINE_RUN_HELD) {
        source_any_refuse_cancel(engine, event);
        return;
    }
    engine_set_status(engine, BATON_STATUS_CANCELLING, "migrate_cancel was ordered");
    if (engine->dialing) {
        engine_emit(engine, ENGINE_ACTION_CANCEL_DIAL);
    } else if (engine->link && !engine->link_dying) {
        if (engine->source.proved) {
            struct engine_action *gone = engine_send(engine, engine->link, ENGINE_MESSAGE_VOID);

            memcpy(gone->hello.session, engine->source.session, ENGINE_ID_BYTES);
            engine_finish_link(engine);
        } else {
            engine_quiesce(engine, "", NULL);
        }
    }
}

void source_paused_on_cancel(struct engine *engine, const struct engine_event *event)
{
    if (engine->source.run == ENGINE_RUN_KNOWN) {
        source_any_refuse_cancel(engine, event);
        return;
    }
    /* Not known whether the VM runs over there: the next link will tell (engine_explain says so).
     */
    engine->source.want_back = true;
}

static void cancelled(struct engine *engine)
{
    engine_clear_reason(engine);
    engine_set_status(engine, BATON_STATUS_CANCELLED, "migrate_cancel was ordered");
    source_take_back(engine);
}

void source_cancelling_on_dialed(struct engine *engine, const struct engine_event *event)
{
    engine->dialing = false;
    engine_emit(engine, ENGINE_ACTION_DROP_LINK)->link = event->link;
    cancelled(engine);
}

void source_cancelling_on_dial_failed(struct engine *engine, const struct engine_event *event)
{
    (void)event;
    engine->dialing = false;
    cancelled(engine);
}

void source_cancelling_on_link_rests(struct engine *engine, const struct engine_event *event)
{
    (void)event;
    engine->link = 0;
    engine->link_dying = false;
    engine->deadline_ns = 0;
    cancelled(engine);
}
