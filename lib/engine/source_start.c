/* SPDX-License-Identifier: MIT */
/*
 * The source, from `migrate` to the first page.
 *
 *   source                                destination
 *   dial
 *   header, configuration, OPEN_RETURN_PATH, PING(hello)  ->
 *                                      <-  HELLO_DEST, PONG     (a QEMU answers PONG alone)
 *   HELLO_SOURCE(session, epoch, new)  ->
 *                                      <-  HELLO_ACK
 *   [ADVISE] RAM_START, pages ...      ->
 *
 * Until HELLO_ACK the destination has touched nothing, so every failure here leaves both sides as
 * they were, and the VM runs on.
 */
#include <string.h>

#include "engine/internal.h"

void source_idle_on_migrate(struct engine *engine, const struct engine_event *event)
{
    if (!source_one_way_accept(engine, event))
        return;
    engine->role = BATON_ROLE_SOURCE;
    memset(&engine->source, 0, sizeof(engine->source));
    memset(&engine->times, 0, sizeof(engine->times));
    memcpy(engine->source.session, event->random, ENGINE_ID_BYTES);
    engine->source.one_way = event->one_way;
    engine->epoch = 0;
    engine->times.began_ns = engine->now_ns;
    engine_clear_reason(engine);
    engine_set_status(engine, BATON_STATUS_SETUP, "migrate was ordered");
    engine->dialing = true;
    engine_emit(engine, ENGINE_ACTION_DIAL);
}

void source_setup_on_dialed(struct engine *engine, const struct engine_event *event)
{
    engine->dialing = false;
    engine->link = event->link;
    engine->link_dying = false;
    if (engine->source.one_way) {
        source_one_way_begin(engine);
        return;
    }
    engine->deadline_ns = engine->now_ns + ENGINE_ANSWER_NS;
    engine_emit(engine, ENGINE_ACTION_START_LINK);
    engine_send(engine, engine->link, ENGINE_MESSAGE_OPENING);
    engine_send(engine, engine->link, ENGINE_MESSAGE_PING_HELLO);
}

void source_setup_on_dial_failed(struct engine *engine, const struct engine_event *event)
{
    engine->dialing = false;
    engine_note_reason(engine, "", event->reason);
    engine_set_status(engine, BATON_STATUS_FAILED, engine->reason);
    engine_emit(engine, ENGINE_ACTION_RELEASE);
}

/* Whether the session that the destination still waits for is one that was taken back here. */
static bool was_taken_back(const struct engine *engine, const uint8_t *session)
{
    for (unsigned i = 0; i < ENGINE_MAX_GIVEN_UP; i++)
        if (engine_id_equal(engine->taken_back[i], session))
            return true;
    return false;
}

void source_setup_on_hello_dest(struct engine *engine, const struct engine_event *event)
{
    struct engine_source *source = &engine->source;
    struct engine_hello *hello;

    if (source->saw_hello) {
        source_any_on_unexpected(engine, event);
        return;
    }
    source->saw_hello = true;
    if (event->hello.epoch == UINT64_MAX) {
        engine_quiesce(engine, "the destination has no link number left; start it anew", NULL);
        return;
    }
    memcpy(source->dest_nonce, event->hello.nonce, ENGINE_ID_BYTES);
    engine->epoch = event->hello.epoch + 1;
    hello = &engine_send(engine, engine->link, ENGINE_MESSAGE_HELLO_SOURCE)->hello;
    memcpy(hello->session, source->session, ENGINE_ID_BYTES);
    memcpy(hello->nonce, engine->nonce, ENGINE_ID_BYTES);
    memcpy(hello->expected_nonce, source->dest_nonce, ENGINE_ID_BYTES);
    if (was_taken_back(engine, event->hello.session))
        memcpy(hello->voids_session, event->hello.session, ENGINE_ID_BYTES);
    hello->epoch = engine->epoch;
    hello->intent = ENGINE_INTENT_NEW;
}

void source_setup_on_pong(struct engine *engine, const struct engine_event *event)
{
    (void)event;
    if (!engine->source.saw_hello)
        engine_quiesce(engine,
                       "the peer answered, but not as a Baton; this version moves VMs between two "
                       "Batons only",
                       NULL);
}

void source_setup_on_hello_ack(struct engine *engine, const struct engine_event *event)
{
    if (!engine->source.saw_hello) {
        source_any_on_unexpected(engine, event);
        return;
    }
    if (event->hello.verdict != ENGINE_VERDICT_OK) {
        engine_quiesce(engine, "the destination refused the migration", event->reason);
        return;
    }
    engine->deadline_ns = 0;
    engine->source.proved = true;
    engine->times.first_page_ns = engine->now_ns;
    engine_set_status(engine, BATON_STATUS_ACTIVE, "the destination takes the VM");
    if (engine->capability[BATON_CAPABILITY_POSTCOPY_RAM])
        engine_send(engine, engine->link, ENGINE_MESSAGE_ADVISE);
    engine_send(engine, engine->link, ENGINE_MESSAGE_RAM_START);
    engine_emit(engine, ENGINE_ACTION_TRACK_DIRTY);
    pageset_lease(engine->pages, engine->epoch);
    /* Ordered before the first page: nothing is sent that would be fetched anyway. */
    if (engine->source.postcopy_wanted || (engine->capability[BATON_CAPABILITY_X_POSTCOPY_FAST] &&
                                           engine->capability[BATON_CAPABILITY_POSTCOPY_RAM])) {
        source_begin_switchover(engine, true);
    } else {
        engine->source.pass = 1;
        engine_emit(engine, ENGINE_ACTION_PASS)->value = engine->epoch;
    }
}
