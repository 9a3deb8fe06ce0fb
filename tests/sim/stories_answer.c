/* SPDX-License-Identifier: MIT */
/*
 * Stories about the question "did it run?" and the answer that binds: the source may run the VM
 * again only when the destination has said "never, and never will", and has seen to it first.
 */
#include "sim.h"

/* RUN is written and never arrives; both sides wait. */
static void lose_run(struct sim *sim)
{
    sim_trap(sim, ENGINE_MESSAGE_RUN, SIM_BEFORE_ARRIVAL, 1, SIM_BOTH);
    sim_begin(sim, SIM_WAY_POSTCOPY);
    sim_run_for(sim, SIM_S);
    sim_want_status(sim, BATON_STATUS_POSTCOPY_PAUSED, BATON_STATUS_POSTCOPY_PAUSED);
}

static void resume(struct sim *sim)
{
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_RESUME));
    sim_run_for(sim, SIM_S);
}

static void want_home(struct sim *sim)
{
    SIM_WANT(sim, sim_is_home(sim) && sim->side[SIM_SOURCE].cpus_run);
    sim_settle_and_move(sim);
}

static void asked_back_never(struct sim *sim)
{
    lose_run(sim);
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_CANCEL));
    resume(sim);
    want_home(sim);
}

static void asked_back_running(struct sim *sim)
{
    sim_trap(sim, ENGINE_MESSAGE_RUN, SIM_AFTER_ARRIVAL, 1, SIM_BOTH);
    sim_begin(sim, SIM_WAY_POSTCOPY);
    sim_run_for(sim, SIM_S);
    SIM_WANT(sim, sim->side[SIM_DEST].cpus_run);
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_CANCEL));
    sim_settle(sim);
    sim_want_status(sim, BATON_STATUS_COMPLETED, BATON_STATUS_COMPLETED);
}

/* The answer is given and lost. It binds all the same, and is given again. */
static void answer_lost(struct sim *sim)
{
    lose_run(sim);
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_CANCEL));
    sim->trap_count = 0;
    sim_trap(sim, ENGINE_MESSAGE_HELLO_ACK, SIM_BEFORE_ARRIVAL, 1, SIM_BOTH);
    resume(sim);
    sim_want_status(sim, BATON_STATUS_POSTCOPY_PAUSED, BATON_STATUS_FAILED);
    resume(sim);
    want_home(sim);
}

/* RUN lies in the old socket, unread, when the question comes over a new link: the destination
 * retires the old link first, so RUN is never obeyed after the answer. */
static void leave_run_unread(struct sim *sim, struct sim_link **old)
{
    sim_trap(sim, ENGINE_MESSAGE_RUN, SIM_BEFORE_ARRIVAL, 1, 0);
    sim_begin(sim, SIM_WAY_POSTCOPY);
    sim_run_until(sim, NULL, SIM_S);
    *old = sim_current_link(sim, SIM_SOURCE);
    (*old)->end[1].reader_stalled = true;
    sim_run_for(sim, 200 * SIM_US);
    SIM_WANT(sim, (*old)->end[1].inbox.first);
    sim_cut(sim, *old, SIM_BOTH);
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_PAUSE));
    sim_until_status(sim, SIM_SOURCE, BATON_STATUS_POSTCOPY_PAUSED);
    SIM_WANT(sim, sim->side[SIM_DEST].engine.status == BATON_STATUS_POSTCOPY_DEVICE);
}

static void run_unread_asked_back(struct sim *sim)
{
    struct sim_link *old;

    leave_run_unread(sim, &old);
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_CANCEL));
    sim_trap(sim, ENGINE_MESSAGE_HELLO_SOURCE, SIM_AFTER_ARRIVAL, 1, 0);
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_RESUME));
    sim_run_until(sim, NULL, SIM_S);
    /* The reader wakes just as the question has come. */
    old->end[1].reader_stalled = false;
    sim_reader_wake(sim, old, 1);
    sim_run_for(sim, SIM_S);
    /* Whichever was first: one runner, and everybody agrees about who. */
    SIM_WANT(sim, sim->side[SIM_SOURCE].cpus_run != sim->side[SIM_DEST].cpus_run);
    sim_settle_and_move(sim);
}

static void run_unread_for_long(struct sim *sim)
{
    struct sim_link *old;

    leave_run_unread(sim, &old);
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_CANCEL));
    resume(sim);
    old->end[1].reader_stalled = false;
    sim_reader_wake(sim, old, 1);
    sim_run_for(sim, SIM_S);
    want_home(sim);
}

static void run_unread_sent_again(struct sim *sim)
{
    struct sim_link *old;

    leave_run_unread(sim, &old);
    resume(sim);
    old->end[1].reader_stalled = false;
    sim_settle(sim);
    sim_want_status(sim, BATON_STATUS_COMPLETED, BATON_STATUS_COMPLETED);
}

static void cancelled_at_destination(struct sim *sim)
{
    lose_run(sim);
    SIM_WANT(sim, !sim_order(sim, SIM_DEST, ENGINE_EVENT_CANCEL));
    SIM_WANT(sim, sim->side[SIM_DEST].engine.status == BATON_STATUS_CANCELLED);
    SIM_WANT(sim, !sim->side[SIM_SOURCE].cpus_run);
    resume(sim);
    want_home(sim);
}

/* The destination was cancelled, told to stop listening and to listen again, before the source
 * asked. */
static void cancelled_then_listens_anew(struct sim *sim)
{
    lose_run(sim);
    SIM_WANT(sim, !sim_order(sim, SIM_DEST, ENGINE_EVENT_CANCEL));
    SIM_WANT(sim, !sim_order(sim, SIM_DEST, ENGINE_EVENT_CANCEL));
    SIM_WANT(sim, !sim->side[SIM_DEST].listening);
    SIM_WANT(sim, !sim_order(sim, SIM_DEST, ENGINE_EVENT_INCOMING));
    resume(sim);
    want_home(sim);
}

/* ... or another migration has begun there. It is not disturbed by the question. */
static void cancelled_then_another_vm(struct sim *sim)
{
    struct sim_message hello = {.wire = ENGINE_MESSAGE_HELLO_SOURCE};
    struct sim_link *other;

    lose_run(sim);
    SIM_WANT(sim, !sim_order(sim, SIM_DEST, ENGINE_EVENT_CANCEL));
    other = sim_knock(sim, SIM_OTHER, SIM_DEST);
    sim_say(sim, other, 0, &(struct sim_message){.wire = ENGINE_MESSAGE_OPENING});
    hello.hello.epoch = 9;
    hello.hello.session[0] = 7;
    hello.hello.nonce[0] = 8;
    sim_say(sim, other, 0, &hello);
    sim_run_for(sim, SIM_MS);
    SIM_WANT(sim, sim_current_link(sim, SIM_DEST) == other);
    resume(sim);
    SIM_WANT(sim, sim_is_home(sim) && sim->side[SIM_SOURCE].cpus_run);
    SIM_WANT(sim, sim_current_link(sim, SIM_DEST) == other);
    sim_break(sim, other);
    want_home(sim);
}

static void cancelled_in_recovery(struct sim *sim)
{
    lose_run(sim);
    sim->trap_count = 0;
    sim_trap(sim, ENGINE_MESSAGE_BITMAP_REQUESTS, SIM_AFTER_ARRIVAL, 1, 0);
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_RESUME));
    sim_run_until(sim, NULL, SIM_S);
    SIM_WANT(sim, !sim_order(sim, SIM_DEST, ENGINE_EVENT_CANCEL));
    sim_run_for(sim, SIM_S);
    resume(sim);
    want_home(sim);
}

/* VOID was lost with the link: the destination waits, and the next migration of this source clears
 * the way, even if others failed or were cancelled in between. */
static void taken_back_then_cancelled_twice(struct sim *sim)
{
    sim_trap(sim, ENGINE_MESSAGE_READY, SIM_BEFORE_ARRIVAL, 1, SIM_BOTH);
    sim_begin(sim, SIM_WAY_POSTCOPY);
    sim_run_for(sim, SIM_S);
    sim_want_status(sim, BATON_STATUS_FAILED, BATON_STATUS_POSTCOPY_PAUSED);
    sim->dial_to = SIM_SIDES;
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_MIGRATE));
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_CANCEL));
    sim_run_for(sim, SIM_S);
    SIM_WANT(sim, sim->side[SIM_SOURCE].engine.status == BATON_STATUS_CANCELLED);
    sim_settle_and_move(sim);
    sim_want_status(sim, BATON_STATUS_COMPLETED, BATON_STATUS_COMPLETED);
}

/* The same, and the VM was on its way to a third host meanwhile. */
static void taken_back_from_two_hosts(struct sim *sim)
{
    SIM_WANT(sim, !sim_order(sim, SIM_OTHER, ENGINE_EVENT_INCOMING));
    sim_trap(sim, ENGINE_MESSAGE_READY, SIM_BEFORE_ARRIVAL, 1, SIM_BOTH);
    sim_trap(sim, ENGINE_MESSAGE_READY, SIM_BEFORE_ARRIVAL, 2, SIM_BOTH);
    sim_begin(sim, SIM_WAY_POSTCOPY);
    sim_run_for(sim, SIM_S);
    sim->dial_to = SIM_OTHER;
    sim_begin(sim, SIM_WAY_POSTCOPY);
    sim_run_for(sim, SIM_S);
    SIM_WANT(sim, sim->side[SIM_OTHER].engine.status == BATON_STATUS_POSTCOPY_PAUSED);
    sim_want_status(sim, BATON_STATUS_FAILED, BATON_STATUS_POSTCOPY_PAUSED);
    sim_settle_and_move(sim);
    sim_want_status(sim, BATON_STATUS_COMPLETED, BATON_STATUS_COMPLETED);
}

const struct sim_story sim_stories_answer[] = {
    {"asked-back-never", asked_back_never, {0}},
    {"asked-back-running", asked_back_running, {0}},
    {"answer-lost", answer_lost, {0}},
    {"run-unread-asked-back", run_unread_asked_back, {.dest_never_notices = true}},
    {"run-unread-for-long", run_unread_for_long, {.dest_never_notices = true}},
    {"run-unread-sent-again", run_unread_sent_again, {.dest_never_notices = true}},
    {"cancelled-at-destination", cancelled_at_destination, {0}},
    {"cancelled-then-listens-anew", cancelled_then_listens_anew, {0}},
    {"cancelled-then-another-vm", cancelled_then_another_vm, {0}},
    {"cancelled-in-recovery", cancelled_in_recovery, {0}},
    {"taken-back-then-cancelled-twice", taken_back_then_cancelled_twice, {0}},
    {"taken-back-from-two-hosts", taken_back_from_two_hosts, {0}},
    {0},
};
