/* SPDX-License-Identifier: MIT */
/*
 * Stories about peers that lie, or do things in an order of their own. They may spoil their own
 * migration; they may not crash us, hang us, or make us run what is not whole.
 */
#include "sim.h"

static struct sim_message plain(unsigned wire)
{
    return (struct sim_message){.wire = wire};
}

/* A destination without an engine, for the source to dial. */
static struct sim_link *dial_raw(struct sim *sim)
{
    sim->dial_to = SIM_OTHER;
    sim->side[SIM_OTHER].listening = true;
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_MIGRATE));
    sim_run_for(sim, SIM_MS);
    return sim_current_link(sim, SIM_SOURCE);
}

static void want_home(struct sim *sim)
{
    sim_run_for(sim, 60 * SIM_S);
    SIM_WANT(sim, sim_is_home(sim) && sim->side[SIM_SOURCE].cpus_run);
    sim_settle_and_move(sim);
}

static void destination_is_a_qemu(struct sim *sim)
{
    struct sim_message pong = plain(ENGINE_MESSAGE_PONG_HELLO);
    struct sim_link *link = dial_raw(sim);

    sim_say(sim, link, 1, &pong);
    sim_run_for(sim, SIM_MS);
    SIM_WANT(sim, sim_has_reason(sim, SIM_SOURCE, "not as a Baton"));
    want_home(sim);
}

static void destination_says_nothing(struct sim *sim)
{
    dial_raw(sim);
    want_home(sim);
}

/* The newest epoch that it claims to have seen is the last one there is. */
static void destination_is_at_the_last_epoch(struct sim *sim)
{
    struct sim_message hello = plain(ENGINE_MESSAGE_HELLO_DEST);
    struct sim_message ack = plain(ENGINE_MESSAGE_HELLO_ACK);
    struct sim_link *link = dial_raw(sim);

    hello.hello.epoch = UINT64_MAX;
    hello.hello.nonce[0] = 5;
    sim_say(sim, link, 1, &hello);
    sim_say(sim, link, 1, &ack);
    want_home(sim);
}

/* READY with the nonce of somebody else. */
static void ready_of_another_process(struct sim *sim)
{
    sim_trap(sim, ENGINE_MESSAGE_READY, SIM_AT_WRITE, 1, 0);
    sim_begin(sim, SIM_WAY_POSTCOPY);
    sim_run_until(sim, NULL, SIM_S);
    sim_current_link(sim, SIM_SOURCE)->flight[1].last->hello.nonce[3] ^= 1;
    want_home(sim);
}

/* RESUME_ACK before RESUME was sent, while the devices prepare. */
static void resume_ack_too_early(struct sim *sim)
{
    struct sim_message ack = plain(ENGINE_MESSAGE_RESUME_ACK);
    unsigned block = sim->options.block_count;

    sim->quiet = true;
    sim_begin_postcopy(sim);
    sim_break(sim, sim_current_link(sim, SIM_SOURCE));
    sim_run_for(sim, SIM_S);
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_RESUME));
    sim->trap_count = 0;
    sim_trap(sim, ENGINE_MESSAGE_BITMAP, SIM_AT_WRITE, block, 0);
    sim_run_until(sim, NULL, SIM_S);
    sim_say(sim, sim_current_link(sim, SIM_SOURCE), 1, &ack);
    sim_run_for(sim, SIM_S);
    sim_settle(sim);
    sim_want_status(sim, BATON_STATUS_COMPLETED, BATON_STATUS_COMPLETED);
}

static void complete_too_early(struct sim *sim)
{
    struct sim_message complete = plain(ENGINE_MESSAGE_COMPLETE);

    sim_begin_postcopy(sim);
    complete.hello.epoch = sim->side[SIM_SOURCE].engine.epoch;
    complete.value = sim->side[SIM_SOURCE].pages.total_pages;
    sim_say(sim, sim_current_link(sim, SIM_SOURCE), 1, &complete);
    sim_run_for(sim, SIM_S);
    sim_want_status(sim, BATON_STATUS_POSTCOPY_PAUSED, BATON_STATUS_POSTCOPY_PAUSED);
    sim_settle(sim);
    sim_want_status(sim, BATON_STATUS_COMPLETED, BATON_STATUS_COMPLETED);
}

/* ---- Sources ---- */

static struct sim_link *knock_as_source(struct sim *sim)
{
    struct sim_message hello = plain(ENGINE_MESSAGE_HELLO_SOURCE);
    struct sim_message opening = plain(ENGINE_MESSAGE_OPENING);
    struct sim_link *link;

    SIM_WANT(sim, !sim_order(sim, SIM_DEST, ENGINE_EVENT_INCOMING));
    link = sim_knock(sim, SIM_OTHER, SIM_DEST);
    hello.hello.epoch = 1;
    hello.hello.session[0] = 7;
    hello.hello.nonce[0] = 8;
    sim_say(sim, link, 0, &opening);
    sim_say(sim, link, 0, &hello);
    return link;
}

/* A postcopy package although pages are missing and none was ever discarded: they would be zeros.
 */
static void package_without_pages(struct sim *sim)
{
    struct sim_link *link = knock_as_source(sim);
    struct sim_message message = plain(ENGINE_MESSAGE_RAM_START);

    sim_say(sim, link, 0, &message);
    message.wire = SIM_WIRE_PACKAGE;
    message.vm_was_running = true;
    sim_say(sim, link, 0, &message);
    sim_run_for(sim, SIM_MS);
    message.wire = ENGINE_MESSAGE_RUN;
    sim_say(sim, link, 0, &message);
    sim_run_for(sim, SIM_S);
    SIM_WANT(sim, !sim->side[SIM_DEST].cpus_run && !sim->side[SIM_DEST].engine.dest.started);
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_MIGRATE));
    sim_settle_and_move(sim);
}

/* The VM runs, every page is its own: a page that comes now writes nothing. */
static void page_after_completion(struct sim *sim)
{
    struct sim_message page = plain(SIM_WIRE_PAGE);
    struct sim_link *link;

    sim_trap(sim, ENGINE_MESSAGE_RUN, SIM_AFTER_ARRIVAL, 1, 0);
    sim_begin(sim, SIM_WAY_PRECOPY);
    sim_run_until(sim, NULL, SIM_S);
    link = sim_current_link(sim, SIM_SOURCE);
    page.version = 1234567;
    sim_say(sim, link, 0, &page);
    sim_settle(sim);
    sim_want_status(sim, BATON_STATUS_COMPLETED, BATON_STATUS_COMPLETED);
}

static void run_before_ready(struct sim *sim)
{
    struct sim_link *link = knock_as_source(sim);
    struct sim_message run = plain(ENGINE_MESSAGE_RUN);

    sim_say(sim, link, 0, &run);
    sim_run_for(sim, SIM_S);
    SIM_WANT(sim, !sim->side[SIM_DEST].cpus_run);
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_MIGRATE));
    sim_settle_and_move(sim);
}

/* Each message of a source at a time when it does not belong, in postcopy: the link is given up,
 * and a recovery goes on. */
static void out_of_place_in_postcopy(struct sim *sim)
{
    static const unsigned wires[] = {ENGINE_MESSAGE_HELLO_SOURCE,
                                     ENGINE_MESSAGE_ADVISE,
                                     ENGINE_MESSAGE_RAM_START,
                                     ENGINE_MESSAGE_RUN,
                                     ENGINE_MESSAGE_VOID,
                                     ENGINE_MESSAGE_BYE,
                                     ENGINE_MESSAGE_RESUME,
                                     SIM_WIRE_PACKAGE,
                                     SIM_WIRE_DISCARD,
                                     ENGINE_MESSAGE_BITMAP_REQUESTS};

    sim_begin_postcopy(sim);
    for (unsigned i = 0; i < sizeof(wires) / sizeof(*wires) && !sim->failed; i++) {
        struct sim_message message = plain(wires[i]);

        sim_say(sim, sim_current_link(sim, SIM_SOURCE), 0, &message);
        sim_until_status(sim, SIM_SOURCE, BATON_STATUS_POSTCOPY_PAUSED);
        SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_RESUME));
        sim_until_status(sim, SIM_DEST, BATON_STATUS_POSTCOPY_ACTIVE);
        sim_until_status(sim, SIM_SOURCE, BATON_STATUS_POSTCOPY_ACTIVE);
    }
    sim_settle(sim);
    sim_want_status(sim, BATON_STATUS_COMPLETED, BATON_STATUS_COMPLETED);
}

const struct sim_story sim_stories_hostile[] = {
    {"destination-is-a-qemu", destination_is_a_qemu, {0}},
    {"destination-says-nothing", destination_says_nothing, {0}},
    {"destination-is-at-the-last-epoch", destination_is_at_the_last_epoch, {0}},
    {"ready-of-another-process", ready_of_another_process, {0}},
    {"resume-ack-too-early", resume_ack_too_early, {0}},
    {"complete-too-early", complete_too_early, {0}},
    {"package-without-pages", package_without_pages, {0}},
    {"page-after-completion", page_after_completion, {0}},
    {"run-before-ready", run_before_ready, {0}},
    {"out-of-place-in-postcopy",
     out_of_place_in_postcopy,
     {.block_count = 1, .block_pages = {130}}},
    {0},
};
