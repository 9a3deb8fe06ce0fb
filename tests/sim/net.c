/* SPDX-License-Identifier: MIT */
/*
 * The network: a link is two streams of messages with latency, each of which can die.
 *
 * A direction that is dead swallows what is written, and what is in flight, without a word: the
 * writer's kernel buffers it. When a link breaks loudly (sim_break) both ends are told at once; in
 * silence each end finds out by itself later (keepalive), or never. A side that closes its end
 * sends an end-of-stream after what it had written, if that direction still lives.
 *
 * Traps watch messages pass, to cut at an exact place or to stop the run for a story to go on.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

#define NOTICE_DIALER_NS (8 * SIM_S)
#define NOTICE_ACCEPTOR_NS (20 * SIM_S)

const char *sim_wire_name(unsigned wire)
{
    static const char *const more[] = {"PAGE",    "PAGE_REQUEST", "DISCARD",
                                       "PACKAGE", "GARBAGE",      "END"};

    return wire < ENGINE_MESSAGE_COUNT ? engine_message_name((enum engine_message)wire)
                                       : more[wire - ENGINE_MESSAGE_COUNT];
}

struct sim_message *sim_message_new(unsigned wire)
{
    struct sim_message *message = calloc(1, sizeof(*message));

    if (!message)
        abort();
    message->wire = wire;
    return message;
}

void sim_queue_push(struct sim_queue *queue, struct sim_message *message)
{
    message->next = NULL;
    if (queue->last)
        queue->last->next = message;
    else
        queue->first = message;
    queue->last = message;
}

struct sim_message *sim_queue_pop(struct sim_queue *queue)
{
    struct sim_message *message = queue->first;

    if (!message)
        return NULL;
    queue->first = message->next;
    if (!queue->first)
        queue->last = NULL;
    return message;
}

void sim_queue_clear(struct sim_queue *queue)
{
    struct sim_message *message;

    while ((message = sim_queue_pop(queue)))
        free(message);
}

struct sim_link *sim_link_new(struct sim *sim, unsigned dialer, unsigned acceptor)
{
    struct sim_link *link;

    if (sim->link_count == SIM_MAX_LINKS) {
        sim_fail(sim, "too many links: no progress?");
        return sim->links[0];
    }
    link = calloc(1, sizeof(*link));
    if (!link)
        abort();
    sim->links[sim->link_count++] = link;
    link->id = sim->link_count;
    for (unsigned e = 0; e < 2; e++) {
        link->end[e].side = e ? acceptor : dialer;
        link->end[e].jobs_end = &link->end[e].jobs;
        link->end[e].urgent_end = &link->end[e].urgent;
    }
    /* Whoever dials in is listened to at once. */
    link->end[1].started = true;
    return link;
}

struct sim_link *sim_link_by_id(struct sim *sim, uint64_t id)
{
    return id && id <= sim->link_count ? sim->links[id - 1] : NULL;
}

struct sim_link *sim_current_link(struct sim *sim, unsigned side)
{
    return sim_link_by_id(sim, sim->side[side].engine.link);
}

struct sim_end *sim_end_of(struct sim *sim, uint64_t id, unsigned side)
{
    struct sim_link *link = sim_link_by_id(sim, id);

    if (!link)
        return NULL;
    return link->end[0].side == side ? &link->end[0] : &link->end[1];
}

void sim_lost(struct sim *sim, struct sim_link *link, unsigned index, const char *reason)
{
    struct sim_end *end = &link->end[index];
    struct engine_event event = {.type = ENGINE_EVENT_LINK_LOST, .link = link->id};

    if (!end->started || end->lost || end->killed || end->rested)
        return;
    end->lost = true;
    event.reason = reason;
    sim_post(sim, end->side, &event, NULL);
}

struct sim_trap *sim_trap(struct sim *sim, unsigned wire, enum sim_moment moment, unsigned count,
                          unsigned cut)
{
    struct sim_trap *trap = &sim->traps[sim->trap_count++];

    *trap = (struct sim_trap){.wire = wire, .moment = moment, .count = count, .cut = cut};
    return trap;
}

/* Whether a trap fired. */
static bool spring_traps(struct sim *sim, struct sim_link *link, const struct sim_message *message,
                         enum sim_moment moment)
{
    unsigned wire = message->wire; /* a cut may swallow the message */
    bool fired = false;

    if (wire == SIM_WIRE_END)
        return false;
    for (unsigned i = 0; i < sim->trap_count; i++) {
        struct sim_trap *trap = &sim->traps[i];

        if (trap->fired || trap->moment != moment ||
            (trap->wire != UINT_MAX && trap->wire != wire) || --trap->count)
            continue;
        trap->fired = fired = true;
        if (trap->cut == SIM_BOTH)
            sim_break(sim, link);
        else if (trap->cut)
            sim_cut(sim, link, trap->cut);
        if (trap->call)
            trap->call(sim, link);
        if (!trap->cut && !trap->call)
            sim->stop_run = true;
    }
    return fired;
}

static void on_arrival(struct sim *sim, uint64_t a, uint64_t from)
{
    struct sim_link *link = sim->links[a];
    struct sim_message *message = link->flight[from].first;
    struct sim_end *end = &link->end[!from];

    /* A cut may have swallowed what this task was planned for. */
    if (!message || message->arrives_ns > sim->now_ns)
        return;
    spring_traps(sim, link, message, SIM_BEFORE_ARRIVAL);
    if (link->flight[from].first != message)
        return;
    sim_queue_pop(&link->flight[from]);
    sim->activity_ns = sim->now_ns;
    if (end->killed || end->rested) {
        free(message);
        return;
    }
    sim_queue_push(&end->inbox, message);
    sim_reader_wake(sim, link, (unsigned)!from);
    spring_traps(sim, link, message, SIM_AFTER_ARRIVAL);
}

static void put_in_flight(struct sim *sim, struct sim_link *link, unsigned from,
                          struct sim_message *message)
{
    uint64_t arrives_ns = sim->now_ns + sim->options.latency_ns;

    if (sim->options.jitter_ns)
        arrives_ns += sim_random(sim, sim->options.jitter_ns);
    if (arrives_ns <= link->last_arrival_ns[from])
        arrives_ns = link->last_arrival_ns[from] + 1;
    link->last_arrival_ns[from] = message->arrives_ns = arrives_ns;
    sim_queue_push(&link->flight[from], message);
    sim_after(sim, arrives_ns - sim->now_ns, on_arrival, link->id - 1, from);
}

bool sim_write(struct sim *sim, struct sim_link *link, unsigned from, struct sim_message *message)
{
    sim->messages++;
    spring_traps(sim, link, message, SIM_AT_WRITE);
    if (link->reset) {
        free(message);
        return false;
    }
    if (spring_traps(sim, link, message, SIM_AT_HALF)) {
        link->end[from].run_written |= message->wire == ENGINE_MESSAGE_RUN;
        free(message);
        return false;
    }
    link->end[from].run_written |= message->wire == ENGINE_MESSAGE_RUN;
    if (link->one_way && from == 0 && !link->closed)
        sim_one_way_keep(link, message);
    if (link->dead & (1U << from))
        free(message);
    else
        put_in_flight(sim, link, from, message);
    return true;
}

static void on_notice(struct sim *sim, uint64_t a, uint64_t end)
{
    sim_lost(sim, sim->links[a], (unsigned)end, "the connection is silent");
}

void sim_cut(struct sim *sim, struct sim_link *link, unsigned directions)
{
    bool news = directions & ~link->dead;

    if (link->one_way) {
        if (directions & SIM_TO_DEST)
            sim_break(sim, link);
        return;
    }
    sim_trace(sim, SIM_SIDES, "link %u is cut towards %s", (unsigned)link->id,
              directions == SIM_BOTH      ? "both"
              : directions == SIM_TO_DEST ? "the destination"
                                          : "the source");
    link->dead |= directions;
    for (unsigned from = 0; from < 2; from++)
        if (directions & (1U << from))
            sim_queue_clear(&link->flight[from]);
    if (!news)
        return;
    sim_after(sim, NOTICE_DIALER_NS, on_notice, link->id - 1, 0);
    if (!sim->options.dest_never_notices)
        sim_after(sim, NOTICE_ACCEPTOR_NS, on_notice, link->id - 1, 1);
}

/* At the end of a scenario even the most patient keepalive gives up. */
void sim_notice_silence(struct sim *sim)
{
    for (unsigned i = 0; i < sim->link_count; i++)
        for (unsigned e = 0; e < 2; e++)
            if (sim->links[i]->dead)
                sim_lost(sim, sim->links[i], e, "the connection is silent");
}

static void on_broken(struct sim *sim, uint64_t a, uint64_t index)
{
    struct sim_link *link = sim->links[a];

    if (link->one_way && index == 0)
        return; /* it does not read; its next write fails */
    /* What has arrived is read before the error is seen. */
    if (link->end[index].started && !link->end[index].killed && !link->end[index].rested) {
        sim_queue_push(&link->end[index].inbox, sim_message_new(SIM_WIRE_END));
        sim_reader_wake(sim, link, (unsigned)index);
    }
}

void sim_break(struct sim *sim, struct sim_link *link)
{
    if (link->reset || link->closed)
        return;
    sim_trace(sim, SIM_SIDES, "link %u breaks", (unsigned)link->id);
    link->reset = true;
    link->dead = SIM_BOTH;
    for (unsigned e = 0; e < 2; e++) {
        sim_queue_clear(&link->flight[e]);
        sim_after(sim, sim_delay(sim, 10 * SIM_US), on_broken, link->id - 1, e);
        sim_writer_wake(sim, link, e);
    }
}

void sim_close_end(struct sim *sim, struct sim_link *link, unsigned from)
{
    bool alive = !(link->dead & (1U << from));

    if (link->end[from].killed && sim->options.kill_loses_flight && !link->closed)
        sim_queue_clear(&link->flight[from]);
    sim_queue_clear(&link->end[from].inbox);
    link->dead |= 1U << !from;
    if (alive)
        put_in_flight(sim, link, from, sim_message_new(SIM_WIRE_END));
}
