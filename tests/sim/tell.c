/* SPDX-License-Identifier: MIT */
/* Verbs that the stories share. */
#include <string.h>

#include "sim.h"

struct sim_link *sim_knock(struct sim *sim, unsigned from, unsigned to)
{
    return sim_link_new(sim, from, to);
}

void sim_say(struct sim *sim, struct sim_link *link, unsigned end, const struct sim_message *text)
{
    struct sim_message *message = sim_message_new(text->wire);

    *message = *text;
    message->next = NULL;
    sim_write(sim, link, end, message);
}

void sim_begin_postcopy(struct sim *sim)
{
    unsigned trap = sim->trap_count;

    sim_trap(sim, SIM_WIRE_PAGE, SIM_AFTER_ARRIVAL, 30, 0)->fired = true;
    sim_begin(sim, SIM_WAY_FAST);
    sim_until_status(sim, SIM_DEST, BATON_STATUS_POSTCOPY_ACTIVE);
    sim->traps[trap].fired = false;
    sim_run_until(sim, NULL, SIM_S);
    SIM_WANT(sim, sim->traps[trap].fired);
    sim_want_status(sim, BATON_STATUS_POSTCOPY_ACTIVE, BATON_STATUS_POSTCOPY_ACTIVE);
}

void sim_want_status(struct sim *sim, enum baton_status source, enum baton_status dest)
{
    enum baton_status s = sim->side[SIM_SOURCE].engine.status;
    enum baton_status d = sim->side[SIM_DEST].engine.status;

    if (s != source || d != dest)
        sim_fail(sim, "source is %s and destination is %s; they should be %s and %s",
                 baton_status_name(s), baton_status_name(d), baton_status_name(source),
                 baton_status_name(dest));
}

bool sim_has_reason(const struct sim *sim, unsigned side, const char *part)
{
    return strstr(sim->side[side].engine.reason, part);
}
