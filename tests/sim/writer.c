/* SPDX-License-Identifier: MIT */
/*
 * The writer of a link's end: carries out its queue in order, one small piece of work a tick, so
 * that anything may happen in between. When the queue is empty and BULK was ordered it sends dirty
 * pages, requested ones first. A page is claimed with the link's epoch before it is read; a claim
 * that is stale ends the work in hand, because the link is being retired.
 *
 * The writer rests between two ticks only; a link's end rests when writer, reader and device work
 * do (sim_rest_if_idle).
 */
#include <stdlib.h>
#include <string.h>

#include "sim.h"

#define SEND_NS (2 * SIM_US)
#define PAGE_NS (10 * SIM_US)

static void on_tick(struct sim *sim, uint64_t a, uint64_t index);

void sim_writer_wake(struct sim *sim, struct sim_link *link, unsigned index)
{
    struct sim_end *end = &link->end[index];

    if (end->writer_scheduled || end->rested || !end->started)
        return;
    end->writer_scheduled = true;
    sim_after(sim, sim_delay(sim, SEND_NS), on_tick, link->id - 1, index);
}

void sim_writer_add(struct sim *sim, struct sim_link *link, unsigned index, enum sim_work work,
                    uint64_t epoch, struct sim_message *message)
{
    struct sim_end *end = &link->end[index];
    struct sim_job *job;

    if (end->killed || end->rested || !end->started) {
        free(message);
        return;
    }
    job = calloc(1, sizeof(*job));
    if (!job)
        abort();
    *job = (struct sim_job){.work = work, .epoch = epoch, .message = message};
    *end->jobs_end = job;
    end->jobs_end = &job->next;
    sim_writer_wake(sim, link, index);
}

static void end_job(struct sim_end *end)
{
    struct sim_job *job = end->jobs;

    end->jobs = job->next;
    if (!end->jobs)
        end->jobs_end = &end->jobs;
    free(job);
    end->job_begun = false;
    end->in_pass = false;
    end->end_pass = false;
}

void sim_writer_drop(struct sim_end *end)
{
    while (end->jobs) {
        free(end->jobs->message);
        end_job(end);
    }
    while (end->urgent) {
        struct sim_message *request = end->urgent;

        end->urgent = request->next;
        free(request);
    }
    end->urgent_end = &end->urgent;
    end->bulk = false;
}

static void post(struct sim *sim, struct sim_link *link, const struct sim_end *end,
                 struct engine_event event)
{
    event.link = link->id;
    sim_post(sim, end->side, &event, NULL);
}

/* ---- The dirty log ---- */

static void sync_dirty_log(struct sim_side *side)
{
    for (unsigned b = 0; b < side->pages.block_count; b++) {
        struct pageset_block *block = &side->pages.blocks[b];

        for (uint64_t p = 0; p < block->pages; p++) {
            uint64_t bit = UINT64_C(1) << (p % 64);

            if (!side->dirty_log[b][p])
                continue;
            side->dirty_log[b][p] = false;
            if (!(__atomic_fetch_or(&block->dirty[p / 64], bit, __ATOMIC_ACQ_REL) & bit))
                pageset_add_dirty(&side->pages, 1);
        }
    }
}

/* The next dirty page at or after the end's cursor, going round once. */
static bool find_dirty(struct sim_side *side, struct sim_end *end)
{
    for (unsigned i = 0; i <= side->pages.block_count; i++) {
        uint64_t page;

        if (end->cursor_block >= side->pages.block_count) {
            end->cursor_block = 0;
            end->cursor_page = 0;
        }
        page = pageset_next_dirty(&side->pages, end->cursor_block, end->cursor_page);
        if (page != PAGESET_NONE) {
            end->cursor_page = page;
            return true;
        }
        end->cursor_block++;
        end->cursor_page = 0;
    }
    return false;
}

/* False: the link is being retired. */
static bool send_page(struct sim *sim, struct sim_link *link, unsigned index, uint64_t epoch,
                      unsigned block, uint64_t page)
{
    struct sim_side *side = &sim->side[link->end[index].side];
    enum pageset_result claim = pageset_claim(&side->pages, epoch, block, page);
    struct sim_message *message;

    if (claim == PAGESET_STALE) {
        side->stale_claims++;
        return false;
    }
    if (claim != PAGESET_WON)
        return true;
    message = sim_message_new(SIM_WIRE_PAGE);
    message->block = block;
    message->first_page = page;
    message->version = side->memory[block][page];
    if (sim_write(sim, link, index, message))
        return true;
    sim_lost(sim, link, index, "writing a page failed");
    return false;
}

/* ---- Jobs; each returns how long the piece took, 0: the job waits or is over ---- */

static void end_pass(struct sim *sim, struct sim_link *link, struct sim_end *end)
{
    struct sim_side *side = &sim->side[end->side];
    struct engine_event event = {.type = ENGINE_EVENT_PASS_DONE};

    sync_dirty_log(side);
    event.bytes = end->pass_pages * 4096;
    event.duration_ns = sim->now_ns - end->pass_began_ns + 1;
    event.dirty_pages = pageset_dirty_pages(&side->pages);
    if (end->jobs->work == SIM_WORK_FINAL_PASS && event.dirty_pages)
        sim_fail(sim, "a page is dirty after the final pass");
    post(sim, link, end, event);
    end_job(end);
}

static void do_pass(struct sim *sim, struct sim_link *link, unsigned index)
{
    struct sim_end *end = &link->end[index];
    struct sim_side *side = &sim->side[end->side];

    if (!end->job_begun) {
        end->job_begun = end->in_pass = true;
        end->pass_began_ns = sim->now_ns;
        end->pass_pages = 0;
        end->cursor_block = 0;
        end->cursor_page = 0;
        sync_dirty_log(side);
    }
    /* What gets dirty meanwhile is in the log, and for the next pass. */
    if (end->end_pass || !find_dirty(side, end)) {
        end_pass(sim, link, end);
        return;
    }
    if (send_page(sim, link, index, end->jobs->epoch, end->cursor_block, end->cursor_page))
        end->pass_pages++;
    else
        end_job(end);
}

static void do_discards(struct sim *sim, struct sim_link *link, unsigned index)
{
    struct sim_end *end = &link->end[index];
    struct sim_side *side = &sim->side[end->side];
    struct sim_message *message;
    uint64_t first = PAGESET_NONE;

    if (!end->job_begun) {
        end->job_begun = true;
        end->cursor_block = 0;
        end->cursor_page = 0;
        sync_dirty_log(side);
    }
    while (end->cursor_block < side->pages.block_count) {
        first = pageset_next_dirty(&side->pages, end->cursor_block, end->cursor_page);
        if (first != PAGESET_NONE)
            break;
        end->cursor_block++;
        end->cursor_page = 0;
    }
    if (first == PAGESET_NONE) {
        end_job(end);
        return;
    }
    message = sim_message_new(SIM_WIRE_DISCARD);
    message->block = end->cursor_block;
    message->first_page = first;
    end->cursor_page = pageset_next_clean(&side->pages, end->cursor_block, first);
    message->page_count = end->cursor_page - first;
    if (!sim_write(sim, link, index, message))
        sim_lost(sim, link, index, "writing a discard failed");
}

static void do_send(struct sim *sim, struct sim_link *link, unsigned index)
{
    struct sim_end *end = &link->end[index];
    struct sim_message *message = end->jobs->message;
    struct sim_side *side = &sim->side[end->side];
    unsigned wire = message->wire;

    end->jobs->message = NULL;
    if (wire == ENGINE_MESSAGE_BITMAP)
        pageset_snapshot(&side->pages, message->block, message->bits);
    if (wire == ENGINE_MESSAGE_BITMAP && sim->wrong_bitmap)
        message->bits[0] = UINT64_MAX;
    if (!sim_write(sim, link, index, message)) {
        sim_lost(sim, link, index, "writing failed");
        sim_writer_drop(end);
        return;
    }
    end_job(end);
    if (wire == ENGINE_MESSAGE_RUN)
        post(sim, link, end, (struct engine_event){.type = ENGINE_EVENT_RUN_WRITTEN});
}

static void on_prepared(struct sim *sim, uint64_t a, uint64_t index)
{
    struct sim_link *link = sim->links[a];
    struct sim_end *end = &link->end[index];

    end->busy--;
    post(sim, link, end,
         (struct engine_event){.type = ENGINE_EVENT_PREPARED,
                               .ok = !sim->refuse_prepare,
                               .reason = sim->refuse_prepare ? "a device is broken" : NULL});
    sim_rest_if_idle(sim, link, (unsigned)index);
}

static void do_job(struct sim *sim, struct sim_link *link, unsigned index)
{
    struct sim_end *end = &link->end[index];
    struct sim_side *side = &sim->side[end->side];

    switch (end->jobs->work) {
    case SIM_WORK_SEND:
        do_send(sim, link, index);
        break;
    case SIM_WORK_PASS:
    case SIM_WORK_FINAL_PASS:
        do_pass(sim, link, index);
        break;
    case SIM_WORK_DISCARDS:
        do_discards(sim, link, index);
        break;
    case SIM_WORK_TRACK:
        side->tracking = true;
        memset(side->dirty_log, 0, sizeof(side->dirty_log));
        pageset_set_all_dirty(&side->pages);
        end_job(end);
        break;
    case SIM_WORK_UNTRACK:
        side->tracking = false;
        end_job(end);
        break;
    case SIM_WORK_PREPARE:
        end->busy++;
        sim_after(sim, sim_delay(sim, 30 * SIM_US), on_prepared, link->id - 1, index);
        end_job(end);
        break;
    case SIM_WORK_END_STREAM:
        if (sim->hold_closing && !link->reset)
            break;
        if (sim_one_way_close(sim, link))
            post(sim, link, end, (struct engine_event){.type = ENGINE_EVENT_CLOSED});
        else
            sim_lost(sim, link, index, "the command failed");
        end_job(end);
        break;
    case SIM_WORK_BULK:
        end->bulk = true;
        end->all_sent = false;
        end->bulk_epoch = end->jobs->epoch;
        end_job(end);
        break;
    }
}

/* Returns false when there is nothing to do. */
static bool do_bulk(struct sim *sim, struct sim_link *link, unsigned index)
{
    struct sim_end *end = &link->end[index];
    struct sim_side *side = &sim->side[end->side];
    struct sim_message *request = end->urgent;

    if (request) {
        end->urgent = request->next;
        if (!end->urgent)
            end->urgent_end = &end->urgent;
        if (!send_page(sim, link, index, end->bulk_epoch, request->block, request->first_page))
            end->bulk = false;
        free(request);
        return true;
    }
    if (find_dirty(side, end)) {
        if (!send_page(sim, link, index, end->bulk_epoch, end->cursor_block, end->cursor_page))
            end->bulk = false;
        return true;
    }
    if (end->all_sent)
        return false;
    end->all_sent = true;
    post(sim, link, end, (struct engine_event){.type = ENGINE_EVENT_ALL_SENT});
    return false;
}

static void on_tick(struct sim *sim, uint64_t a, uint64_t index)
{
    struct sim_link *link = sim->links[a];
    struct sim_end *end = &link->end[index];
    bool is_blocked = link->blocked & (1U << index);
    uint64_t took_ns = SEND_NS;

    end->writer_scheduled = false;
    if (end->rested)
        return;
    if (end->killed) {
        sim_writer_drop(end);
        sim_rest_if_idle(sim, link, (unsigned)index);
        return;
    }
    if (is_blocked && !link->reset)
        return;
    if (end->finishing)
        while (end->jobs && end->jobs->work != SIM_WORK_SEND && end->jobs->work != SIM_WORK_UNTRACK)
            end_job(end);
    if (end->jobs) {
        if (end->jobs->work == SIM_WORK_PASS || end->jobs->work == SIM_WORK_FINAL_PASS)
            took_ns = PAGE_NS;
        do_job(sim, link, (unsigned)index);
    } else if (end->finishing) {
        sim_rest_if_idle(sim, link, (unsigned)index);
        return;
    } else if (end->bulk) {
        took_ns = PAGE_NS;
        if (!do_bulk(sim, link, (unsigned)index))
            return;
    } else {
        return;
    }
    if (!end->writer_scheduled && !end->rested) {
        end->writer_scheduled = true;
        sim_after(sim, sim_delay(sim, took_ns), on_tick, a, index);
    }
}

/* ---- Coming to rest ---- */

static void on_rest(struct sim *sim, uint64_t a, uint64_t index)
{
    struct sim_link *link = sim->links[a];
    struct sim_end *end = &link->end[index];

    if (!end->dropped)
        post(sim, link, end,
             (struct engine_event){.type = ENGINE_EVENT_LINK_RESTS,
                                   .run_written = end->run_written});
}

void sim_rest_if_idle(struct sim *sim, struct sim_link *link, unsigned index)
{
    struct sim_end *end = &link->end[index];

    if (end->rested || end->busy || end->placing || end->reader_waits)
        return;
    if (!end->killed && (!end->finishing || end->jobs))
        return;
    if (end->killed && end->writer_scheduled)
        return;
    sim_writer_drop(end);
    end->rested = true;
    sim_close_end(sim, link, index);
    sim_after(sim, sim_delay(sim, 5 * SIM_US), on_rest, link->id - 1, index);
}
