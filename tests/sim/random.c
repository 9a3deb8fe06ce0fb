/* SPDX-License-Identifier: MIT */
/*
 * Random worlds: a seed decides about blocks, latencies, slow threads, cuts and the orders of an
 * operator who tries everything at any time. However wild it was, once the network is whole and the
 * operator patient it must end well (sim_settle_and_move).
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

static struct sim_options random_options(uint64_t seed)
{
    struct sim_options options = {.seed = seed, .random_delays = true};
    struct sim dice = {.random = seed * 77};

    options.block_count = 1 + (unsigned)sim_random(&dice, SIM_MAX_BLOCKS);
    for (unsigned b = 0; b < options.block_count; b++)
        options.block_pages[b] = 1 + sim_random(&dice, sim_random(&dice, 2) ? 8 : SIM_MAX_PAGES);
    options.latency_ns = 1 + sim_random(&dice, sim_random(&dice, 4) ? 200 * SIM_US : 20 * SIM_MS);
    options.jitter_ns = sim_random(&dice, 2) ? 0 : sim_random(&dice, 2 * options.latency_ns) + 1;
    options.paused = sim_random(&dice, 8) == 0;
    options.keep_stopped = sim_random(&dice, 8) == 0;
    options.kill_loses_flight = sim_random(&dice, 2);
    options.kill_ns = sim_random(&dice, 2) * (1 + sim_random(&dice, 50)) * SIM_US;
    options.dest_never_notices = sim_random(&dice, 2);
    return options;
}

static void arm_cuts(struct sim *sim)
{
    static const enum sim_moment moments[] = {SIM_AT_WRITE, SIM_AT_HALF, SIM_BEFORE_ARRIVAL,
                                              SIM_AFTER_ARRIVAL};
    static const unsigned wires[] = {
        ENGINE_MESSAGE_HELLO_SOURCE, ENGINE_MESSAGE_HELLO_ACK, SIM_WIRE_PACKAGE,
        ENGINE_MESSAGE_READY,        ENGINE_MESSAGE_RUN,       ENGINE_MESSAGE_BITMAP,
        ENGINE_MESSAGE_RESUME,       ENGINE_MESSAGE_COMPLETE,  ENGINE_MESSAGE_BYE};
    uint64_t count = sim_random(sim, 5);

    for (uint64_t i = 0; i < count; i++) {
        bool special = sim_random(sim, 2);
        unsigned wire = special ? wires[sim_random(sim, sizeof(wires) / sizeof(*wires))] : UINT_MAX;
        enum sim_moment moment = moments[sim_random(sim, 4)];
        /* What was written in half breaks a link for good. */
        unsigned cut = moment == SIM_AT_HALF ? SIM_BOTH : 1 + (unsigned)sim_random(sim, 3);

        sim_trap(sim, wire, moment, 1 + (unsigned)sim_random(sim, special ? 2 : 400), cut);
    }
}

static void cut_something(struct sim *sim)
{
    struct sim_link *link = sim_current_link(sim, (unsigned)sim_random(sim, 2));

    if (!link || link->reset)
        return;
    if (sim_random(sim, 2))
        sim_break(sim, link);
    else
        sim_cut(sim, link, 1 + (unsigned)sim_random(sim, 3));
}

static void order_something(struct sim *sim)
{
    static const enum engine_event_type at_source[] = {
        ENGINE_EVENT_MIGRATE,        ENGINE_EVENT_RESUME, ENGINE_EVENT_RESUME,
        ENGINE_EVENT_START_POSTCOPY, ENGINE_EVENT_PAUSE,  ENGINE_EVENT_CANCEL,
        ENGINE_EVENT_STOP,           ENGINE_EVENT_CONT,   ENGINE_EVENT_HALT};
    static const enum engine_event_type at_dest[] = {
        ENGINE_EVENT_INCOMING, ENGINE_EVENT_RECOVER, ENGINE_EVENT_PAUSE, ENGINE_EVENT_CANCEL,
        ENGINE_EVENT_STOP,     ENGINE_EVENT_CONT,    ENGINE_EVENT_HALT};

    if (sim_random(sim, 3))
        sim_order(sim, SIM_SOURCE, at_source[sim_random(sim, 9)]);
    else
        sim_order(sim, SIM_DEST, at_dest[sim_random(sim, 7)]);
}

/* The time until the next idea: usually within what a migration takes. */
static uint64_t random_pause(struct sim *sim)
{
    switch (sim_random(sim, 8)) {
    case 0:
        return sim_random(sim, 20 * SIM_S);
    case 1:
        return sim_random(sim, 200 * SIM_MS);
    default:
        return sim_random(sim, 20 * sim->options.latency_ns + 2 * SIM_MS);
    }
}

static void live(struct sim *sim)
{
    uint64_t ideas = sim_random(sim, 12);
    bool meddles = sim_random(sim, 3);

    sim->any_run_state = true;
    if (sim_random(sim, 4) == 0)
        sim->side[SIM_SOURCE].engine.downtime_limit_ns = 0;
    arm_cuts(sim);
    sim_begin(sim, (enum sim_way)sim_random(sim, SIM_WAY_COUNT));
    for (uint64_t i = 0; i < ideas && !sim->failed; i++) {
        sim_run_for(sim, random_pause(sim));
        switch (sim_random(sim, 6)) {
        case 0:
            cut_something(sim);
            break;
        case 1:
            sim->dial_to = sim_random(sim, 3) ? SIM_DEST : SIM_SIDES;
            break;
        case 2:
            sim_order(sim, SIM_SOURCE, ENGINE_EVENT_RESUME);
            break;
        default:
            if (meddles)
                order_something(sim);
            break;
        }
    }
}

static bool run_seed(uint64_t seed, bool trace)
{
    struct sim_options options = random_options(seed);
    struct sim *sim;
    bool ok;

    options.trace = trace;
    sim = sim_new(&options);
    live(sim);
    /* A guest that dirties faster than a link carries never converges: the operator sees to it. */
    sim->side[SIM_SOURCE].engine.downtime_limit_ns = 1000 * SIM_S;
    sim_settle_and_move(sim);
    ok = !sim->failed;
    if (trace) {
        fputs(sim->trace, stdout);
        printf("%s\n", ok ? "ok" : sim->failure);
    } else if (!ok) {
        printf("FAILED: %s\n    replay: sim --seed %llu\n", sim->failure, (unsigned long long)seed);
    }
    sim_free(sim);
    return ok;
}

int sim_random_runs(uint64_t first, uint64_t count, bool trace)
{
    unsigned failures = 0;

    for (uint64_t seed = first; seed < first + count && failures < 10; seed++)
        failures += !run_seed(seed, trace);
    if (!trace)
        printf("random: %llu seeds, %u failed\n", (unsigned long long)count, failures);
    return failures != 0;
}
