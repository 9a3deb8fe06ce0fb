/* SPDX-License-Identifier: MIT */
/*
 * A world in which migrations happen: up to three processes with an engine each, a network, a guest
 * and an operator, all on a virtual clock and all deterministic. What the runtime does with threads
 * and sockets is done here by tasks on one queue, so every interleaving can be had on purpose, and
 * a run is repeated exactly by its seed.
 *
 * The guest's memory is one number a page: the version that was written last. The world knows the
 * truth; a CPU that reads anything else has found a bug.
 */
#ifndef SIM_SIM_H
#define SIM_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"

#define SIM_SIDES 3
#define SIM_MAX_BLOCKS 3
#define SIM_MAX_PAGES 130 /* of one block */
#define SIM_WORDS 3       /* of one block's bitmap */
#define SIM_CPUS 2
#define SIM_MAX_LINKS 96
#define SIM_PONG_HELLO UINT64_C(0xba704e01)

#define SIM_US UINT64_C(1000)
#define SIM_MS UINT64_C(1000000)
#define SIM_S UINT64_C(1000000000)

enum { SIM_SOURCE, SIM_DEST, SIM_OTHER }; /* sides; a role is the engine's affair */
enum { SIM_TO_DEST = 1, SIM_TO_SOURCE = 2, SIM_BOTH = 3 }; /* directions of a link, as a mask */

/* What travels on the wire: the engine's messages, and what the data threads send by themselves. */
enum sim_wire {
    SIM_WIRE_PAGE = ENGINE_MESSAGE_COUNT,
    SIM_WIRE_PAGE_REQUEST,
    SIM_WIRE_DISCARD,
    SIM_WIRE_PACKAGE,
    SIM_WIRE_GARBAGE,
    SIM_WIRE_END /* the peer closed */
};

struct sim_message {
    unsigned wire;
    struct engine_hello hello;
    uint64_t value, first_page, page_count, version, arrives_ns;
    unsigned block;
    bool precopy, vm_was_running, half;
    uint64_t bits[SIM_WORDS];
    char reason[ENGINE_REASON_BYTES];
    struct sim_message *next;
};

struct sim_queue {
    struct sim_message *first, *last;
};

enum sim_load { SIM_LOAD_NONE, SIM_LOAD_PRECOPY, SIM_LOAD_POSTCOPY };
enum sim_work {
    SIM_WORK_SEND,
    SIM_WORK_PASS,
    SIM_WORK_FINAL_PASS,
    SIM_WORK_DISCARDS,
    SIM_WORK_TRACK,
    SIM_WORK_UNTRACK,
    SIM_WORK_PREPARE,
    SIM_WORK_END_STREAM,
    SIM_WORK_BULK
};

/* An order in the writer's queue. */
struct sim_job {
    enum sim_work work;
    uint64_t epoch;
    struct sim_message *message; /* SEND; owned */
    struct sim_job *next;
};

/* One end of a link with its reader and writer. */
struct sim_end {
    unsigned side;
    bool started, killed, finishing, dropped, rested, lost;
    unsigned busy; /* device work in progress: the link does not rest before it ends */
    /* reader */
    struct sim_queue inbox;
    bool reader_waits, reader_stalled, reader_scheduled, has_header;
    enum sim_load load;
    uint64_t load_epoch;
    bool placing;
    struct sim_message placed;
    bool package_vm_was_running;
    uint64_t package_cpu;
    /* writer */
    struct sim_job *jobs, **jobs_end;
    bool writer_scheduled, in_pass, end_pass, bulk, all_sent, run_written, job_begun;
    uint64_t bulk_epoch, pass_began_ns, pass_pages, cursor_page;
    unsigned cursor_block;
    struct sim_message *urgent, **urgent_end; /* page requests */
};

struct sim_link {
    uint64_t id;
    struct sim_end end[2];      /* 0: who dialed */
    struct sim_queue flight[2]; /* on the way, from end i */
    uint64_t last_arrival_ns[2];
    unsigned dead;    /* mask: what is written in that direction vanishes */
    unsigned blocked; /* mask: writing in that direction hangs */
    bool reset;       /* both ends are told */
    bool one_way;     /* a file or a command; the rest: oneway.c */
    bool closed;
    struct sim_queue kept;
};

struct sim_post { /* an event on its way to the engine */
    struct engine_event event;
    struct sim_end *reader; /* who waits until it has been processed */
    char reason[ENGINE_REASON_BYTES];
    struct sim_post *next;
};

struct sim_side {
    struct engine engine;
    struct pageset pages;
    uint64_t words[3 * SIM_MAX_BLOCKS * SIM_WORDS];
    uint64_t memory[SIM_MAX_BLOCKS][SIM_MAX_PAGES];
    uint64_t cpu_state;
    bool dirty_log[SIM_MAX_BLOCKS][SIM_MAX_PAGES];
    bool tracking, cpus_run, faults, listening;
    uint64_t fault_link; /* where the fault thread asks; 0: it rests */
    struct sim_post *posts, **posts_end;
    bool step_scheduled;
    uint64_t timeout_at_ns, dial; /* dial: number of the attempt under way */
    int verdict;
    char refusal[BATON_ERROR_TEXT_BYTES];
    bool order_done;
    unsigned stale_claims;
};

struct sim_cpu {
    bool waits, scheduled;
    unsigned block;
    uint64_t page;
};

/* When a message of a kind passes, something happens. */
enum sim_moment { SIM_AT_WRITE, SIM_AT_HALF, SIM_BEFORE_ARRIVAL, SIM_AFTER_ARRIVAL };
struct sim;
struct sim_trap {
    unsigned wire; /* UINT_MAX: any message, and `count` counts all */
    enum sim_moment moment;
    unsigned count; /* fires at the count-th */
    unsigned cut;   /* directions to cut; 0: only stop the run, for the story to go on */
    bool fired, then_call;
    void (*call)(struct sim *sim, struct sim_link *link);
};

typedef void sim_task_run(struct sim *sim, uint64_t a, uint64_t b);
struct sim_task {
    uint64_t at_ns, serial, a, b;
    sim_task_run *run;
};

struct sim_options {
    uint64_t seed;
    unsigned block_count;
    uint64_t block_pages[SIM_MAX_BLOCKS];
    uint64_t latency_ns, jitter_ns;
    uint64_t kill_ns;   /* until the threads of a link notice that it is killed */
    bool random_delays; /* of threads, too */
    bool paused;        /* the VM is stopped before the migration */
    bool keep_stopped;
    bool kill_loses_flight; /* a killed link loses what it had written */
    bool
        dest_never_notices; /* a link that is dead in silence stays half open for the destination */
    bool trace;
};

struct sim {
    struct sim_options options;
    uint64_t now_ns, random, serial;
    struct sim_task *tasks;
    size_t task_count, task_room;
    struct sim_side side[SIM_SIDES];
    struct sim_link *links[SIM_MAX_LINKS];
    unsigned link_count;
    struct sim_cpu cpu[SIM_CPUS];
    uint64_t truth[SIM_MAX_BLOCKS][SIM_MAX_PAGES], truth_cpu, versions;
    bool one_way, hold_closing; /* what the next orders name; closing takes its time */
    unsigned dial_to;           /* side; SIM_SIDES: nobody answers */
    uint64_t dial_ns;
    bool refuse_load, refuse_faults, refuse_prepare, wrong_bitmap, silence_noticed;
    struct sim_trap traps[8];
    unsigned trap_count;
    uint64_t messages, activity_ns;
    bool stop_run, stopped_by_operator;
    bool any_run_state; /* stop and cont were ordered at random: `cont` must be possible at the end
                         */
    uint64_t arm;       /* sweep: where the second cut is to be */
    unsigned writes_by_guest, reads_by_guest, steps;
    bool failed, quiet;
    char failure[512];
    char *trace;
    size_t trace_length, trace_room;
};

/* ---- world.c ---- */
extern const struct sim_options sim_default_options;
struct sim *sim_new(const struct sim_options *options);
void sim_free(struct sim *sim);
void sim_after(struct sim *sim, uint64_t delay_ns, sim_task_run *run, uint64_t a, uint64_t b);
void sim_run_for(struct sim *sim, uint64_t duration_ns);
/* Until a trap without a cut fires, `done` says so, or the time is over. Returns whether it was not
 * the time. */
bool sim_run_until(struct sim *sim, bool (*done)(struct sim *sim), uint64_t limit_ns);
bool sim_until_status(struct sim *sim, unsigned side, enum baton_status status);
uint64_t sim_random(struct sim *sim, uint64_t below);
/* A thread's own time: fixed, or random where the options say so. */
uint64_t sim_delay(struct sim *sim, uint64_t usual_ns);

/* ---- host.c: carries out what the engine orders, and feeds it ---- */
void sim_post(struct sim *sim, unsigned side, const struct engine_event *event,
              struct sim_end *reader);
int sim_order(struct sim *sim, unsigned side, enum engine_event_type type);

/* ---- net.c ---- */
struct sim_link *sim_link_new(struct sim *sim, unsigned dialer, unsigned acceptor);
struct sim_link *sim_link_by_id(struct sim *sim, uint64_t id);
struct sim_link *sim_current_link(struct sim *sim, unsigned side);
struct sim_end *sim_end_of(struct sim *sim, uint64_t id, unsigned side);
struct sim_message *sim_message_new(unsigned wire);
void sim_queue_push(struct sim_queue *queue, struct sim_message *message);
struct sim_message *sim_queue_pop(struct sim_queue *queue);
void sim_queue_clear(struct sim_queue *queue);
/* False: the link is broken or hangs. Takes the message. */
bool sim_write(struct sim *sim, struct sim_link *link, unsigned from, struct sim_message *message);
void sim_cut(struct sim *sim, struct sim_link *link, unsigned directions);
void sim_break(struct sim *sim, struct sim_link *link); /* both ends are told at once */
void sim_close_end(struct sim *sim, struct sim_link *link, unsigned end);
struct sim_trap *sim_trap(struct sim *sim, unsigned wire, enum sim_moment moment, unsigned count,
                          unsigned cut);
const char *sim_wire_name(unsigned wire);
void sim_lost(struct sim *sim, struct sim_link *link, unsigned end, const char *reason);
void sim_notice_silence(struct sim *sim);

/* ---- oneway.c ---- */
void sim_one_way_open(struct sim *sim, struct sim_link *link);
void sim_one_way_keep(struct sim_link *link, const struct sim_message *message);
bool sim_one_way_close(struct sim *sim, struct sim_link *link);
void sim_one_way_read_again(struct sim *sim);

/* ---- reader.c, writer.c ---- */
void sim_reader_wake(struct sim *sim, struct sim_link *link, unsigned end);
void sim_writer_wake(struct sim *sim, struct sim_link *link, unsigned end);
void sim_writer_add(struct sim *sim, struct sim_link *link, unsigned end, enum sim_work work,
                    uint64_t epoch, struct sim_message *message);
void sim_writer_drop(struct sim_end *end);
void sim_rest_if_idle(struct sim *sim, struct sim_link *link, unsigned end);

/* ---- guest.c ---- */
void sim_cpus_start(struct sim *sim, unsigned side);
void sim_page_came(struct sim *sim, unsigned side, unsigned block, uint64_t page);
void sim_ask_for_waiters(struct sim *sim, unsigned side);

/* ---- check.c ---- */
void sim_fail(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
void sim_trace(struct sim *sim, unsigned side, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void sim_check(struct sim *sim);
void sim_check_memory(struct sim *sim, unsigned side);
/* Goes on, with resumes as often as needed, until all is over, and checks how it ended. */
void sim_settle(struct sim *sim);
/* The same, and then the destination must be able to take the VM if it stayed here. */
void sim_settle_and_move(struct sim *sim);
bool sim_is_home(const struct sim *sim); /* the VM is at the source again */

/* ---- stories ---- */
struct sim_story {
    const char *name;
    void (*tell)(struct sim *sim);
    struct sim_options options;
};
/* A connection of somebody without an engine: what it says is said with sim_say(). */
struct sim_link *sim_knock(struct sim *sim, unsigned from, unsigned to);
void sim_say(struct sim *sim, struct sim_link *link, unsigned end, const struct sim_message *text);
/* Postcopy has begun at both ends, and half of the pages are on their way. */
void sim_begin_postcopy(struct sim *sim);
void sim_want_status(struct sim *sim, enum baton_status source, enum baton_status dest);
bool sim_has_reason(const struct sim *sim, unsigned side, const char *part);
extern const struct sim_story sim_stories_switchover[], sim_stories_recovery[],
    sim_stories_answer[], sim_stories_end[], sim_stories_hello[], sim_stories_operator[],
    sim_stories_hostile[], sim_stories_forged[], sim_stories_oneway[];
#define SIM_WANT(sim, condition)                                                                   \
    do {                                                                                           \
        if (!(condition))                                                                          \
            sim_fail(sim, "%s:%d: %s", __FILE__, __LINE__, #condition);                            \
    } while (0)

/* ---- rows.c ---- */
int sim_report_rows(void); /* nonzero: a row was never used */

/* ---- sweep.c, random.c ---- */
enum sim_way { SIM_WAY_PRECOPY, SIM_WAY_POSTCOPY, SIM_WAY_FAST, SIM_WAY_ONE_WAY, SIM_WAY_COUNT };
const char *sim_way_name(enum sim_way way);
void sim_begin(struct sim *sim, enum sim_way way); /* listen, set capabilities, migrate */
int sim_sweep(void);
int sim_sweep_one(const char *way, const char *cuts);
int sim_random_runs(uint64_t first, uint64_t count, bool trace);

#endif
