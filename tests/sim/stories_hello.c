/* SPDX-License-Identifier: MIT */
/*
 * Stories about connections that are not, or not yet, the current link: probes, garbage, other
 * sources, late hellos. None of them may disturb a migration that is under way.
 */
#include "sim.h"

static void want_moved(struct sim *sim)
{
    sim_settle(sim);
    sim_want_status(sim, BATON_STATUS_COMPLETED, BATON_STATUS_COMPLETED);
}

static void say(struct sim *sim, struct sim_link *link, unsigned wire)
{
    sim_say(sim, link, 0, &(struct sim_message){.wire = wire});
}

static struct sim_message hello_new(uint64_t epoch, uint8_t session, uint8_t nonce)
{
    struct sim_message hello = {.wire = ENGINE_MESSAGE_HELLO_SOURCE};

    hello.hello.epoch = epoch;
    hello.hello.session[0] = session;
    hello.hello.nonce[0] = nonce;
    hello.hello.intent = ENGINE_INTENT_NEW;
    return hello;
}

/* One connection of each bad kind. */
static void knock_badly(struct sim *sim)
{
    static const unsigned wires[] = {
        SIM_WIRE_GARBAGE,         SIM_WIRE_PAGE,         ENGINE_MESSAGE_RUN,
        ENGINE_MESSAGE_RESUME,    ENGINE_MESSAGE_VOID,   ENGINE_MESSAGE_BYE,
        ENGINE_MESSAGE_BARRIER,   SIM_WIRE_PACKAGE,      SIM_WIRE_DISCARD,
        ENGINE_MESSAGE_RAM_START, ENGINE_MESSAGE_ADVISE, ENGINE_MESSAGE_STREAM_END,
        ENGINE_MESSAGE_READY,     SIM_WIRE_END,          ENGINE_MESSAGE_HELLO_SOURCE};
    struct sim_message stranger = hello_new(77, 7, 8);

    sim_knock(sim, SIM_OTHER, SIM_DEST); /* says nothing at all */
    for (unsigned i = 0; i < sizeof(wires) / sizeof(*wires); i++) {
        struct sim_link *link = sim_knock(sim, SIM_OTHER, SIM_DEST);

        if (i % 2)
            say(sim, link, ENGINE_MESSAGE_PING_HELLO);
        say(sim, link, wires[i]);
        say(sim, link, ENGINE_MESSAGE_RUN);
    }
    stranger.hello.intent = ENGINE_INTENT_RECOVER;
    sim_say(sim, sim_knock(sim, SIM_OTHER, SIM_DEST), 0, &stranger);
    stranger.hello.intent = ENGINE_INTENT_ASK_BACK;
    sim_say(sim, sim_knock(sim, SIM_OTHER, SIM_DEST), 0, &stranger);
}

/* While it listens, and again in the middle of postcopy, and while it is paused. */
static void bad_knocks(struct sim *sim)
{
    SIM_WANT(sim, !sim_order(sim, SIM_DEST, ENGINE_EVENT_INCOMING));
    knock_badly(sim);
    sim_run_for(sim, SIM_MS);
    SIM_WANT(sim, sim->side[SIM_DEST].engine.status == BATON_STATUS_SETUP);
    sim_begin_postcopy(sim);
    knock_badly(sim);
    sim_run_for(sim, 200 * SIM_US);
    sim_want_status(sim, BATON_STATUS_POSTCOPY_ACTIVE, BATON_STATUS_POSTCOPY_ACTIVE);
    sim_break(sim, sim_current_link(sim, SIM_SOURCE));
    sim_run_for(sim, SIM_S);
    knock_badly(sim);
    sim_run_for(sim, SIM_S);
    sim_want_status(sim, BATON_STATUS_POSTCOPY_PAUSED, BATON_STATUS_POSTCOPY_PAUSED);
    want_moved(sim);
}

static void another_source_is_refused(struct sim *sim)
{
    struct sim_message hello = hello_new(77, 7, 8);
    struct sim_link *link;

    sim_begin_postcopy(sim);
    link = sim_knock(sim, SIM_OTHER, SIM_DEST);
    say(sim, link, ENGINE_MESSAGE_OPENING);
    sim_say(sim, link, 0, &hello);
    sim_run_for(sim, 300 * SIM_US);
    SIM_WANT(sim, link->end[1].dropped);
    want_moved(sim);
}

/* Not even before anything is lost by it: only its own source may begin a migration anew. */
static void another_source_in_precopy(struct sim *sim)
{
    struct sim_message hello = hello_new(77, 7, 8);
    struct sim_link *link, *live;

    sim_trap(sim, SIM_WIRE_PAGE, SIM_AFTER_ARRIVAL, 20, 0);
    sim_begin(sim, SIM_WAY_PRECOPY);
    sim_run_until(sim, NULL, SIM_S);
    live = sim_current_link(sim, SIM_DEST);
    link = sim_knock(sim, SIM_OTHER, SIM_DEST);
    say(sim, link, ENGINE_MESSAGE_OPENING);
    sim_say(sim, link, 0, &hello);
    sim_run_for(sim, 300 * SIM_US);
    SIM_WANT(sim, link->end[1].dropped && sim_current_link(sim, SIM_DEST) == live);
    want_moved(sim);
}

/* Two dials for a new migration: the hello of the one that was given up arrives when the other is
 * live already. */
static void slow_new_hello_comes_last(struct sim *sim)
{
    struct sim_link *slow, *live;

    sim_trap(sim, ENGINE_MESSAGE_HELLO_SOURCE, SIM_BEFORE_ARRIVAL, 1, 0);
    sim_begin(sim, SIM_WAY_PRECOPY);
    sim_run_until(sim, NULL, SIM_S);
    slow = sim_current_link(sim, SIM_SOURCE);
    slow->end[1].reader_stalled = true;
    sim_run_for(sim, SIM_MS);
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_CANCEL));
    sim_until_status(sim, SIM_SOURCE, BATON_STATUS_CANCELLED);
    sim_trap(sim, SIM_WIRE_PAGE, SIM_AFTER_ARRIVAL, 5, 0);
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_MIGRATE));
    sim_run_until(sim, NULL, SIM_S);
    live = sim_current_link(sim, SIM_DEST);
    SIM_WANT(sim, live && live != slow);
    slow->end[1].reader_stalled = false;
    sim_reader_wake(sim, slow, 1);
    sim_run_for(sim, 50 * SIM_US);
    SIM_WANT(sim, sim_current_link(sim, SIM_DEST) == live);
    want_moved(sim);
}

/* The source begins anew while the destination still sees the old, silent link. */
static void new_migration_over_a_half_open_link(struct sim *sim)
{
    sim_trap(sim, SIM_WIRE_PAGE, SIM_AFTER_ARRIVAL, 20, SIM_TO_DEST);
    sim_begin(sim, SIM_WAY_PRECOPY);
    sim_until_status(sim, SIM_SOURCE, BATON_STATUS_FAILED);
    SIM_WANT(sim, sim->side[SIM_DEST].engine.status == BATON_STATUS_ACTIVE);
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_MIGRATE));
    want_moved(sim);
}

/* The same with a destination that has given READY: RUN of that session was never written. */
static void new_migration_voids_the_old_one(struct sim *sim)
{
    sim_trap(sim, ENGINE_MESSAGE_READY, SIM_BEFORE_ARRIVAL, 1, SIM_TO_SOURCE);
    sim_begin(sim, SIM_WAY_POSTCOPY);
    sim_run_for(sim, 200 * SIM_MS);
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_CANCEL));
    sim_until_status(sim, SIM_SOURCE, BATON_STATUS_CANCELLED);
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_MIGRATE));
    want_moved(sim);
}

/* A second hello on a link that waits for the old one to rest. */
static void hello_twice(struct sim *sim)
{
    struct sim_message again;
    struct sim_link *link;
    const struct engine *source;

    sim_begin_postcopy(sim);
    source = &sim->side[SIM_SOURCE].engine;
    again = (struct sim_message){.wire = ENGINE_MESSAGE_HELLO_SOURCE};
    again.hello.epoch = source->epoch + 1;
    again.hello.intent = ENGINE_INTENT_RECOVER;
    for (unsigned i = 0; i < ENGINE_ID_BYTES; i++) {
        again.hello.session[i] = source->source.session[i];
        again.hello.nonce[i] = source->nonce[i];
        again.hello.expected_nonce[i] = source->source.dest_nonce[i];
    }
    link = sim_knock(sim, SIM_OTHER, SIM_DEST);
    sim_say(sim, link, 0, &again);
    again.hello.epoch++;
    sim_say(sim, link, 0, &again);
    sim_run_for(sim, SIM_S);
    SIM_WANT(sim, !sim_current_link(sim, SIM_DEST));
    want_moved(sim);
}

const struct sim_story sim_stories_hello[] = {
    {"bad-knocks", bad_knocks, {0}},
    {"another-source-is-refused", another_source_is_refused, {0}},
    {"another-source-in-precopy", another_source_in_precopy, {0}},
    {"slow-new-hello-comes-last", slow_new_hello_comes_last, {0}},
    {"new-migration-over-a-half-open-link",
     new_migration_over_a_half_open_link,
     {.dest_never_notices = true}},
    {"new-migration-voids-the-old-one",
     new_migration_voids_the_old_one,
     {.dest_never_notices = true}},
    {"hello-twice", hello_twice, {.kill_ns = SIM_MS}},
    {0},
};
