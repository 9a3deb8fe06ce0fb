/* SPDX-License-Identifier: MIT */
/*
 * Who may be the current link of the destination.
 *
 * Any connection may ask who we are: the answer costs nothing and changes nothing. A connection
 * becomes the current link by HELLO_SOURCE only, and only
 *
 *   new      if no session is under way that could still need its link, or the hello comes from the
 * very source of that session and voids it; recover  if it names our session, comes from the
 * process that began it, means this process, and has an epoch newer than every one before.
 *
 * A proved newer link replaces the old one although that may look alive: half-open connections look
 * so for hours. It waits (`pending`) until all threads of the old link rest; then
 * dest_adopt_pending() makes it current. Of two pending ones the newer epoch wins, so a slow hello
 * of an earlier dial cannot kill a live link.
 */
#include <string.h>

#include "base/text.h"
#include "engine/internal.h"

static const uint8_t no_id[ENGINE_ID_BYTES];

void dest_any_on_ping_hello(struct engine *engine, const struct engine_event *event)
{
    struct engine_hello *hello =
        &engine_send(engine, event->link, ENGINE_MESSAGE_HELLO_DEST)->hello;

    memcpy(hello->session, engine->dest.session, ENGINE_ID_BYTES);
    memcpy(hello->nonce, engine->nonce, ENGINE_ID_BYTES);
    hello->epoch = engine->epoch;
    hello->state = (uint8_t)dest_peer_state(engine);
    engine_send(engine, event->link, ENGINE_MESSAGE_PONG_HELLO);
}

static struct engine_action *acknowledge(struct engine *engine, uint64_t link,
                                         enum engine_verdict verdict, const char *reason)
{
    struct engine_action *action = engine_send(engine, link, ENGINE_MESSAGE_HELLO_ACK);
    struct text text;

    action->hello.verdict = (uint8_t)verdict;
    action->hello.state = (uint8_t)dest_peer_state(engine);
    action->hello.epoch = engine->epoch;
    text_init(&text, action->reason, sizeof(action->reason));
    text_str(&text, reason);
    return action;
}

static void drop(struct engine *engine, uint64_t link, const char *reason)
{
    struct engine_action *action = engine_emit(engine, ENGINE_ACTION_DROP_LINK);
    struct text text;

    action->link = link;
    text_init(&text, action->reason, sizeof(action->reason));
    text_str(&text, reason);
}

static void refuse_link(struct engine *engine, const struct engine_event *event,
                        enum engine_verdict verdict, enum engine_peer_state state,
                        const char *reason)
{
    acknowledge(engine, event->link, verdict, reason)->hello.state = (uint8_t)state;
    drop(engine, event->link, reason);
}

/* ---- A new migration ---- */

static void adopt_new(struct engine *engine, uint64_t link, const struct engine_hello *hello)
{
    struct engine_dest *dest = &engine->dest;
    bool listening = dest->listening;

    memset(dest, 0, sizeof(*dest));
    memset(&engine->times, 0, sizeof(engine->times));
    dest->listening = listening;
    memcpy(dest->session, hello->session, ENGINE_ID_BYTES);
    memcpy(dest->source_nonce, hello->nonce, ENGINE_ID_BYTES);
    engine->epoch = hello->epoch;
    engine->link = link;
    engine->link_dying = false;
    engine->times.began_ns = engine->now_ns;
    engine_clear_reason(engine);
    engine_emit(engine, ENGINE_ACTION_ADOPT_LINK)->value = engine->epoch;
    engine->deadline_ns = engine->now_ns + ENGINE_ANSWER_NS; /* for its first page */
    if (engine->status != BATON_STATUS_SETUP)
        engine_set_status(engine, BATON_STATUS_SETUP, "a source begins anew");
    engine_set_status(engine, BATON_STATUS_ACTIVE, "a source has said hello");
    acknowledge(engine, link, ENGINE_VERDICT_OK, "welcome");
}

/*
 * Whether the session at hand may give way: it has not run, and this is its source, which either
 * did not get as far as READY (then RUN was never sent) or says that RUN was never written.
 */
static bool may_supersede(const struct engine *engine, const struct engine_hello *hello)
{
    const struct engine_dest *dest = &engine->dest;

    if (dest->started || dest->one_way || engine->status == BATON_STATUS_COMPLETED)
        return false;
    if (!engine_id_equal(dest->source_nonce, hello->nonce))
        return false;
    return !dest->ready || engine_id_equal(dest->session, hello->voids_session);
}

/* Whether a newer link has said hello before: this one was slow. */
static bool is_stale(const struct engine *engine, const struct engine_hello *hello)
{
    return hello->epoch <= engine->epoch ||
           (engine->dest.pending_link && hello->epoch <= engine->dest.pending.epoch);
}

static void wait_for_old_link(struct engine *engine, const struct engine_event *event,
                              const char *reason)
{
    if (engine->dest.pending_link)
        drop(engine, engine->dest.pending_link, "a newer link has come");
    engine->dest.pending_link = event->link;
    engine->dest.pending = event->hello;
    engine_quiesce(engine, reason, NULL);
}

static void on_new(struct engine *engine, const struct engine_event *event)
{
    enum baton_status status = engine->status;
    const char *busy = "a migration of another VM or source is under way here";

    if (!event->has_header || !event->ok)
        refuse_link(engine, event, ENGINE_VERDICT_REFUSED, dest_peer_state(engine),
                    event->reason ? event->reason : "the stream has no header");
    else if (is_stale(engine, &event->hello))
        refuse_link(engine, event, ENGINE_VERDICT_STALE_EPOCH, dest_peer_state(engine),
                    "a newer link has been here already");
    else if (engine->link && may_supersede(engine, &event->hello))
        wait_for_old_link(engine, event, "its source begins a new migration");
    else if (engine->link || !engine->dest.listening)
        refuse_link(engine, event, ENGINE_VERDICT_BUSY, dest_peer_state(engine), busy);
    else if (status == BATON_STATUS_SETUP || status == BATON_STATUS_FAILED ||
             status == BATON_STATUS_CANCELLED)
        adopt_new(engine, event->link, &event->hello);
    else if (may_supersede(engine, &event->hello)) {
        dest_abandon_session(engine, BATON_STATUS_FAILED, "the source has taken its VM back");
        adopt_new(engine, event->link, &event->hello);
    } else {
        refuse_link(engine, event, ENGINE_VERDICT_BUSY, dest_peer_state(engine), busy);
    }
}

/* ---- The source of our session comes back ---- */

static void adopt_again(struct engine *engine, uint64_t link, const struct engine_hello *hello)
{
    engine->epoch = hello->epoch;
    if (hello->intent == ENGINE_INTENT_ASK_BACK && engine->dest.ready && !engine->dest.started)
        /* The old link rests, so RUN cannot come any more: the answer may be given, and binds from
         * here on. */
        dest_abandon_session(engine, BATON_STATUS_FAILED,
                             "the source asked for its VM before it had run here");
    if (engine->dest.voided) {
        acknowledge(engine, link, ENGINE_VERDICT_OK, "never started, and never will");
        drop(engine, link, "the VM went back to the source");
        return;
    }
    engine->link = link;
    engine->link_dying = false;
    engine_emit(engine, ENGINE_ACTION_ADOPT_LINK)->value = engine->epoch;
    if (engine->status != BATON_STATUS_COMPLETED) {
        engine_clear_reason(engine);
        engine_set_status(engine, BATON_STATUS_POSTCOPY_RECOVER, "the source has come back");
        engine->deadline_ns = engine->now_ns + ENGINE_LOAD_NS;
    }
    acknowledge(engine, link, ENGINE_VERDICT_OK, "welcome back");
}

/* A session from before the one at hand, that was given up after READY. No thread of it is left and
 * nothing of it can be run, so the answer costs nothing, and its source gets its VM back. */
static bool was_given_up(const struct engine *engine, const struct engine_hello *hello)
{
    if (!engine_id_equal(hello->expected_nonce, engine->nonce))
        return false;
    for (unsigned i = 0; i < ENGINE_MAX_GIVEN_UP; i++)
        if (engine_id_equal(engine->given_up[i].session, hello->session) &&
            engine_id_equal(engine->given_up[i].source_nonce, hello->nonce))
            return true;
    return false;
}

static void answer_never(struct engine *engine, const struct engine_event *event)
{
    struct engine_action *answer =
        acknowledge(engine, event->link, ENGINE_VERDICT_OK, "never started, and never will");

    answer->hello.state = ENGINE_PEER_NEVER;
    answer->hello.epoch = event->hello.epoch;
    drop(engine, event->link, "the VM went back to the source");
}

static void on_recover(struct engine *engine, const struct engine_event *event)
{
    const struct engine_hello *hello = &event->hello;
    struct engine_dest *dest = &engine->dest;

    if (!engine_id_equal(dest->session, hello->session) && was_given_up(engine, hello))
        answer_never(engine, event);
    else if (engine_id_is_zero(dest->session) || !engine_id_equal(dest->session, hello->session))
        refuse_link(engine, event, ENGINE_VERDICT_UNKNOWN_SESSION, ENGINE_PEER_UNKNOWN_SESSION,
                    "this process knows nothing of that migration");
    else if (!engine_id_equal(hello->expected_nonce, engine->nonce) ||
             !engine_id_equal(hello->nonce, dest->source_nonce))
        refuse_link(engine, event, ENGINE_VERDICT_WRONG_PROCESS, ENGINE_PEER_UNKNOWN_SESSION,
                    "this migration is between other processes");
    else if (is_stale(engine, hello))
        refuse_link(engine, event, ENGINE_VERDICT_STALE_EPOCH, dest_peer_state(engine),
                    "a newer link has been here already");
    else if (engine->link)
        wait_for_old_link(engine, event, "the source has come back over a newer link");
    else
        adopt_again(engine, event->link, hello);
}

void dest_any_on_hello_source(struct engine *engine, const struct engine_event *event)
{
    if (event->link == engine->link)
        dest_any_on_unexpected(engine, event);
    else if (event->link == engine->dest.pending_link) {
        engine->dest.pending_link = 0;
        drop(engine, event->link, "a second hello on the same link");
    } else if (event->hello.epoch == 0 || engine_id_equal(event->hello.session, no_id))
        refuse_link(engine, event, ENGINE_VERDICT_REFUSED, dest_peer_state(engine),
                    "a hello without a session or an epoch");
    else if (event->hello.intent == ENGINE_INTENT_NEW)
        on_new(engine, event);
    else
        on_recover(engine, event);
}

void dest_adopt_pending(struct engine *engine)
{
    struct engine_hello hello = engine->dest.pending;
    uint64_t link = engine->dest.pending_link;

    if (!link)
        return;
    engine->dest.pending_link = 0;
    if (hello.intent == ENGINE_INTENT_NEW) {
        if (!engine->dest.voided)
            dest_abandon_session(engine, BATON_STATUS_FAILED, "the source has taken its VM back");
        adopt_new(engine, link, &hello);
    } else {
        adopt_again(engine, link, &hello);
    }
}
