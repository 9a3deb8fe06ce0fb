/* SPDX-License-Identifier: MIT */
/*
 * Stories about handing over: what a cut means before, at and after the point of no return. RUN is
 * the only message that changes who owns the VM, so most of them are about where RUN was.
 */
#include "sim.h"

static void want_moved(struct sim *sim)
{
    sim_settle(sim);
    sim_want_status(sim, BATON_STATUS_COMPLETED, BATON_STATUS_COMPLETED);
}

static void want_home_then_move(struct sim *sim)
{
    sim_run_for(sim, SIM_S);
    SIM_WANT(sim, sim_is_home(sim) && sim->side[SIM_SOURCE].cpus_run);
    sim_settle_and_move(sim);
    sim_want_status(sim, BATON_STATUS_COMPLETED, BATON_STATUS_COMPLETED);
}

static void no_cut_precopy(struct sim *sim)
{
    sim_begin(sim, SIM_WAY_PRECOPY);
    want_moved(sim);
    SIM_WANT(sim, sim->side[SIM_SOURCE].engine.times.pauses == 0);
}

static void no_cut_postcopy(struct sim *sim)
{
    sim_begin(sim, SIM_WAY_POSTCOPY);
    want_moved(sim);
    SIM_WANT(sim, sim->side[SIM_SOURCE].engine.source.postcopy);
}

static void no_cut_fast(struct sim *sim)
{
    sim_begin(sim, SIM_WAY_FAST);
    want_moved(sim);
    SIM_WANT(sim, sim->side[SIM_SOURCE].engine.source.pass == 0);
}

/* The VM was stopped when it was sent, and stays so. */
static void paused_stays_paused(struct sim *sim)
{
    sim->stopped_by_operator = true;
    sim_begin(sim, SIM_WAY_POSTCOPY);
    want_moved(sim);
    SIM_WANT(sim, !sim_order(sim, SIM_DEST, ENGINE_EVENT_CONT));
    SIM_WANT(sim, sim->side[SIM_DEST].cpus_run);
}

static void precopy_cut(struct sim *sim)
{
    sim_trap(sim, SIM_WIRE_PAGE, SIM_BEFORE_ARRIVAL, 50, SIM_BOTH);
    sim_begin(sim, SIM_WAY_PRECOPY);
    want_home_then_move(sim);
}

static void cut_in_discards(struct sim *sim)
{
    sim_trap(sim, SIM_WIRE_DISCARD, SIM_AFTER_ARRIVAL, 1, SIM_BOTH);
    sim_begin(sim, SIM_WAY_FAST);
    want_home_then_move(sim);
}

static void cut_before_ready(struct sim *sim)
{
    sim_trap(sim, SIM_WIRE_PACKAGE, SIM_AFTER_ARRIVAL, 1, SIM_BOTH);
    sim_begin(sim, SIM_WAY_FAST);
    want_home_then_move(sim);
}

/* READY was given and is lost: the source takes its VM back, the destination keeps its promise and
 * waits, until the next migration says that RUN was never written. */
static void cut_between_ready_and_run(struct sim *sim)
{
    sim_trap(sim, ENGINE_MESSAGE_READY, SIM_BEFORE_ARRIVAL, 1, SIM_BOTH);
    sim_begin(sim, SIM_WAY_FAST);
    sim_run_for(sim, SIM_S);
    sim_want_status(sim, BATON_STATUS_FAILED, BATON_STATUS_POSTCOPY_PAUSED);
    want_home_then_move(sim);
}

/* RUN was ordered and not one byte of it was written. */
static void run_not_written(struct sim *sim)
{
    sim_trap(sim, ENGINE_MESSAGE_RUN, SIM_AT_WRITE, 1, SIM_BOTH);
    sim_begin(sim, SIM_WAY_POSTCOPY);
    want_home_then_move(sim);
}

static void run_half_written(struct sim *sim)
{
    sim_trap(sim, ENGINE_MESSAGE_RUN, SIM_AT_HALF, 1, SIM_BOTH);
    sim_begin(sim, SIM_WAY_POSTCOPY);
    sim_run_for(sim, SIM_S);
    sim_notice_silence(sim);
    sim_run_for(sim, SIM_S);
    sim_want_status(sim, BATON_STATUS_POSTCOPY_PAUSED, BATON_STATUS_POSTCOPY_PAUSED);
    SIM_WANT(sim, !sim->side[SIM_SOURCE].cpus_run && !sim->side[SIM_DEST].cpus_run);
    want_moved(sim);
}

static void run_lost(struct sim *sim)
{
    sim_trap(sim, ENGINE_MESSAGE_RUN, SIM_BEFORE_ARRIVAL, 1, SIM_BOTH);
    sim_begin(sim, SIM_WAY_POSTCOPY);
    sim_run_for(sim, SIM_S);
    sim_want_status(sim, BATON_STATUS_POSTCOPY_PAUSED, BATON_STATUS_POSTCOPY_PAUSED);
    SIM_WANT(sim, sim_order(sim, SIM_SOURCE, ENGINE_EVENT_CONT));
    SIM_WANT(sim, sim_order(sim, SIM_DEST, ENGINE_EVENT_CONT));
    want_moved(sim);
}

static void run_lost_after_precopy(struct sim *sim)
{
    sim_trap(sim, ENGINE_MESSAGE_RUN, SIM_BEFORE_ARRIVAL, 1, SIM_BOTH);
    sim_begin(sim, SIM_WAY_PRECOPY);
    sim_run_for(sim, SIM_S);
    sim_want_status(sim, BATON_STATUS_POSTCOPY_PAUSED, BATON_STATUS_POSTCOPY_PAUSED);
    want_moved(sim);
}

static void cut_right_after_run(struct sim *sim)
{
    sim_trap(sim, ENGINE_MESSAGE_RUN, SIM_AFTER_ARRIVAL, 1, SIM_BOTH);
    sim_begin(sim, SIM_WAY_POSTCOPY);
    sim_run_for(sim, SIM_S);
    sim_want_status(sim, BATON_STATUS_POSTCOPY_PAUSED, BATON_STATUS_POSTCOPY_PAUSED);
    SIM_WANT(sim, sim->side[SIM_DEST].cpus_run);
    want_moved(sim);
}

/* The link hangs with RUN in the writer's hands: nobody may wait for ever, and no order to break
 * the link is possible yet. */
static void run_hangs_in_the_writer(struct sim *sim)
{
    sim_trap(sim, ENGINE_MESSAGE_READY, SIM_BEFORE_ARRIVAL, 1, 0);
    sim_begin(sim, SIM_WAY_POSTCOPY);
    sim_run_until(sim, NULL, SIM_S);
    sim_current_link(sim, SIM_SOURCE)->blocked = SIM_TO_DEST;
    sim_run_for(sim, 60 * SIM_S);
    SIM_WANT(sim, sim_is_home(sim) && sim->side[SIM_SOURCE].cpus_run);
    sim_settle_and_move(sim);
}

static void complete_never_comes_after_precopy(struct sim *sim)
{
    sim_trap(sim, ENGINE_MESSAGE_RUN, SIM_BEFORE_ARRIVAL, 1, 0);
    sim_begin(sim, SIM_WAY_PRECOPY);
    sim_run_until(sim, NULL, SIM_S);
    for (unsigned e = 0; e < 2; e++) /* no keepalive on this network */
        sim_current_link(sim, SIM_SOURCE)->dead |= 1U << e;
    sim_run_for(sim, 60 * SIM_S);
    SIM_WANT(sim, sim->side[SIM_SOURCE].engine.status == BATON_STATUS_POSTCOPY_PAUSED);
    want_moved(sim);
}

static void load_refused(struct sim *sim)
{
    sim->refuse_load = true;
    sim_begin(sim, SIM_WAY_POSTCOPY);
    sim_run_for(sim, SIM_S);
    sim_want_status(sim, BATON_STATUS_FAILED, BATON_STATUS_FAILED);
    SIM_WANT(sim, sim_has_reason(sim, SIM_SOURCE, "a device is unknown"));
    sim->refuse_load = false;
    want_home_then_move(sim);
}

static void faults_refused(struct sim *sim)
{
    sim->refuse_faults = true;
    sim_begin(sim, SIM_WAY_FAST);
    sim_run_for(sim, SIM_S);
    sim_want_status(sim, BATON_STATUS_FAILED, BATON_STATUS_FAILED);
    SIM_WANT(sim, sim_has_reason(sim, SIM_SOURCE, "not permitted"));
    sim->refuse_faults = false;
    want_home_then_move(sim);
}

const struct sim_story sim_stories_switchover[] = {
    {"no-cut-precopy", no_cut_precopy, {0}},
    {"no-cut-postcopy", no_cut_postcopy, {0}},
    {"no-cut-x-postcopy-fast", no_cut_fast, {0}},
    {"paused-stays-paused", paused_stays_paused, {.paused = true}},
    {"precopy-cut", precopy_cut, {0}},
    {"cut-in-discards", cut_in_discards, {0}},
    {"cut-before-ready", cut_before_ready, {0}},
    {"cut-between-ready-and-run", cut_between_ready_and_run, {0}},
    {"run-not-written", run_not_written, {0}},
    {"run-half-written", run_half_written, {0}},
    {"run-lost", run_lost, {0}},
    {"run-lost-after-precopy", run_lost_after_precopy, {0}},
    {"cut-right-after-run", cut_right_after_run, {0}},
    {"run-hangs-in-the-writer", run_hangs_in_the_writer, {0}},
    {"complete-never-comes-after-precopy", complete_never_comes_after_precopy, {0}},
    {"load-refused", load_refused, {0}},
    {"faults-refused", faults_refused, {0}},
    {0},
};
