/* SPDX-License-Identifier: MIT */
/*
 * Stories about orders: each order in each state, at either side. An order is carried out, or it is
 * refused with a sentence; none of them makes two runners, loses the VM or hangs.
 */
#include "sim.h"

static void want_end(struct sim *sim)
{
    sim_settle_and_move(sim);
    sim_want_status(sim, BATON_STATUS_COMPLETED, BATON_STATUS_COMPLETED);
}

static void want_refused(struct sim *sim, unsigned side, enum engine_event_type order)
{
    SIM_WANT(sim, sim_order(sim, side, order));
    SIM_WANT(sim, sim->side[side].refusal[0]);
}

/* ---- Cancel ---- */

static void cancel_while_dialing(struct sim *sim)
{
    sim->dial_ns = 1000 * SIM_S;
    sim_begin(sim, SIM_WAY_PRECOPY);
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_CANCEL));
    sim_run_for(sim, SIM_S);
    sim_want_status(sim, BATON_STATUS_CANCELLED, BATON_STATUS_SETUP);
    sim->dial_ns = SIM_MS;
    want_end(sim);
}

/* The dial succeeds in the very moment in which it is given up. */
static void cancel_races_with_dialed(struct sim *sim)
{
    SIM_WANT(sim, !sim_order(sim, SIM_DEST, ENGINE_EVENT_INCOMING));
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_MIGRATE));
    sim->side[SIM_SOURCE].dial = 0;
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_CANCEL));
    sim_post(sim, SIM_SOURCE,
             &(struct engine_event){.type = ENGINE_EVENT_DIALED,
                                    .link = sim_link_new(sim, SIM_SOURCE, SIM_DEST)->id},
             NULL);
    sim_run_for(sim, SIM_S);
    sim_want_status(sim, BATON_STATUS_CANCELLED, BATON_STATUS_SETUP);
    want_end(sim);
}

/* Stops right after `wire` has arrived, gives the order there, and sees the VM at home. */
static void cancel_after(struct sim *sim, unsigned wire, enum sim_way way)
{
    sim_trap(sim, wire, SIM_AFTER_ARRIVAL, 1, 0);
    sim_begin(sim, way);
    sim_run_until(sim, NULL, SIM_S);
    SIM_WANT(sim, sim->traps[0].fired);
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_CANCEL));
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_CANCEL));
    sim_run_for(sim, 10 * SIM_MS);
    SIM_WANT(sim, sim->side[SIM_SOURCE].engine.status == BATON_STATUS_CANCELLED);
    SIM_WANT(sim, sim->side[SIM_SOURCE].cpus_run);
    SIM_WANT(sim, !sim->side[SIM_DEST].engine.link);
    SIM_WANT(sim, sim->side[SIM_DEST].engine.status != BATON_STATUS_POSTCOPY_PAUSED);
    want_end(sim);
}

static void cancel_in_setup(struct sim *sim)
{
    cancel_after(sim, ENGINE_MESSAGE_HELLO_DEST, SIM_WAY_PRECOPY);
}

static void cancel_in_active(struct sim *sim)
{
    cancel_after(sim, SIM_WIRE_PAGE, SIM_WAY_PRECOPY);
}

static void cancel_in_device(struct sim *sim)
{
    cancel_after(sim, SIM_WIRE_PACKAGE, SIM_WAY_PRECOPY);
}

static void cancel_in_postcopy_device(struct sim *sim)
{
    cancel_after(sim, SIM_WIRE_PACKAGE, SIM_WAY_POSTCOPY);
}

static void cancel_is_too_late(struct sim *sim)
{
    sim_begin_postcopy(sim);
    sim_run_for(sim, 200 * SIM_US);
    want_refused(sim, SIM_SOURCE, ENGINE_EVENT_CANCEL);
    want_refused(sim, SIM_DEST, ENGINE_EVENT_CANCEL);
    sim_break(sim, sim_current_link(sim, SIM_SOURCE));
    sim_run_for(sim, SIM_S);
    sim_want_status(sim, BATON_STATUS_POSTCOPY_PAUSED, BATON_STATUS_POSTCOPY_PAUSED);
    want_refused(sim, SIM_SOURCE, ENGINE_EVENT_CANCEL);
    want_refused(sim, SIM_DEST, ENGINE_EVENT_CANCEL);
    want_end(sim);
    want_refused(sim, SIM_SOURCE, ENGINE_EVENT_CANCEL);
}

/* The destination wants to say why it gives up, and cannot; then a person cancels it. */
static void cancel_while_last_word_hangs(struct sim *sim)
{
    sim->refuse_load = true;
    sim_trap(sim, SIM_WIRE_PACKAGE, SIM_AFTER_ARRIVAL, 1, 0);
    sim_begin(sim, SIM_WAY_POSTCOPY);
    sim_run_until(sim, NULL, SIM_S);
    sim_current_link(sim, SIM_DEST)->blocked = SIM_TO_SOURCE;
    sim_run_for(sim, SIM_MS);
    SIM_WANT(sim, sim->side[SIM_DEST].engine.link_dying);
    SIM_WANT(sim, !sim_order(sim, SIM_DEST, ENGINE_EVENT_CANCEL));
    sim_run_for(sim, 5 * SIM_S);
    SIM_WANT(sim, !sim->side[SIM_DEST].engine.link);
    SIM_WANT(sim, sim->side[SIM_DEST].engine.status == BATON_STATUS_CANCELLED);
    sim->refuse_load = false;
    want_end(sim);
}

/* ---- Stop and cont ---- */

static void stop_before(struct sim *sim, enum sim_way way, unsigned wire, unsigned side)
{
    sim_trap(sim, wire, SIM_BEFORE_ARRIVAL, 1, 0);
    sim_begin(sim, way);
    sim_run_until(sim, NULL, SIM_S);
    SIM_WANT(sim, !sim_order(sim, side, ENGINE_EVENT_STOP));
    sim->stopped_by_operator = true;
}

static void stop_at_source_in_active(struct sim *sim)
{
    stop_before(sim, SIM_WAY_POSTCOPY, SIM_WIRE_PAGE, SIM_SOURCE);
    want_end(sim);
}

static void stop_at_destination_before_run(struct sim *sim)
{
    stop_before(sim, SIM_WAY_POSTCOPY, SIM_WIRE_PAGE, SIM_DEST);
    want_refused(sim, SIM_DEST, ENGINE_EVENT_CONT);
    want_end(sim);
    SIM_WANT(sim, !sim_order(sim, SIM_DEST, ENGINE_EVENT_CONT));
    SIM_WANT(sim, sim->side[SIM_DEST].cpus_run);
}

/* Stopped in the switchover, taken back: it stays stopped. */
static void stop_then_taken_back(struct sim *sim)
{
    stop_before(sim, SIM_WAY_POSTCOPY, SIM_WIRE_PACKAGE, SIM_SOURCE);
    want_refused(sim, SIM_SOURCE, ENGINE_EVENT_CONT);
    sim_break(sim, sim_current_link(sim, SIM_SOURCE));
    sim_settle(sim);
    SIM_WANT(sim, sim_is_home(sim) && !sim->side[SIM_SOURCE].cpus_run);
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_CONT));
    sim->stopped_by_operator = false;
    want_end(sim);
}

static void stop_and_cont_in_postcopy(struct sim *sim)
{
    sim_begin_postcopy(sim);
    for (unsigned i = 0; i < 3; i++) {
        want_refused(sim, SIM_SOURCE, ENGINE_EVENT_CONT);
        SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_STOP));
        SIM_WANT(sim, !sim_order(sim, SIM_DEST, ENGINE_EVENT_STOP));
        SIM_WANT(sim, !sim->side[SIM_DEST].cpus_run);
        SIM_WANT(sim, !sim_order(sim, SIM_DEST, ENGINE_EVENT_CONT));
        SIM_WANT(sim, sim->side[SIM_DEST].cpus_run);
        if (i == 0)
            sim_break(sim, sim_current_link(sim, SIM_SOURCE));
        if (i == 1)
            SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_RESUME));
        sim_run_for(sim, 300 * SIM_US);
    }
    want_end(sim);
    want_refused(sim, SIM_SOURCE, ENGINE_EVENT_CONT);
}

/* The guest reboots just when its VM leaves: it runs where it arrives, and the source's host is
 * told to let go of it. */
static void guest_halts_while_it_leaves(struct sim *sim)
{
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_HALT));
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_CONT));
    sim_trap(sim, SIM_WIRE_PAGE, SIM_BEFORE_ARRIVAL, 1, 0);
    sim_begin(sim, SIM_WAY_POSTCOPY);
    sim_run_until(sim, NULL, SIM_S);
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_HALT));
    SIM_WANT(sim, !sim->side[SIM_SOURCE].cpus_run);
    want_end(sim);
}

static void cont_is_waited_for(struct sim *sim)
{
    sim->stopped_by_operator = true;
    sim_begin(sim, SIM_WAY_POSTCOPY);
    want_end(sim);
    SIM_WANT(sim, !sim_order(sim, SIM_DEST, ENGINE_EVENT_CONT));
    SIM_WANT(sim, sim->side[SIM_DEST].cpus_run);
}

/* ---- Pause ---- */

static void pause_at(struct sim *sim, unsigned side)
{
    sim_begin_postcopy(sim);
    SIM_WANT(sim, !sim_order(sim, side, ENGINE_EVENT_PAUSE));
    sim_run_for(sim, SIM_S);
    sim_want_status(sim, BATON_STATUS_POSTCOPY_PAUSED, BATON_STATUS_POSTCOPY_PAUSED);
    SIM_WANT(sim, sim_has_reason(sim, side, "migrate-pause"));
    want_refused(sim, side, ENGINE_EVENT_PAUSE);
    want_end(sim);
}

static void pause_at_source(struct sim *sim)
{
    pause_at(sim, SIM_SOURCE);
}

static void pause_at_destination(struct sim *sim)
{
    pause_at(sim, SIM_DEST);
}

static void pause_in_recovery(struct sim *sim)
{
    sim_begin_postcopy(sim);
    sim_break(sim, sim_current_link(sim, SIM_SOURCE));
    sim_run_for(sim, SIM_S);
    for (unsigned side = 0; side < 2; side++) {
        SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_RESUME));
        sim_until_status(sim, SIM_DEST, BATON_STATUS_POSTCOPY_RECOVER);
        SIM_WANT(sim, !sim_order(sim, side, ENGINE_EVENT_PAUSE));
        sim_run_for(sim, SIM_S);
        sim_want_status(sim, BATON_STATUS_POSTCOPY_PAUSED, BATON_STATUS_POSTCOPY_PAUSED);
    }
    SIM_WANT(sim, !sim_order(sim, SIM_DEST, ENGINE_EVENT_RECOVER));
    want_end(sim);
}

static void orders_of_the_other_role(struct sim *sim)
{
    want_refused(sim, SIM_SOURCE, ENGINE_EVENT_INCOMING); /* the VM runs there */
    want_refused(sim, SIM_SOURCE, ENGINE_EVENT_RECOVER);
    want_refused(sim, SIM_SOURCE, ENGINE_EVENT_RESUME);
    want_refused(sim, SIM_SOURCE, ENGINE_EVENT_START_POSTCOPY);
    want_refused(sim, SIM_SOURCE, ENGINE_EVENT_PAUSE);
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_CANCEL)); /* nothing to cancel */
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_CONT));
    sim_begin_postcopy(sim);
    want_refused(sim, SIM_DEST, ENGINE_EVENT_MIGRATE);
    want_refused(sim, SIM_DEST, ENGINE_EVENT_RESUME);
    want_refused(sim, SIM_DEST, ENGINE_EVENT_START_POSTCOPY);
    want_refused(sim, SIM_DEST, ENGINE_EVENT_INCOMING);
    want_refused(sim, SIM_DEST, ENGINE_EVENT_RECOVER);
    want_refused(sim, SIM_SOURCE, ENGINE_EVENT_INCOMING);
    want_refused(sim, SIM_SOURCE, ENGINE_EVENT_MIGRATE);
    want_refused(sim, SIM_SOURCE, ENGINE_EVENT_START_POSTCOPY);
    want_end(sim);
    want_refused(sim, SIM_SOURCE, ENGINE_EVENT_MIGRATE);
    want_refused(sim, SIM_DEST, ENGINE_EVENT_RECOVER);
}

const struct sim_story sim_stories_operator[] = {
    {"cancel-while-dialing", cancel_while_dialing, {0}},
    {"cancel-races-with-dialed", cancel_races_with_dialed, {0}},
    {"cancel-in-setup", cancel_in_setup, {0}},
    {"cancel-in-active", cancel_in_active, {0}},
    {"cancel-in-device", cancel_in_device, {0}},
    {"cancel-in-postcopy-device", cancel_in_postcopy_device, {0}},
    {"cancel-is-too-late", cancel_is_too_late, {0}},
    {"cancel-while-last-word-hangs", cancel_while_last_word_hangs, {0}},
    {"stop-at-source-in-active", stop_at_source_in_active, {0}},
    {"stop-at-destination-before-run", stop_at_destination_before_run, {0}},
    {"stop-then-taken-back", stop_then_taken_back, {0}},
    {"stop-and-cont-in-postcopy", stop_and_cont_in_postcopy, {0}},
    {"guest-halts-while-it-leaves", guest_halts_while_it_leaves, {0}},
    {"cont-is-waited-for", cont_is_waited_for, {.keep_stopped = true}},
    {"pause-at-source", pause_at_source, {0}},
    {"pause-at-destination", pause_at_destination, {0}},
    {"pause-in-recovery", pause_in_recovery, {0}},
    {"orders-of-the-other-role", orders_of_the_other_role, {0}},
    {0},
};
