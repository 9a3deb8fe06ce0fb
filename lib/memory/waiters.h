/* SPDX-License-Identifier: MIT */
/*
 * Who waits for which page, and how long such waits take.
 */
#ifndef MEMORY_WAITERS_H
#define MEMORY_WAITERS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "memory/ram.h"

/* ---- The table ---- */

struct waiter {
    char name[32];
    bool waiting;
    unsigned block;
    uint64_t offset;
    uint64_t since_ns;
};

struct waiters {
    pthread_mutex_t lock; /* of all below; a leaf: nothing else is taken under it */
    struct waiter waiters[BATON_MAX_WAITERS];
    unsigned count;
};

/* names may be NULL, as may each name: "waiter N" then. More than BATON_MAX_WAITERS are refused. */
int waiters_init(struct waiters *table, unsigned count, const char *const *names,
                 struct baton_error *error);
void waiters_fini(struct waiters *table);

/* Each waiter waits for one page at a time. A number out of range is ignored. now_ns is of the
 * caller's monotonic clock. */
void waiters_begin(struct waiters *table, unsigned waiter, unsigned block, uint64_t offset,
                   uint64_t now_ns);
/* Returns how long it waited; 0 if it did not. */
uint64_t waiters_end(struct waiters *table, unsigned waiter, uint64_t now_ns);

struct waiters_entry {
    unsigned waiter;
    unsigned block;
    uint64_t offset;
    uint64_t since_ns; /* the now_ns of its waiters_begin() */
    char name[32];
};
/* Those who wait now, by number. Returns how many there are, at most BATON_MAX_WAITERS. */
unsigned waiters_list(struct waiters *table, struct waiters_entry entries[BATON_MAX_WAITERS]);

/* ---- The histogram: bounded memory, within 1/8 of the true value, any thread, lock-free ---- */

#define LATENCY_SUB_BITS 3
#define LATENCY_BUCKETS ((64 - LATENCY_SUB_BITS + 1) << LATENCY_SUB_BITS)

struct latency {
    _Atomic uint64_t buckets[LATENCY_BUCKETS];
    _Atomic uint64_t max_ns;
};

void latency_init(struct latency *latency);
void latency_add(struct latency *latency, uint64_t value_ns);
uint64_t latency_count(const struct latency *latency);
/* The value that per_mille of 1000 values do not exceed (500: the median), rounded up to the
 * bucket's end; 0 without values. */
uint64_t latency_percentile(const struct latency *latency, unsigned per_mille);
uint64_t latency_max(const struct latency *latency); /* exact */

#endif
