/* SPDX-License-Identifier: MIT */
/*
 * The guest: a few CPUs that read and write pages at random wherever the engine lets them run. A
 * read that does not see the version written last has found a lost, stale or empty page. A CPU that
 * needs a missing page waits for it and asks the source, as the fault thread would; it counts as
 * stopped meanwhile, and goes on where it was.
 */
#include "sim.h"

#define BUSY_NS (20 * SIM_US)
#define IDLE_NS (2 * SIM_S)

static void on_tick(struct sim *sim, uint64_t cpu, uint64_t side);

static void schedule(struct sim *sim, unsigned cpu, unsigned side)
{
    /* While nothing moves on any link there is nothing to be found out. */
    bool is_busy = sim->now_ns - sim->activity_ns < SIM_MS;

    if (sim->cpu[cpu].scheduled)
        return;
    sim->cpu[cpu].scheduled = true;
    sim_after(sim, sim_delay(sim, is_busy ? BUSY_NS : IDLE_NS), on_tick, cpu, side);
}

void sim_cpus_start(struct sim *sim, unsigned index)
{
    struct sim_side *side = &sim->side[index];

    if (side->cpu_state != sim->truth_cpu)
        sim_fail(sim, "the CPUs start with an old state: %u instead of %u",
                 (unsigned)side->cpu_state, (unsigned)sim->truth_cpu);
    side->cpus_run = true;
    sim->activity_ns = sim->now_ns;
    for (unsigned i = 0; i < SIM_CPUS; i++) {
        sim->cpu[i].waits = false;
        schedule(sim, i, index);
    }
}

static void ask(struct sim *sim, unsigned index, unsigned block, uint64_t page)
{
    uint64_t id = sim->side[index].fault_link;
    struct sim_link *link = sim_link_by_id(sim, id);
    struct sim_message *request;

    if (!link)
        return;
    request = sim_message_new(SIM_WIRE_PAGE_REQUEST);
    request->block = block;
    request->first_page = page;
    sim_writer_add(sim, link, link->end[0].side == index ? 0 : 1, SIM_WORK_SEND, 0, request);
}

void sim_ask_for_waiters(struct sim *sim, unsigned index)
{
    if (!sim->side[index].cpus_run)
        return;
    for (unsigned i = 0; i < SIM_CPUS; i++)
        if (sim->cpu[i].waits)
            ask(sim, index, sim->cpu[i].block, sim->cpu[i].page);
}

static void touch(struct sim *sim, unsigned index, unsigned block, uint64_t page)
{
    struct sim_side *side = &sim->side[index];

    sim->reads_by_guest++;
    if (side->memory[block][page] != sim->truth[block][page])
        sim_fail(sim, "a CPU at side %u reads version %u of page %u:%u, which is %u", index,
                 (unsigned)side->memory[block][page], block, (unsigned)page,
                 (unsigned)sim->truth[block][page]);
    if (sim_random(sim, 2))
        return;
    sim->writes_by_guest++;
    side->memory[block][page] = sim->truth[block][page] = ++sim->versions;
    if (side->tracking)
        side->dirty_log[block][page] = true;
}

static void on_tick(struct sim *sim, uint64_t index, uint64_t side_index)
{
    struct sim_cpu *cpu = &sim->cpu[index];
    struct sim_side *side = &sim->side[side_index];

    cpu->scheduled = false;
    if (!side->cpus_run) {
        for (unsigned i = 0; i < SIM_SIDES; i++)
            if (sim->side[i].cpus_run)
                schedule(sim, (unsigned)index, i);
        return;
    }
    if (!cpu->waits) {
        cpu->block = (unsigned)sim_random(sim, side->pages.block_count);
        cpu->page = sim_random(sim, side->pages.blocks[cpu->block].pages);
    }
    if (side->faults && !pageset_is_received(&side->pages, cpu->block, cpu->page)) {
        if (!cpu->waits)
            ask(sim, (unsigned)side_index, cpu->block, cpu->page);
        cpu->waits = true;
        return;
    }
    cpu->waits = false;
    side->cpu_state = ++sim->truth_cpu;
    touch(sim, (unsigned)side_index, cpu->block, cpu->page);
    schedule(sim, (unsigned)index, (unsigned)side_index);
}

void sim_page_came(struct sim *sim, unsigned index, unsigned block, uint64_t page)
{
    for (unsigned i = 0; i < SIM_CPUS; i++)
        if (sim->cpu[i].waits && sim->cpu[i].block == block && sim->cpu[i].page == page)
            schedule(sim, i, index);
}
