/* SPDX-License-Identifier: MIT */
/*
 * The source comes back over a new link.
 *
 *   source                                    destination
 *   PING(hello)                            ->
 *                                          <-  HELLO_DEST(session, process, newest epoch), PONG
 *   HELLO_SOURCE(session, newer epoch)     ->  retires its old link
 *                                          <-  HELLO_ACK(what became of the VM)
 *   RECV_BITMAP for each block             ->
 *                                          <-  RECV_BITMAP, bits of what is received
 *   dirty := not received; resume_prepare of the devices
 *   POSTCOPY_RESUME                        ->
 *                                          <-  RESUME_ACK, page requests again
 *   [RUN, if it had not arrived]  pages    ->
 *
 * HELLO_ACK carries the answer to the question that a cut around RUN leaves open. "Complete":
 * nothing is left to do. "Never, and never will": binding, the VM runs here again. "Not started":
 * RUN is sent again, never run here. Any failure on the way leads back to postcopy-paused, and it
 * can be tried again without end.
 */
#include <errno.h>
#include <string.h>

#include "base/text.h"
#include "engine/internal.h"

void source_paused_on_resume(struct engine *engine, const struct engine_event *event)
{
    if (event->one_way) {
        engine_refuse(
            engine, EINVAL,
            "a paused migration cannot go on without a way back: resume to tcp: or unix:");
        return;
    }
    engine_clear_reason(engine);
    engine->source.ordered_ns = engine->now_ns;
    engine->source.give_up_dial = false;
    engine_set_status(engine, BATON_STATUS_POSTCOPY_RECOVER_SETUP,
                      "migrate with resume was ordered");
    engine->dialing = true;
    engine_emit(engine, ENGINE_ACTION_DIAL);
}

void source_recover_setup_on_pause(struct engine *engine, const struct engine_event *event)
{
    (void)event;
    if (engine->source.give_up_dial)
        return;
    engine->source.give_up_dial = true;
    engine_note_reason(engine, "paused by migrate-pause at the source", NULL);
    engine_emit(engine, ENGINE_ACTION_CANCEL_DIAL);
}

void source_recover_setup_on_dial_failed(struct engine *engine, const struct engine_event *event)
{
    engine->dialing = false;
    engine_note_reason(engine, "no new link to the destination", event->reason);
    engine_set_status(engine, BATON_STATUS_POSTCOPY_PAUSED, engine->reason);
}

void source_recover_setup_on_dialed(struct engine *engine, const struct engine_event *event)
{
    engine->dialing = false;
    if (engine->source.give_up_dial) {
        engine_emit(engine, ENGINE_ACTION_DROP_LINK)->link = event->link;
        engine_set_status(engine, BATON_STATUS_POSTCOPY_PAUSED, engine->reason);
        return;
    }
    engine->link = event->link;
    engine->link_dying = false;
    engine->source.saw_hello = false;
    engine->source.proved = false;
    engine->source.bitmaps = 0;
    engine->source.resume_sent = false;
    engine->deadline_ns = engine->now_ns + ENGINE_ANSWER_NS;
    engine_emit(engine, ENGINE_ACTION_START_LINK);
    engine_set_status(engine, BATON_STATUS_POSTCOPY_RECOVER, "a new link stands");
    engine_send(engine, engine->link, ENGINE_MESSAGE_PING_HELLO);
}

void source_recover_on_hello_dest(struct engine *engine, const struct engine_event *event)
{
    struct engine_source *source = &engine->source;
    struct engine_hello *hello;

    if (source->saw_hello) {
        source_any_on_unexpected(engine, event);
        return;
    }
    source->saw_hello = true;
    /* Only the process that gave READY knows what became of RUN; another one must not be taken for
     * it. */
    if (!engine_id_equal(event->hello.nonce, source->dest_nonce)) {
        engine_quiesce(engine,
                       "another process answers at that address, not the destination of this "
                       "migration",
                       NULL);
        return;
    }
    if (event->hello.epoch == UINT64_MAX) {
        engine_quiesce(engine, "the destination has no link number left", NULL);
        return;
    }
    if (event->hello.epoch > engine->epoch)
        engine->epoch = event->hello.epoch;
    engine->epoch++;
    hello = &engine_send(engine, engine->link, ENGINE_MESSAGE_HELLO_SOURCE)->hello;
    memcpy(hello->session, source->session, ENGINE_ID_BYTES);
    memcpy(hello->nonce, engine->nonce, ENGINE_ID_BYTES);
    memcpy(hello->expected_nonce, source->dest_nonce, ENGINE_ID_BYTES);
    hello->epoch = engine->epoch;
    hello->intent = source->want_back ? ENGINE_INTENT_ASK_BACK : ENGINE_INTENT_RECOVER;
}

void source_recover_on_pong(struct engine *engine, const struct engine_event *event)
{
    (void)event;
    if (!engine->source.saw_hello)
        engine_quiesce(engine, "the peer at that address is not the Baton that has the VM", NULL);
}

/* The destination's binding answer: it has not run the VM, and has voided RUN. Taken back when the
 * link rests. */
static void come_home(struct engine *engine)
{
    engine->source.run = ENGINE_RUN_HELD;
    engine_quiesce(engine, "the destination gave the VM back before it had run there", NULL);
}

void source_recover_on_hello_ack(struct engine *engine, const struct engine_event *event)
{
    const struct engine_hello *hello = &event->hello;

    if (!engine->source.saw_hello || engine->source.proved) {
        source_any_on_unexpected(engine, event);
        return;
    }
    if (hello->verdict != ENGINE_VERDICT_OK || hello->epoch != engine->epoch) {
        engine_quiesce(engine, "the destination refused the recovery", event->reason);
        return;
    }
    engine->source.proved = true;
    engine->deadline_ns = engine->now_ns + ENGINE_LOAD_NS;
    switch (hello->state) {
    case ENGINE_PEER_COMPLETE:
        source_complete(engine, "the destination has had every page since before the cut");
        return;
    case ENGINE_PEER_NEVER:
        if (engine->source.run == ENGINE_RUN_KNOWN)
            engine_quiesce(engine, "the destination says that it never ran a VM that it ran", NULL);
        else
            come_home(engine);
        return;
    case ENGINE_PEER_NOT_STARTED:
        if (engine->source.run == ENGINE_RUN_KNOWN) {
            engine_quiesce(engine, "the destination says that it has not run a VM that it ran",
                           NULL);
            return;
        }
        break;
    case ENGINE_PEER_RUNNING:
        engine->source.want_back = false;
        engine->source.run = ENGINE_RUN_KNOWN;
        if (!engine->times.run_ns)
            engine->times.run_ns = engine->now_ns;
        break;
    default:
        engine_quiesce(engine, "the destination does not know this migration", event->reason);
        return;
    }
    engine_send(engine, engine->link, ENGINE_MESSAGE_BITMAP_REQUESTS);
}

void source_recover_on_bitmap(struct engine *engine, const struct engine_event *event)
{
    uint64_t never_sent;

    if (!engine->source.proved || event->block != engine->source.bitmaps) {
        source_any_on_unexpected(engine, event);
        return;
    }
    if (++engine->source.bitmaps < engine->pages->block_count)
        return;
    never_sent = pageset_rebuild_dirty(engine->pages);
    if (never_sent) {
        char sentence[ENGINE_REASON_BYTES];
        struct text text;

        text_init(&text, sentence, sizeof(sentence));
        text_str(&text, "the destination says that it has ");
        text_u64(&text, never_sent);
        text_str(&text, " pages that were never sent: it is not the VM of this migration, or a "
                        "discard was lost; nothing was changed here");
        engine_quiesce(engine, sentence, NULL);
        return;
    }
    engine_emit(engine, ENGINE_ACTION_PREPARE_DEVICES);
}

void source_recover_on_prepared(struct engine *engine, const struct engine_event *event)
{
    if (!event->ok) {
        engine_quiesce(engine, "a device cannot resume", event->reason);
        return;
    }
    engine->source.resume_sent = true;
    engine_send(engine, engine->link, ENGINE_MESSAGE_RESUME);
}

void source_recover_on_resume_ack(struct engine *engine, const struct engine_event *event)
{
    if (!engine->source.resume_sent) {
        source_any_on_unexpected(engine, event);
        return;
    }
    engine->deadline_ns = 0;
    engine->times.recover_ns = engine->now_ns - engine->source.ordered_ns;
    pageset_lease(engine->pages, engine->epoch);
    if (engine->source.run != ENGINE_RUN_KNOWN) {
        engine_set_status(engine, BATON_STATUS_POSTCOPY_DEVICE, "recovered; RUN is sent again");
        source_send_run(engine);
        return;
    }
    engine_set_status(engine, BATON_STATUS_POSTCOPY_ACTIVE, "recovered");
    engine_emit(engine, ENGINE_ACTION_BULK)->value = engine->epoch;
}
