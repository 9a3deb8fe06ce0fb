/* SPDX-License-Identifier: MIT */
/*
 * What a person may order, and the sentences with which an order is refused. The question behind
 * most of them is the first invariant: at no time do two hosts run the VM (docs/design.md).
 * engine_may_run() is the only place that answers it for `cont`.
 */
#include <errno.h>
#include <string.h>

#include "base/text.h"
#include "engine/internal.h"

static void say(char *why, size_t why_bytes, const char *sentence)
{
    struct text text;

    if (!why)
        return;
    text_init(&text, why, why_bytes);
    text_str(&text, sentence);
}

static const char *source_may_not_run(const struct engine *engine)
{
    switch (engine->status) {
    case BATON_STATUS_NONE:
    case BATON_STATUS_SETUP:
    case BATON_STATUS_ACTIVE:
    case BATON_STATUS_FAILED:
    case BATON_STATUS_CANCELLED:
        return NULL;
    case BATON_STATUS_CANCELLING:
    case BATON_STATUS_DEVICE:
    case BATON_STATUS_POSTCOPY_DEVICE:
        return "the VM is being handed over; it comes back by itself if that fails, or give "
               "migrate_cancel";
    case BATON_STATUS_COMPLETED:
        if (engine->source.one_way)
            return "the VM was written away and may be started from there; to run it here as well "
                   "would make two of it. migrate-incoming reads it back, also into this process";
        return "the VM runs at the destination now; to run it here as well would destroy it";
    default:
        return "the VM was handed to the destination and may run there; two runners would destroy "
               "it. Resume the migration, or end it from the destination before it has started";
    }
}

static const char *dest_may_not_run(const struct engine *engine)
{
    if (engine->dest.started || engine->status == BATON_STATUS_COMPLETED)
        return NULL;
    if (engine->status == BATON_STATUS_SETUP || engine->status == BATON_STATUS_NONE)
        return "this machine waits for a VM to come in; there is nothing to run yet";
    return "the source has not handed the VM over; it may still run there";
}

bool engine_may_run(const struct engine *engine, char *why, size_t why_bytes)
{
    const char *no =
        engine->role == BATON_ROLE_DEST ? dest_may_not_run(engine) : source_may_not_run(engine);

    say(why, why_bytes, no ? no : "");
    return !no;
}

static const char *may_not_quit(const struct engine *engine)
{
    if (engine->role == BATON_ROLE_SOURCE) {
        if (engine->status == BATON_STATUS_CANCELLING || engine->status == BATON_STATUS_COMPLETED)
            return NULL;
        if (engine->source.run != ENGINE_RUN_HELD && engine->status != BATON_STATUS_FAILED &&
            engine->status != BATON_STATUS_CANCELLED && engine->status != BATON_STATUS_SETUP &&
            engine->status != BATON_STATUS_ACTIVE)
            return "the migration is not complete: the destination needs pages that only this "
                   "process has, and the VM would be lost";
    }
    if (engine->role == BATON_ROLE_DEST && engine->status != BATON_STATUS_COMPLETED) {
        if (engine->dest.started)
            return "the VM runs here and its memory is not complete; it would be lost";
        if (engine->dest.ready && !engine->dest.voided)
            return "the source was told that this process waits for the VM; give migrate_cancel "
                   "first, and the VM goes back";
    }
    if (engine->role == BATON_ROLE_DEST && engine->status == BATON_STATUS_COMPLETED &&
        engine->dest.listening)
        return "the source does not know yet that the VM is complete here, and only this process "
               "can tell it; wait for it, or give migrate_cancel to end the waiting";
    return NULL;
}

bool engine_may_quit(const struct engine *engine, char *why, size_t why_bytes)
{
    const char *no = may_not_quit(engine);

    say(why, why_bytes, no ? no : "");
    return !no;
}

void engine_any_on_stop(struct engine *engine, const struct engine_event *event)
{
    (void)event;
    /* Handed over stopped, or taken back stopped: the order holds although the CPUs rest already.
     */
    engine->source.vm_was_running = false;
    engine->halted = false;
    if (engine->role == BATON_ROLE_DEST && !engine->dest.started)
        engine->keep_stopped = true;
    engine_stop_cpus(engine);
}

void engine_any_on_halt(struct engine *engine, const struct engine_event *event)
{
    (void)event;
    if (engine->vm_running)
        engine->halted = true;
    engine_stop_cpus(engine);
}

void engine_any_on_cont(struct engine *engine, const struct engine_event *event)
{
    char why[BATON_ERROR_TEXT_BYTES];

    (void)event;
    if (!engine_may_run(engine, why, sizeof(why)))
        engine_refuse(engine, EPERM, why);
    else if (!engine->vm_running)
        engine_start_cpus(engine);
    if (!engine->out->verdict)
        engine->keep_stopped = false;
}

/* ---- Refusals ---- */

static void refuse_in_state(struct engine *engine, const char *order, const char *hint)
{
    char sentence[BATON_ERROR_TEXT_BYTES];
    struct text text;

    text_init(&text, sentence, sizeof(sentence));
    text_str(&text, order);
    text_str(&text, " is not possible in state ");
    text_str(&text, baton_status_name(engine->status));
    text_str(&text, ": ");
    text_str(&text, hint);
    engine_refuse(engine, EBUSY, sentence);
}

void source_any_refuse_migrate(struct engine *engine, const struct engine_event *event)
{
    (void)event;
    if (engine->status == BATON_STATUS_COMPLETED)
        refuse_in_state(engine, "migrate",
                        engine->source.one_way
                            ? "the VM was written away and may be started from there; "
                              "migrate-incoming reads it back"
                            : "the VM is not here any more");
    else if (engine->status == BATON_STATUS_POSTCOPY_PAUSED)
        refuse_in_state(engine, "a new migrate", "the last one waits to be resumed (resume: true)");
    else
        refuse_in_state(engine, "migrate", "a migration is under way; cancel it first");
}

void source_any_refuse_resume(struct engine *engine, const struct engine_event *event)
{
    (void)event;
    refuse_in_state(engine, "migrate with resume",
                    "only a postcopy-paused migration can be resumed");
}

void source_any_refuse_start_postcopy(struct engine *engine, const struct engine_event *event)
{
    (void)event;
    refuse_in_state(engine, "migrate-start-postcopy",
                    "it belongs between migrate and the end of precopy");
}

static void refuse_pause(struct engine *engine)
{
    refuse_in_state(engine, "migrate-pause", "only a running postcopy migration can be paused");
}

void source_any_refuse_pause(struct engine *engine, const struct engine_event *event)
{
    (void)event;
    refuse_pause(engine);
}

void dest_any_refuse_pause(struct engine *engine, const struct engine_event *event)
{
    (void)event;
    refuse_pause(engine);
}

void source_any_refuse_cancel(struct engine *engine, const struct engine_event *event)
{
    (void)event;
    refuse_in_state(engine, "migrate_cancel",
                    engine->source.one_way
                        ? "the VM is written away already, and is being put safely; if a command "
                          "that takes it hangs, ending the command ends the migration"
                        : "the VM is the destination's already; it cannot be taken back");
}

void dest_any_refuse_cancel(struct engine *engine, const struct engine_event *event)
{
    (void)event;
    refuse_in_state(engine, "migrate_cancel",
                    "the VM runs here and part of its memory is still at the source");
}

void dest_any_refuse_incoming(struct engine *engine, const struct engine_event *event)
{
    (void)event;
    refuse_in_state(engine, "migrate-incoming", "this machine listens already");
}

void dest_any_refuse_recover(struct engine *engine, const struct engine_event *event)
{
    (void)event;
    refuse_in_state(engine, "migrate-recover",
                    "only a postcopy-paused migration can be recovered, or one whose source does "
                    "not know yet that it is complete");
}
