/* SPDX-License-Identifier: MIT */
/*
 * The source's reader: the return path. Control messages become events; the reader goes on when
 * they have taken effect. Page requests go straight to the writer's ring, because they are hints
 * and must be quick. A received bitmap is stored in the page set's inbox, where the engine looks at
 * it only when all of them are there.
 */
#include <stdlib.h>
#include <string.h>

#include "runtime/link.h"

struct return_path {
    struct link *link;
    struct link_input input;
    struct wire_return_decoder decoder;
};

static void post(struct return_path *path, struct engine_event *event)
{
    event->link = path->link->id;
    loop_post(path->link->baton, event, NULL, NULL);
}

static bool bad(struct return_path *path, const char *text)
{
    link_lost(path->link, text, false);
    return false;
}

/* Every requested page goes into the ring; if it is full the rest is dropped: bulk sends them too.
 */
static void take_requests(struct return_path *path, const struct wire_req_pages *request)
{
    struct baton *baton = path->link->baton;
    uint64_t first = request->start / page_bytes(baton, request->index);
    uint64_t count = request->length / page_bytes(baton, request->index);

    for (uint64_t i = 0; i < count; i++)
        if (!link_request(path->link, request->index, first + i))
            break;
    atomic_fetch_add_explicit(&baton->stats.requested_pages, count, memory_order_relaxed);
}

#define PIECE_RECORDS                                                                              \
    UINT64_C(65536) /* 8 KiB of bits at a time; a multiple of the records of any page */

/* A page counts as received when all its records do. `words` has the bits of `count` records, the
 * first of page `page`. */
static void fold_bitmap(const uint64_t *words, uint64_t count, uint64_t records, uint64_t *received,
                        uint64_t page)
{
    for (uint64_t first = 0; first < count; first += records, page++) {
        bool whole = true;

        for (uint64_t i = first; i < first + records && whole; i++)
            whole = words[i / 64] >> i % 64 & 1;
        if (whole)
            received[page / 64] |= UINT64_C(1) << page % 64;
        else
            received[page / 64] &= ~(UINT64_C(1) << page % 64);
    }
}

static bool take_bitmap(struct return_path *path, const struct wire_recv_bitmap *bitmap)
{
    struct baton *baton = path->link->baton;
    struct pageset_block *block = &baton->pages.blocks[bitmap->index];
    uint64_t records = page_records(baton, bitmap->index), total = block->pages * records;
    struct engine_event event = {.type = ENGINE_EVENT_BITMAP, .block = bitmap->index};
    uint64_t words[PIECE_RECORDS / 64];
    struct wire_error error;

    for (uint64_t at = 0; at < total; at += PIECE_RECORDS) {
        uint64_t n = total - at < PIECE_RECORDS ? total - at : PIECE_RECORDS;

        if (!input_need(&path->input, wire_bitmap_bytes(n)))
            return false;
        wire_bitmap_unpack(input_at(&path->input), n,
                           records == 1 ? block->received + at / 64 : words);
        if (records > 1)
            fold_bitmap(words, n, records, block->received, at / records);
        input_used(&path->input, wire_bitmap_bytes(n));
    }
    if (!input_need(&path->input, 8))
        return false;
    if (wire_bitmap_check_end(input_at(&path->input), &error) != WIRE_DONE)
        return bad(path, error.text);
    input_used(&path->input, 8);
    post(path, &event);
    return true;
}

static void post_hello_dest(struct return_path *path, const struct wire_hello_dest *hello)
{
    struct engine_event event = {.type = ENGINE_EVENT_HELLO_DEST};

    memcpy(event.hello.session, hello->session, ENGINE_ID_BYTES);
    memcpy(event.hello.nonce, hello->nonce, ENGINE_ID_BYTES);
    event.hello.epoch = hello->epoch;
    event.hello.state = hello->state;
    post(path, &event);
}

static void post_hello_ack(struct return_path *path, const struct wire_hello_ack *ack)
{
    struct engine_event event = {.type = ENGINE_EVENT_HELLO_ACK, .reason = ack->reason};

    event.hello.epoch = ack->epoch;
    event.hello.state = ack->state;
    event.hello.verdict = ack->verdict;
    post(path, &event);
}

static bool handle(struct return_path *path, const struct wire_message *message)
{
    struct engine_event event = {.value = message->u.value};

    switch (message->type) {
    case WIRE_REQ_PAGES:
        take_requests(path, &message->u.req_pages);
        return true;
    case WIRE_RECV_BITMAP:
        return take_bitmap(path, &message->u.recv_bitmap);
    case WIRE_HELLO_DEST:
        post_hello_dest(path, &message->u.hello_dest);
        return true;
    case WIRE_HELLO_ACK:
        post_hello_ack(path, &message->u.hello_ack);
        return true;
    case WIRE_PONG:
        event.type = ENGINE_EVENT_PONG;
        break;
    case WIRE_SHUT:
        event.type = ENGINE_EVENT_SHUT;
        break;
    case WIRE_RESUME_ACK:
        event.type = ENGINE_EVENT_RESUME_ACK;
        break;
    case WIRE_BARRIER_ACK:
        event.type = ENGINE_EVENT_BARRIER_ACK;
        event.value = message->u.barrier.number;
        break;
    case WIRE_READY:
        event.type = ENGINE_EVENT_READY;
        event.hello.epoch = message->u.ready.epoch;
        memcpy(event.hello.nonce, message->u.ready.nonce, ENGINE_ID_BYTES);
        break;
    case WIRE_COMPLETE:
        event.type = ENGINE_EVENT_COMPLETE;
        event.hello.epoch = message->u.complete.epoch;
        event.value = message->u.complete.pages;
        break;
    case WIRE_FAULT:
        event.type = ENGINE_EVENT_FAULT;
        event.reason = message->u.fault.text;
        break;
    default:
        return bad(path, "the destination sent a message that this build does not use");
    }
    post(path, &event);
    return true;
}

static bool next(struct return_path *path)
{
    struct wire_message message;
    struct wire_error error;
    size_t used = 0;

    for (;;) {
        switch (wire_decode_return(&path->decoder, input_at(&path->input),
                                   input_available(&path->input), &used, &message, &error)) {
        case WIRE_DONE:
            input_used(&path->input, used);
            return handle(path, &message);
        case WIRE_MORE:
            if (!input_need(&path->input, used))
                return false;
            break;
        default:
            return bad(path, error.text);
        }
    }
}

void *source_reader_main(void *opaque)
{
    struct return_path path = {.link = opaque};

    if (channel_is_one_way(path.link->channel)) { /* nothing ever comes back */
        link_thread_rests(path.link);
        return NULL;
    }
    input_init(&path.input, path.link);
    wire_return_decoder_init(&path.decoder, &path.link->baton->wire_blocks);
    while (next(&path))
        ;
    input_fini(&path.input);
    link_thread_rests(path.link);
    return NULL;
}
