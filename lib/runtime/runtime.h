/* SPDX-License-Identifier: MIT */
/*
 * The runtime: the only part of the library with threads. It turns I/O into events, carries out the
 * engine's actions, and moves the page bytes. It decides nothing, and holds no migration state of
 * its own.
 *
 * Threads
 *   loop       one; owns the engine, the links' lives, the host operations (loop.c, apply.c)
 *   reader     one a link: source: return path (source_reader.c); destination: loading
 * (dest_reader.c) writer     one a link (link.c); at the source it sends pages too (sender.c) fault
 * one, at the destination from the first discard to the end (fault.c) listener   one a listening
 * address (listen.c) dialer     one while a connection is attempted (dial.c)
 *
 * All but the loop post events and, except for their last one, wait until the loop has carried out
 * what follows from it. So the queue is never longer than there are threads, and a reader does not
 * read on before its message has taken effect. The loop never waits for a network, a page or a lock
 * held across one of these.
 *
 * Locks, in order of precedence (a thread that holds one takes only later ones):
 *   links_lock  >  fault_server.lock  >  link.lock
 *   loop_lock, info_lock, listeners_lock: leaves, nothing is taken under them
 */
#ifndef RUNTIME_RUNTIME_H
#define RUNTIME_RUNTIME_H

#include <pthread.h>
#include <stdatomic.h>

#include "baton/baton.h"
#include "channel/channel.h"
#include "engine/engine.h"
#include "memory/dirty.h"
#include "memory/ram.h"
#include "memory/uffd.h"
#include "memory/waiters.h"
#include "wire/wire.h"

#define RUNTIME_MAX_DEVICES 64
#define RUNTIME_MAX_STRANGERS 16 /* connections that have not said a valid hello */
#define RUNTIME_STRANGER_NS UINT64_C(10000000000)
#define RUNTIME_DIAL_MS 10000

/* ---- Events on their way to the loop ---- */

struct post {
    struct engine_event event;
    char uri[BATON_URI_BYTES]; /* MIGRATE, RESUME: where to */
    struct baton_error *error; /* orders: gets the refusal */
    int verdict;
    bool waits; /* somebody waits for it, and owns it; else the loop frees it */
    bool done;
    struct post *next;
};

/* ---- Counters that data threads keep ---- */

struct runtime_stats {
    _Atomic uint64_t transferred_bytes, precopy_bytes, downtime_bytes, postcopy_bytes;
    _Atomic uint64_t normal_pages, zero_pages, requested_pages, dirty_syncs, faults;
};

/* ---- A package of device state ---- */

struct package {
    uint8_t *bytes; /* owned */
    size_t used, size;
};
void package_add(struct package *package, const void *bytes, size_t length_bytes);
void package_clear(struct package *package);

/* ---- The fault thread ---- */

struct fault_server {
    pthread_mutex_t lock; /* of what follows, but `requested` is the thread's own while it works */
    pthread_cond_t changed;
    bool made;    /* thread and userfaultfd exist */
    bool working; /* else it halts, or is about to */
    bool resting; /* it has halted */
    bool ask_again;
    bool end;
    struct link *link; /* where requests go; and who is told when it rests */
    bool tell_rest;
    struct uffd uffd;
    bool software; /* no userfaultfd: those who need a page say so themselves (fault_soft.c) */
    int wake_fd;
    pthread_cond_t arrived;    /* software: a page has come, or nothing is missing any more */
    _Atomic unsigned sleepers; /* software: who waits for `arrived` */
    struct {
        unsigned block;
        uint64_t page;
    } wishes[BATON_MAX_WAITERS]; /* software: a ring; each waiter has one wish at a time */
    unsigned wish_head, wish_count;
    uint64_t *requested[BATON_MAX_RAM_BLOCKS]; /* pages asked for, and not yet known to be here */
    pthread_t thread;
};

struct link;

struct listening {
    struct baton *baton;
    struct channel_listener *listener;
    char uri[BATON_URI_BYTES]; /* as it was given */
    pthread_t thread;
};

struct baton {
    /* Fixed by baton_new(). */
    const struct baton_host_ops *ops;
    struct baton_host_ops ops_copy;
    void *host;
    enum baton_faults faults_wanted;
    char machine[BATON_BLOCK_NAME_BYTES];
    struct ram_table ram;
    struct wire_blocks wire_blocks;
    struct baton_device devices[RUNTIME_MAX_DEVICES];
    char *device_names[RUNTIME_MAX_DEVICES];
    unsigned device_count;

    struct pageset pages;
    uint64_t *pages_memory;
    struct dirty_log dirty;
    struct waiters waiters;
    struct latency fault_latency;
    struct runtime_stats stats;
    _Atomic bool guarded; /* pages may be missing: baton_ram_ensure() must look */
    _Atomic uint64_t parameters[BATON_PARAMETER_COUNT];
    _Atomic bool capabilities[BATON_CAPABILITY_COUNT];

    /* The loop. */
    pthread_t loop;
    pthread_mutex_t loop_lock; /* of the queue, `ending`, `poked` and post.done */
    pthread_cond_t loop_wake, loop_done;
    struct post *queue_head, *queue_tail;
    bool ending;
    bool poked;            /* look at the strangers: one has come */
    struct engine engine;  /* loop thread only */
    struct engine_out out; /* loop thread only */
    struct engine_event
        internal[4]; /* loop thread only: results of actions, stepped before anything else */
    unsigned internal_count;
    struct wire_ram_state ram_learnt; /* loop thread only: section id and list of the session's
                                         START, for the links of its recovery */
    struct package incoming_package;  /* filled by the reader, used by LOAD_DEVICES in its post */

    pthread_mutex_t links_lock; /* of the list */
    struct link *links;
    uint64_t last_link_id;

    /* Dialing: the loop starts and joins it. */
    struct channel_dialer dialer;
    pthread_t dial_thread;
    bool dialing;
    char dial_uri[BATON_URI_BYTES];
    struct baton_error dial_error; /* the dialer's, until it was joined */

    pthread_mutex_t listeners_lock; /* of the table; threads are started and joined outside of it */
    struct listening *listeners[BATON_MAX_ADDRESSES]; /* owned */
    unsigned listener_count;

    struct fault_server faults;

    pthread_mutex_t info_lock; /* of the picture that baton_query() shows */
    struct engine picture;
    char explain[BATON_ERROR_TEXT_BYTES * 2];
    char may_not_quit[BATON_ERROR_TEXT_BYTES];
    bool may_quit, may_run;
    uint64_t rate_at_ns, rate_bytes, rate; /* for bandwidth_bytes_per_s */
};

uint64_t runtime_now_ns(void);

/* The page set counts pages of the block's own size; the wire speaks of records of 4096 bytes. */
static inline uint64_t page_bytes(const struct baton *baton, unsigned block)
{
    return baton->ram.blocks[block].page_bytes;
}
static inline uint64_t page_records(const struct baton *baton, unsigned block)
{
    return page_bytes(baton, block) / RAM_PAGE_BYTES;
}
static inline uint8_t *page_host(const struct baton *baton, unsigned block, uint64_t page)
{
    return baton->ram.blocks[block].host + page * page_bytes(baton, block);
}

/* ---- loop.c ---- */
int loop_start(struct baton *baton, struct baton_error *error);
void loop_end(struct baton *baton); /* all threads of the library are gone on return */
/* Posts and waits. For orders: 0 or -errno, with the refusal in `error`. */
int loop_post(struct baton *baton, const struct engine_event *event, const char *uri,
              struct baton_error *error);
/* Posts and goes: a thread's last word. */
void loop_post_last(struct baton *baton, const struct engine_event *event);
/* Has the loop look at its links and deadlines. */
void loop_poke(struct baton *baton);
/* From inside an action: the result that the engine gets next. */
void loop_result(struct baton *baton, const struct engine_event *event);

/* ---- apply.c ---- */
void apply_actions(struct baton *baton, const struct engine_out *out);

/* ---- encode.c: the bytes of an engine message; appended ---- */
void encode_message(struct baton *baton, const struct engine_action *action, struct package *out);

/* ---- devices.c ---- */
void devices_save(struct baton *baton, bool vm_was_running, struct package *out);
int devices_load(struct baton *baton, const uint8_t *bytes, size_t length_bytes,
                 bool *vm_was_running, struct baton_error *error);
int devices_resume_prepare(struct baton *baton, struct baton_error *error);

/* ---- fault.c ---- */
int fault_register(struct baton *baton, struct baton_error *error);
void fault_work(struct baton *baton,
                struct link *link); /* asks again for what was asked for before */
/* Tells the thread to halt; true if it will call link_thread_rests(link) when it does. */
bool fault_halt(struct baton *baton, struct link *link);
void fault_end(struct baton *baton);
/* Whether missing pages can be caught here at all: asked when ADVISE comes, before anything depends
 * on it. */
int fault_probe(struct baton *baton, struct baton_error *error);
/* Somebody waits for the page, which is missing: asks for it, unless that was done. The fault
 * thread's. */
void fault_wanted(struct baton *baton, unsigned block, uint64_t page);
/* Loading thread: makes a missing page present, whole; `bytes` NULL: zeros. 0 or -errno. */
int fault_place(struct baton *baton, unsigned block, uint64_t page, const uint8_t *bytes);
/* The page has become received: who waits for it may look. */
void fault_placed(struct baton *baton);
/* Any thread of the host: waits until the page is received. */
void fault_wait(struct baton *baton, unsigned block, uint64_t page);

/* ---- fault_soft.c ---- */
void fault_soft_wait(struct baton *baton, unsigned block, uint64_t page);
void fault_soft_arrived(struct baton *baton);
void fault_soft_serve(struct baton *baton); /* the fault thread: asks for what was wished for */

/* ---- dial.c, listen.c ---- */
void dial_start(struct baton *baton);
void dial_join(struct baton *baton);
/* Two steps, so that an address is known to be good before the engine is asked, and nobody is let
 * in before it has agreed. */
int listen_open(struct baton *baton, const char *uri, struct channel_listener **out,
                struct baton_error *error);
int listen_start(struct baton *baton, const char *uri, struct channel_listener *listener,
                 struct baton_error *error);
bool listen_has(struct baton *baton, const char *uri);
void listen_close_all(struct baton *baton);
void listen_list(struct baton *baton, struct baton_info *info);

/* ---- query.c ---- */
void query_update(struct baton *baton); /* loop thread, after each step */

#endif
