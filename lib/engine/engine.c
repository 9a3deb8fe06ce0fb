/* SPDX-License-Identifier: MIT */
/*
 * The step: one event in, a list of actions out.
 *
 * Three filters stand before the table. (1) An order that is not for the role that the engine has,
 * or that starts a new role. (2) An event of a link that is not the current one: late news of a
 * link that rests already is dropped; at the destination any connection may ask who we are and say
 * hello, and nothing else, until its hello made it the current one. (3) An event of the current
 * link when it is dying: only LINK_RESTS counts then, because what happens next is decided there,
 * once.
 *
 * After the filters the row of transitions.def decides. Handlers are in source_*.c and dest_*.c, a
 * file a situation.
 */
#include "engine/engine.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/text.h"
#include "engine/internal.h"
#include "engine/table.h"

void engine_init(struct engine *engine, const struct engine_config *config)
{
    memset(engine, 0, sizeof(*engine));
    engine->pages = config->pages;
    memcpy(engine->nonce, config->nonce, ENGINE_ID_BYTES);
    engine->vm_running = config->vm_running;
    engine->keep_stopped = config->keep_stopped;
    engine->downtime_limit_ns = 300 * UINT64_C(1000000);
}

uint64_t engine_deadline(const struct engine *engine)
{
    return engine->deadline_ns;
}

/* ---- Verbs ---- */

struct engine_action *engine_emit(struct engine *engine, enum engine_action_type type)
{
    struct engine_action *action;

    assert(engine->out && engine->out->count < ENGINE_MAX_ACTIONS);
    action = &engine->out->actions[engine->out->count++];
    memset(action, 0, sizeof(*action));
    action->type = type;
    action->link = engine->link;
    return action;
}

struct engine_action *engine_send(struct engine *engine, uint64_t link, enum engine_message message)
{
    struct engine_action *action = engine_emit(engine, ENGINE_ACTION_SEND);

    action->link = link;
    action->message = message;
    return action;
}

static bool is_pausing(enum baton_status status)
{
    return status == BATON_STATUS_POSTCOPY_PAUSED ||
           status == BATON_STATUS_POSTCOPY_RECOVER_SETUP || status == BATON_STATUS_POSTCOPY_RECOVER;
}

/* Paused time runs from the first postcopy-paused until pages may flow again or it is over. */
static void account_pause(struct engine *engine, enum baton_status status)
{
    struct engine_times *times = &engine->times;

    if (status == BATON_STATUS_POSTCOPY_PAUSED && !is_pausing(engine->status)) {
        times->paused_since_ns = engine->now_ns;
        times->pauses++;
    } else if (!is_pausing(status) && is_pausing(engine->status)) {
        times->paused_total_ns += engine->now_ns - times->paused_since_ns;
        times->paused_since_ns = 0;
    }
}

void engine_set_status(struct engine *engine, enum baton_status status, const char *reason)
{
    struct engine_action *action = engine_emit(engine, ENGINE_ACTION_STATUS);
    struct text text;

    action->previous = engine->status;
    action->status = status;
    text_init(&text, action->reason, sizeof(action->reason));
    text_str(&text, reason);
    account_pause(engine, status);
    engine->status = status;
    engine->times.status_since_ns = engine->now_ns;
    if (status == BATON_STATUS_COMPLETED || status == BATON_STATUS_FAILED ||
        status == BATON_STATUS_CANCELLED)
        engine->times.ended_ns = engine->now_ns;
}

void engine_note_reason(struct engine *engine, const char *before, const char *reason)
{
    struct text text;

    if (engine->reason[0])
        return;
    text_init(&text, engine->reason, sizeof(engine->reason));
    text_str(&text, before);
    if (reason && reason[0]) {
        if (before[0])
            text_str(&text, ": ");
        text_str(&text, reason);
    }
}

void engine_clear_reason(struct engine *engine)
{
    engine->reason[0] = '\0';
}

void engine_quiesce(struct engine *engine, const char *before, const char *reason)
{
    struct engine_action *action;

    /* A link that is dying already keeps its deadline: its last message may hang. */
    if (!engine->link || engine->link_dying)
        return;
    engine->deadline_ns = 0;
    engine_note_reason(engine, before, reason);
    engine->link_dying = true;
    pageset_revoke(engine->pages);
    action = engine_emit(engine, ENGINE_ACTION_QUIESCE);
    memcpy(action->reason, engine->reason, sizeof(action->reason));
}

void engine_finish_link(struct engine *engine)
{
    assert(engine->link && !engine->link_dying);
    engine->link_dying = true;
    pageset_revoke(engine->pages);
    engine->deadline_ns = engine->now_ns + ENGINE_FINISH_NS;
    engine_emit(engine, ENGINE_ACTION_FINISH_LINK);
}

void engine_refuse(struct engine *engine, int code, const char *sentence)
{
    struct text text;

    engine->out->verdict = code;
    text_init(&text, engine->out->refusal, sizeof(engine->out->refusal));
    text_str(&text, sentence);
}

void engine_start_cpus(struct engine *engine)
{
    assert(!engine->vm_running);
    engine->vm_running = true;
    engine->halted = false;
    engine_emit(engine, ENGINE_ACTION_START_CPUS);
}

void engine_stop_cpus(struct engine *engine)
{
    if (!engine->vm_running)
        return;
    engine->vm_running = false;
    engine_emit(engine, ENGINE_ACTION_STOP_CPUS);
}

bool engine_id_equal(const uint8_t *a, const uint8_t *b)
{
    return memcmp(a, b, ENGINE_ID_BYTES) == 0;
}

bool engine_id_is_zero(const uint8_t *id)
{
    static const uint8_t zero[ENGINE_ID_BYTES];

    return engine_id_equal(id, zero);
}

/* ---- Rows without a handler of their own ---- */

void engine_ignore(struct engine *engine, const struct engine_event *event)
{
    (void)engine;
    (void)event;
}

void engine_impossible(struct engine *engine, const struct engine_event *event)
{
    engine->impossible++;
    engine_quiesce(engine, "internal error: impossible event", engine_event_name(event->type));
}

static void unexpected(struct engine *engine, const struct engine_event *event, const char *who)
{
    char sentence[ENGINE_REASON_BYTES];
    struct text text;

    text_init(&text, sentence, sizeof(sentence));
    text_str(&text, who);
    text_str(&text, " sent ");
    text_str(&text, engine_event_name(event->type));
    text_str(&text, ", which does not belong in state ");
    text_str(&text, baton_status_name(engine->status));
    engine_quiesce(engine, sentence, event->reason);
}

void source_any_on_unexpected(struct engine *engine, const struct engine_event *event)
{
    unexpected(engine, event, "the destination");
}

void dest_any_on_unexpected(struct engine *engine, const struct engine_event *event)
{
    unexpected(engine, event, engine->dest.one_way ? "the stream" : "the source");
}

/* ---- Filters ---- */

static bool is_order(enum engine_event_type type)
{
    return type <= ENGINE_EVENT_CONT;
}

/* Whether the migration that gave the engine its role is over, so that it may take another one. */
static bool is_role_over(const struct engine *engine)
{
    if (engine->role == BATON_ROLE_NONE)
        return true;
    if (engine->link || engine->dialing)
        return false;
    if (engine->role == BATON_ROLE_DEST)
        return !engine->dest.listening && (engine->status == BATON_STATUS_COMPLETED ||
                                           engine->status == BATON_STATUS_CANCELLED);
    return engine->status == BATON_STATUS_FAILED || engine->status == BATON_STATUS_CANCELLED ||
           engine->status == BATON_STATUS_COMPLETED;
}

static void take_role(struct engine *engine, enum baton_role role)
{
    engine->role = role;
    engine->status = BATON_STATUS_NONE;
    engine->epoch = 0;
    memset(&engine->times, 0, sizeof(engine->times));
    memset(&engine->dest, 0, sizeof(engine->dest));
    engine_clear_reason(engine);
    if (role == BATON_ROLE_DEST) {
        /* Nothing of the VM that was here is left, and of the bitmaps of its recovery neither. */
        pageset_discard_all(engine->pages);
        engine_emit(engine, ENGINE_ACTION_RESET_VM);
    }
}

/* Orders that begin a role, and orders for a role that the engine does not have. True: the order
 * was dealt with. */
static bool filter_order(struct engine *engine, const struct engine_event *event)
{
    bool source = engine->role != BATON_ROLE_DEST;

    switch (event->type) {
    case ENGINE_EVENT_MIGRATE:
        if (!source && is_role_over(engine))
            take_role(engine, BATON_ROLE_SOURCE);
        else if (!source)
            engine_refuse(engine, EBUSY,
                          "a migration comes in here: migrate is possible when it is complete and "
                          "the source knows it");
        return engine->role == BATON_ROLE_DEST;
    case ENGINE_EVENT_INCOMING:
        if (source && engine->vm_running)
            engine_refuse(engine, EBUSY, "a VM runs here: stop it first, its memory would be lost");
        else if (source && is_role_over(engine))
            take_role(engine, BATON_ROLE_DEST);
        else if (source)
            engine_refuse(engine, EBUSY, "a migration goes out from here");
        return engine->role != BATON_ROLE_DEST;
    case ENGINE_EVENT_RESUME:
    case ENGINE_EVENT_START_POSTCOPY:
        if (!source)
            engine_refuse(engine, EINVAL, "this is the destination; give this order at the source");
        return !source;
    case ENGINE_EVENT_RECOVER:
        if (source)
            engine_refuse(engine, EINVAL,
                          "this is not the destination of a migration; migrate-recover belongs "
                          "there, and migrate with resume here");
        else if (event->one_way)
            engine_refuse(engine, EINVAL,
                          "a source cannot come back without a way back: listen at tcp: or unix:");
        return source || event->one_way;
    default:
        return false;
    }
}

/* Events of connections that are not the current link. True: dealt with, or of no interest. */
static bool filter_link(struct engine *engine, const struct engine_event *event)
{
    bool current = event->link == engine->link;

    if (!event->link || event->type == ENGINE_EVENT_DIALED)
        return false;
    if (current && event->type == ENGINE_EVENT_LINK_RESTS)
        return false;
    if (current && engine->role == BATON_ROLE_DEST && engine->dest.one_way && !engine->link_dying &&
        !dest_one_way_takes(event)) {
        dest_any_on_unexpected(engine, event);
        return true;
    }
    if (current)
        return engine->link_dying;
    if (engine->role != BATON_ROLE_DEST)
        return true;
    if (event->type == ENGINE_EVENT_PING_HELLO || event->type == ENGINE_EVENT_HELLO_SOURCE ||
        event->type == ENGINE_EVENT_ONE_WAY)
        return false;
    if (event->link == engine->dest.pending_link)
        engine->dest.pending_link = 0;
    if (event->type != ENGINE_EVENT_LINK_RESTS) {
        struct engine_action *drop = engine_emit(engine, ENGINE_ACTION_DROP_LINK);
        struct text text;

        drop->link = event->link;
        text_init(&text, drop->reason, sizeof(drop->reason));
        text_str(&text,
                 event->reason ? event->reason : "no hello came first; is the peer a Baton?");
    }
    return true;
}

void engine_step(struct engine *engine, const struct engine_event *event, struct engine_out *out)
{
    engine_handler *row;

    assert(!engine->out && event->now_ns >= engine->now_ns);
    out->count = 0;
    out->verdict = 0;
    out->refusal[0] = '\0';
    engine->out = out;
    engine->now_ns = event->now_ns;

    if (is_order(event->type) && filter_order(engine, event))
        goto done;
    if (event->type == ENGINE_EVENT_TIMEOUT &&
        (!engine->deadline_ns || engine->now_ns < engine->deadline_ns))
        goto done;
    if (filter_link(engine, event))
        goto done;
    row = engine_table_row(engine->role, engine->status, event->type);
    if (!row)
        row = engine_impossible;
    row(engine, event);
done:
    engine->out = NULL;
}
