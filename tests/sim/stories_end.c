/* SPDX-License-Identifier: MIT */
/*
 * Stories about the end: the last acknowledgements are lost, somebody asks long after, and the same
 * process takes part in another migration in the other role.
 */
#include <string.h>

#include "sim.h"

static void want_moved(struct sim *sim)
{
    sim_settle(sim);
    sim_want_status(sim, BATON_STATUS_COMPLETED, BATON_STATUS_COMPLETED);
}

/* The destination is complete and the source does not know. */
static void lose_complete(struct sim *sim)
{
    sim_trap(sim, ENGINE_MESSAGE_COMPLETE, SIM_BEFORE_ARRIVAL, 1, SIM_BOTH);
    sim_begin(sim, SIM_WAY_POSTCOPY);
    sim_run_for(sim, SIM_S);
    sim_want_status(sim, BATON_STATUS_POSTCOPY_PAUSED, BATON_STATUS_COMPLETED);
}

static void complete_lost(struct sim *sim)
{
    lose_complete(sim);
    want_moved(sim);
    SIM_WANT(sim, !sim->side[SIM_DEST].listening);
}

/* Every page has arrived and the end of the stream has not. */
static void end_of_stream_lost(struct sim *sim)
{
    sim_trap(sim, ENGINE_MESSAGE_STREAM_END, SIM_BEFORE_ARRIVAL, 1, SIM_BOTH);
    sim_begin(sim, SIM_WAY_POSTCOPY);
    sim_run_for(sim, SIM_S);
    sim_want_status(sim, BATON_STATUS_POSTCOPY_PAUSED, BATON_STATUS_COMPLETED);
    want_moved(sim);
}

/* The end of the stream comes although pages are missing: that is no completion. */
static void stream_ends_too_early(struct sim *sim)
{
    sim->quiet = true;
    sim_begin_postcopy(sim);
    sim_say(sim, sim_current_link(sim, SIM_SOURCE), 0,
            &(struct sim_message){.wire = ENGINE_MESSAGE_STREAM_END});
    sim_run_for(sim, SIM_S);
    sim_want_status(sim, BATON_STATUS_POSTCOPY_PAUSED, BATON_STATUS_POSTCOPY_PAUSED);
    SIM_WANT(sim, sim_has_reason(sim, SIM_DEST, "pages are missing"));
    want_moved(sim);
}

static void bye_lost(struct sim *sim)
{
    sim_trap(sim, ENGINE_MESSAGE_BYE, SIM_BEFORE_ARRIVAL, 1, SIM_BOTH);
    sim_begin(sim, SIM_WAY_POSTCOPY);
    sim_run_for(sim, SIM_S);
    sim_want_status(sim, BATON_STATUS_COMPLETED, BATON_STATUS_COMPLETED);
    SIM_WANT(sim, sim->side[SIM_DEST].listening);
    SIM_WANT(sim, !sim_order(sim, SIM_DEST, ENGINE_EVENT_CANCEL));
    SIM_WANT(sim, !sim->side[SIM_DEST].listening);
    want_moved(sim);
}

/* A person ends the lingering while the link is half open: the side is free for its next role. */
static void bye_lost_in_silence(struct sim *sim)
{
    sim_trap(sim, ENGINE_MESSAGE_COMPLETE, SIM_BEFORE_ARRIVAL, 1, 0);
    sim_begin(sim, SIM_WAY_POSTCOPY);
    sim_run_until(sim, NULL, SIM_S);
    sim_cut(sim, sim_current_link(sim, SIM_DEST), SIM_TO_DEST);
    sim_run_for(sim, SIM_S);
    sim_want_status(sim, BATON_STATUS_COMPLETED, BATON_STATUS_COMPLETED);
    SIM_WANT(sim, !sim_order(sim, SIM_DEST, ENGINE_EVENT_CANCEL));
    sim_run_for(sim, 10 * SIM_S);
    SIM_WANT(sim, !sim_current_link(sim, SIM_DEST));
    want_moved(sim);
}

static void lingering_ended_too_early(struct sim *sim)
{
    lose_complete(sim);
    SIM_WANT(sim, !sim_order(sim, SIM_DEST, ENGINE_EVENT_CANCEL));
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_RESUME));
    sim_run_for(sim, SIM_S);
    SIM_WANT(sim, sim->side[SIM_SOURCE].engine.status == BATON_STATUS_POSTCOPY_PAUSED);
    SIM_WANT(sim, !sim_order(sim, SIM_DEST, ENGINE_EVENT_RECOVER));
    want_moved(sim);
}

/* The guest has been stopped there meanwhile: that changes nothing about the answer. */
static void complete_lost_and_vm_stopped(struct sim *sim)
{
    lose_complete(sim);
    SIM_WANT(sim, !sim_order(sim, SIM_DEST, ENGINE_EVENT_STOP));
    sim->stopped_by_operator = true;
    want_moved(sim);
}

/* ---- There and back ---- */

static void move_back(struct sim *sim)
{
    struct engine *from = &sim->side[SIM_DEST].engine, *to = &sim->side[SIM_SOURCE].engine;

    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_INCOMING));
    sim->dial_to = SIM_SOURCE;
    SIM_WANT(sim, !sim_order(sim, SIM_DEST, ENGINE_EVENT_MIGRATE));
    sim_run_for(sim, SIM_S);
    if (from->status != BATON_STATUS_COMPLETED || to->status != BATON_STATUS_COMPLETED)
        sim_fail(sim, "moving back: %s (%s), %s (%s)", baton_status_name(from->status),
                 from->reason, baton_status_name(to->status), to->reason);
    if (!sim->failed)
        sim_check_memory(sim, SIM_SOURCE);
}

static void there_and_back(struct sim *sim)
{
    sim_begin(sim, SIM_WAY_POSTCOPY);
    want_moved(sim);
    move_back(sim);
    SIM_WANT(sim, sim->side[SIM_SOURCE].cpus_run);
}

/* The source's page set has been the inbox of a recovery: nothing of it counts as received when the
 * VM comes back. */
static void there_and_back_after_recovery(struct sim *sim)
{
    sim_begin_postcopy(sim);
    sim_break(sim, sim_current_link(sim, SIM_SOURCE));
    sim_run_for(sim, SIM_S);
    want_moved(sim);
    move_back(sim);
    SIM_WANT(sim, sim->side[SIM_SOURCE].cpus_run);
}

/* Stopped here once, long ago; started there; it comes back running. */
static void stop_is_not_for_ever(struct sim *sim)
{
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_STOP));
    sim->stopped_by_operator = true;
    sim_begin(sim, SIM_WAY_POSTCOPY);
    want_moved(sim);
    SIM_WANT(sim, !sim_order(sim, SIM_DEST, ENGINE_EVENT_CONT));
    SIM_WANT(sim, sim->side[SIM_DEST].cpus_run);
    move_back(sim);
    SIM_WANT(sim, sim->side[SIM_SOURCE].cpus_run);
}

/* A process whose VM is stopped takes another one in: nothing of the old one is left. */
static void stopped_vm_gives_way(struct sim *sim)
{
    sim_begin(sim, SIM_WAY_PRECOPY);
    want_moved(sim);
    for (uint64_t p = 0; p < sim->side[SIM_SOURCE].pages.blocks[0].pages; p++)
        SIM_WANT(sim, sim->side[SIM_SOURCE].memory[0][p]);
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_INCOMING));
    for (uint64_t p = 0; p < sim->side[SIM_SOURCE].pages.blocks[0].pages; p++)
        SIM_WANT(sim, !sim->side[SIM_SOURCE].memory[0][p]);
}

const struct sim_story sim_stories_end[] = {
    {"complete-lost", complete_lost, {0}},
    {"end-of-stream-lost", end_of_stream_lost, {0}},
    {"stream-ends-too-early", stream_ends_too_early, {0}},
    {"bye-lost", bye_lost, {0}},
    {"bye-lost-in-silence", bye_lost_in_silence, {.dest_never_notices = true}},
    {"lingering-ended-too-early", lingering_ended_too_early, {0}},
    {"complete-lost-and-vm-stopped", complete_lost_and_vm_stopped, {0}},
    {"there-and-back", there_and_back, {0}},
    {"there-and-back-after-recovery", there_and_back_after_recovery, {0}},
    {"stop-is-not-for-ever", stop_is_not_for_ever, {0}},
    {"stopped-vm-gives-way", stopped_vm_gives_way, {0}},
    {0},
};
