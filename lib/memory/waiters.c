/* SPDX-License-Identifier: MIT */
/*
 * Who waits for which page, and for how long.
 *
 * Problem: after a recovery every page that somebody waits for is asked for again, and a person who
 * looks at a paused VM wants to know what hangs on what. Both need a list that is true at one
 * instant. Data: a slot for each waiter, under one mutex that is held for a few instructions; and a
 * histogram of counters. Invariants: a waiter has at most one slot and one page. The mutex is a
 * leaf, so a waiter may be listed while it waits. The histogram's buckets are powers of two split
 * into eight, so that a percentile is at most an eighth above the truth whatever the range, in
 * bounded memory; its counters only grow and are read without a lock: a percentile may miss what is
 * just being added. Failure: none but a count that does not fit.
 */
#include "memory/waiters.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int waiters_init(struct waiters *table, unsigned count, const char *const *names,
                 struct baton_error *error)
{
    memset(table, 0, sizeof(*table));
    if (count > BATON_MAX_WAITERS)
        return baton_error_set(error, EINVAL, "%u waiters are more than the %d there is room for",
                               count, BATON_MAX_WAITERS);
    table->count = count;
    for (unsigned i = 0; i < count; i++) {
        struct waiter *waiter = &table->waiters[i];

        if (names && names[i])
            snprintf(waiter->name, sizeof(waiter->name), "%s", names[i]);
        else
            snprintf(waiter->name, sizeof(waiter->name), "waiter %u", i);
    }
    pthread_mutex_init(&table->lock, NULL);
    return 0;
}

void waiters_fini(struct waiters *table)
{
    pthread_mutex_destroy(&table->lock);
}

void waiters_begin(struct waiters *table, unsigned waiter, unsigned block, uint64_t offset,
                   uint64_t now_ns)
{
    struct waiter *self;

    if (waiter >= table->count)
        return;
    self = &table->waiters[waiter];
    pthread_mutex_lock(&table->lock);
    self->waiting = true;
    self->block = block;
    self->offset = offset;
    self->since_ns = now_ns;
    pthread_mutex_unlock(&table->lock);
}

uint64_t waiters_end(struct waiters *table, unsigned waiter, uint64_t now_ns)
{
    struct waiter *self;
    uint64_t waited_ns = 0;

    if (waiter >= table->count)
        return 0;
    self = &table->waiters[waiter];
    pthread_mutex_lock(&table->lock);
    if (self->waiting && now_ns > self->since_ns)
        waited_ns = now_ns - self->since_ns;
    self->waiting = false;
    pthread_mutex_unlock(&table->lock);
    return waited_ns;
}

unsigned waiters_list(struct waiters *table, struct waiters_entry entries[BATON_MAX_WAITERS])
{
    unsigned count = 0;

    pthread_mutex_lock(&table->lock);
    for (unsigned i = 0; i < table->count; i++) {
        const struct waiter *waiter = &table->waiters[i];
        struct waiters_entry *entry = &entries[count];

        if (!waiter->waiting)
            continue;
        entry->waiter = i;
        entry->block = waiter->block;
        entry->offset = waiter->offset;
        entry->since_ns = waiter->since_ns;
        memcpy(entry->name, waiter->name, sizeof(entry->name));
        count++;
    }
    pthread_mutex_unlock(&table->lock);
    return count;
}

/* ---- The histogram ---- */

#define SUB_COUNT (1u << LATENCY_SUB_BITS)

/* Values below SUB_COUNT have a bucket each; above, the highest bit chooses the group and the next
 * bits the bucket in it. */
static unsigned bucket_of(uint64_t value)
{
    unsigned shift;

    if (value < SUB_COUNT)
        return (unsigned)value;
    shift = 63u - (unsigned)__builtin_clzll(value) - LATENCY_SUB_BITS;
    return ((shift + 1) << LATENCY_SUB_BITS) + (unsigned)(value >> shift) - SUB_COUNT;
}

/* The greatest value that falls into the bucket. */
static uint64_t bucket_end(unsigned bucket)
{
    unsigned shift;

    if (bucket < SUB_COUNT)
        return bucket;
    shift = (bucket >> LATENCY_SUB_BITS) - 1;
    return ((uint64_t)(bucket % SUB_COUNT + SUB_COUNT) << shift) + ((1ull << shift) - 1);
}

void latency_init(struct latency *latency)
{
    for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
        atomic_init(&latency->buckets[i], 0);
    atomic_init(&latency->max_ns, 0);
}

void latency_add(struct latency *latency, uint64_t value_ns)
{
    uint64_t max = atomic_load_explicit(&latency->max_ns, memory_order_relaxed);

    atomic_fetch_add_explicit(&latency->buckets[bucket_of(value_ns)], 1, memory_order_relaxed);
    while (value_ns > max &&
           !atomic_compare_exchange_weak_explicit(&latency->max_ns, &max, value_ns,
                                                  memory_order_relaxed, memory_order_relaxed))
        ;
}

uint64_t latency_count(const struct latency *latency)
{
    uint64_t count = 0;

    for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
        count += atomic_load_explicit(&latency->buckets[i], memory_order_relaxed);
    return count;
}

uint64_t latency_percentile(const struct latency *latency, unsigned per_mille)
{
    uint64_t count = latency_count(latency), max = latency_max(latency), seen = 0;
    uint64_t wanted = (count * per_mille + 999) / 1000;

    if (count == 0)
        return 0;
    for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
        seen += atomic_load_explicit(&latency->buckets[i], memory_order_relaxed);
        if (seen >= wanted && seen > 0)
            return bucket_end(i) < max ? bucket_end(i) : max;
    }
    return max;
}

uint64_t latency_max(const struct latency *latency)
{
    return atomic_load_explicit(&latency->max_ns, memory_order_relaxed);
}
