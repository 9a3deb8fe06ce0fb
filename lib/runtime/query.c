/* SPDX-License-Identifier: MIT */
/*
 * What is going on: a picture of the engine, taken by the loop after each step, and the counters of
 * the data threads. A query takes one short lock and waits for nobody, whatever the loop, a link or
 * a page is busy with.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "runtime/link.h"

void query_update(struct baton *baton)
{
    char explain[sizeof(baton->explain)], quit[sizeof(baton->may_not_quit)];
    bool may_quit, may_run;

    engine_explain(&baton->engine, explain, sizeof(explain));
    may_quit = engine_may_quit(&baton->engine, quit, sizeof(quit));
    may_run = engine_may_run(&baton->engine, NULL, 0);
    pthread_mutex_lock(&baton->info_lock);
    baton->picture = baton->engine;
    memcpy(baton->explain, explain, sizeof(explain));
    memcpy(baton->may_not_quit, quit, sizeof(quit));
    baton->may_quit = may_quit;
    baton->may_run = may_run;
    pthread_mutex_unlock(&baton->info_lock);
}

static void fill_times(struct baton_info *info, const struct engine *engine, uint64_t now_ns)
{
    const struct engine_times *times = &engine->times;
    uint64_t end_ns = times->ended_ns ? times->ended_ns : now_ns;

    if (times->began_ns)
        info->total_ns = end_ns - times->began_ns;
    if (times->first_page_ns)
        info->setup_ns = times->first_page_ns - times->began_ns;
    if (engine->role == BATON_ROLE_SOURCE && times->run_ns)
        info->downtime_ns = times->run_ns - times->stopped_ns;
    info->paused_ns =
        times->paused_total_ns + (times->paused_since_ns ? now_ns - times->paused_since_ns : 0);
    if (times->status_since_ns)
        info->state_ns = now_ns - times->status_since_ns;
    info->recover_ns = times->recover_ns;
    info->pauses = times->pauses;
}

/*
 * Bytes of that many pages of the set. Blocks may differ in page size, but the set counts pages,
 * whatever their size: with several sizes this is at most off by as much as they differ.
 */
static uint64_t bytes_of(const struct baton *baton, uint64_t pages)
{
    return (uint64_t)((double)pages * (double)baton->ram.total_bytes /
                          (double)baton->pages.total_pages +
                      0.5);
}

static void fill_counts(struct baton_info *info, struct baton *baton)
{
    struct runtime_stats *stats = &baton->stats;

    info->page_bytes = RAM_PAGE_BYTES;
    info->ram_total_bytes = baton->ram.total_bytes;
    info->transferred_bytes = atomic_load(&stats->transferred_bytes);
    info->precopy_bytes = atomic_load(&stats->precopy_bytes);
    info->downtime_bytes = atomic_load(&stats->downtime_bytes);
    info->postcopy_bytes = atomic_load(&stats->postcopy_bytes);
    info->normal_pages = atomic_load(&stats->normal_pages);
    info->zero_pages = atomic_load(&stats->zero_pages);
    info->requested_pages = atomic_load(&stats->requested_pages);
    info->dirty_sync_count = atomic_load(&stats->dirty_syncs);
    info->faults = atomic_load(&stats->faults);
    info->fault_p50_ns = latency_percentile(&baton->fault_latency, 500);
    info->fault_p99_ns = latency_percentile(&baton->fault_latency, 990);
    info->fault_max_ns = latency_max(&baton->fault_latency);
    if (info->role == BATON_ROLE_SOURCE)
        info->ram_remaining_bytes = bytes_of(baton, pageset_dirty_pages(&baton->pages));
    if (info->role == BATON_ROLE_DEST && info->status != BATON_STATUS_SETUP &&
        info->status != BATON_STATUS_COMPLETED) {
        info->ram_remaining_bytes =
            bytes_of(baton, baton->pages.total_pages - pageset_received_pages(&baton->pages));
        info->missing_pages = info->ram_remaining_bytes / RAM_PAGE_BYTES;
    }
}

/* With info_lock. The rate over the time since the last query that was a while ago. */
static uint64_t fill_rate(struct baton *baton, uint64_t bytes, uint64_t now_ns)
{
    uint64_t passed_ns = now_ns - baton->rate_at_ns;

    if (passed_ns >= 500000000u) {
        if (baton->rate_at_ns && bytes >= baton->rate_bytes)
            baton->rate = (uint64_t)((double)(bytes - baton->rate_bytes) * 1e9 / (double)passed_ns);
        baton->rate_at_ns = now_ns;
        baton->rate_bytes = bytes;
    }
    return baton->rate;
}

static void fill_waiters(struct baton_info *info, struct baton *baton, uint64_t now_ns)
{
    struct waiters_entry entries[BATON_MAX_WAITERS];

    info->waiter_count = waiters_list(&baton->waiters, entries);
    for (unsigned i = 0; i < info->waiter_count; i++) {
        struct baton_waiter_info *to = &info->waiters[i];

        snprintf(to->name, sizeof(to->name), "%s", entries[i].name);
        snprintf(to->block, sizeof(to->block), "%s", baton->ram.blocks[entries[i].block].name);
        to->offset = entries[i].offset;
        to->since_ns = now_ns > entries[i].since_ns ? now_ns - entries[i].since_ns : 0;
    }
}

void baton_query(struct baton *baton, struct baton_info *info)
{
    uint64_t now_ns, bytes;

    memset(info, 0, sizeof(*info));
    bytes = atomic_load(&baton->stats.transferred_bytes);
    pthread_mutex_lock(&baton->info_lock);
    now_ns = runtime_now_ns();
    info->role = baton->picture.role;
    info->status = baton->picture.status;
    info->epoch = baton->picture.epoch;
    info->vm_running = baton->picture.vm_running;
    info->vm_may_run = baton->may_run;
    memcpy(info->error, baton->picture.reason, sizeof(baton->picture.reason));
    memcpy(info->explain, baton->explain, sizeof(info->explain));
    fill_times(info, &baton->picture, now_ns);
    info->bandwidth_bytes_per_s = fill_rate(baton, bytes, now_ns);
    pthread_mutex_unlock(&baton->info_lock);
    fill_counts(info, baton);
    fill_waiters(info, baton, now_ns);
    listen_list(baton, info);
}

/* Of the pages of `set` from first to last, how many percent are here. */
static uint8_t percent_received(const struct pageset *set, unsigned block, uint64_t first,
                                uint64_t last)
{
    uint64_t here = 0;

    for (uint64_t page = first; page <= last; page++)
        here += pageset_is_received(set, block, page);
    return (uint8_t)(here * 100 / (last - first + 1));
}

int baton_received_map(struct baton *baton, unsigned block, unsigned cells, uint8_t *out_percent,
                       struct baton_error *error)
{
    enum baton_status status;
    enum baton_role role;
    uint64_t pages, each, more, first = 0;

    pthread_mutex_lock(&baton->info_lock);
    role = baton->picture.role;
    status = baton->picture.status;
    pthread_mutex_unlock(&baton->info_lock);
    if (block >= baton->pages.block_count)
        return baton_error_set(error, EINVAL, "There is no RAM block %u: this VM has %u, from 0 on",
                               block, baton->pages.block_count);
    if (!cells)
        return baton_error_set(error, EINVAL, "A map of no cells shows nothing: ask for some");
    if (role != BATON_ROLE_DEST)
        return baton_error_set(
            error, EBUSY,
            "No memory arrives here, because no VM comes in: ask the destination for the map");
    /* Cell i begins at page i * pages / cells, computed such that nothing overflows. */
    pages = baton->pages.blocks[block].pages;
    each = pages / cells;
    more = pages % cells;
    for (unsigned i = 0; i < cells; i++) {
        uint64_t next = each * (i + 1) + more * (i + 1) / cells;
        uint64_t last = next > first ? next - 1 : first;

        if (status == BATON_STATUS_SETUP)
            out_percent[i] = 0; /* what the set says is left from an earlier migration */
        else if (status == BATON_STATUS_COMPLETED)
            out_percent[i] = 100;
        else
            out_percent[i] =
                percent_received(&baton->pages, block, first < pages ? first : pages - 1,
                                 last < pages ? last : pages - 1);
        first = next;
    }
    return 0;
}

int baton_may_quit(struct baton *baton, struct baton_error *error)
{
    int result = 0;

    pthread_mutex_lock(&baton->info_lock);
    if (!baton->may_quit)
        result = baton_error_set(error, EBUSY, "%s", baton->may_not_quit);
    pthread_mutex_unlock(&baton->info_lock);
    return result;
}
