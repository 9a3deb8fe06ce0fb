/* SPDX-License-Identifier: MIT */
/*
 * What must always hold, and how every story must end (docs/design.md). Checked after each step of
 * any engine:
 *
 *   - at most one side runs the VM, and only one that the engine says may;
 *   - no row that says IMPOSSIBLE was met;
 *   - in postcopy no page is both to be sent and received.
 *
 * At the end, with the network healed and the source resumed as often as it needs: the VM is in
 * exactly one place, all pages are the last written ones, no link and no deadline is left, and if
 * the VM is still at the source the destination takes it in a second migration.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

void sim_fail(struct sim *sim, const char *format, ...)
{
    va_list arguments;

    if (sim->failed)
        return;
    sim->failed = true;
    va_start(arguments, format);
    vsnprintf(sim->failure, sizeof(sim->failure), format, arguments);
    va_end(arguments);
    sim_trace(sim, SIM_SIDES, "FAILURE: %s", sim->failure);
}

void sim_trace(struct sim *sim, unsigned side, const char *format, ...)
{
    static const char *const names[] = {"source", "dest", "other", "net"};
    char line[1024];
    va_list arguments;
    int length;

    if (!sim->options.trace)
        return;
    length = snprintf(line, sizeof(line), "%10.3f %-6s ", (double)sim->now_ns / 1e6, names[side]);
    va_start(arguments, format);
    vsnprintf(line + length, sizeof(line) - (size_t)length - 1, format, arguments);
    va_end(arguments);
    strcat(line, "\n");
    length = (int)strlen(line);
    if (sim->trace_length + (size_t)length + 1 > sim->trace_room) {
        sim->trace_room = 2 * sim->trace_room + 4096;
        sim->trace = realloc(sim->trace, sim->trace_room);
        if (!sim->trace)
            abort();
    }
    memcpy(sim->trace + sim->trace_length, line, (size_t)length + 1);
    sim->trace_length += (size_t)length;
}

bool sim_is_home(const struct sim *sim)
{
    enum baton_status status = sim->side[SIM_SOURCE].engine.status;

    return sim->side[SIM_SOURCE].engine.role != BATON_ROLE_DEST &&
           (status == BATON_STATUS_NONE || status == BATON_STATUS_FAILED ||
            status == BATON_STATUS_CANCELLED);
}

static bool is_after_run(const struct engine *engine)
{
    return engine->role == BATON_ROLE_DEST && engine->dest.started;
}

static void check_owed(struct sim *sim)
{
    struct sim_side *source = &sim->side[SIM_SOURCE], *dest = &sim->side[SIM_DEST];

    if (!is_after_run(&dest->engine) || source->engine.role != BATON_ROLE_SOURCE ||
        !source->engine.source.postcopy)
        return;
    for (unsigned b = 0; b < source->pages.block_count; b++)
        for (unsigned i = 0; i < pageset_words(source->pages.blocks[b].pages); i++)
            if (source->pages.blocks[b].dirty[i] & dest->pages.blocks[b].received[i])
                sim_fail(sim, "a page of block %u is received and is to be sent all the same", b);
}

void sim_check(struct sim *sim)
{
    unsigned runners = 0;

    for (unsigned i = 0; i < SIM_SIDES; i++) {
        const struct sim_side *side = &sim->side[i];

        runners += side->cpus_run;
        SIM_WANT(sim, side->cpus_run == side->engine.vm_running);
        if (side->engine.impossible)
            sim_fail(sim, "an impossible event at side %u in %s: %s", i,
                     baton_status_name(side->engine.status), side->engine.reason);
    }
    if (runners > 1)
        sim_fail(sim, "the VM runs in two places");
    check_owed(sim);
}

void sim_check_memory(struct sim *sim, unsigned index)
{
    const struct sim_side *side = &sim->side[index];

    for (unsigned b = 0; b < side->pages.block_count; b++)
        for (uint64_t p = 0; p < side->pages.blocks[b].pages; p++)
            if (side->memory[b][p] != sim->truth[b][p])
                sim_fail(sim, "at the end page %u:%u at side %u has version %u instead of %u", b,
                         (unsigned)p, index, (unsigned)side->memory[b][p],
                         (unsigned)sim->truth[b][p]);
    if (side->cpu_state != sim->truth_cpu)
        sim_fail(sim, "at the end the CPU state at side %u is old", index);
}

/* ---- The end ---- */

/* The source has come to something that lasts. */
static bool is_source_settled(struct sim *sim)
{
    const struct engine *engine = &sim->side[SIM_SOURCE].engine;

    if (engine->link || engine->dialing || sim->side[SIM_SOURCE].posts)
        return false;
    return sim_is_home(sim) || engine->status == BATON_STATUS_COMPLETED ||
           engine->status == BATON_STATUS_POSTCOPY_PAUSED;
}

static bool is_dest_settled(struct sim *sim)
{
    const struct sim_side *side = &sim->side[SIM_DEST];
    bool waits = !is_after_run(&side->engine) || side->engine.status == BATON_STATUS_COMPLETED;

    return !side->engine.link && !side->engine.dest.pending_link && !side->posts && waits;
}

static bool is_settled(struct sim *sim)
{
    return is_source_settled(sim) && is_dest_settled(sim);
}

static void heal(struct sim *sim)
{
    sim->dial_to = SIM_DEST;
    for (unsigned i = 0; i < sim->link_count; i++) {
        struct sim_link *link = sim->links[i];

        for (unsigned e = 0; e < 2; e++) {
            link->end[e].reader_stalled = false;
            sim_reader_wake(sim, link, e);
        }
        if (link->blocked)
            sim_break(sim, link);
    }
}

/* What was loaded of a VM that went back is thrown away. */
static void check_emptied(struct sim *sim, const struct sim_side *side)
{
    if (side->engine.role != BATON_ROLE_DEST || !side->engine.dest.voided)
        return;
    SIM_WANT(sim, pageset_received_pages(&side->pages) == 0);
    for (unsigned b = 0; b < side->pages.block_count; b++)
        for (uint64_t p = 0; p < side->pages.blocks[b].pages; p++)
            SIM_WANT(sim, !side->memory[b][p]);
}

static void check_end(struct sim *sim)
{
    const struct sim_side *source = &sim->side[SIM_SOURCE], *dest = &sim->side[SIM_DEST];
    bool moved = source->engine.status == BATON_STATUS_COMPLETED;
    unsigned owner = moved ? SIM_DEST : SIM_SOURCE;

    if (moved)
        SIM_WANT(sim, dest->engine.status == BATON_STATUS_COMPLETED);
    else
        SIM_WANT(sim, sim_is_home(sim));
    check_emptied(sim, dest);
    SIM_WANT(sim, sim->side[!owner].engine.role == BATON_ROLE_NONE ||
                      !engine_may_run(&sim->side[!owner].engine, NULL, 0));
    SIM_WANT(sim, engine_may_run(&sim->side[owner].engine, NULL, 0));
    if (sim->any_run_state && !sim->side[owner].cpus_run)
        SIM_WANT(sim, !sim_order(sim, owner, ENGINE_EVENT_CONT));
    else if (!sim->any_run_state)
        SIM_WANT(sim, sim->side[owner].cpus_run != sim->stopped_by_operator);
    sim_check_memory(sim, owner);
    for (unsigned i = 0; i < 2; i++) {
        SIM_WANT(sim, !sim->side[i].engine.link);
        SIM_WANT(sim, !sim->side[i].engine.dest.pending_link);
        SIM_WANT(sim, !engine_deadline(&sim->side[i].engine));
    }
}

/* The operator sees to it that somebody listens when the source comes back. */
static void listen_again(struct sim *sim)
{
    bool is_complete = sim->side[SIM_DEST].engine.status == BATON_STATUS_COMPLETED;

    if (!sim->side[SIM_DEST].listening)
        SIM_WANT(sim, !sim_order(sim, SIM_DEST,
                                 is_complete ? ENGINE_EVENT_RECOVER : ENGINE_EVENT_INCOMING));
}

void sim_settle(struct sim *sim)
{
    heal(sim);
    for (unsigned round = 0; round < 20 && !sim->failed; round++) {
        enum baton_status status;

        sim_run_until(sim, is_source_settled, 70 * SIM_S);
        if (!is_source_settled(sim)) {
            sim_notice_silence(sim);
            continue;
        }
        status = sim->side[SIM_SOURCE].engine.status;
        if (status == BATON_STATUS_POSTCOPY_PAUSED) {
            listen_again(sim);
            SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_RESUME));
            continue;
        }
        sim_run_until(sim, is_settled, 70 * SIM_S);
        if (status == BATON_STATUS_COMPLETED && sim->side[SIM_SOURCE].engine.source.one_way &&
            is_dest_settled(sim) && !is_after_run(&sim->side[SIM_DEST].engine)) {
            sim_one_way_read_again(sim);
            sim_run_until(sim, is_settled, 70 * SIM_S);
        }
        sim_run_for(sim, 500 * SIM_MS); /* a late hello may still be under way */
        if (is_settled(sim))
            break;
        sim_notice_silence(sim);
    }
    if (sim->failed)
        return;
    if (!is_settled(sim))
        sim_fail(sim, "it never settles: source %s, destination %s",
                 baton_status_name(sim->side[SIM_SOURCE].engine.status),
                 baton_status_name(sim->side[SIM_DEST].engine.status));
    check_end(sim);
}

void sim_settle_and_move(struct sim *sim)
{
    struct engine *dest = &sim->side[SIM_DEST].engine;

    sim_settle(sim);
    if (sim->failed || !sim_is_home(sim))
        return;
    sim_trace(sim, SIM_SIDES, "the VM is at home; once more");
    sim->trap_count = 0;
    if (!sim->side[SIM_DEST].listening) {
        SIM_WANT(sim, !sim_order(sim, SIM_DEST, ENGINE_EVENT_INCOMING));
        if (dest->status != BATON_STATUS_SETUP)
            sim_fail(sim, "the destination does not listen again");
    }
    SIM_WANT(sim, !sim_order(sim, SIM_SOURCE, ENGINE_EVENT_MIGRATE));
    sim_settle(sim);
    if (!sim->failed && sim->side[SIM_SOURCE].engine.status != BATON_STATUS_COMPLETED)
        sim_fail(sim, "the second migration did not succeed: %s; destination: %s",
                 sim->side[SIM_SOURCE].engine.reason, dest->reason);
}
