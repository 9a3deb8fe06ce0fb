/* SPDX-License-Identifier: MIT */
/*
 * Links without a way back: a file, or a command that takes the stream. What is written can be read
 * at once; the end of it can be read only when the stream was closed, which succeeds or fails as a
 * whole. What was closed is kept, and may be read again in another run of the destination. There is
 * no network in it, so a cut is a disk that is full or a command that dies, before the closing.
 */
#include <stdlib.h>
#include <string.h>

#include "sim.h"

/* The operator has named this link to the destination, which tells its engine before it reads. */
void sim_one_way_open(struct sim *sim, struct sim_link *link)
{
    struct sim_end *end = &link->end[1];
    struct engine_event event = {.type = ENGINE_EVENT_ONE_WAY, .link = link->id};

    link->one_way = true;
    end->reader_waits = true;
    sim_post(sim, end->side, &event, end);
}

void sim_one_way_keep(struct sim_link *link, const struct sim_message *message)
{
    struct sim_message *copy = sim_message_new(message->wire);

    *copy = *message;
    sim_queue_push(&link->kept, copy);
}

/* False: the file or the command has failed. */
bool sim_one_way_close(struct sim *sim, struct sim_link *link)
{
    if (link->reset || link->dead & SIM_TO_DEST)
        return false;
    link->closed = true;
    sim_reader_wake(sim, link, 1);
    return true;
}

/* The same bytes once more, from the beginning. */
void sim_one_way_read_again(struct sim *sim)
{
    struct sim_link *link, *old = NULL;

    for (unsigned i = 0; i < sim->link_count; i++)
        if (sim->links[i]->closed)
            old = sim->links[i];
    SIM_WANT(sim, old);
    if (!old || sim->failed)
        return;
    if (!sim->side[SIM_DEST].listening)
        SIM_WANT(sim, !sim_order(sim, SIM_DEST, ENGINE_EVENT_INCOMING));
    link = sim_link_new(sim, SIM_OTHER, SIM_DEST);
    sim_one_way_open(sim, link);
    link->closed = true;
    for (struct sim_message *message = old->kept.first; message; message = message->next) {
        sim_one_way_keep(link, message);
        sim_say(sim, link, 0, message);
    }
}
