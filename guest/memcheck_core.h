/* SPDX-License-Identifier: MIT */
/*
 * The memory checker without its surroundings: what the Linux program (linux/memcheck.c) and the
 * bare-metal program (bare/main.c) have in common. guest/README.md describes the lines that it
 * prints and the commands that it takes.
 *
 * Two roles. A *worker* (one a hart) owns a slice of the pages and never touches another's. The
 * *service* prints the heartbeat and carries out commands; it is a thread of its own in Linux and
 * part of hart 0's worker on bare metal. They talk only through atomics.
 */
#ifndef MEMCHECK_CORE_H
#define MEMCHECK_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memcheck_page.h"

#define MC_MAX_WORKERS 16
#define MC_BEAT_MS 200

struct mc_worker {
    /* Set before the worker runs, then constant. */
    unsigned index;
    uint8_t *memory;         /* page `first` lies here, the others behind it */
    uint32_t *generations;   /* expected generation of each page */
    uint64_t first, count;   /* page numbers */
    uint64_t hole, hole_end; /* page numbers in [hole, hole_end) are not ours to touch */

    /* The worker's own. */
    uint64_t
        table_sum; /* of (number, generation) over the slice: a lost piece of the table shows */
    uint64_t random;
    uint64_t cursor;       /* next page of the sequential walk, relative to first */
    uint64_t window_ticks; /* start of the second over which the rate is counted */
    uint64_t window_rewrites;
    unsigned verify_seen;
    unsigned reports; /* wrong pages described so far; the rest is only counted */

    /* Written by the worker, read by the service. */
    uint64_t verified, rewritten, errors;
    /* Page number + 1 that the service wants spoilt; the worker puts 0 back. */
    uint64_t corrupt;
};

struct mc_control {
    unsigned worker_count;
    uint64_t page_count; /* of all workers, holes not counted */
    uint64_t ticks_per_s;
    uint64_t start_ticks;
    bool limited;                       /* atomic, set after `rate` */
    uint64_t rate;                      /* atomic: rewrites per second of all workers together */
    unsigned verify_request;            /* atomic: grows with each full verification asked for */
    unsigned arrived, finished, filled; /* atomic counters over all workers; grow for ever */
    bool quit;                          /* atomic */

    /* The service's own. */
    unsigned verify_reported;
    bool ready_reported;
    uint64_t beat;
    char line[64];
    unsigned line_length;
    bool line_too_long;
};

extern struct mc_control mc_control;
extern struct mc_worker mc_workers[MC_MAX_WORKERS];

/* ---- What the surroundings supply ---- */

void mc_platform_write(const char *text,
                       size_t length_bytes); /* a whole line; any worker and the service */
uint64_t mc_platform_ticks(void);            /* monotonic */
void mc_platform_poll(
    struct mc_worker *worker); /* between two pages: a chance to do service work */
void mc_platform_idle(struct mc_worker *worker); /* sleep, at most about 10 ms */

/* ---- What they call ---- */

/*
 * Shares pages 0 to pages - 1 at `memory` among the workers. `generations` has room for all of them
 * and is zero, and so is `memory`. Pages in [hole, hole_end) are left alone.
 */
void mc_init(unsigned workers, uint8_t *memory, uint32_t *generations, uint64_t pages,
             uint64_t hole, uint64_t hole_end, uint64_t ticks_per_s);
void mc_set_rate(uint64_t rewrites_per_s); /* 0: no limit */

/* A worker's whole life: fills its slice, then checks and rewrites until quit. */
void mc_worker_run(struct mc_worker *worker);
void mc_worker_error(struct mc_worker *worker, const char *what);

/* The service: called often. Reports what is finished; prints a heartbeat when `beat` is set. */
void mc_service(bool beat);
void mc_service_byte(char byte); /* one byte of input */
bool mc_service_waits(void);     /* for workers to finish something: call mc_service() soon */
bool mc_quitting(void);
uint64_t mc_errors(void);

#endif
