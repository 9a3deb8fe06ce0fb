/* SPDX-License-Identifier: MIT */
/*
 * The source in precopy: pass after pass over the dirty pages while the VM runs, until what is left
 * can be sent within the allowed downtime, or postcopy is ordered. Passes are the writer's work
 * (lib/runtime/sender.c); here is only the decision between two of them.
 */
#include <errno.h>

#include "engine/internal.h"

/* Whether `dirty_pages` can be sent within the downtime limit at the rate of the last pass. */
static bool has_converged(const struct engine *engine, const struct engine_event *event)
{
    double left_ns;

    if (event->dirty_pages == 0)
        return true;
    if (event->bytes == 0 || event->duration_ns == 0)
        return false;
    left_ns = (double)event->dirty_pages * 4096 * (double)event->duration_ns / (double)event->bytes;
    return left_ns <= (double)engine->downtime_limit_ns;
}

void source_active_on_pass_done(struct engine *engine, const struct engine_event *event)
{
    if (engine->source.switching)
        return; /* the pass was ended early for the switchover that has begun since */
    if (engine->source.postcopy_wanted) {
        source_begin_switchover(engine, true);
    } else if (has_converged(engine, event)) {
        if (engine->source.one_way)
            source_one_way_switch(engine);
        else
            source_begin_switchover(engine, false);
    } else {
        engine->source.pass++;
        engine_emit(engine, ENGINE_ACTION_PASS)->value = engine->epoch;
    }
}

static bool may_start_postcopy(struct engine *engine)
{
    if (engine->capability[BATON_CAPABILITY_POSTCOPY_RAM])
        return true;
    engine_refuse(engine, EINVAL,
                  "postcopy was not prepared: set the capability postcopy-ram before migrate, on "
                  "both sides");
    return false;
}

void source_setup_on_start_postcopy(struct engine *engine, const struct engine_event *event)
{
    (void)event;
    if (may_start_postcopy(engine))
        engine->source.postcopy_wanted = true;
}

void source_active_on_start_postcopy(struct engine *engine, const struct engine_event *event)
{
    (void)event;
    if (!may_start_postcopy(engine))
        return;
    /* Too late to change a switchover that has begun; it moves the VM all the same. */
    if (engine->source.postcopy_wanted || engine->source.switching)
        return;
    engine->source.postcopy_wanted = true;
    engine_emit(engine, ENGINE_ACTION_END_PASS);
}
