/* SPDX-License-Identifier: MIT */
/*
 * Stories about coming back over a new link: old links that seem to live, pages that were under
 * way, and recoveries that are cut themselves.
 */
#include <string.h>

#include "sim.h"

static void want_moved(struct sim *sim)
{
    sim_settle(sim);
    sim_want_status(sim, BATON_STATUS_COMPLETED, BATON_STATUS_COMPLETED);
}

static void break_link(struct sim *sim)
{
    sim_break(sim, sim_current_link(sim, SIM_SOURCE));
    sim_run_for(sim, 100 * SIM_MS);
}

static void simple(struct sim *sim)
{
    sim_begin_postcopy(sim);
    break_link(sim);
    sim_want_status(sim, BATON_STATUS_POSTCOPY_PAUSED, BATON_STATUS_POSTCOPY_PAUSED);
    SIM_WANT(sim, sim->side[SIM_DEST].cpus_run);
    want_moved(sim);
    SIM_WANT(sim, sim->side[SIM_SOURCE].engine.times.pauses == 1);
    SIM_WANT(sim, sim->side[SIM_SOURCE].engine.times.paused_total_ns >= 100 * SIM_MS);
}

/* What an operator sees, line by line: status changes of both sides in their order. */
static void golden_trace(struct sim *sim)
{
    static const char *const lines[] = {
        "dest   none -> setup  (listening for a VM)",
        "source none -> setup  (migrate was ordered)",
        "dest   setup -> active  (a source has said hello)",
        "source setup -> active  (the destination takes the VM)",
        "source active -> device  (the CPUs rest for the switchover)",
        "source device -> postcopy-device  (the device state is on its way)",
        "dest   active -> postcopy-device  (the device state has come)",
        "source postcopy-device -> postcopy-active  (the destination may run the VM)",
        "dest   postcopy-device -> postcopy-active  (the source has let the VM go)",
        "net    link 1 breaks",
        "dest   postcopy-active -> postcopy-paused  (the link to the source broke: writing failed)",
        "source postcopy-active -> postcopy-paused  (the link to the destination broke: writing a "
        "page failed)",
        "source postcopy-paused -> postcopy-recover-setup  (migrate with resume was ordered)",
        "source postcopy-recover-setup -> postcopy-recover  (a new link stands)",
        "dest   postcopy-paused -> postcopy-recover  (the source has come back)",
        "dest   postcopy-recover -> postcopy-active  (recovered)",
        "source postcopy-recover -> postcopy-active  (recovered)",
        "dest   postcopy-active -> completed  (every page is here)",
        "source postcopy-active -> completed  (the destination has every page)",
    };
    const char *at;

    sim_begin_postcopy(sim);
    break_link(sim);
    want_moved(sim);
    at = sim->trace;
    for (size_t i = 0; i < sizeof(lines) / sizeof(*lines) && !sim->failed; i++) {
        const char *found = strstr(at, lines[i]);

        if (!found)
            sim_fail(sim, "the trace lacks, or has too early: %s", lines[i]);
        else
            at = found;
    }
}

/* The source comes back alone; the destination still believes in the old link. */
static void half_open(struct sim *sim)
{
    struct sim_link *old;

    sim_begin_postcopy(sim);
    old = sim_current_link(sim, SIM_SOURCE);
    sim_cut(sim, old, SIM_BOTH);
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_PAUSE));
    sim_until_status(sim, SIM_SOURCE, BATON_STATUS_POSTCOPY_PAUSED);
    SIM_WANT(sim, sim->side[SIM_DEST].engine.status == BATON_STATUS_POSTCOPY_ACTIVE);
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_RESUME));
    sim_until_status(sim, SIM_SOURCE, BATON_STATUS_POSTCOPY_ACTIVE);
    SIM_WANT(sim, sim_current_link(sim, SIM_DEST) != old);
    want_moved(sim);
}

/* A page is being placed when the link goes: it counts as received or not, never as both, and what
 * the guest writes to it right afterwards is not overwritten. */
static void cut_while_placing(struct sim *sim)
{
    for (unsigned i = 0; i < 20 && !sim->failed; i++) {
        struct sim_end *end;

        if (i == 0)
            sim_begin_postcopy(sim);
        end = sim_end_of(sim, sim->side[SIM_DEST].engine.link, SIM_DEST);
        for (unsigned n = 0; !end->placing && n < 1000; n++)
            sim_run_until(sim, NULL, SIM_US);
        SIM_WANT(sim, end->placing);
        SIM_WANT(sim, !sim_order(sim, SIM_DEST, ENGINE_EVENT_PAUSE));
        sim_until_status(sim, SIM_SOURCE, BATON_STATUS_POSTCOPY_PAUSED);
        SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_RESUME));
        sim_until_status(sim, SIM_DEST, BATON_STATUS_POSTCOPY_ACTIVE);
    }
    want_moved(sim);
}

/* A request that was lost with the link is made again by the destination, at once. */
static void waiters_are_asked_for_again(struct sim *sim)
{
    sim_begin_postcopy(sim);
    break_link(sim);
    SIM_WANT(sim, sim->cpu[0].waits || sim->cpu[1].waits);
    sim->trap_count = 0;
    sim_trap(sim, SIM_WIRE_PAGE_REQUEST, SIM_AFTER_ARRIVAL, 1, 0);
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_RESUME));
    sim_run_until(sim, NULL, 10 * SIM_MS);
    SIM_WANT(sim, sim->traps[0].fired);
    want_moved(sim);
}

/* Threads of the old link go on for a while after the engine has given it up: their claims are
 * stale, so nothing that they do counts. */
static void late_threads(struct sim *sim)
{
    sim_begin_postcopy(sim);
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_PAUSE));
    sim_until_status(sim, SIM_SOURCE, BATON_STATUS_POSTCOPY_PAUSED);
    SIM_WANT(sim, sim->side[SIM_SOURCE].stale_claims > 0);
    want_moved(sim);
}

/* Of two dials the slower hello arrives last, and must not kill the live link. */
static void slow_hello_comes_last(struct sim *sim)
{
    struct sim_link *slow, *live;

    sim_begin_postcopy(sim);
    break_link(sim);
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_RESUME));
    sim_trap(sim, ENGINE_MESSAGE_HELLO_SOURCE, SIM_BEFORE_ARRIVAL, 1, 0);
    sim_run_until(sim, NULL, SIM_S);
    slow = sim_current_link(sim, SIM_SOURCE);
    slow->end[1].reader_stalled = true;
    sim_run_for(sim, SIM_MS);
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_PAUSE));
    sim_until_status(sim, SIM_SOURCE, BATON_STATUS_POSTCOPY_PAUSED);
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_RESUME));
    sim_until_status(sim, SIM_SOURCE, BATON_STATUS_POSTCOPY_ACTIVE);
    live = sim_current_link(sim, SIM_DEST);
    SIM_WANT(sim, live && live != slow);
    slow->end[1].reader_stalled = false;
    sim_reader_wake(sim, slow, 1);
    sim_run_until(sim, NULL, 200 * SIM_US);
    SIM_WANT(sim, sim_current_link(sim, SIM_DEST) == live);
    want_moved(sim);
    SIM_WANT(sim, sim->side[SIM_SOURCE].engine.times.pauses == 1);
}

static void never_sent(struct sim *sim)
{
    sim_begin_postcopy(sim);
    break_link(sim);
    sim->wrong_bitmap = true;
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_RESUME));
    sim_run_for(sim, SIM_S);
    SIM_WANT(sim, sim->side[SIM_SOURCE].engine.status == BATON_STATUS_POSTCOPY_PAUSED);
    SIM_WANT(sim, sim_has_reason(sim, SIM_SOURCE, "were never sent"));
    sim->wrong_bitmap = false;
    want_moved(sim);
}

static void device_cannot_resume(struct sim *sim)
{
    sim_begin_postcopy(sim);
    break_link(sim);
    sim->refuse_prepare = true;
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_RESUME));
    sim_run_for(sim, SIM_S);
    SIM_WANT(sim, sim_has_reason(sim, SIM_SOURCE, "a device is broken"));
    sim->refuse_prepare = false;
    want_moved(sim);
}

/* One recovery after the other is cut, a step further each time. */
static void cut_at_each_step(struct sim *sim)
{
    static const unsigned steps[] = {ENGINE_MESSAGE_PING_HELLO,      ENGINE_MESSAGE_HELLO_DEST,
                                     ENGINE_MESSAGE_HELLO_SOURCE,    ENGINE_MESSAGE_HELLO_ACK,
                                     ENGINE_MESSAGE_BITMAP_REQUESTS, ENGINE_MESSAGE_BITMAP,
                                     ENGINE_MESSAGE_RESUME,          ENGINE_MESSAGE_RESUME_ACK};

    sim_begin_postcopy(sim);
    break_link(sim);
    for (unsigned i = 0; i < 16 && !sim->failed; i++) {
        sim->trap_count = 0;
        sim_trap(sim, steps[i / 2], i % 2 ? SIM_AFTER_ARRIVAL : SIM_BEFORE_ARRIVAL, 1, SIM_BOTH);
        SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_RESUME));
        sim_run_for(sim, SIM_S);
        SIM_WANT(sim, sim->traps[0].fired);
        sim_want_status(sim, BATON_STATUS_POSTCOPY_PAUSED, BATON_STATUS_POSTCOPY_PAUSED);
    }
    /* The last cut came when the source had resumed already. */
    want_moved(sim);
    SIM_WANT(sim, sim->side[SIM_SOURCE].engine.times.pauses == 2);
}

static void nobody_answers(struct sim *sim)
{
    sim_begin_postcopy(sim);
    break_link(sim);
    sim->dial_to = SIM_SIDES;
    for (unsigned i = 0; i < 3; i++) {
        SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_RESUME));
        sim_run_for(sim, SIM_S);
        sim_want_status(sim, BATON_STATUS_POSTCOPY_PAUSED, BATON_STATUS_POSTCOPY_PAUSED);
    }
    want_moved(sim);
}

/* A dial hangs; the operator ends it with migrate-pause and tries again. */
static void dial_hangs(struct sim *sim)
{
    sim_begin_postcopy(sim);
    break_link(sim);
    sim->dial_ns = 1000 * SIM_S;
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_RESUME));
    sim_run_for(sim, SIM_S);
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_PAUSE));
    sim_until_status(sim, SIM_SOURCE, BATON_STATUS_POSTCOPY_PAUSED);
    sim->dial_ns = SIM_MS;
    want_moved(sim);
}

static void another_process(struct sim *sim)
{
    SIM_WANT(sim, !sim_order(sim, SIM_OTHER, ENGINE_EVENT_INCOMING));
    sim_begin_postcopy(sim);
    break_link(sim);
    sim->dial_to = SIM_OTHER;
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_RESUME));
    sim_run_for(sim, SIM_S);
    SIM_WANT(sim, sim_has_reason(sim, SIM_SOURCE, "another process answers"));
    SIM_WANT(sim, sim->side[SIM_OTHER].engine.status == BATON_STATUS_SETUP);
    want_moved(sim);
}

/* The new link is silent from the start: it is given up in time, and no order is needed. */
static void silent_recovery(struct sim *sim)
{
    sim_begin_postcopy(sim);
    break_link(sim);
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_RESUME));
    sim_until_status(sim, SIM_SOURCE, BATON_STATUS_POSTCOPY_RECOVER);
    sim_current_link(sim, SIM_SOURCE)->dead = SIM_BOTH;
    sim_run_for(sim, 60 * SIM_S);
    sim_want_status(sim, BATON_STATUS_POSTCOPY_PAUSED, BATON_STATUS_POSTCOPY_PAUSED);
    want_moved(sim);
}

/* Cut again and again, and every time a few pages get through. */
static void cut_ten_times(struct sim *sim)
{
    sim_begin_postcopy(sim);
    for (unsigned i = 0; i < 10 && !sim->failed; i++) {
        sim->trap_count = 0;
        sim_trap(sim, SIM_WIRE_PAGE, i % 2 ? SIM_AFTER_ARRIVAL : SIM_BEFORE_ARRIVAL, 9, SIM_BOTH);
        sim_run_for(sim, SIM_S);
        sim_want_status(sim, BATON_STATUS_POSTCOPY_PAUSED, BATON_STATUS_POSTCOPY_PAUSED);
        SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_RESUME));
    }
    want_moved(sim);
}

const struct sim_story sim_stories_recovery[] = {
    {"simple-recovery", simple, {0}},
    {"golden-trace", golden_trace, {0}},
    {"half-open", half_open, {.dest_never_notices = true}},
    {"cut-while-placing", cut_while_placing, {0}},
    {"waiters-are-asked-for-again", waiters_are_asked_for_again, {0}},
    {"late-threads", late_threads, {.kill_ns = SIM_MS}},
    {"slow-hello-comes-last", slow_hello_comes_last, {0}},
    {"received-but-never-sent", never_sent, {0}},
    {"device-cannot-resume", device_cannot_resume, {0}},
    {"recovery-cut-at-each-step", cut_at_each_step, {0}},
    {"nobody-answers", nobody_answers, {0}},
    {"dial-hangs", dial_hangs, {0}},
    {"another-process-at-the-address", another_process, {0}},
    {"silent-recovery", silent_recovery, {0}},
    {"cut-ten-times", cut_ten_times, {0}},
    {0},
};
