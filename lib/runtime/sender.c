/* SPDX-License-Identifier: MIT */
/*
 * The source's writer when it sends pages: passes in precopy, bulk in postcopy.
 *
 * Both are modes in which the writer thread sends one batch after the other, as PART sections of at
 * most BATCH_PAGES pages, and looks at its queue between two of them; so a control message, or the
 * order to stop, never waits for longer than one batch. Every page is claimed in the page set
 * before it is read, under the epoch of the order: a claim that fails sends nothing.
 *
 * A page is copied into the batch first, and examined there: the guest may be writing to it, and
 * what was found to be zero must be what is sent.
 *
 * Dirty log (DESIGN: clear, barrier, read): sync() moves the log into the page set, then waits
 * until no CPU relies on an older "already dirty", and only then are pages read. A store that is
 * later than that barrier sets its bit again.
 */
#include <stdlib.h>
#include <string.h>

#include "baton/guest.h"
#include "runtime/link.h"

#define BATCH_RECORDS 64u
#define RECORD_BYTES (RAM_PAGE_BYTES + WIRE_MAX_PAGE_HEADER_BYTES)
#define SECTION_BYTES 64u /* around the records */
#define RAM_SECTION_ID 1u

enum sender_mode { SENDER_IDLE, SENDER_PASS, SENDER_FINAL_PASS, SENDER_BULK };

struct sender {
    struct link *link;
    struct baton *baton;
    struct wire_ram_writer writer;
    enum sender_mode mode;
    uint64_t epoch;
    _Atomic uint64_t *phase_bytes;
    unsigned block; /* where the scan goes on */
    uint64_t page;
    uint64_t pass_bytes, pass_since_ns;
    uint64_t allowance_since_ns; /* rate limit: what was sent since then */
    uint64_t allowance_bytes;
    uint64_t *marks;        /* the dirty log of a block with larger pages, by 4096 bytes */
    unsigned batch_records; /* room in `batch`: at least one page of any block */
    size_t batch_bytes;
    uint8_t *batch;
    uint8_t copy[RAM_PAGE_BYTES];
};

static bool make_buffers(struct sender *sender)
{
    const struct baton *baton = sender->baton;
    size_t words = 0;

    sender->batch_records = BATCH_RECORDS;
    for (unsigned b = 0; b < baton->ram.count; b++) {
        if (page_records(baton, b) > sender->batch_records)
            sender->batch_records = (unsigned)page_records(baton, b);
        if (page_records(baton, b) > 1 && dirty_word_count(&baton->dirty, b) > words)
            words = dirty_word_count(&baton->dirty, b);
    }
    sender->batch_bytes = sender->batch_records * RECORD_BYTES + SECTION_BYTES;
    sender->batch = malloc(sender->batch_bytes);
    if (words)
        sender->marks = malloc(words * sizeof(*sender->marks));
    return sender->batch && (sender->marks || !words);
}

struct sender *sender_new(struct link *link)
{
    struct sender *sender = calloc(1, sizeof(*sender));

    if (!sender)
        return NULL;
    sender->link = link;
    sender->baton = link->baton;
    wire_ram_writer_init(&sender->writer, &link->baton->wire_blocks, RAM_SECTION_ID);
    if (make_buffers(sender))
        return sender;
    sender_free(sender);
    return NULL;
}

void sender_free(struct sender *sender)
{
    if (!sender)
        return;
    free(sender->marks);
    free(sender->batch);
    free(sender);
}

/* A page of a larger size is dirty when any of its records is. Returns how many became so. */
static uint64_t fold_dirty(const uint64_t *marks, uint64_t records,
                           const struct pageset_block *block)
{
    uint64_t new_pages = 0;

    for (uint64_t page = 0; page < block->pages; page++) {
        uint64_t bit = UINT64_C(1) << page % 64;
        bool any = false;

        for (uint64_t i = page * records; i < (page + 1) * records && !any; i++)
            any = marks[i / 64] >> i % 64 & 1;
        if (any && !(block->dirty[page / 64] & bit)) {
            block->dirty[page / 64] |= bit;
            new_pages++;
        }
    }
    return new_pages;
}

static void sync_dirty(struct sender *sender)
{
    struct baton *baton = sender->baton;

    for (unsigned b = 0; b < baton->ram.count; b++) {
        uint64_t records = page_records(baton, b), new_pages = 0;

        if (records == 1) {
            dirty_collect(&baton->dirty, b, baton->pages.blocks[b].dirty, &new_pages);
        } else {
            memset(sender->marks, 0, dirty_word_count(&baton->dirty, b) * sizeof(*sender->marks));
            dirty_collect(&baton->dirty, b, sender->marks, NULL);
            new_pages = fold_dirty(sender->marks, records, &baton->pages.blocks[b]);
        }
        pageset_add_dirty(&baton->pages, new_pages);
    }
    baton->ops->dirty_barrier(baton->host);
    atomic_fetch_add_explicit(&baton->stats.dirty_syncs, 1, memory_order_relaxed);
}

static void begin(struct sender *sender, enum sender_mode mode, const struct order *order)
{
    sender->mode = mode;
    sender->epoch = order->epoch;
    sender->phase_bytes = order->phase_bytes;
    sender->block = 0;
    sender->page = 0;
    sender->pass_bytes = 0;
    sender->pass_since_ns = sender->allowance_since_ns = runtime_now_ns();
    sender->allowance_bytes = 0;
}

static bool end_pass(struct sender *sender)
{
    struct engine_event event = {
        .type = ENGINE_EVENT_PASS_DONE,
        .link = sender->link->id,
        .bytes = sender->pass_bytes,
        .duration_ns = runtime_now_ns() - sender->pass_since_ns,
    };

    if (sender->mode == SENDER_PASS)
        sync_dirty(sender);
    /* In units of the wire, whatever the size of the pages. */
    event.dirty_pages = pageset_dirty_pages(&sender->baton->pages) *
                        (sender->baton->ram.total_bytes / RAM_PAGE_BYTES) /
                        sender->baton->pages.total_pages;
    sender->mode = SENDER_IDLE;
    loop_post(sender->baton, &event, NULL, NULL);
    return true;
}

/* ---- Discards ---- */

static bool send_discard(struct sender *sender, const struct wire_message *message,
                         _Atomic uint64_t *phase_bytes)
{
    uint8_t bytes[WIRE_MAX_CONTROL_BYTES];

    return link_write(sender->link, bytes, wire_encode(message, bytes, sizeof(bytes)), phase_bytes,
                      NULL);
}

static bool discard_block(struct sender *sender, unsigned block, _Atomic uint64_t *phase_bytes)
{
    const struct pageset *pages = &sender->baton->pages;
    struct wire_message message = {.type = WIRE_RAM_DISCARD};
    struct wire_discard *discard = &message.u.discard;
    uint64_t page = pageset_next_dirty(pages, block, 0);

    strcpy(discard->block, sender->baton->ram.blocks[block].name);
    while (page != PAGESET_NONE) {
        uint64_t end = pageset_next_clean(pages, block, page);

        discard->range[discard->range_count++] =
            (struct wire_range){.start = page * page_bytes(sender->baton, block),
                                .length = (end - page) * page_bytes(sender->baton, block)};
        page =
            end < pages->blocks[block].pages ? pageset_next_dirty(pages, block, end) : PAGESET_NONE;
        if (discard->range_count == WIRE_MAX_DISCARD_RANGES || page == PAGESET_NONE) {
            if (!send_discard(sender, &message, phase_bytes))
                return false;
            discard->range_count = 0;
        }
    }
    return true;
}

static bool send_discards(struct sender *sender, const struct order *order)
{
    sync_dirty(sender);
    for (unsigned b = 0; b < sender->baton->ram.count; b++)
        if (!discard_block(sender, b, order->phase_bytes))
            return false;
    return true;
}

bool sender_order(struct sender *sender, const struct order *order)
{
    switch (order->type) {
    case ORDER_PASS:
        begin(sender, SENDER_PASS, order);
        sync_dirty(sender);
        return true;
    case ORDER_FINAL_PASS:
        begin(sender, SENDER_FINAL_PASS, order);
        sync_dirty(sender);
        return true;
    case ORDER_DISCARDS:
        return send_discards(sender, order);
    default:
        begin(sender, SENDER_BULK, order);
        wire_ram_writer_forget(&sender->writer);
        return true;
    }
}

/* ---- Rate limit ---- */

#define WINDOW_NS UINT64_C(20000000)     /* bursts are at most this much of the rate */
#define LOOK_AGAIN_NS UINT64_C(50000000) /* the limit may have been changed by then */

static uint64_t rate_limit(const struct sender *sender)
{
    enum baton_parameter parameter = sender->mode == SENDER_BULK
                                         ? BATON_PARAMETER_MAX_POSTCOPY_BANDWIDTH
                                         : BATON_PARAMETER_MAX_BANDWIDTH;

    /* The last pass runs with the CPUs stopped: limiting it would only stretch the downtime. */
    return sender->mode == SENDER_FINAL_PASS ? 0
                                             : atomic_load(&sender->baton->parameters[parameter]);
}

/* How long to wait until the next batch may go; 0: now. */
static uint64_t rate_wait_ns(struct sender *sender)
{
    uint64_t rate = rate_limit(sender), now_ns, used_ns, passed_ns;

    if (!rate)
        return 0;
    now_ns = runtime_now_ns();
    used_ns = (uint64_t)((double)sender->allowance_bytes * 1e9 / (double)rate);
    passed_ns = now_ns - sender->allowance_since_ns;
    if (passed_ns > used_ns + WINDOW_NS) { /* what was not used long ago is not saved up */
        sender->allowance_since_ns = now_ns - WINDOW_NS;
        sender->allowance_bytes = 0;
        return 0;
    }
    if (used_ns <= passed_ns)
        return 0;
    return used_ns - passed_ns < LOOK_AGAIN_NS ? used_ns - passed_ns : LOOK_AGAIN_NS;
}

bool sender_wants_to_send(struct sender *sender, uint64_t *wait_ns)
{
    if (sender->mode == SENDER_IDLE)
        return false;
    if (sender->link->end_pass && sender->mode == SENDER_PASS)
        return true;
    if (sender->mode == SENDER_BULK && sender->link->request_count)
        return true; /* somebody waits for these: they are not held back */
    *wait_ns = rate_wait_ns(sender);
    return *wait_ns == 0;
}

/* ---- Batches ---- */

static void put_record(struct sender *sender, struct wire_put *put, unsigned block, uint64_t offset)
{
    struct baton *baton = sender->baton;

    baton_guest_read(sender->copy, baton->ram.blocks[block].host + offset, RAM_PAGE_BYTES);
    if (baton_guest_is_zero(sender->copy, RAM_PAGE_BYTES)) {
        wire_put_zero_page(put, &sender->writer, block, offset);
        atomic_fetch_add_explicit(&baton->stats.zero_pages, 1, memory_order_relaxed);
    } else {
        wire_put_page_header(put, &sender->writer, block, offset);
        wire_put_bytes(put, sender->copy, RAM_PAGE_BYTES);
        atomic_fetch_add_explicit(&baton->stats.normal_pages, 1, memory_order_relaxed);
    }
}

/* Claims a page and puts it into the batch, whole; *room is what is left of it, in records. */
static enum pageset_result put_page(struct sender *sender, struct wire_put *put, unsigned block,
                                    uint64_t page, unsigned *room)
{
    struct baton *baton = sender->baton;
    enum pageset_result result = pageset_claim(&baton->pages, sender->epoch, block, page);
    uint64_t first = page * page_bytes(baton, block);

    if (result != PAGESET_WON)
        return result;
    for (uint64_t at = 0; at < page_bytes(baton, block); at += RAM_PAGE_BYTES)
        put_record(sender, put, block, first + at);
    *room -= (unsigned)page_records(baton, block);
    return PAGESET_WON;
}

static bool has_room(const struct sender *sender, unsigned block, unsigned room)
{
    return page_records(sender->baton, block) <= room;
}

/* Requested pages; the scan goes on right behind the last of them, where the next request is most
 * likely. */
static void put_requested(struct sender *sender, struct wire_put *put, unsigned *room)
{
    struct link *link = sender->link;

    for (;;) {
        struct page_request request;
        bool any;

        pthread_mutex_lock(&link->lock);
        any = link->request_count > 0;
        if (any) {
            request = link->requests[link->request_head];
            any = has_room(sender, request.block, *room);
        }
        if (any) {
            link->request_head = (link->request_head + 1) % LINK_MAX_REQUESTS;
            link->request_count--;
        }
        pthread_mutex_unlock(&link->lock);
        if (!any)
            return;
        if (put_page(sender, put, request.block, request.page, room) != PAGESET_WON)
            continue;
        sender->block = request.block;
        sender->page = request.page + 1;
    }
}

/* Pages in the order of the scan. A pass ends with the last block; bulk wraps, because requests
 * move the scan about. */
static void put_scanned(struct sender *sender, struct wire_put *put, unsigned *room)
{
    const struct pageset *pages = &sender->baton->pages;
    bool wrapped = false;

    for (;;) {
        uint64_t page;

        if (sender->block >= pages->block_count) {
            if (sender->mode != SENDER_BULK || wrapped)
                return;
            wrapped = true;
            sender->block = 0;
            sender->page = 0;
        }
        if (!has_room(sender, sender->block, *room))
            return;
        page = pageset_next_dirty(pages, sender->block, sender->page);
        if (page == PAGESET_NONE) {
            sender->block++;
            sender->page = 0;
        } else if (put_page(sender, put, sender->block, page, room) == PAGESET_STALE) {
            return;
        } else {
            sender->page = page + 1;
        }
    }
}

static bool all_sent(struct sender *sender)
{
    struct engine_event event = {.type = ENGINE_EVENT_ALL_SENT, .link = sender->link->id};

    sender->mode = SENDER_IDLE;
    loop_post(sender->baton, &event, NULL, NULL);
    return true;
}

static bool take_end_pass(struct sender *sender)
{
    bool end;

    pthread_mutex_lock(&sender->link->lock);
    end = sender->link->end_pass;
    sender->link->end_pass = false;
    pthread_mutex_unlock(&sender->link->lock);
    return end;
}

bool sender_batch(struct sender *sender)
{
    unsigned room = sender->batch_records;
    struct wire_put put;

    if (sender->mode == SENDER_PASS && take_end_pass(sender))
        return end_pass(sender);
    wire_put_init(&put, sender->batch, sender->batch_bytes);
    wire_put_ram_part(&put, &sender->writer);
    if (sender->mode == SENDER_BULK)
        put_requested(sender, &put, &room);
    /* A request is answered at once, with no background pages behind which it would travel. */
    if (room == sender->batch_records)
        put_scanned(sender, &put, &room);
    if (room == sender->batch_records) {
        if (pageset_dirty_pages(&sender->baton->pages) && sender->mode == SENDER_BULK)
            return true; /* the lease is gone: the link is about to end */
        return sender->mode == SENDER_BULK ? all_sent(sender) : end_pass(sender);
    }
    wire_put_ram_eos(&put, &sender->writer);
    sender->pass_bytes += put.used;
    sender->allowance_bytes += put.used;
    return link_write(sender->link, sender->batch, put.used, sender->phase_bytes, NULL);
}
