/* SPDX-License-Identifier: MIT */
/*
 * Every message of a peer at every stage of a migration. A forged message may end the link, never
 * the VM: the run must end as well as if the link had been cut there. (What a peer can always do is
 * not forged: a RUN after READY, or a COMPLETE when all was sent, is its own responsibility.)
 *
 * And links on which a last message hangs, so that only the deadline ends them.
 */
#include "sim.h"

/* Where in a migration the forged message comes: right after the count-th message `wire`. */
static const struct stage {
    enum sim_way way;
    bool recovery; /* in a recovery, after a cut in postcopy */
    unsigned wire, count;
} stages[] = {
    {SIM_WAY_POSTCOPY, false, ENGINE_MESSAGE_PING_HELLO, 1},
    {SIM_WAY_POSTCOPY, false, ENGINE_MESSAGE_HELLO_DEST, 1},
    {SIM_WAY_POSTCOPY, false, ENGINE_MESSAGE_HELLO_SOURCE, 1},
    {SIM_WAY_POSTCOPY, false, SIM_WIRE_PAGE, 9},
    {SIM_WAY_PRECOPY, false, SIM_WIRE_PACKAGE, 1},
    {SIM_WAY_PRECOPY, false, ENGINE_MESSAGE_BARRIER_ACK, 1},
    {SIM_WAY_POSTCOPY, false, ENGINE_MESSAGE_BARRIER_ACK, 1},
    {SIM_WAY_POSTCOPY, false, SIM_WIRE_DISCARD, 1},
    {SIM_WAY_POSTCOPY, false, SIM_WIRE_PACKAGE, 1},
    {SIM_WAY_FAST, false, ENGINE_MESSAGE_RUN, 1},
    {SIM_WAY_FAST, false, SIM_WIRE_PAGE, 30},
    {SIM_WAY_FAST, true, ENGINE_MESSAGE_PING_HELLO, 1},
    {SIM_WAY_FAST, true, ENGINE_MESSAGE_HELLO_SOURCE, 1},
    {SIM_WAY_FAST, true, ENGINE_MESSAGE_BITMAP, 1},
    {SIM_WAY_FAST, true, ENGINE_MESSAGE_RESUME, 1},
    {SIM_WAY_FAST, false, ENGINE_MESSAGE_STREAM_END, 1},
};

static void go_to_stage(struct sim *sim, const struct stage *stage)
{
    if (stage->recovery) {
        sim_begin_postcopy(sim);
        sim_break(sim, sim_current_link(sim, SIM_SOURCE));
        sim_run_for(sim, SIM_S);
        sim->trap_count = 0;
        sim_trap(sim, stage->wire, SIM_AFTER_ARRIVAL, stage->count, 0);
        SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_RESUME));
    } else {
        sim_trap(sim, stage->wire, SIM_AFTER_ARRIVAL, stage->count, 0);
        sim_begin(sim, stage->way);
    }
    sim_run_until(sim, NULL, SIM_S);
    SIM_WANT(sim, sim->traps[0].fired);
}

static bool is_allowed(const struct sim *sim, unsigned wire)
{
    enum baton_status status = sim->side[SIM_DEST].engine.status;

    return wire == ENGINE_MESSAGE_RUN &&
           (status == BATON_STATUS_ACTIVE || status == BATON_STATUS_POSTCOPY_DEVICE);
}

static void forge(struct sim *outer, const struct stage *stage, unsigned wire, unsigned from,
                  uint64_t wait_ns)
{
    struct sim_options options = sim_default_options;
    struct sim *sim;
    struct sim_link *link;

    options.trace = outer->options.trace;
    sim = sim_new(&options);
    sim->quiet = true;
    go_to_stage(sim, stage);
    sim_run_until(sim, NULL, wait_ns);
    link = sim->links[sim->link_count - 1];
    if (!is_allowed(sim, wire))
        sim_say(sim, link, from, &(struct sim_message){.wire = wire, .page_count = 1});
    sim_run_for(sim, 50 * SIM_MS);
    sim_settle_and_move(sim);
    if (sim->failed)
        sim_fail(outer, "%s forged after %u. %s: %s", sim_wire_name(wire), stage->count,
                 sim_wire_name(stage->wire), sim->failure);
    sim_free(sim);
}

static void forge_all(struct sim *sim, unsigned first, unsigned last, unsigned from)
{
    for (unsigned s = 0; s < sizeof(stages) / sizeof(*stages); s++)
        for (unsigned wire = first; wire <= last; wire++)
            for (unsigned late = 0; late < 3; late++)
                forge(sim, &stages[s], wire, from, late * 40 * SIM_US);
}

static void forged_by_source(struct sim *sim)
{
    forge_all(sim, ENGINE_MESSAGE_OPENING, ENGINE_MESSAGE_BYE, 0);
    forge_all(sim, SIM_WIRE_DISCARD, SIM_WIRE_GARBAGE, 0);
}

static void forged_by_destination(struct sim *sim)
{
    forge_all(sim, ENGINE_MESSAGE_HELLO_DEST, ENGINE_MESSAGE_FAULT, 1);
}

/* ---- Deadlines ---- */

/* Writing towards `directions` hangs from right after `wire` on. */
static void hang_after(struct sim *sim, unsigned wire, enum sim_way way, unsigned directions)
{
    sim_trap(sim, wire, SIM_AFTER_ARRIVAL, 1, 0);
    sim_begin(sim, way);
    sim_run_until(sim, NULL, SIM_S);
    sim_current_link(sim, SIM_DEST)->blocked = directions;
}

static void bye_hangs(struct sim *sim)
{
    hang_after(sim, ENGINE_MESSAGE_COMPLETE, SIM_WAY_POSTCOPY, SIM_TO_DEST);
    sim_run_for(sim, 10 * SIM_S);
    SIM_WANT(sim, !sim->side[SIM_SOURCE].engine.link);
    sim_settle(sim);
    sim_want_status(sim, BATON_STATUS_COMPLETED, BATON_STATUS_COMPLETED);
}

static void last_word_hangs(struct sim *sim, enum sim_way way)
{
    sim->refuse_load = true;
    hang_after(sim, SIM_WIRE_PACKAGE, way, SIM_TO_SOURCE);
    sim_run_for(sim, 10 * SIM_S);
    SIM_WANT(sim, !sim->side[SIM_DEST].engine.link);
    sim->refuse_load = false;
    sim_settle_and_move(sim);
}

static void last_word_hangs_in_precopy(struct sim *sim)
{
    last_word_hangs(sim, SIM_WAY_PRECOPY);
}

static void last_word_hangs_in_postcopy(struct sim *sim)
{
    last_word_hangs(sim, SIM_WAY_POSTCOPY);
}

static void void_hangs(struct sim *sim)
{
    hang_after(sim, SIM_WIRE_PACKAGE, SIM_WAY_POSTCOPY, SIM_TO_DEST);
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_CANCEL));
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_STOP));
    SIM_WANT(sim, sim_order(sim, SIM_SOURCE, ENGINE_EVENT_PAUSE));
    sim->stopped_by_operator = true;
    sim_run_for(sim, 10 * SIM_S);
    SIM_WANT(sim, sim->side[SIM_SOURCE].engine.status == BATON_STATUS_CANCELLED);
    sim_settle_and_move(sim);
}

/* Lingering is ended while the last answer hangs. */
static void complete_hangs(struct sim *sim)
{
    hang_after(sim, ENGINE_MESSAGE_STREAM_END, SIM_WAY_POSTCOPY, SIM_TO_SOURCE);
    sim_until_status(sim, SIM_DEST, BATON_STATUS_COMPLETED);
    SIM_WANT(sim, !sim_order(sim, SIM_DEST, ENGINE_EVENT_CANCEL));
    sim_run_for(sim, 10 * SIM_S);
    SIM_WANT(sim, !sim->side[SIM_DEST].engine.link);
    sim_settle(sim);
    sim_want_status(sim, BATON_STATUS_COMPLETED, BATON_STATUS_COMPLETED);
}

/* The source falls silent in the middle of a recovery, and does not come back for long. */
static void source_falls_silent_in_recovery(struct sim *sim)
{
    sim_begin_postcopy(sim);
    sim_break(sim, sim_current_link(sim, SIM_SOURCE));
    sim_run_for(sim, SIM_S);
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_RESUME));
    SIM_WANT(sim, sim_order(sim, SIM_SOURCE, ENGINE_EVENT_MIGRATE));
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_STOP));
    sim_until_status(sim, SIM_DEST, BATON_STATUS_POSTCOPY_RECOVER);
    SIM_WANT(sim, sim_order(sim, SIM_DEST, ENGINE_EVENT_INCOMING));
    SIM_WANT(sim, !sim_order(sim, SIM_DEST, ENGINE_EVENT_STOP));
    sim->stopped_by_operator = true;
    sim_current_link(sim, SIM_DEST)->dead = SIM_BOTH;
    sim_run_for(sim, 60 * SIM_S);
    sim_want_status(sim, BATON_STATUS_POSTCOPY_PAUSED, BATON_STATUS_POSTCOPY_PAUSED);
    sim_settle(sim);
}

const struct sim_story sim_stories_forged[] = {
    {"forged-by-source", forged_by_source, {0}},
    {"forged-by-destination", forged_by_destination, {0}},
    {"bye-hangs", bye_hangs, {0}},
    {"last-word-hangs-in-precopy", last_word_hangs_in_precopy, {0}},
    {"last-word-hangs-in-postcopy", last_word_hangs_in_postcopy, {0}},
    {"void-hangs", void_hangs, {0}},
    {"complete-hangs", complete_hangs, {0}},
    {"source-falls-silent-in-recovery", source_falls_silent_in_recovery, {0}},
    {0},
};
