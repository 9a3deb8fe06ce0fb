/* SPDX-License-Identifier: MIT */
/*
 * The host of an engine: a queue of events, a loop that feeds them one at a time, and hands for
 * what the engine orders. Actions are carried out in order before the next step. After every step
 * the invariants are checked (check.c).
 */
#include <stdlib.h>
#include <string.h>

#include "sim.h"

#define STEP_NS (1 * SIM_US)

static void on_step(struct sim *sim, uint64_t index, uint64_t unused);

static void schedule_step(struct sim *sim, unsigned index)
{
    struct sim_side *side = &sim->side[index];

    if (side->step_scheduled || !side->posts)
        return;
    side->step_scheduled = true;
    sim_after(sim, sim_delay(sim, STEP_NS), on_step, index, 0);
}

void sim_post(struct sim *sim, unsigned index, const struct engine_event *event,
              struct sim_end *reader)
{
    struct sim_side *side = &sim->side[index];
    struct sim_post *post = calloc(1, sizeof(*post));

    if (!post)
        abort();
    post->event = *event;
    post->reader = reader;
    if (event->reason) {
        strncpy(post->reason, event->reason, sizeof(post->reason) - 1);
        post->event.reason = post->reason;
    }
    *side->posts_end = post;
    side->posts_end = &post->next;
    schedule_step(sim, index);
}

/* ---- Dialing ---- */

static void on_dial_over(struct sim *sim, uint64_t index, uint64_t attempt)
{
    struct sim_side *side = &sim->side[index];
    struct engine_event event = {.type = ENGINE_EVENT_DIAL_FAILED};

    if (side->dial != attempt)
        return;
    side->dial = 0;
    if (sim->dial_to < SIM_SIDES && sim->side[sim->dial_to].listening) {
        struct sim_link *link = sim_link_new(sim, (unsigned)index, sim->dial_to);

        event.type = ENGINE_EVENT_DIALED;
        event.link = link->id;
        if (side->engine.source.one_way)
            sim_one_way_open(sim, link);
    } else {
        event.reason = "connection refused";
    }
    sim_post(sim, (unsigned)index, &event, NULL);
}

static void on_timeout(struct sim *sim, uint64_t index, uint64_t at_ns)
{
    struct sim_side *side = &sim->side[index];
    struct engine_event event = {.type = ENGINE_EVENT_TIMEOUT};

    if (side->timeout_at_ns != at_ns)
        return;
    side->timeout_at_ns = 0;
    if (engine_deadline(&side->engine) == at_ns)
        sim_post(sim, (unsigned)index, &event, NULL);
}

static void watch_deadline(struct sim *sim, unsigned index)
{
    struct sim_side *side = &sim->side[index];
    uint64_t deadline_ns = engine_deadline(&side->engine);

    if (!deadline_ns || side->timeout_at_ns == deadline_ns)
        return;
    side->timeout_at_ns = deadline_ns;
    sim_after(sim, deadline_ns > sim->now_ns ? deadline_ns - sim->now_ns : 0, on_timeout, index,
              deadline_ns);
}

/* ---- Device state ---- */

static void on_loaded(struct sim *sim, uint64_t a, uint64_t index)
{
    struct sim_link *link = sim->links[a];
    struct sim_end *end = &link->end[index];
    struct engine_event event = {.type = ENGINE_EVENT_LOADED,
                                 .link = link->id,
                                 .ok = !sim->refuse_load,
                                 .reason = sim->refuse_load ? "a device is unknown" : NULL,
                                 .vm_was_running = end->package_vm_was_running};

    sim->side[end->side].cpu_state = end->package_cpu;
    end->busy--;
    sim_post(sim, end->side, &event, NULL);
    sim_rest_if_idle(sim, link, (unsigned)index);
}

static void reset_vm(struct sim *sim, unsigned index)
{
    struct sim_side *side = &sim->side[index];

    SIM_WANT(sim, !side->cpus_run);
    SIM_WANT(sim, side->engine.role != BATON_ROLE_DEST || !side->engine.dest.started);
    memset(side->memory, 0, sizeof(side->memory));
    side->cpu_state = 0;
}

/* ---- Links ---- */

static unsigned end_index(const struct sim_link *link, unsigned side)
{
    return link->end[0].side == side ? 0 : 1;
}

static void on_kill(struct sim *sim, uint64_t a, uint64_t e)
{
    struct sim_link *link = sim->links[a];

    link->end[e].killed = true;
    sim_rest_if_idle(sim, link, (unsigned)e);
}

/* The threads notice a moment after the engine has taken the page set's lease back. */
static void kill_end(struct sim *sim, unsigned index, uint64_t id)
{
    struct sim_link *link = sim_link_by_id(sim, id);

    sim->side[index].fault_link = 0;
    sim_after(sim, sim->options.kill_ns ? sim_delay(sim, sim->options.kill_ns) : 0, on_kill,
              link->id - 1, end_index(link, index));
}

static void finish_end(struct sim *sim, unsigned index, uint64_t id, bool dropped)
{
    struct sim_link *link = sim_link_by_id(sim, id);
    unsigned e = end_index(link, index);

    if (dropped) {
        SIM_WANT(sim, id != sim->side[index].engine.link);
        SIM_WANT(sim, id != sim->side[index].engine.dest.pending_link);
        link->end[e].dropped = true;
        link->end[e].started = true;
    } else {
        sim->side[index].fault_link = 0;
    }
    link->end[e].finishing = true;
    sim_writer_wake(sim, link, e);
}

static void put_message(struct sim *sim, unsigned index, const struct engine_action *action)
{
    struct sim_link *link = sim_link_by_id(sim, action->link);
    unsigned count =
        action->message == ENGINE_MESSAGE_BITMAP_REQUESTS ? sim->side[index].pages.block_count : 1;

    if (!link) {
        sim_fail(sim, "SEND %s without a link", engine_message_name(action->message));
        return;
    }
    for (unsigned i = 0; i < count; i++) {
        struct sim_message *message = sim_message_new(action->message);

        message->hello = action->hello;
        message->value = action->value;
        message->block = count > 1 ? i : action->block;
        memcpy(message->reason, action->reason, sizeof(message->reason));
        sim_writer_add(sim, link, end_index(link, index), SIM_WORK_SEND, 0, message);
    }
}

static void put_package(struct sim *sim, unsigned index, const struct engine_action *action)
{
    struct sim_link *link = sim_link_by_id(sim, action->link);
    struct sim_message *message = sim_message_new(SIM_WIRE_PACKAGE);

    message->precopy = action->precopy;
    message->vm_was_running = sim->side[index].engine.source.vm_was_running;
    message->version = sim->side[index].cpu_state;
    sim_writer_add(sim, link, end_index(link, index), SIM_WORK_SEND, 0, message);
}

static void put_work(struct sim *sim, unsigned index, const struct engine_action *action,
                     enum sim_work work)
{
    struct sim_link *link = sim_link_by_id(sim, action->link);

    if (link)
        sim_writer_add(sim, link, end_index(link, index), work, action->value, NULL);
    else if (work == SIM_WORK_UNTRACK)
        sim->side[index].tracking = false;
}

static void set_load(struct sim *sim, unsigned index, const struct engine_action *action,
                     enum sim_load load)
{
    struct sim_end *end = sim_end_of(sim, action->link, index);

    end->load = load;
    end->load_epoch = action->value;
}

static void end_faults(struct sim *sim, struct sim_side *side)
{
    /* Closed too early, the kernel would hand out pages of zeros. */
    if (side->engine.dest.started)
        SIM_WANT(sim, pageset_is_full(&side->pages));
    side->faults = false;
}

/* ---- One action ---- */

static void apply_link_action(struct sim *sim, unsigned index, const struct engine_action *action)
{
    struct sim_side *side = &sim->side[index];
    struct sim_link *link = sim_link_by_id(sim, action->link);

    switch (action->type) {
    case ENGINE_ACTION_DIAL:
        side->dial = ++sim->serial;
        sim_after(sim, sim_delay(sim, sim->dial_ns), on_dial_over, index, side->dial);
        break;
    case ENGINE_ACTION_CANCEL_DIAL:
        if (side->dial) {
            side->dial = 0;
            sim_post(sim, index,
                     &(struct engine_event){.type = ENGINE_EVENT_DIAL_FAILED,
                                            .reason = "the attempt was ended"},
                     NULL);
        }
        break;
    case ENGINE_ACTION_START_LINK:
        link->end[end_index(link, index)].started = true;
        sim_reader_wake(sim, link, end_index(link, index));
        break;
    case ENGINE_ACTION_DROP_LINK:
        finish_end(sim, index, action->link, true);
        break;
    case ENGINE_ACTION_QUIESCE:
        kill_end(sim, index, action->link);
        break;
    case ENGINE_ACTION_FINISH_LINK:
        finish_end(sim, index, action->link, false);
        break;
    case ENGINE_ACTION_CLOSE_LISTENERS:
        side->listening = false;
        break;
    case ENGINE_ACTION_SEND:
        put_message(sim, index, action);
        break;
    default:
        break;
    }
}

static void apply_source_action(struct sim *sim, unsigned index, const struct engine_action *action)
{
    struct sim_end *end = sim_end_of(sim, action->link, index);

    switch (action->type) {
    case ENGINE_ACTION_TRACK_DIRTY:
        put_work(sim, index, action, SIM_WORK_TRACK);
        break;
    case ENGINE_ACTION_UNTRACK_DIRTY:
        put_work(sim, index, action, SIM_WORK_UNTRACK);
        break;
    case ENGINE_ACTION_PASS:
        put_work(sim, index, action, SIM_WORK_PASS);
        break;
    case ENGINE_ACTION_FINAL_PASS:
        put_work(sim, index, action, SIM_WORK_FINAL_PASS);
        break;
    case ENGINE_ACTION_END_PASS:
        if (end && end->jobs && end->jobs->work == SIM_WORK_PASS)
            end->end_pass = true;
        break;
    case ENGINE_ACTION_SEND_DISCARDS:
        put_work(sim, index, action, SIM_WORK_DISCARDS);
        break;
    case ENGINE_ACTION_SEND_PACKAGE:
        put_package(sim, index, action);
        break;
    case ENGINE_ACTION_END_STREAM:
        put_work(sim, index, action, SIM_WORK_END_STREAM);
        break;
    case ENGINE_ACTION_BULK:
        put_work(sim, index, action, SIM_WORK_BULK);
        break;
    case ENGINE_ACTION_PREPARE_DEVICES:
        put_work(sim, index, action, SIM_WORK_PREPARE);
        break;
    default:
        break;
    }
}

static void apply_dest_action(struct sim *sim, unsigned index, const struct engine_action *action)
{
    struct sim_side *side = &sim->side[index];
    struct sim_link *link = sim_link_by_id(sim, action->link);

    switch (action->type) {
    case ENGINE_ACTION_LOAD_PRECOPY:
        set_load(sim, index, action, SIM_LOAD_PRECOPY);
        break;
    case ENGINE_ACTION_LOAD_POSTCOPY:
        set_load(sim, index, action, SIM_LOAD_POSTCOPY);
        break;
    case ENGINE_ACTION_REGISTER_FAULTS:
        side->faults = !sim->refuse_faults;
        sim_post(sim, index,
                 &(struct engine_event){.type = ENGINE_EVENT_FAULTS_READY,
                                        .link = action->link,
                                        .ok = !sim->refuse_faults,
                                        .reason = sim->refuse_faults ? "not permitted" : NULL},
                 NULL);
        break;
    case ENGINE_ACTION_DISCARD_PAGES:
        SIM_WANT(sim, side->faults || sim->refuse_faults);
        for (uint64_t i = 0; i < action->page_count; i++)
            side->memory[action->block][action->first_page + i] = 0;
        break;
    case ENGINE_ACTION_LOAD_DEVICES:
        link->end[end_index(link, index)].busy++;
        sim_after(sim, sim_delay(sim, 50 * SIM_US), on_loaded, link->id - 1,
                  end_index(link, index));
        break;
    case ENGINE_ACTION_REQUEST_FAULTS:
        side->fault_link = action->link;
        sim_ask_for_waiters(sim, index);
        break;
    case ENGINE_ACTION_END_FAULTS:
        end_faults(sim, side);
        break;
    default:
        break;
    }
}

static void apply(struct sim *sim, unsigned index, const struct engine_action *action)
{
    struct sim_side *side = &sim->side[index];

    if (action->type == ENGINE_ACTION_STATUS)
        sim_trace(sim, index, "%s -> %s  (%s)", baton_status_name(action->previous),
                  baton_status_name(action->status), action->reason);
    else if (action->type == ENGINE_ACTION_SEND)
        sim_trace(sim, index, "    SEND %s", engine_message_name(action->message));
    else
        sim_trace(sim, index, "    %s%s%s", engine_action_name(action->type),
                  action->reason[0] ? ": " : "", action->reason);
    switch (action->type) {
    case ENGINE_ACTION_START_CPUS:
        sim_cpus_start(sim, index);
        break;
    case ENGINE_ACTION_STOP_CPUS:
        side->cpus_run = false;
        break;
    case ENGINE_ACTION_RESET_VM:
        reset_vm(sim, index);
        break;
    default:
        apply_link_action(sim, index, action);
        apply_source_action(sim, index, action);
        apply_dest_action(sim, index, action);
        break;
    }
}

/* ---- The loop ---- */

static bool is_order(enum engine_event_type type)
{
    return type <= ENGINE_EVENT_CONT;
}

static void step(struct sim *sim, unsigned index, const struct engine_event *event)
{
    struct sim_side *side = &sim->side[index];
    struct engine_out out;

    sim->steps++;
    sim_trace(sim, index, "%s%s%s%s", engine_event_name(event->type),
              event->link && event->link != side->engine.link ? " (another link)" : "",
              event->reason && event->reason[0] ? ": " : "", event->reason ? event->reason : "");
    engine_step(&side->engine, event, &out);
    if (is_order(event->type)) {
        side->verdict = out.verdict;
        memcpy(side->refusal, out.refusal, sizeof(side->refusal));
        side->order_done = true;
        if (out.verdict)
            sim_trace(sim, index, "    refused: %s", out.refusal);
        else if (event->type == ENGINE_EVENT_INCOMING || event->type == ENGINE_EVENT_RECOVER)
            side->listening = true;
    }
    for (unsigned i = 0; i < out.count && !sim->failed; i++)
        apply(sim, index, &out.actions[i]);
    watch_deadline(sim, index);
    if (!sim->failed)
        sim_check(sim);
}

static void on_step(struct sim *sim, uint64_t index, uint64_t unused)
{
    struct sim_side *side = &sim->side[index];
    struct sim_post *post = side->posts;
    struct sim_end *reader = post->reader;
    uint64_t link = post->event.link;

    (void)unused;
    side->step_scheduled = false;
    side->posts = post->next;
    if (!side->posts)
        side->posts_end = &side->posts;
    post->event.now_ns = sim->now_ns;
    step(sim, (unsigned)index, &post->event);
    free(post);
    if (reader) {
        struct sim_link *of = sim_link_by_id(sim, link);

        reader->reader_waits = false;
        sim_reader_wake(sim, of, (unsigned)(reader - of->end));
        if (reader->killed || reader->finishing)
            sim_rest_if_idle(sim, of, (unsigned)(reader - of->end));
    }
    schedule_step(sim, (unsigned)index);
}

int sim_order(struct sim *sim, unsigned index, enum engine_event_type type)
{
    struct sim_side *side = &sim->side[index];
    struct engine_event event = {.type = type, .one_way = sim->one_way};
    uint64_t id = sim_random(sim, 0) | 1;

    memcpy(event.random, &id, sizeof(id));
    side->order_done = false;
    sim_post(sim, index, &event, NULL);
    for (unsigned i = 0; !side->order_done && !sim->failed && i < 100000; i++)
        sim_run_until(sim, NULL, SIM_US);
    return side->verdict;
}
