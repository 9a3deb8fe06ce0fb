/* SPDX-License-Identifier: MIT */
/*
 * A link's threads, its queue, and how it comes to rest.
 *
 * The writer carries out orders in the order in which they were given; when there are none it sends
 * page requests (destination) or pages (source, sender.c). Orders come from the loop, which never
 * waits for the network: a queue that grows beyond every reasonable length kills the link.
 *
 * Rest. link_quit() kills the channel, so that both threads fall out of whatever they block in.
 * Each thread's last act is link_thread_rests(); the last of them posts LINK_RESTS, after which the
 * loop joins and frees. At the destination the fault thread counts as a third one while it serves
 * the link. A thread that meets an error reports it (link_lost) and waits for the answer, which is
 * link_quit(), before it rests; so LINK_RESTS cannot come before the engine has heard of the
 * trouble.
 */
#include "runtime/link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct link *link_new(struct baton *baton, enum baton_role role, struct channel *channel)
{
    struct link *link = calloc(1, sizeof(*link));

    if (!link)
        return NULL;
    link->baton = baton;
    link->role = role;
    link->channel = channel;
    link->since_ns = runtime_now_ns();
    link->active = 3; /* reader, writer, and who starts them: link_start() */
    pthread_mutex_init(&link->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&link->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    wire_request_writer_init(&link->request_writer, &baton->wire_blocks);
    pthread_mutex_lock(&baton->links_lock);
    link->id = ++baton->last_link_id;
    link->next = baton->links;
    baton->links = link;
    pthread_mutex_unlock(&baton->links_lock);
    return link;
}

struct link *link_find(struct baton *baton, uint64_t id)
{
    struct link *link;

    pthread_mutex_lock(&baton->links_lock);
    for (link = baton->links; link && link->id != id; link = link->next)
        ;
    pthread_mutex_unlock(&baton->links_lock);
    return link;
}

void link_free(struct link *link)
{
    struct link **at;

    if (link->reader_made)
        pthread_join(link->reader, NULL);
    if (link->writer_made)
        pthread_join(link->writer, NULL);
    pthread_mutex_lock(&link->baton->links_lock);
    for (at = &link->baton->links; *at != link; at = &(*at)->next)
        ;
    *at = link->next;
    pthread_mutex_unlock(&link->baton->links_lock);
    while (link->head) {
        struct order *order = link->head;

        link->head = order->next;
        free(order);
    }
    channel_close(link->channel);
    pthread_cond_destroy(&link->wake);
    pthread_mutex_destroy(&link->lock);
    free(link);
}

/* ---- The queue ---- */

void link_order(struct link *link, enum order_type type, const void *bytes, size_t length_bytes,
                unsigned block, uint64_t epoch, _Atomic uint64_t *phase_bytes)
{
    struct order *order = malloc(sizeof(*order) + length_bytes);

    if (!order) {
        link_quit(link);
        return;
    }
    *order = (struct order){
        .type = type,
        .block = block,
        .epoch = epoch,
        .phase_bytes = phase_bytes,
        .length_bytes = length_bytes,
    };
    if (length_bytes)
        memcpy(order->bytes, bytes, length_bytes);
    pthread_mutex_lock(&link->lock);
    if (link->quit || link->order_count == LINK_MAX_ORDERS) {
        bool flooded = !link->quit;

        pthread_mutex_unlock(&link->lock);
        free(order);
        if (flooded) /* the peer asks without end and never reads the answers */
            link_quit(link);
        return;
    }
    if (link->tail)
        link->tail->next = order;
    else
        link->head = order;
    link->tail = order;
    link->order_count++;
    pthread_cond_signal(&link->wake);
    pthread_mutex_unlock(&link->lock);
}

static struct order *take_order(struct link *link) /* with the lock */
{
    struct order *order = link->head;

    if (!order)
        return NULL;
    link->head = order->next;
    if (!link->head)
        link->tail = NULL;
    link->order_count--;
    return order;
}

bool link_request(struct link *link, unsigned block, uint64_t page)
{
    bool room;

    pthread_mutex_lock(&link->lock);
    room = link->request_count < LINK_MAX_REQUESTS;
    if (room) {
        unsigned at = (link->request_head + link->request_count++) % LINK_MAX_REQUESTS;

        link->requests[at] = (struct page_request){.block = block, .page = page};
        pthread_cond_signal(&link->wake);
    }
    pthread_mutex_unlock(&link->lock);
    return room;
}

/* ---- Coming to rest ---- */

void link_quit(struct link *link)
{
    pthread_mutex_lock(&link->lock);
    link->quit = true;
    pthread_cond_broadcast(&link->wake);
    pthread_mutex_unlock(&link->lock);
    channel_shutdown(link->channel);
}

void link_finish(struct link *link)
{
    pthread_mutex_lock(&link->lock);
    link->finish = true;
    pthread_cond_broadcast(&link->wake);
    pthread_mutex_unlock(&link->lock);
}

void link_end_pass(struct link *link)
{
    pthread_mutex_lock(&link->lock);
    link->end_pass = true;
    pthread_cond_broadcast(&link->wake);
    pthread_mutex_unlock(&link->lock);
}

void link_add_active(struct link *link)
{
    pthread_mutex_lock(&link->lock);
    link->active++;
    pthread_mutex_unlock(&link->lock);
}

void link_thread_rests(struct link *link)
{
    struct engine_event event = {.type = ENGINE_EVENT_LINK_RESTS, .link = link->id};
    struct baton *baton = link->baton;
    bool last;

    pthread_mutex_lock(&link->lock);
    last = --link->active == 0;
    event.run_written = link->run_written;
    pthread_mutex_unlock(&link->lock);
    if (last)
        loop_post_last(baton, &event);
}

void link_lost(struct link *link, const char *reason, bool usable)
{
    struct engine_event event = {
        .type = ENGINE_EVENT_LINK_LOST, .link = link->id, .reason = reason, .ok = usable};

    loop_post(link->baton, &event, NULL, NULL);
}

/* ---- The writer ---- */

bool link_write(struct link *link, const void *bytes, size_t length_bytes,
                _Atomic uint64_t *phase_bytes, size_t *written)
{
    struct baton_error error;
    size_t done = 0;
    int result = channel_write(link->channel, bytes, length_bytes, &done, &error);

    atomic_fetch_add_explicit(&link->baton->stats.transferred_bytes, done, memory_order_relaxed);
    if (phase_bytes)
        atomic_fetch_add_explicit(phase_bytes, done, memory_order_relaxed);
    if (written)
        *written = done;
    if (result < 0) {
        link_lost(link, error.text, false);
        return false;
    }
    channel_mark(link->channel);
    return true;
}

static bool write_run(struct link *link, const struct order *order)
{
    struct engine_event event = {.type = ENGINE_EVENT_RUN_WRITTEN, .link = link->id};
    struct baton_error error;
    size_t done = 0;
    int result = channel_write(link->channel, order->bytes, order->length_bytes, &done, &error);

    atomic_fetch_add_explicit(&link->baton->stats.transferred_bytes, done, memory_order_relaxed);
    if (done) {
        pthread_mutex_lock(&link->lock);
        link->run_written = true;
        pthread_mutex_unlock(&link->lock);
    }
    if (result < 0) {
        link_lost(link, error.text, false);
        return false;
    }
    channel_mark(link->channel);
    loop_post(link->baton, &event, NULL, NULL);
    return true;
}

#define PIECE_RECORDS                                                                              \
    UINT64_C(65536) /* 8 KiB of bits at a time; a multiple of the records of any page */

/* The bits of `count` records from number `first` on; every record of a received page is received.
 */
static void unfold_bitmap(const uint64_t *received, uint64_t first, uint64_t count,
                          uint64_t records, uint64_t *words)
{
    memset(words, 0, pageset_words(count) * sizeof(*words));
    for (uint64_t i = 0; i < count; i++) {
        uint64_t page = (first + i) / records;

        if (received[page / 64] >> page % 64 & 1)
            words[i / 64] |= UINT64_C(1) << i % 64;
    }
}

static bool write_bitmap_bits(struct link *link, unsigned block, const uint64_t *received)
{
    uint64_t records = page_records(link->baton, block);
    uint64_t total = link->baton->pages.blocks[block].pages * records;
    uint64_t words[PIECE_RECORDS / 64];
    uint8_t piece[PIECE_RECORDS / 8];

    for (uint64_t at = 0; at < total; at += PIECE_RECORDS) {
        uint64_t n = total - at < PIECE_RECORDS ? total - at : PIECE_RECORDS;

        if (records > 1)
            unfold_bitmap(received, at, n, records, words);
        wire_bitmap_pack(records > 1 ? words : received + at / 64, n, piece);
        if (!link_write(link, piece, wire_bitmap_bytes(n), NULL, NULL))
            return false;
    }
    return true;
}

static bool write_bitmap(struct link *link, unsigned block)
{
    const struct pageset *pages = &link->baton->pages;
    uint64_t count = pages->blocks[block].pages;
    struct wire_message message = {.type = WIRE_RECV_BITMAP};
    uint8_t head[WIRE_MAX_CONTROL_BYTES], end[8];
    struct wire_put put;
    uint64_t *received = malloc(pageset_words(count) * sizeof(*received));
    bool ok = received != NULL;

    if (!ok) {
        link_lost(link, "no memory for the received bitmap", false);
        return false;
    }
    pageset_snapshot(pages, block, received);
    strcpy(message.u.recv_bitmap.block, link->baton->ram.blocks[block].name);
    message.u.recv_bitmap.bitmap_bytes =
        wire_bitmap_bytes(count * page_records(link->baton, block));
    wire_put_init(&put, end, sizeof(end));
    wire_put_be64(&put, WIRE_BITMAP_END);
    ok = link_write(link, head, wire_encode(&message, head, sizeof(head)), NULL, NULL) &&
         write_bitmap_bits(link, block, received) && link_write(link, end, sizeof(end), NULL, NULL);
    free(received);
    return ok;
}

static bool end_stream(struct link *link)
{
    struct engine_event event = {.type = ENGINE_EVENT_CLOSED, .link = link->id};
    struct baton_error error;

    if (channel_finish(link->channel, &error) < 0) {
        link_lost(link, error.text, false);
        return false;
    }
    loop_post(link->baton, &event, NULL, NULL);
    return true;
}

static bool carry_out(struct link *link, struct sender *sender, const struct order *order)
{
    switch (order->type) {
    case ORDER_BYTES:
        return link_write(link, order->bytes, order->length_bytes, order->phase_bytes, NULL);
    case ORDER_RUN:
        return write_run(link, order);
    case ORDER_END_STREAM:
        return end_stream(link);
    case ORDER_BITMAP:
        return write_bitmap(link, order->block);
    default:
        return sender_order(sender, order);
    }
}

/* Destination, with the lock, which is given up meanwhile: writes the page requests that are
 * queued. */
static bool write_requests(struct link *link)
{
    uint8_t bytes[2048];
    size_t used = 0;
    bool ok;

    while (link->request_count && used + WIRE_MAX_RETURN_BYTES <= sizeof(bytes)) {
        struct page_request request = link->requests[link->request_head];

        link->request_head = (link->request_head + 1) % LINK_MAX_REQUESTS;
        link->request_count--;
        used += wire_encode_page_request(&link->request_writer, request.block,
                                         request.page * page_bytes(link->baton, request.block),
                                         (uint32_t)page_bytes(link->baton, request.block),
                                         bytes + used, sizeof(bytes) - used);
        atomic_fetch_add_explicit(&link->baton->stats.requested_pages, 1, memory_order_relaxed);
    }
    pthread_cond_broadcast(&link->wake); /* there is room for the fault thread again */
    pthread_mutex_unlock(&link->lock);
    ok = link_write(link, bytes, used, NULL, NULL);
    pthread_mutex_lock(&link->lock);
    return ok;
}

/* With the lock: sleeps until there is something new, or `wait_ns` have passed (0: no limit). */
static void sleep_until_woken(struct link *link, uint64_t wait_ns)
{
    uint64_t until = runtime_now_ns() + wait_ns;
    struct timespec at = {.tv_sec = (time_t)(until / 1000000000u),
                          .tv_nsec = (long)(until % 1000000000u)};

    if (wait_ns)
        pthread_cond_timedwait(&link->wake, &link->lock, &at);
    else
        pthread_cond_wait(&link->wake, &link->lock);
}

static void *writer_main(void *opaque)
{
    struct link *link = opaque;
    struct sender *sender = link->role == BATON_ROLE_SOURCE ? sender_new(link) : NULL;
    bool ok = sender || link->role == BATON_ROLE_DEST;

    if (!ok)
        link_lost(link, "no memory to send pages", false);
    pthread_mutex_lock(&link->lock);
    while (ok && !link->quit) {
        struct order *order = take_order(link);
        uint64_t wait_ns = 0;

        if (order) {
            pthread_mutex_unlock(&link->lock);
            ok = carry_out(link, sender, order);
            free(order);
            pthread_mutex_lock(&link->lock);
        } else if (link->finish) {
            break;
        } else if (!sender && link->request_count) {
            ok = write_requests(link);
        } else if (sender && sender_wants_to_send(sender, &wait_ns)) {
            pthread_mutex_unlock(&link->lock);
            ok = sender_batch(sender);
            pthread_mutex_lock(&link->lock);
        } else {
            sleep_until_woken(link, wait_ns);
        }
    }
    pthread_mutex_unlock(&link->lock);
    channel_shutdown(link->channel); /* the reader ends too */
    sender_free(sender);
    link_thread_rests(link);
    return NULL;
}

void link_start(struct link *link)
{
    void *(*reader)(void *) =
        link->role == BATON_ROLE_SOURCE ? source_reader_main : dest_reader_main;

    link->writer_made = pthread_create(&link->writer, NULL, writer_main, link) == 0;
    link->reader_made = link->writer_made && pthread_create(&link->reader, NULL, reader, link) == 0;
    if (!link->reader_made) {
        /* No thread to be had: stand in for those that were never made, so that the link comes to
         * rest all the same. */
        link_quit(link);
        if (!link->writer_made)
            link_thread_rests(link);
        link_thread_rests(link);
    }
    link_thread_rests(
        link); /* the starter's own part: a short-lived stranger may be freed right after */
}

/* ---- Buffered input ---- */

#define INPUT_FIRST_BYTES (64u << 10)

void input_init(struct link_input *input, struct link *link)
{
    *input = (struct link_input){.link = link};
}

void input_fini(struct link_input *input)
{
    free(input->bytes);
}

static bool make_room(struct link_input *input, size_t length_bytes)
{
    size_t have = input_available(input);
    uint8_t *bytes;

    if (input->size - input->start >= length_bytes)
        return true;
    if (have)
        memmove(input->bytes, input_at(input), have);
    input->start = 0;
    input->end = have;
    if (input->size >= length_bytes)
        return true;
    input->size = length_bytes > INPUT_FIRST_BYTES ? length_bytes : INPUT_FIRST_BYTES;
    bytes = realloc(input->bytes, input->size);
    if (!bytes)
        return false;
    input->bytes = bytes;
    return true;
}

bool input_need(struct link_input *input, size_t length_bytes)
{
    struct baton_error error;

    while (input_available(input) < length_bytes) {
        size_t got = 0;

        if (!make_room(input, length_bytes)) {
            link_lost(input->link, "no memory to read", false);
            return false;
        }
        if (channel_read(input->link->channel, input->bytes + input->end, input->size - input->end,
                         &got, &error) < 0) {
            link_lost(input->link, error.text, false);
            return false;
        }
        if (!got) {
            link_lost(input->link,
                      channel_is_one_way(input->link->channel)
                          ? "the stream ends in the middle: not all of the VM is in it"
                          : "the peer has closed the connection",
                      false);
            return false;
        }
        input->end += got;
    }
    return true;
}

bool input_ended(struct link_input *input)
{
    struct baton_error error;
    uint8_t byte;
    size_t got = input_available(input);

    if (!got && channel_read(input->link->channel, &byte, 1, &got, &error) < 0) {
        link_lost(input->link, error.text, false);
        return false;
    }
    if (got)
        link_lost(input->link, "bytes follow the end of the stream: it is damaged", false);
    return !got;
}
