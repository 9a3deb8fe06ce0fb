/* SPDX-License-Identifier: MIT */
/*
 * The pure core: what has happened goes in as an event, what is to be done comes out as actions.
 *
 * One `struct engine` decides for one VM, on whichever side it is. engine_step() takes one event,
 * looks up the row (state, event) in transitions.def, and fills `struct engine_out` with actions in
 * the order in which the caller must carry them out before the next step. The engine does not know
 * time but from the event, has no threads, does no I/O and allocates nothing, so a test can drive
 * two of them through any interleaving in microseconds (tests/sim).
 *
 * Links. A link is one connection, named by a number that the caller gives it and never gives
 * again. Each has one reader and one writer thread in the caller. To end a link the engine orders
 * QUIESCE; the caller kills the connection at once, lets every data thread come to rest (at the
 * destination the fault thread too), and then says LINK_RESTS, exactly once. Only then does the
 * engine read or rebuild the page set. This is what makes epochs safe: nothing of an old link runs
 * on when a new one begins.
 *
 * Orders. An operator's orders are events as well; engine_out.verdict says whether the order was
 * accepted.
 *
 * Who calls: one thread at a time, always the same owner (lib/runtime/loop.c, or a test).
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "baton/baton.h"
#include "engine/pageset.h"

#define ENGINE_ID_BYTES 16
#define ENGINE_REASON_BYTES 256

/* ---- Events ---- */

/* E(name, what it means). The engine of either role takes all of them; transitions.def says what
 * each role does. */
#define ENGINE_EVENTS(E)                                                                           \
    /* orders of an operator; these give a verdict */                                              \
    E(MIGRATE, "send the VM away")                                                                 \
    E(RESUME, "continue a paused migration over a new link")                                       \
    E(START_POSTCOPY, "switch to postcopy")                                                        \
    E(INCOMING, "a listener is open: wait for a VM")                                               \
    E(RECOVER, "another listener is open for the source to come back")                             \
    E(PAUSE, "break the link on purpose")                                                          \
    E(CANCEL, "give up, before the point of no return")                                            \
    E(STOP, "stop the CPUs")                                                                       \
    E(HALT, "the guest stops itself for a moment: it is still to run")                             \
    E(CONT, "start the CPUs")                                                                      \
    /* links */                                                                                    \
    E(DIALED, "source: the connection of `link` stands, its threads may start")                    \
    E(DIAL_FAILED, "source: no connection came about")                                             \
    E(LINK_LOST, "reading or writing failed, or the peer's bytes made no sense")                   \
    E(LINK_RESTS, "all threads of `link` rest; `run_written` tells of the last writer")            \
    E(TIMEOUT, "engine_deadline() has passed")                                                     \
    E(CLOSED, "source, one-way: all of the stream was taken, and its end")                         \
    E(ONE_WAY, "destination: `link` is a stream without a way back that the operator named")       \
    /* messages from the destination */                                                            \
    E(HELLO_DEST, "the destination says who it is")                                                \
    E(PONG, "answer to PING `value`")                                                              \
    E(HELLO_ACK, "the destination's verdict about our hello")                                      \
    E(BARRIER_ACK, "barrier `value` has arrived on its channel")                                   \
    E(READY, "device state is loaded, it waits for RUN")                                           \
    E(BITMAP, "the received bitmap of `block` is in the page set's inbox")                         \
    E(RESUME_ACK, "it takes pages again")                                                          \
    E(COMPLETE, "its received set is full: `value` pages")                                         \
    E(SHUT, "final status `value` of the return path")                                             \
    /* messages from the source */                                                                 \
    E(PING_HELLO, "a Baton asks who we are")                                                       \
    E(HELLO_SOURCE, "the source says who it is and what it wants")                                 \
    E(PING, "answer with PONG `value`")                                                            \
    E(ADVISE, "a postcopy phase may follow")                                                       \
    E(RAM_START, "the block list fits ours; pages follow")                                         \
    E(BARRIER, "everything before this on the channel has been loaded")                            \
    E(DISCARD, "forget pages: first_page, page_count of `block`")                                  \
    E(PACKAGE, "the device state is in memory")                                                    \
    E(RUN, "run the VM")                                                                           \
    E(STREAM_END, "END of ram and end of stream")                                                  \
    E(BITMAP_REQUEST, "send the received bitmap of `block`")                                       \
    E(RESUME_REQUEST, "POSTCOPY_RESUME: take pages again")                                         \
    E(VOID, "the source has taken its VM back: RUN will never come")                               \
    E(BYE, "the source knows that the migration is complete")                                      \
    /* messages of either side */                                                                  \
    E(FAULT, "the peer says why it gives up the link")                                             \
    /* results of actions */                                                                       \
    E(PASS_DONE, "a pass over the dirty pages has ended")                                          \
    E(RUN_WRITTEN, "RUN has left completely")                                                      \
    E(ALL_SENT, "no dirty page is left")                                                           \
    E(PREPARED, "resume_prepare of all devices has been called")                                   \
    E(FAULTS_READY, "userfaultfd is registered over all RAM, or cannot be")                        \
    E(LOADED, "the device state has been loaded, or was refused")

enum engine_event_type {
#define E(name, text) ENGINE_EVENT_##name,
    ENGINE_EVENTS(E)
#undef E
        ENGINE_EVENT_COUNT
};
const char *engine_event_name(enum engine_event_type type);

/* What a destination says of itself in answer to a hello (docs/wire.md). */
enum engine_peer_state {
    ENGINE_PEER_FRESH,           /* waits for a VM */
    ENGINE_PEER_LOADING,         /* a migration comes in, RUN is not near */
    ENGINE_PEER_NOT_STARTED,     /* READY was given; RUN has not been seen */
    ENGINE_PEER_RUNNING,         /* RUN was seen */
    ENGINE_PEER_COMPLETE,        /* everything is here */
    ENGINE_PEER_NEVER,           /* not started, and never will: binding */
    ENGINE_PEER_UNKNOWN_SESSION, /* nothing is known of that session */
    ENGINE_PEER_STATE_COUNT
};

enum engine_intent {
    ENGINE_INTENT_NEW,      /* a new migration */
    ENGINE_INTENT_RECOVER,  /* go on with the session */
    ENGINE_INTENT_ASK_BACK, /* take the VM back if it has never run over there, else go on */
    ENGINE_INTENT_COUNT
};

enum engine_verdict {
    ENGINE_VERDICT_OK,
    ENGINE_VERDICT_STALE_EPOCH,
    ENGINE_VERDICT_UNKNOWN_SESSION,
    ENGINE_VERDICT_BUSY,
    ENGINE_VERDICT_WRONG_PROCESS,
    ENGINE_VERDICT_REFUSED, /* the reason says why */
    ENGINE_VERDICT_COUNT
};

/* The two hellos and the acknowledgement share one shape; unused fields are zero. */
struct engine_hello {
    uint8_t session[ENGINE_ID_BYTES];
    uint8_t nonce[ENGINE_ID_BYTES]; /* of the sender's process */
    uint8_t
        expected_nonce[ENGINE_ID_BYTES]; /* HELLO_SOURCE: of the destination it means; zero: any */
    uint8_t
        voids_session[ENGINE_ID_BYTES]; /* HELLO_SOURCE: RUN of that session was never written */
    uint64_t epoch;                     /* DEST: newest seen; SOURCE: of this link; ACK: accepted */
    uint8_t state;                      /* DEST, ACK: enum engine_peer_state */
    uint8_t intent;                     /* SOURCE: enum engine_intent */
    uint8_t verdict;                    /* ACK: enum engine_verdict */
};

struct engine_event {
    enum engine_event_type type;
    uint64_t now_ns; /* monotonic; never goes back from one step to the next */
    uint64_t link;   /* 0: not about a link; results of actions name the link that was current */
    /* A sentence that explains the event (LINK_LOST, DIAL_FAILED, FAULT, failed results); may be
     * NULL. */
    const char *reason;
    bool ok; /* PREPARED, FAULTS_READY, LOADED: it went well; HELLO_SOURCE: the stream fits this
                machine; LINK_LOST: a last word can be written */
    bool run_written; /* LINK_RESTS: at least one byte of RUN was given to the kernel */
    bool
        has_header; /* HELLO_SOURCE: the link began with a stream header, as a new migration does */
    bool vm_was_running; /* LOADED: the run state that the source sent: start the CPUs on RUN */
    bool precopy;        /* PACKAGE: the device state of a precopy stream, which ends with it */
    bool one_way;        /* MIGRATE, RESUME, INCOMING, RECOVER: the address has no way back */
    unsigned block;      /* BITMAP, BITMAP_REQUEST, DISCARD */
    uint64_t value;      /* PONG, PING, BARRIER, BARRIER_ACK, SHUT, COMPLETE */
    uint64_t first_page, page_count; /* DISCARD */
    uint64_t bytes, duration_ns;     /* PASS_DONE: what was sent, and how long it took */
    uint64_t dirty_pages;            /* PASS_DONE: dirty again after the pass */
    uint8_t random[ENGINE_ID_BYTES]; /* MIGRATE: becomes the session */
    struct engine_hello hello;       /* HELLO_* */
};

/* ---- Actions ---- */

#define ENGINE_ACTIONS(A)                                                                          \
    A(STATUS, "the status has changed: `previous` -> `status`, because of `reason`")               \
    A(START_CPUS, "the CPUs run")                                                                  \
    A(STOP_CPUS, "the CPUs rest on return")                                                        \
    A(RESET_VM, "devices to power-on; discard all RAM")                                            \
    /* links */                                                                                    \
    A(DIAL, "source: connect to the address of the last MIGRATE or RESUME; the result is DIALED "  \
            "or DIAL_FAILED")                                                                      \
    A(CANCEL_DIAL, "source: end the attempt; DIAL_FAILED follows")                                 \
    A(START_LINK, "source: start the threads of `link`")                                           \
    A(DROP_LINK, "close a link that never became ours; LINK_RESTS does not follow")                \
    A(ADOPT_LINK, "destination: `link` is ours now")                                               \
    A(QUIESCE, "kill the link at once, let all data threads rest; LINK_RESTS follows")             \
    A(FINISH_LINK, "write what is queued, then end the link; LINK_RESTS follows")                  \
    A(CLOSE_LISTENERS, "destination: nobody is awaited any more")                                  \
    A(SEND, "queue `message` for the writer of `link`")                                            \
    /* source: orders to the writer, carried out in queue order with SENDs */                      \
    A(TRACK_DIRTY, "dirty tracking on; every page is dirty")                                       \
    A(UNTRACK_DIRTY, "dirty tracking off")                                                         \
    A(PASS, "sync the dirty log, send what is dirty, sync again; PASS_DONE follows")               \
    A(FINAL_PASS, "the same with the CPUs at rest: nothing is dirty afterwards")                   \
    A(END_PASS, "end the pass in progress early; PASS_DONE follows")                               \
    A(SEND_DISCARDS, "sync the dirty log, send DISCARD for all that is dirty")                     \
    A(SEND_PACKAGE, "save the devices, send the package; after it a STREAM_END in `precopy`")      \
    A(END_STREAM, "one-way: when all is written, end the stream; CLOSED or LINK_LOST follows")     \
    A(BULK, "send dirty pages, requested ones first; ALL_SENT when none is left")                  \
    A(PREPARE_DEVICES, "call resume_prepare of all devices; PREPARED follows")                     \
    /* destination */                                                                              \
    A(LOAD_PRECOPY, "pages of this link may be loaded, the newest copy wins")                      \
    A(LOAD_POSTCOPY, "pages of this link may be placed, each once")                                \
    A(REGISTER_FAULTS, "userfaultfd over all RAM; FAULTS_READY follows")                           \
    A(DISCARD_PAGES, "first_page, page_count of `block` are missing from now on")                  \
    A(LOAD_DEVICES, "load the device state of the last PACKAGE; LOADED follows")                   \
    A(REQUEST_FAULTS,                                                                              \
      "the fault thread works: ask for each page that is waited for, also those asked for before") \
    A(END_FAULTS, "all pages are here: userfaultfd may go")                                        \
    A(RELEASE, "the migration is over: forget its buffers")

enum engine_action_type {
#define A(name, text) ENGINE_ACTION_##name,
    ENGINE_ACTIONS(A)
#undef A
        ENGINE_ACTION_COUNT
};
const char *engine_action_name(enum engine_action_type type);

/* What a SEND sends. Several stream elements may stand behind one name; lib/runtime/encode.c has
 * the bytes. */
#define ENGINE_MESSAGES(M)                                                                         \
    M(OPENING, "header, configuration, OPEN_RETURN_PATH")                                          \
    M(OPENING_ONE_WAY, "header, configuration")                                                    \
    M(PING_HELLO, "PING that asks a Baton for its hello")                                          \
    M(PING, "PING `value`")                                                                        \
    M(HELLO_SOURCE, "`hello`")                                                                     \
    M(ADVISE, "POSTCOPY_ADVISE")                                                                   \
    M(RAM_START, "START of section ram, with the block list")                                      \
    M(RAM_END, "END of section ram")                                                               \
    M(STREAM_END, "end of stream")                                                                 \
    M(BARRIER, "BARRIER `value`")                                                                  \
    M(RUN, "POSTCOPY_RUN, alone; RUN_WRITTEN follows")                                             \
    M(BITMAP_REQUESTS, "RECV_BITMAP for each block")                                               \
    M(RESUME, "POSTCOPY_RESUME")                                                                   \
    M(VOID, "RUN of `hello.session` will never come")                                              \
    M(BYE, "the source knows")                                                                     \
    M(HELLO_DEST, "`hello`")                                                                       \
    M(PONG, "PONG `value`")                                                                        \
    M(PONG_HELLO, "PONG to PING_HELLO")                                                            \
    M(HELLO_ACK, "`hello`, `reason`")                                                              \
    M(BARRIER_ACK, "BARRIER_ACK `value`")                                                          \
    M(READY, "READY with nonce and epoch of `hello`")                                              \
    M(BITMAP, "the received bitmap of `block`")                                                    \
    M(RESUME_ACK, "RESUME_ACK")                                                                    \
    M(COMPLETE, "COMPLETE, epoch of `hello`, `value` pages")                                       \
    M(SHUT, "SHUT `value`")                                                                        \
    M(FAULT, "`reason`")

enum engine_message {
#define M(name, text) ENGINE_MESSAGE_##name,
    ENGINE_MESSAGES(M)
#undef M
        ENGINE_MESSAGE_COUNT
};
const char *engine_message_name(enum engine_message message);

struct engine_action {
    enum engine_action_type type;
    uint64_t link;
    enum engine_message message;        /* SEND */
    struct engine_hello hello;          /* SEND */
    uint64_t value;                     /* SEND; ADOPT_LINK, LOAD_*, BULK, PASS: the epoch */
    enum baton_status previous, status; /* STATUS */
    bool precopy;                       /* SEND_PACKAGE */
    unsigned block;                     /* SEND BITMAP, DISCARD_PAGES */
    uint64_t first_page, page_count;    /* DISCARD_PAGES */
    char reason[ENGINE_REASON_BYTES];   /* STATUS, SEND FAULT, SEND HELLO_ACK, DROP_LINK, QUIESCE */
};

#define ENGINE_MAX_ACTIONS 24

struct engine_out {
    struct engine_action actions[ENGINE_MAX_ACTIONS];
    unsigned count;
    int verdict; /* orders: 0, or a positive errno value with the sentence in `refusal` */
    char refusal[BATON_ERROR_TEXT_BYTES];
};

/* ---- State ---- */

enum engine_run {                     /* what the source knows of RUN */
                  ENGINE_RUN_HELD,    /* not ordered: the VM may be taken back */
                  ENGINE_RUN_ORDERED, /* in the writer's queue */
                  ENGINE_RUN_LEFT, /* a byte of it may have left: only the destination knows whether
                                      it runs */
                  ENGINE_RUN_KNOWN /* the destination said that it runs, or answered a PING sent
                                      after RUN */
};

struct engine_source {
    uint8_t session[ENGINE_ID_BYTES];
    uint8_t dest_nonce[ENGINE_ID_BYTES];
    enum engine_run run;
    bool one_way;         /* a file, a pipe or a command: nothing comes back */
    bool proved;          /* the current link's hello was acknowledged */
    bool saw_hello;       /* the current link's peer has said hello */
    bool postcopy_wanted; /* START_POSTCOPY was ordered */
    bool postcopy;        /* the switchover was to postcopy */
    bool want_back;       /* ask for the VM on the next link */
    bool vm_was_running;  /* at the switchover: goes on if it is taken back, and is told to the
                             destination */
    bool switching;       /* the barrier is out */
    bool stream_ended;    /* STREAM_END is in the queue */
    uint64_t barrier;     /* number of the last one sent */
    unsigned bitmaps;     /* blocks whose bitmap came */
    bool resume_sent;     /* RESUME is out on the current link */
    bool give_up_dial;    /* PAUSE was ordered while dialing */
    uint64_t pass;
    uint64_t ordered_ns; /* of the recovery */
};

struct engine_dest {
    uint8_t session[ENGINE_ID_BYTES];
    uint8_t source_nonce[ENGINE_ID_BYTES];
    bool ready;   /* READY was given */
    bool started; /* RUN was seen */
    bool voided;  /* RUN of this session counts no more, for ever */
    bool
        start_on_run; /* the source's VM ran when it was stopped, and nobody ordered `stop` since */
    bool faults;      /* userfaultfd is registered */
    bool packaged;    /* the device state came: nothing before it in the stream may follow */
    bool precopy;     /* the package ended a precopy stream */
    bool listening;   /* a listener is open, a new migration would be taken */
    bool cancelled;   /* CANCEL was ordered; carried out when the link rests */
    bool said_bye;    /* the source knows that the migration is complete */
    bool one_way;     /* a file, a pipe or a command: nobody can be answered */
    uint64_t pending_link; /* proved and newer: takes over when the old one rests; 0: none */
    struct engine_hello pending;
};

/* Times of engine_event.now_ns; 0: has not happened. */
struct engine_times {
    uint64_t began_ns, first_page_ns, stopped_ns, run_ns, ended_ns;
    uint64_t status_since_ns, paused_since_ns, paused_total_ns, recover_ns;
    unsigned pauses;
};

/* A session that was READY here and was given up: its source may still ask, and must get the
 * binding answer although another migration has come since. */
struct engine_given_up {
    uint8_t session[ENGINE_ID_BYTES];
    uint8_t source_nonce[ENGINE_ID_BYTES];
};
#define ENGINE_MAX_GIVEN_UP 16

struct engine_config {
    uint8_t nonce[ENGINE_ID_BYTES]; /* random, of this process */
    struct pageset *pages;          /* borrowed */
    bool vm_running;
    bool keep_stopped; /* a VM that comes in is not to be started before somebody says `cont` */
};

struct engine {
    enum baton_role role;
    enum baton_status status;
    struct pageset *pages;
    uint8_t nonce[ENGINE_ID_BYTES];
    bool vm_running;
    bool halted;       /* the CPUs rest by HALT: the VM counts as running when it moves */
    bool keep_stopped; /* `stop` was ordered while a VM was to come in, and no `cont` since: it
                          stays stopped */
    bool capability[BATON_CAPABILITY_COUNT];
    uint64_t downtime_limit_ns;

    uint64_t link;   /* the current one; 0: none */
    bool link_dying; /* QUIESCE or FINISH_LINK is out, LINK_RESTS is awaited */
    bool dialing;
    uint64_t epoch;       /* of the current or last link of the session */
    uint64_t deadline_ns; /* 0: none */
    unsigned impossible;  /* rows of transitions.def that say IMPOSSIBLE and were met: a bug */
    char reason[ENGINE_REASON_BYTES]; /* why it failed or paused; empty: nothing is wrong */
    struct engine_times times;
    struct engine_source source;
    struct engine_dest dest;
    struct engine_given_up given_up[ENGINE_MAX_GIVEN_UP]; /* the newest ones */
    unsigned given_up_next;
    /* Sessions of ours whose RUN was never written: a destination that still waits for one is told
     * in the next hello. */
    uint8_t taken_back[ENGINE_MAX_GIVEN_UP][ENGINE_ID_BYTES];
    unsigned taken_back_next;

    uint64_t now_ns;        /* inside a step */
    struct engine_out *out; /* inside a step, else NULL: a step is never entered twice */
};

void engine_init(struct engine *engine, const struct engine_config *config);
void engine_step(struct engine *engine, const struct engine_event *event, struct engine_out *out);
/* When the engine wants a TIMEOUT event; 0: never. */
uint64_t engine_deadline(const struct engine *engine);
/* Whether CONT would be accepted now; if not, why. `why` may be NULL. */
bool engine_may_run(const struct engine *engine, char *why, size_t why_bytes);
/* Whether this process may end without losing a VM that needs it; if not, why. */
bool engine_may_quit(const struct engine *engine, char *why, size_t why_bytes);
/* For people: what a paused migration waits for, and what may be done by which side. Empty unless
 * paused. */
void engine_explain(const struct engine *engine, char *out, size_t out_bytes);

#endif
