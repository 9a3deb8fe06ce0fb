/* SPDX-License-Identifier: MIT */
/*
 * The reader of a link's end. It takes one message after the other; a control message becomes an
 * event, and nothing behind it is read before the engine has dealt with it. Pages are loaded here,
 * as the engine has ordered: the newest copy wins in precopy; in postcopy a page is begun, written
 * and ended in two ticks, so that the link may be cut and threads be told to rest in between.
 *
 * A page that comes although it was received already is a failure of the whole design, and fails
 * the run unless it is a story's own doing.
 */
#include <stdlib.h>
#include <string.h>

#include "sim.h"

#define READ_NS (1 * SIM_US)
#define PLACE_NS (2 * SIM_US)

static void on_tick(struct sim *sim, uint64_t a, uint64_t index);

void sim_reader_wake(struct sim *sim, struct sim_link *link, unsigned index)
{
    struct sim_end *end = &link->end[index];

    if (end->reader_scheduled || end->reader_waits || end->reader_stalled || end->placing ||
        end->rested || end->killed || end->finishing || !end->started || !end->inbox.first)
        return;
    end->reader_scheduled = true;
    sim_after(sim, sim_delay(sim, READ_NS), on_tick, link->id - 1, index);
}

static void on_placed(struct sim *sim, uint64_t a, uint64_t index)
{
    struct sim_link *link = sim->links[a];
    struct sim_end *end = &link->end[index];
    struct sim_side *side = &sim->side[end->side];
    unsigned block = end->placed.block;
    uint64_t page = end->placed.first_page;

    side->memory[block][page] = end->placed.version;
    pageset_place_end(&side->pages, block, page);
    end->placing = false;
    sim_page_came(sim, end->side, block, page);
    if (end->killed || end->finishing)
        sim_rest_if_idle(sim, link, (unsigned)index);
    else
        sim_reader_wake(sim, link, (unsigned)index);
}

static void load_page(struct sim *sim, struct sim_link *link, unsigned index,
                      const struct sim_message *message)
{
    struct sim_end *end = &link->end[index];
    struct sim_side *side = &sim->side[end->side];
    unsigned block = message->block;
    uint64_t page = message->first_page;
    enum pageset_result result;

    if (block >= side->pages.block_count || page >= side->pages.blocks[block].pages) {
        sim_lost(sim, link, index, "a page of no block");
        return;
    }
    switch (end->load) {
    case SIM_LOAD_NONE:
        sim_lost(sim, link, index, "a page came that nobody awaits");
        break;
    case SIM_LOAD_PRECOPY:
        if (pageset_receive(&side->pages, end->load_epoch, block, page) == PAGESET_WON)
            side->memory[block][page] = message->version;
        else
            sim_lost(sim, link, index, "the link is being retired");
        break;
    case SIM_LOAD_POSTCOPY:
        result = pageset_place_begin(&side->pages, end->load_epoch, block, page);
        if (result == PAGESET_WON) {
            end->placing = true;
            end->placed = *message;
            sim_after(sim, sim_delay(sim, PLACE_NS), on_placed, link->id - 1, index);
        } else {
            if (result == PAGESET_RECEIVED && !sim->quiet)
                sim_fail(sim, "page %u:%u was sent again although it was received", block,
                         (unsigned)page);
            sim_lost(sim, link, index, "a page came twice");
        }
        break;
    }
}

static void take_request(struct sim *sim, struct sim_link *link, unsigned index,
                         const struct sim_message *message)
{
    struct sim_end *end = &link->end[index];
    struct sim_message *request = sim_message_new(SIM_WIRE_PAGE_REQUEST);

    *request = *message;
    request->next = NULL;
    *end->urgent_end = request;
    end->urgent_end = &request->next;
    sim_writer_wake(sim, link, index);
}

static bool is_from_source(unsigned wire)
{
    return wire <= ENGINE_MESSAGE_BYE || wire == SIM_WIRE_DISCARD || wire == SIM_WIRE_PACKAGE;
}

/* What the message tells the engine; false if nothing. */
static bool to_event(struct sim_end *end, const struct sim_message *message,
                     struct engine_event *event)
{
    static const enum engine_event_type types[SIM_WIRE_END] = {
        [ENGINE_MESSAGE_PING_HELLO] = ENGINE_EVENT_PING_HELLO,
        [ENGINE_MESSAGE_PING] = ENGINE_EVENT_PING,
        [ENGINE_MESSAGE_HELLO_SOURCE] = ENGINE_EVENT_HELLO_SOURCE,
        [ENGINE_MESSAGE_ADVISE] = ENGINE_EVENT_ADVISE,
        [ENGINE_MESSAGE_RAM_START] = ENGINE_EVENT_RAM_START,
        [ENGINE_MESSAGE_STREAM_END] = ENGINE_EVENT_STREAM_END,
        [ENGINE_MESSAGE_BARRIER] = ENGINE_EVENT_BARRIER,
        [ENGINE_MESSAGE_RUN] = ENGINE_EVENT_RUN,
        [ENGINE_MESSAGE_BITMAP_REQUESTS] = ENGINE_EVENT_BITMAP_REQUEST,
        [ENGINE_MESSAGE_RESUME] = ENGINE_EVENT_RESUME_REQUEST,
        [ENGINE_MESSAGE_VOID] = ENGINE_EVENT_VOID,
        [ENGINE_MESSAGE_BYE] = ENGINE_EVENT_BYE,
        [ENGINE_MESSAGE_HELLO_DEST] = ENGINE_EVENT_HELLO_DEST,
        [ENGINE_MESSAGE_PONG] = ENGINE_EVENT_PONG,
        [ENGINE_MESSAGE_PONG_HELLO] = ENGINE_EVENT_PONG,
        [ENGINE_MESSAGE_HELLO_ACK] = ENGINE_EVENT_HELLO_ACK,
        [ENGINE_MESSAGE_BARRIER_ACK] = ENGINE_EVENT_BARRIER_ACK,
        [ENGINE_MESSAGE_READY] = ENGINE_EVENT_READY,
        [ENGINE_MESSAGE_BITMAP] = ENGINE_EVENT_BITMAP,
        [ENGINE_MESSAGE_RESUME_ACK] = ENGINE_EVENT_RESUME_ACK,
        [ENGINE_MESSAGE_COMPLETE] = ENGINE_EVENT_COMPLETE,
        [ENGINE_MESSAGE_SHUT] = ENGINE_EVENT_SHUT,
        [ENGINE_MESSAGE_FAULT] = ENGINE_EVENT_FAULT,
        [SIM_WIRE_DISCARD] = ENGINE_EVENT_DISCARD,
        [SIM_WIRE_PACKAGE] = ENGINE_EVENT_PACKAGE,
    };

    if (message->wire == ENGINE_MESSAGE_OPENING ||
        message->wire == ENGINE_MESSAGE_OPENING_ONE_WAY) {
        end->has_header = true;
        return false;
    }
    if (message->wire == ENGINE_MESSAGE_RAM_END)
        return false;
    event->type = types[message->wire];
    event->hello = message->hello;
    event->value = message->wire == ENGINE_MESSAGE_PONG_HELLO ? SIM_PONG_HELLO : message->value;
    event->block = message->block;
    event->first_page = message->first_page;
    event->page_count = message->page_count;
    event->precopy = message->precopy;
    event->reason = message->reason;
    event->ok = true;
    event->has_header = end->has_header;
    return true;
}

static void take_control(struct sim *sim, struct sim_link *link, unsigned index,
                         const struct sim_message *message)
{
    struct sim_end *end = &link->end[index];
    struct sim_side *side = &sim->side[end->side];
    struct engine_event event = {.link = link->id};

    /* The dialer sends what a source sends, and the acceptor the rest. */
    if (message->wire == SIM_WIRE_GARBAGE || is_from_source(message->wire) != (index == 1)) {
        sim_lost(sim, link, index, "the peer's bytes make no sense");
        return;
    }
    if (message->wire == SIM_WIRE_PACKAGE) {
        end->package_vm_was_running = message->vm_was_running;
        end->package_cpu = message->version;
    }
    if (message->wire == ENGINE_MESSAGE_BITMAP && message->block < side->pages.block_count)
        memcpy(side->pages.blocks[message->block].received, message->bits,
               pageset_words(side->pages.blocks[message->block].pages) * sizeof(uint64_t));
    if (!to_event(end, message, &event))
        return;
    end->reader_waits = true;
    sim_post(sim, end->side, &event, end);
}

static void on_tick(struct sim *sim, uint64_t a, uint64_t index)
{
    struct sim_link *link = sim->links[a];
    struct sim_end *end = &link->end[index];
    struct sim_message *message;

    end->reader_scheduled = false;
    if (end->killed || end->finishing || end->rested || end->reader_stalled)
        return;
    message = sim_queue_pop(&end->inbox);
    if (!message)
        return;
    switch (message->wire) {
    case SIM_WIRE_END:
        /* That the stream ended in order is known since its last message was read. */
        if (!link->closed)
            sim_lost(sim, link, (unsigned)index, "the peer closed the connection");
        break;
    case SIM_WIRE_PACKAGE:
        if (link->one_way && !link->closed) { /* its end can be read when it was closed */
            if (link->reset || end->inbox.first) {
                free(message);
                sim_lost(sim, link, (unsigned)index, "the stream ends in the middle");
            } else {
                sim_queue_push(&end->inbox, message);
            }
            return;
        }
        take_control(sim, link, (unsigned)index, message);
        break;
    case SIM_WIRE_PAGE:
        load_page(sim, link, (unsigned)index, message);
        break;
    case SIM_WIRE_PAGE_REQUEST:
        take_request(sim, link, (unsigned)index, message);
        break;
    default:
        take_control(sim, link, (unsigned)index, message);
        break;
    }
    free(message);
    if (!end->lost)
        sim_reader_wake(sim, link, (unsigned)index);
}
