/* SPDX-License-Identifier: MIT */
/*
 * The source hands the VM over. This file holds the point of no return.
 *
 *   source                              destination
 *   BARRIER                          ->  (on every channel; the VM still runs here)
 *                                    <-  BARRIER_ACK
 *   stop the CPUs, sync the dirty log one last time
 *   postcopy: DISCARD what is dirty  ->  forgets those pages
 *   precopy:  the last pages         ->
 *   package: devices, no RUN         ->  loads them
 *                                    <-  READY: a promise to stay and to wait
 *   RUN  ===== point of no return =====>  runs the VM
 *   PING                             ->
 *                                    <-  PONG: it runs
 *
 * The barrier comes before the first discard so that no page of any channel can arrive after a
 * discard that was sent later. RUN goes alone, so that the window in which nobody here knows who
 * runs the VM is one message wide. Before RUN is in the kernel's hands, any failure takes the VM
 * back (source_take_back). From its first byte on the VM is the destination's, and only the
 * destination's binding answer "never started, and never will" can bring it back
 * (source_recover.c).
 */
#include <string.h>

#include "engine/internal.h"

void source_begin_switchover(struct engine *engine, bool postcopy)
{
    engine->source.switching = true;
    engine->source.postcopy = postcopy;
    engine->source.barrier++;
    engine_send(engine, engine->link, ENGINE_MESSAGE_BARRIER)->value = engine->source.barrier;
}

static void send_package(struct engine *engine)
{
    engine->deadline_ns = engine->now_ns + ENGINE_LOAD_NS;
    engine_emit(engine, ENGINE_ACTION_SEND_PACKAGE)->precopy = !engine->source.postcopy;
}

void source_stop_for_switchover(struct engine *engine)
{
    engine->source.vm_was_running = engine->vm_running || engine->halted;
    engine->vm_running = false;
    engine->halted = false;
    /* Also when they rest already: the host may be busy with the VM for a guest that halted, and
     * lets go of it now. */
    engine_emit(engine, ENGINE_ACTION_STOP_CPUS);
    engine->times.stopped_ns = engine->now_ns;
    engine_set_status(engine, BATON_STATUS_DEVICE, "the CPUs rest for the switchover");
}

void source_active_on_barrier_ack(struct engine *engine, const struct engine_event *event)
{
    if (!engine->source.switching || event->value != engine->source.barrier) {
        source_any_on_unexpected(engine, event);
        return;
    }
    source_stop_for_switchover(engine);
    if (engine->source.postcopy) {
        engine_emit(engine, ENGINE_ACTION_SEND_DISCARDS)->value = engine->epoch;
        send_package(engine);
        engine_set_status(engine, BATON_STATUS_POSTCOPY_DEVICE, "the device state is on its way");
    } else {
        /* No VM runs anywhere now: a destination that stopped reading must not keep it so. */
        engine->deadline_ns = engine->now_ns + ENGINE_LOAD_NS;
        engine_emit(engine, ENGINE_ACTION_FINAL_PASS)->value = engine->epoch;
    }
}

void source_device_on_pass_done(struct engine *engine, const struct engine_event *event)
{
    (void)event;
    if (engine->source.one_way) {
        source_one_way_end(engine);
        return;
    }
    engine_send(engine, engine->link, ENGINE_MESSAGE_RAM_END);
    send_package(engine);
}

void source_device_on_ready(struct engine *engine, const struct engine_event *event)
{
    if (engine->source.run != ENGINE_RUN_HELD ||
        !engine_id_equal(event->hello.nonce, engine->source.dest_nonce) ||
        event->hello.epoch != engine->epoch) {
        source_any_on_unexpected(engine, event);
        return;
    }
    /* The point of no return: from here on only a writer that says "not one byte of it" undoes
     * this. */
    engine->source.run = ENGINE_RUN_ORDERED;
    source_send_run(engine);
}

void source_send_run(struct engine *engine)
{
    /* A link that hangs now is given up: no order could break it, since it is neither
     * migrate-pause's time yet nor migrate_cancel's any more. */
    engine->deadline_ns = engine->now_ns + ENGINE_ANSWER_NS;
    engine_send(engine, engine->link, ENGINE_MESSAGE_RUN);
    engine_send(engine, engine->link, ENGINE_MESSAGE_PING)->value = ENGINE_PING_RUN;
}

void source_device_on_run_written(struct engine *engine, const struct engine_event *event)
{
    (void)event;
    if (!engine->times.run_ns)
        engine->times.run_ns = engine->now_ns;
    if (engine->source.run == ENGINE_RUN_ORDERED)
        engine->source.run = ENGINE_RUN_LEFT;
    /* After precopy every page is there: nothing is left but to hear that it is complete. */
    if (engine->status == BATON_STATUS_DEVICE)
        return;
    engine->deadline_ns = 0;
    engine_set_status(engine, BATON_STATUS_POSTCOPY_ACTIVE, "the destination may run the VM");
    engine_emit(engine, ENGINE_ACTION_BULK)->value = engine->epoch;
}

void source_any_on_pong(struct engine *engine, const struct engine_event *event)
{
    if (event->value != ENGINE_PING_RUN || engine->source.run == ENGINE_RUN_HELD)
        return;
    /* The answer comes right after the VM was started; one that died with its link leaves the time
     * at which RUN was written. */
    if (engine->source.run != ENGINE_RUN_KNOWN)
        engine->times.run_ns = engine->now_ns;
    engine->source.run = ENGINE_RUN_KNOWN;
}

void source_take_back(struct engine *engine)
{
    /* Before its hello was acknowledged the destination knows nothing of the session. */
    if (engine->source.proved) {
        memcpy(engine->taken_back[engine->taken_back_next], engine->source.session,
               ENGINE_ID_BYTES);
        engine->taken_back_next = (engine->taken_back_next + 1) % ENGINE_MAX_GIVEN_UP;
    }
    engine_emit(engine, ENGINE_ACTION_UNTRACK_DIRTY);
    engine_emit(engine, ENGINE_ACTION_RELEASE);
    if (engine->source.vm_was_running && !engine->vm_running)
        engine_start_cpus(engine);
}
