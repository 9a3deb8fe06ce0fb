/* SPDX-License-Identifier: MIT */
/*
 * The clock and its tasks. A task runs at its time; of two at the same time the one that was
 * planned first. Nothing else moves the clock, so a world with the same options and orders takes
 * the same course always. The heap is ordered by (time, serial number).
 */
#include <stdlib.h>
#include <string.h>

#include "sim.h"

const struct sim_options sim_default_options = {
    .seed = 1,
    .block_count = 3,
    .block_pages = {5, 64 + 3, 130},
    .latency_ns = 100 * SIM_US,
};

static bool is_before(const struct sim_task *a, const struct sim_task *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->serial < b->serial;
}

void sim_after(struct sim *sim, uint64_t delay_ns, sim_task_run *run, uint64_t a, uint64_t b)
{
    struct sim_task task = {sim->now_ns + delay_ns, sim->serial++, a, b, run};
    size_t i;

    if (sim->task_count == sim->task_room) {
        sim->task_room = sim->task_room ? 2 * sim->task_room : 64;
        sim->tasks = realloc(sim->tasks, sim->task_room * sizeof(*sim->tasks));
        if (!sim->tasks)
            abort();
    }
    for (i = sim->task_count++; i && is_before(&task, &sim->tasks[(i - 1) / 2]); i = (i - 1) / 2)
        sim->tasks[i] = sim->tasks[(i - 1) / 2];
    sim->tasks[i] = task;
}

static struct sim_task take_first(struct sim *sim)
{
    struct sim_task first = sim->tasks[0], last = sim->tasks[--sim->task_count];
    size_t i = 0;

    for (;;) {
        size_t child = 2 * i + 1;

        if (child >= sim->task_count)
            break;
        if (child + 1 < sim->task_count && is_before(&sim->tasks[child + 1], &sim->tasks[child]))
            child++;
        if (is_before(&last, &sim->tasks[child]))
            break;
        sim->tasks[i] = sim->tasks[child];
        i = child;
    }
    sim->tasks[i] = last;
    return first;
}

bool sim_run_until(struct sim *sim, bool (*done)(struct sim *sim), uint64_t limit_ns)
{
    uint64_t end_ns = sim->now_ns + limit_ns;

    sim->stop_run = false;
    while (!sim->failed) {
        struct sim_task task;

        if (done && done(sim))
            return true;
        if (!sim->task_count || sim->tasks[0].at_ns > end_ns)
            break;
        task = take_first(sim);
        sim->now_ns = task.at_ns;
        task.run(sim, task.a, task.b);
        if (sim->stop_run)
            return true;
    }
    if (!sim->failed)
        sim->now_ns = end_ns;
    return false;
}

void sim_run_for(struct sim *sim, uint64_t duration_ns)
{
    uint64_t end_ns = sim->now_ns + duration_ns;

    while (!sim->failed && sim->now_ns < end_ns)
        sim_run_until(sim, NULL, end_ns - sim->now_ns);
}

bool sim_until_status(struct sim *sim, unsigned side, enum baton_status status)
{
    uint64_t end_ns = sim->now_ns + 100 * SIM_S;

    while (!sim->failed && sim->side[side].engine.status != status) {
        struct sim_task task;

        if (!sim->task_count || sim->tasks[0].at_ns > end_ns) {
            sim_fail(sim, "side %u is %s and never becomes %s", side,
                     baton_status_name(sim->side[side].engine.status), baton_status_name(status));
            return false;
        }
        task = take_first(sim);
        sim->now_ns = task.at_ns;
        task.run(sim, task.a, task.b);
    }
    return !sim->failed;
}

uint64_t sim_random(struct sim *sim, uint64_t below)
{
    uint64_t z = (sim->random += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    z ^= z >> 31;
    return below ? z % below : z;
}

uint64_t sim_delay(struct sim *sim, uint64_t usual_ns)
{
    uint64_t roll;

    if (!sim->options.random_delays)
        return usual_ns;
    roll = sim_random(sim, 100);
    /* Mostly quick, now and then a thread that was not scheduled for long. */
    if (roll < 90)
        return 1 + sim_random(sim, 2 * usual_ns);
    return roll < 99 ? sim_random(sim, 40 * usual_ns) : sim_random(sim, 2000 * usual_ns);
}

static void init_side(struct sim *sim, unsigned index)
{
    struct sim_side *side = &sim->side[index];
    struct engine_config config = {
        .pages = &side->pages,
        .vm_running = index == SIM_SOURCE && !sim->options.paused,
        .keep_stopped = index != SIM_SOURCE && sim->options.keep_stopped,
    };

    memset(config.nonce, (int)(0xa0 + index), sizeof(config.nonce));
    pageset_init(&side->pages, sim->options.block_pages, sim->options.block_count, side->words);
    engine_init(&side->engine, &config);
    side->posts_end = &side->posts;
}

struct sim *sim_new(const struct sim_options *options)
{
    struct sim *sim = calloc(1, sizeof(*sim));

    if (!sim)
        abort();
    sim->options = *options;
    if (!sim->options.block_count) {
        sim->options.block_count = sim_default_options.block_count;
        memcpy(sim->options.block_pages, sim_default_options.block_pages,
               sizeof(sim->options.block_pages));
    }
    if (!sim->options.latency_ns)
        sim->options.latency_ns = sim_default_options.latency_ns;
    sim->random = sim->options.seed * UINT64_C(0x2545f4914f6cdd1d);
    sim->now_ns = SIM_MS;
    sim->dial_to = SIM_DEST;
    sim->dial_ns = 200 * SIM_US;
    for (unsigned i = 0; i < SIM_SIDES; i++)
        init_side(sim, i);
    for (unsigned b = 0; b < sim->options.block_count; b++)
        for (uint64_t p = 0; p < sim->options.block_pages[b]; p++)
            sim->side[SIM_SOURCE].memory[b][p] = sim->truth[b][p] = ++sim->versions;
    if (sim->side[SIM_SOURCE].engine.vm_running)
        sim_cpus_start(sim, SIM_SOURCE);
    return sim;
}

static void free_end(struct sim_end *end)
{
    sim_queue_clear(&end->inbox);
    sim_writer_drop(end);
}

void sim_free(struct sim *sim)
{
    for (unsigned i = 0; i < sim->link_count; i++) {
        struct sim_link *link = sim->links[i];

        for (unsigned e = 0; e < 2; e++) {
            free_end(&link->end[e]);
            sim_queue_clear(&link->flight[e]);
        }
        sim_queue_clear(&link->kept);
        free(link);
    }
    for (unsigned i = 0; i < SIM_SIDES; i++) {
        while (sim->side[i].posts) {
            struct sim_post *post = sim->side[i].posts;

            sim->side[i].posts = post->next;
            free(post);
        }
    }
    free(sim->tasks);
    free(sim->trace);
    free(sim);
}
