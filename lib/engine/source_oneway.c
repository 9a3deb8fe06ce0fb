/* SPDX-License-Identifier: MIT */
/*
 * The source when nothing comes back: the VM goes into a file, a pipe or a command.
 *
 *   header, configuration, RAM_START
 *   passes while the VM runs
 *   stop the CPUs, the last pages, RAM_END, devices, end of stream   nobody may have the VM yet
 *   END_STREAM  ===== point of no return =====
 *   CLOSED: the file is on the disk, or the command ended with status 0: complete
 *
 * There is no hello, no barrier, no READY and no RUN. Whoever reads runs the VM only when the
 * stream is whole and has ended in order, and that end is what END_STREAM makes; so from there on
 * the order to cancel is refused. What comes then is one of two: CLOSED, and the VM stays stopped
 * here for ever; or a failure to sync, or a status that is not 0: that is the word of who was to
 * take the VM that nobody will run it, and it goes on here. Before END_STREAM every failure takes
 * it back.
 */
#include <errno.h>

#include "engine/internal.h"

/* Whether the order can be obeyed; if not it was refused. */
bool source_one_way_accept(struct engine *engine, const struct engine_event *event)
{
    if (!event->one_way)
        return true;
    if (engine->capability[BATON_CAPABILITY_POSTCOPY_RAM]) {
        engine_refuse(engine, EINVAL,
                      "postcopy needs a way back, which files, pipes and commands have not: "
                      "turn the capability postcopy-ram off, or migrate to tcp: or unix:");
        return false;
    }
    return true;
}

void source_one_way_begin(struct engine *engine)
{
    engine->epoch = 1;
    engine->times.first_page_ns = engine->now_ns;
    engine_emit(engine, ENGINE_ACTION_START_LINK);
    engine_send(engine, engine->link, ENGINE_MESSAGE_OPENING_ONE_WAY);
    engine_set_status(engine, BATON_STATUS_ACTIVE, "the VM is written away");
    engine_send(engine, engine->link, ENGINE_MESSAGE_RAM_START);
    engine_emit(engine, ENGINE_ACTION_TRACK_DIRTY);
    pageset_lease(engine->pages, engine->epoch);
    engine->source.pass = 1;
    engine_emit(engine, ENGINE_ACTION_PASS)->value = engine->epoch;
}

void source_one_way_switch(struct engine *engine)
{
    source_stop_for_switchover(engine);
    engine_emit(engine, ENGINE_ACTION_FINAL_PASS)->value = engine->epoch;
}

void source_one_way_end(struct engine *engine)
{
    engine_send(engine, engine->link, ENGINE_MESSAGE_RAM_END);
    engine_emit(engine, ENGINE_ACTION_SEND_PACKAGE)->precopy = true;
    engine->source.run = ENGINE_RUN_ORDERED;
    engine_emit(engine, ENGINE_ACTION_END_STREAM);
}

void source_device_on_closed(struct engine *engine, const struct engine_event *event)
{
    (void)event;
    engine->source.run = ENGINE_RUN_KNOWN;
    engine->times.run_ns = engine->now_ns;
    engine_clear_reason(engine);
    engine_set_status(engine, BATON_STATUS_COMPLETED, "the VM was written away whole");
    engine_finish_link(engine);
    engine_emit(engine, ENGINE_ACTION_UNTRACK_DIRTY);
}
