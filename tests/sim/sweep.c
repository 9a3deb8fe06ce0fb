/* SPDX-License-Identifier: MIT */
/*
 * Cuts everywhere. A migration is run once to count its messages; then it is run again for each
 * message, with the link cut right before or right after that message arrives, in both directions
 * or in one, with the destination noticing or not; and again with a second cut at each message that
 * follows the first one. Every run must end well (sim_settle_and_move).
 *
 * A case has a short name, which a failure prints and `sim --case` takes: the way, then for each
 * cut the number of the message, b(efore) or a(fter), and the direction B(oth) S(ource) D(est);
 * the second number counts from the first cut.  sim --case postcopy --cut 37aB,12bD
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

struct cut {
    unsigned count; /* 0: none */
    enum sim_moment moment;
    unsigned directions;
};

struct sweep_case {
    enum sim_way way;
    bool small;       /* a world of few pages, for the many cases with two cuts */
    unsigned flavour; /* bit 0: the destination never notices silence; 1: a killed link loses what
                         it sent */
    struct cut cut[2];
};

static const char *const way_names[] = {"precopy", "postcopy", "x-postcopy-fast", "one-way"};

const char *sim_way_name(enum sim_way way)
{
    return way_names[way];
}

static void on_operator(struct sim *sim, uint64_t mid_pass, uint64_t looks)
{
    const struct engine *engine = &sim->side[SIM_SOURCE].engine;
    struct engine_event event = {.type = ENGINE_EVENT_START_POSTCOPY};

    if (mid_pass && engine->status == BATON_STATUS_ACTIVE)
        sim_post(sim, SIM_SOURCE, &event, NULL);
    else if (engine->status == BATON_STATUS_ACTIVE)
        sim_after(sim, sim->side[SIM_SOURCE].pages.total_pages * 5 * SIM_US, on_operator, 1, 0);
    else if (engine->status == BATON_STATUS_SETUP)
        sim_after(sim, (looks < 1000 ? 5 : 5000) * SIM_US, on_operator, 0, looks + 1);
}

void sim_begin(struct sim *sim, enum sim_way way)
{
    struct engine *source = &sim->side[SIM_SOURCE].engine;

    if (!sim->side[SIM_DEST].listening)
        SIM_WANT(sim, !sim_order(sim, SIM_DEST, ENGINE_EVENT_INCOMING));
    source->capability[BATON_CAPABILITY_POSTCOPY_RAM] =
        way == SIM_WAY_POSTCOPY || way == SIM_WAY_FAST;
    source->capability[BATON_CAPABILITY_X_POSTCOPY_FAST] = way == SIM_WAY_FAST;
    sim->one_way = way == SIM_WAY_ONE_WAY;
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_MIGRATE));
    sim->one_way = false;
    if (way == SIM_WAY_POSTCOPY)
        sim_after(sim, 5 * SIM_US, on_operator, 0, 0);
}

static void arm_second(struct sim *sim, struct sim_link *link)
{
    struct sim_trap *trap = &sim->traps[1];

    (void)link;
    if (trap->cut)
        trap->fired = false;
}

static struct sim *run_case(const struct sweep_case *c, bool trace)
{
    struct sim_options options = sim_default_options;
    struct sim *sim;

    if (c->small) {
        options.block_pages[0] = 2;
        options.block_pages[1] = 7;
        options.block_pages[2] = 3;
    }
    options.dest_never_notices = c->flavour & 1;
    options.kill_loses_flight = c->flavour & 2;
    options.trace = trace;
    sim = sim_new(&options);
    for (unsigned i = 0; i < 2; i++)
        sim_trap(sim, UINT_MAX, c->cut[i].moment, c->cut[i].count, c->cut[i].directions)->fired =
            i == 1 || !c->cut[i].count;
    sim->traps[0].call = arm_second;
    sim_begin(sim, c->way);
    sim_run_for(sim, 30 * SIM_MS);
    sim_settle_and_move(sim);
    return sim;
}

static void print_cut(const struct cut *cut)
{
    printf("%u%c%c", cut->count, cut->moment == SIM_AFTER_ARRIVAL ? 'a' : 'b',
           cut->directions == SIM_BOTH        ? 'B'
           : cut->directions == SIM_TO_SOURCE ? 'S'
                                              : 'D');
}

static void print_case(const struct sweep_case *c)
{
    printf("sim --case %s%s --cut ", way_names[c->way], c->small ? ":small" : "");
    print_cut(&c->cut[0]);
    if (c->cut[1].count) {
        printf(",");
        print_cut(&c->cut[1]);
    }
    printf(",f%u\n", c->flavour);
}

static unsigned failures;

/* Whether all cuts came about. */
static bool try_case(const struct sweep_case *c)
{
    struct sim *sim = run_case(c, false);
    bool all =
        sim->traps[0].fired && (!c->cut[1].count || sim->trap_count < 2 || sim->traps[1].fired);

    if (sim->failed && failures++ < 10) {
        printf("FAILED: %s\n    replay: ", sim->failure);
        print_case(c);
    }
    if (c->cut[1].count && sim->arm != 1)
        all = sim->traps[1].fired;
    sim_free(sim);
    return all;
}

static unsigned count_messages(enum sim_way way, bool small)
{
    struct sweep_case c = {.way = way, .small = small};
    struct sim *sim = run_case(&c, false);
    unsigned messages = (unsigned)sim->messages;

    if (sim->failed) {
        printf("FAILED without any cut: %s\n", sim->failure);
        failures++;
    }
    sim_free(sim);
    return messages;
}

static const enum sim_moment moments[] = {SIM_BEFORE_ARRIVAL, SIM_AFTER_ARRIVAL};
static const unsigned directions[] = {SIM_BOTH, SIM_TO_DEST, SIM_TO_SOURCE};

static unsigned sweep_once(enum sim_way way)
{
    unsigned cases = 0;
    unsigned messages = count_messages(way, false);

    for (unsigned k = 1; k <= messages; k++)
        for (unsigned m = 0; m < 2; m++)
            for (unsigned d = 0; d < 3; d++)
                for (unsigned flavour = 0; flavour < 4; flavour++) {
                    struct sweep_case c = {way, false, flavour, {{k, moments[m], directions[d]}}};

                    cases++;
                    try_case(&c);
                }
    printf("%-16s %3u messages, one cut:  %6u cases\n", way_names[way], messages, cases);
    return cases;
}

static unsigned sweep_twice(enum sim_way way)
{
    unsigned cases = 0;
    unsigned messages = count_messages(way, true);

    for (unsigned k = 1; k <= messages; k++)
        for (unsigned first = 0; first < 6; first++)
            for (unsigned second = 0; second < 6; second++)
                for (unsigned k2 = 1;; k2++) {
                    struct sweep_case c = {
                        way,
                        true,
                        (k + k2) % 4,
                        {{k, moments[first % 2], directions[first / 2]},
                         {k2, moments[second % 2], directions[second / 2]}},
                    };

                    cases++;
                    if (!try_case(&c))
                        break;
                }
    printf("%-16s %3u messages, two cuts: %6u cases\n", way_names[way], messages, cases);
    return cases;
}

int sim_sweep(void)
{
    unsigned cases = 0;

    for (unsigned way = 0; way < SIM_WAY_COUNT; way++) {
        cases += sweep_once((enum sim_way)way);
        cases += sweep_twice((enum sim_way)way);
    }
    printf("sweep: %u cases, %u failed\n", cases, failures);
    return failures != 0;
}

static bool parse_cut(const char **text, struct cut *cut)
{
    char *end;

    cut->count = (unsigned)strtoul(*text, &end, 10);
    if (end == *text || !end[0] || !end[1])
        return false;
    cut->moment = end[0] == 'a' ? SIM_AFTER_ARRIVAL : SIM_BEFORE_ARRIVAL;
    cut->directions = end[1] == 'B' ? SIM_BOTH : end[1] == 'S' ? SIM_TO_SOURCE : SIM_TO_DEST;
    *text = end + 2;
    return true;
}

int sim_sweep_one(const char *name, const char *cuts)
{
    struct sweep_case c = {.way = SIM_WAY_COUNT};
    struct sim *sim;
    int result;

    for (unsigned i = 0; i < SIM_WAY_COUNT; i++)
        if (strncmp(name, way_names[i], strlen(way_names[i])) == 0)
            c.way = (enum sim_way)i;
    c.small = strstr(name, ":small");
    if (c.way == SIM_WAY_COUNT || (cuts && !parse_cut(&cuts, &c.cut[0]))) {
        fprintf(stderr, "usage: --case precopy|postcopy|x-postcopy-fast|one-way[:small] "
                        "--cut NUMBER{a|b}{B|S|D}[,...][,fFLAVOUR]\n");
        return 2;
    }
    if (cuts && cuts[0] == ',' && cuts[1] != 'f') {
        cuts++;
        parse_cut(&cuts, &c.cut[1]);
    }
    if (cuts && cuts[0] == ',' && cuts[1] == 'f')
        c.flavour = (unsigned)strtoul(cuts + 2, NULL, 10);
    sim = run_case(&c, true);
    result = sim->failed;
    fputs(sim->trace, stdout);
    printf("%s\n", sim->failed ? sim->failure : "ok");
    sim_free(sim);
    return result;
}
