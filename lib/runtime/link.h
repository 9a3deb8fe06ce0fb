/* SPDX-License-Identifier: MIT */
/*
 * A link: one connection with its reader and its writer thread. See link.c.
 */
#ifndef RUNTIME_LINK_H
#define RUNTIME_LINK_H

#include "runtime/runtime.h"

#define LINK_MAX_ORDERS 4096
#define LINK_MAX_REQUESTS 1024

enum order_type {
    ORDER_BYTES,
    ORDER_RUN,        /* bytes, and RUN_WRITTEN when they have left */
    ORDER_END_STREAM, /* one-way: nothing follows; CLOSED when all of it was taken */
    ORDER_BITMAP,     /* destination: the received bitmap of `block` */
    ORDER_PASS,       /* source, and the rest: see sender.c */
    ORDER_FINAL_PASS,
    ORDER_DISCARDS,
    ORDER_BULK
};

struct order {
    enum order_type type;
    unsigned block;
    uint64_t epoch;
    _Atomic uint64_t *phase_bytes; /* which of the phase counters this counts for; NULL: none */
    struct order *next;
    size_t length_bytes;
    uint8_t bytes[];
};

struct page_request {
    unsigned block;
    uint64_t page;
};

enum load_mode { LOAD_NOTHING, LOAD_PRECOPY, LOAD_POSTCOPY };

struct link {
    uint64_t id;
    struct baton *baton;
    struct channel *channel;
    enum baton_role role;
    uint64_t since_ns;
    bool adopted; /* loop thread only: it is the current link, or was; else a stranger */
    bool dropped; /* loop thread only: sent away, may write a last word */
    bool killed;  /* loop thread only: a stranger that had its time */
    pthread_t reader, writer;
    struct link *next;
    /* The starter only. Far from the flags above, which a compiler may read as one word. */
    bool reader_made, writer_made;

    pthread_mutex_t lock; /* of everything down to `resting` */
    pthread_cond_t wake;
    struct order *head, *tail;
    unsigned order_count;
    struct page_request
        requests[LINK_MAX_REQUESTS]; /* a ring: to ask for (destination), asked for (source) */
    unsigned request_head, request_count;
    bool quit;       /* rest at once */
    bool finish;     /* rest when the queue is empty */
    bool end_pass;   /* source: end the pass in progress */
    unsigned active; /* threads that have not come to rest: reader, writer, the fault thread while
                        it serves this link */
    bool run_written;

    /* Set by the loop while the reader waits for its post, so that it needs no lock. */
    enum load_mode load;
    uint64_t load_epoch;
    struct wire_ram_state ram_learnt; /* what START said, on this link or on the session's first */

    struct wire_request_writer request_writer; /* writer thread only */
};

/* Owns the channel. The threads do not run yet. */
struct link *link_new(struct baton *baton, enum baton_role role, struct channel *channel);
void link_start(struct link *link);
/* Loop thread. All threads have come to rest, or were never started. */
void link_free(struct link *link);
struct link *link_find(struct baton *baton, uint64_t id);

/* Appends; a queue that is too long kills the link. Any thread. */
void link_order(struct link *link, enum order_type type, const void *bytes, size_t length_bytes,
                unsigned block, uint64_t epoch, _Atomic uint64_t *phase_bytes);
/* Any thread. False: no room; a request is a hint, and the asker asks again. */
bool link_request(struct link *link, unsigned block, uint64_t page);
void link_quit(struct link *link);
void link_finish(struct link *link);
void link_end_pass(struct link *link);
void link_add_active(struct link *link);
/* The calling thread touches nothing of the link any more; the last one posts LINK_RESTS. */
void link_thread_rests(struct link *link);
/* Reports that the link broke; the thread goes to rest after it. `usable`: a last word can still be
 * written. */
void link_lost(struct link *link, const char *reason, bool usable);
/* Writer thread: writes and counts. False: it failed and was reported. */
bool link_write(struct link *link, const void *bytes, size_t length_bytes,
                _Atomic uint64_t *phase_bytes, size_t *written);

/* Buffered reading for the two readers. */
struct link_input {
    struct link *link;
    uint8_t *bytes;
    size_t start, end, size;
};
void input_init(struct link_input *input, struct link *link);
void input_fini(struct link_input *input);
static inline const uint8_t *input_at(const struct link_input *input)
{
    return input->bytes + input->start;
}
static inline size_t input_available(const struct link_input *input)
{
    return input->end - input->start;
}
static inline void input_used(struct link_input *input, size_t length_bytes)
{
    input->start += length_bytes;
}
/* Until at least that many bytes are available. False: the link broke, which was reported. */
bool input_need(struct link_input *input, size_t length_bytes);
/* Waits for the end of the input, which must come at once and in order. False: it did not, which
 * was reported. */
bool input_ended(struct link_input *input);

void *source_reader_main(void *opaque);
void *dest_reader_main(void *opaque);
/* Source: carries out a sending order; called by the writer thread without the lock. False: the
 * link is lost or is to end. */
struct sender;
struct sender *sender_new(struct link *link);
void sender_free(struct sender *sender);
bool sender_order(struct sender *sender, const struct order *order);
/* Whether there are pages to be sent now; if not because of the rate limit, *wait_ns says for how
 * long. */
bool sender_wants_to_send(struct sender *sender, uint64_t *wait_ns);
bool sender_batch(struct sender *sender);

#endif
