/* SPDX-License-Identifier: MIT */
/* Stories about a VM that is written to a file or a command, and read from there. */
#include "sim.h"

static void saved_and_read(struct sim *sim)
{
    sim_begin(sim, SIM_WAY_ONE_WAY);
    sim_settle(sim);
    sim_want_status(sim, BATON_STATUS_COMPLETED, BATON_STATUS_COMPLETED);
    SIM_WANT(sim, !sim->side[SIM_DEST].listening);
}

/* The VM that was saved is a VM: two of it would be two runners. */
static void saved_and_continued(struct sim *sim)
{
    saved_and_read(sim);
    SIM_WANT(sim, sim_order(sim, SIM_SOURCE, ENGINE_EVENT_CONT));
    SIM_WANT(sim, sim_order(sim, SIM_SOURCE, ENGINE_EVENT_MIGRATE));
    SIM_WANT(sim, sim_order(sim, SIM_SOURCE, ENGINE_EVENT_CANCEL));
    SIM_WANT(sim, !sim->side[SIM_SOURCE].cpus_run);
}

static void start_listening(struct sim *sim)
{
    SIM_WANT(sim, !sim_order(sim, SIM_DEST, ENGINE_EVENT_INCOMING));
}

/* The reader's process ends its attempt; the bytes are still there. */
static void read_twice(struct sim *sim)
{
    sim->refuse_load = true;
    sim_begin(sim, SIM_WAY_ONE_WAY);
    sim_run_for(sim, SIM_S);
    sim_want_status(sim, BATON_STATUS_COMPLETED, BATON_STATUS_FAILED);
    SIM_WANT(sim, sim_has_reason(sim, SIM_DEST, "a device is unknown"));
    SIM_WANT(sim, !sim->side[SIM_DEST].cpus_run && !sim->side[SIM_DEST].listening);
    sim->refuse_load = false;
    sim_settle(sim);
    sim_want_status(sim, BATON_STATUS_COMPLETED, BATON_STATUS_COMPLETED);
}

/* Everything was written and the command fails: nobody has the VM, so it goes on here. */
static void break_it(struct sim *sim, struct sim_link *link)
{
    sim_break(sim, link);
}

static void command_fails_at_the_end(struct sim *sim)
{
    sim_trap(sim, SIM_WIRE_PACKAGE, SIM_AFTER_ARRIVAL, 1, 0)->call = break_it;
    sim->side[SIM_SOURCE].engine.downtime_limit_ns = 1000 * SIM_S;
    sim->hold_closing = true;
    sim_begin(sim, SIM_WAY_ONE_WAY);
    sim_run_for(sim, SIM_S);
    sim->hold_closing = false;
    sim_want_status(sim, BATON_STATUS_FAILED, BATON_STATUS_FAILED);
    SIM_WANT(sim, sim->side[SIM_SOURCE].cpus_run);
    sim_settle_and_move(sim);
}

/* Whoever reads may have the VM when it is being closed: it is too late to cancel. */
static void cancelled_while_closing(struct sim *sim)
{
    sim->hold_closing = true;
    sim_begin(sim, SIM_WAY_ONE_WAY);
    sim_until_status(sim, SIM_SOURCE, BATON_STATUS_DEVICE);
    sim_run_for(sim, 100 * SIM_MS);
    sim_want_status(sim, BATON_STATUS_DEVICE, BATON_STATUS_ACTIVE);
    SIM_WANT(sim, sim_order(sim, SIM_SOURCE, ENGINE_EVENT_CANCEL));
    SIM_WANT(sim, sim_order(sim, SIM_SOURCE, ENGINE_EVENT_CONT));
    SIM_WANT(sim, !sim->side[SIM_DEST].cpus_run);
    sim->hold_closing = false;
    sim_writer_wake(sim, sim_current_link(sim, SIM_SOURCE), 0);
    sim_settle(sim);
    sim_want_status(sim, BATON_STATUS_COMPLETED, BATON_STATUS_COMPLETED);
}

static void cancelled_before(struct sim *sim)
{
    sim_begin(sim, SIM_WAY_ONE_WAY);
    sim_until_status(sim, SIM_SOURCE, BATON_STATUS_ACTIVE);
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_CANCEL));
    sim_run_for(sim, SIM_S);
    sim_want_status(sim, BATON_STATUS_CANCELLED, BATON_STATUS_FAILED);
    SIM_WANT(sim, sim->side[SIM_SOURCE].cpus_run);
    sim_settle_and_move(sim);
}

static void orders_that_need_a_way_back(struct sim *sim)
{
    struct engine *source = &sim->side[SIM_SOURCE].engine;

    source->capability[BATON_CAPABILITY_POSTCOPY_RAM] = true;
    sim->one_way = true;
    SIM_WANT(sim, sim_order(sim, SIM_SOURCE, ENGINE_EVENT_MIGRATE));
    SIM_WANT(sim, source->status == BATON_STATUS_NONE && sim->side[SIM_SOURCE].cpus_run);
    sim->one_way = false;
    sim_begin_postcopy(sim);
    sim_break(sim, sim_current_link(sim, SIM_SOURCE));
    sim_run_for(sim, SIM_S);
    sim->one_way = true;
    SIM_WANT(sim, sim_order(sim, SIM_SOURCE, ENGINE_EVENT_RESUME));
    SIM_WANT(sim, sim_order(sim, SIM_DEST, ENGINE_EVENT_RECOVER));
    sim->one_way = false;
    sim_settle(sim);
    sim_want_status(sim, BATON_STATUS_COMPLETED, BATON_STATUS_COMPLETED);
}

/* What does not belong in such a stream: there is nobody to answer. */
static void speaks_of_what_needs_a_way_back(struct sim *sim)
{
    static const unsigned wires[] = {
        ENGINE_MESSAGE_PING_HELLO, ENGINE_MESSAGE_PING,    ENGINE_MESSAGE_HELLO_SOURCE,
        ENGINE_MESSAGE_ADVISE,     ENGINE_MESSAGE_BARRIER, SIM_WIRE_DISCARD,
        ENGINE_MESSAGE_RUN,        SIM_WIRE_PACKAGE,       ENGINE_MESSAGE_STREAM_END,
        ENGINE_MESSAGE_VOID,       ENGINE_MESSAGE_BYE,     ENGINE_MESSAGE_RESUME};

    sim->quiet = true;
    for (unsigned i = 0; i < sizeof(wires) / sizeof(*wires); i++) {
        struct sim_link *link;

        start_listening(sim);
        link = sim_knock(sim, SIM_OTHER, SIM_DEST);
        sim_one_way_open(sim, link);
        sim_run_for(sim, SIM_MS);
        SIM_WANT(sim, sim->side[SIM_DEST].engine.status == BATON_STATUS_ACTIVE);
        link->closed = true;
        sim_say(sim, link, 0, &(struct sim_message){.wire = wires[i]});
        sim_run_for(sim, SIM_S);
        SIM_WANT(sim, sim->side[SIM_DEST].engine.status == BATON_STATUS_FAILED);
        SIM_WANT(sim, sim_has_reason(sim, SIM_DEST, "the stream sent"));
        SIM_WANT(sim, !sim->side[SIM_DEST].cpus_run);
    }
    sim_settle_and_move(sim);
}

/* A stream that ends in order and has not all pages. */
static void pages_are_missing(struct sim *sim)
{
    struct sim_link *link = sim_knock(sim, SIM_OTHER, SIM_DEST);

    start_listening(sim);
    sim_one_way_open(sim, link);
    link->closed = true;
    sim_say(sim, link, 0, &(struct sim_message){.wire = ENGINE_MESSAGE_RAM_START});
    sim_say(sim, link, 0, &(struct sim_message){.wire = SIM_WIRE_PACKAGE, .precopy = true});
    sim_run_for(sim, SIM_S);
    SIM_WANT(sim, sim->side[SIM_DEST].engine.status == BATON_STATUS_FAILED);
    SIM_WANT(sim, sim_has_reason(sim, SIM_DEST, "pages are missing"));
    sim_settle_and_move(sim);
}

/* While a saved VM is read a source knocks: one of them is enough. */
static void a_source_comes_meanwhile(struct sim *sim)
{
    struct sim_link *link;
    struct sim_message hello = {.wire = ENGINE_MESSAGE_HELLO_SOURCE};

    start_listening(sim);
    sim_one_way_open(sim, sim_knock(sim, SIM_OTHER, SIM_DEST));
    sim_run_for(sim, SIM_MS);
    hello.hello.epoch = 77; /* and with no nonce, like the stream itself */
    hello.hello.session[0] = 1;
    link = sim_knock(sim, SIM_OTHER, SIM_DEST);
    sim_say(sim, link, 0, &(struct sim_message){.wire = ENGINE_MESSAGE_OPENING});
    sim_say(sim, link, 0, &hello);
    sim_run_for(sim, SIM_S);
    SIM_WANT(sim, sim->side[SIM_DEST].engine.link == 1);
    SIM_WANT(sim, sim->side[SIM_DEST].engine.status == BATON_STATUS_ACTIVE);
    SIM_WANT(sim, !sim_order(sim, SIM_DEST, ENGINE_EVENT_CANCEL));
    sim_run_for(sim, SIM_S);
    SIM_WANT(sim, sim->side[SIM_DEST].engine.status == BATON_STATUS_CANCELLED);
}

/* A stream that was named comes when something else has happened meanwhile: nothing changes. */
static void too_late(struct sim *sim)
{
    const struct engine *dest = &sim->side[SIM_DEST].engine;
    enum baton_status before = dest->status;
    uint64_t link = dest->link;

    sim_one_way_open(sim, sim_knock(sim, SIM_OTHER, SIM_DEST));
    sim_run_until(sim, NULL, 5 * SIM_US);
    if (dest->status != before || dest->link != link)
        sim_fail(sim, "a stream that came too late turned %s into %s", baton_status_name(before),
                 baton_status_name(dest->status));
}

static void comes_too_late(struct sim *sim)
{
    static const enum baton_status moments[] = {BATON_STATUS_ACTIVE, BATON_STATUS_POSTCOPY_DEVICE,
                                                BATON_STATUS_POSTCOPY_ACTIVE};

    sim_begin(sim, SIM_WAY_FAST);
    for (unsigned i = 0; i < sizeof(moments) / sizeof(*moments); i++) {
        sim_until_status(sim, SIM_DEST, moments[i]);
        too_late(sim);
    }
    sim_break(sim, sim_current_link(sim, SIM_SOURCE));
    sim_until_status(sim, SIM_DEST, BATON_STATUS_POSTCOPY_PAUSED);
    sim_until_status(sim, SIM_SOURCE, BATON_STATUS_POSTCOPY_PAUSED);
    too_late(sim);
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_RESUME));
    sim_until_status(sim, SIM_DEST, BATON_STATUS_POSTCOPY_RECOVER);
    too_late(sim);
    sim_until_status(sim, SIM_DEST, BATON_STATUS_COMPLETED);
    sim_run_for(sim, SIM_S);
    too_late(sim);
    sim_settle(sim);
}

static void comes_after_the_cancel(struct sim *sim)
{
    start_listening(sim);
    SIM_WANT(sim, !sim_order(sim, SIM_DEST, ENGINE_EVENT_CANCEL));
    too_late(sim);
    sim_settle_and_move(sim);
}

/* A source failed before; then the operator names a file. */
static void read_after_a_failure(struct sim *sim)
{
    sim_trap(sim, ENGINE_MESSAGE_RAM_START, SIM_AFTER_ARRIVAL, 1, SIM_BOTH);
    sim_begin(sim, SIM_WAY_PRECOPY);
    sim_until_status(sim, SIM_DEST, BATON_STATUS_FAILED);
    sim_run_for(sim, SIM_S);
    sim_begin(sim, SIM_WAY_ONE_WAY);
    sim_settle(sim);
    sim_want_status(sim, BATON_STATUS_COMPLETED, BATON_STATUS_COMPLETED);
}

const struct sim_story sim_stories_oneway[] = {
    {"saved-and-read", saved_and_read, {0}},
    {"saved-and-continued", saved_and_continued, {0}},
    {"read-twice", read_twice, {0}},
    {"command-fails-at-the-end", command_fails_at_the_end, {0}},
    {"cancelled-while-closing", cancelled_while_closing, {0}},
    {"cancelled-while-writing", cancelled_before, {0}},
    {"orders-that-need-a-way-back", orders_that_need_a_way_back, {0}},
    {"speaks-of-what-needs-a-way-back", speaks_of_what_needs_a_way_back, {0}},
    {"one-way-pages-missing", pages_are_missing, {0}},
    {"a-source-comes-meanwhile", a_source_comes_meanwhile, {0}},
    {"one-way-comes-too-late", comes_too_late, {0}},
    {"one-way-comes-after-cancel", comes_after_the_cancel, {0}},
    {"read-after-a-failure", read_after_a_failure, {0}},
    {0},
};
