/* SPDX-License-Identifier: MIT */
/*
 * Engine messages as bytes. The engine speaks in its own few words; here stands which stream
 * elements each of them is. The enums of the two pure libraries are the same numbers, which the
 * assertions hold them to.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "runtime/runtime.h"

_Static_assert((int)ENGINE_PEER_STATE_COUNT == (int)WIRE_DEST_STATE_COUNT &&
                   (int)ENGINE_PEER_NEVER == (int)WIRE_DEST_NEVER &&
                   (int)ENGINE_PEER_UNKNOWN_SESSION == (int)WIRE_DEST_UNKNOWN,
               "states of a destination");
_Static_assert((int)ENGINE_INTENT_COUNT == (int)WIRE_INTENT_COUNT &&
                   (int)ENGINE_INTENT_ASK_BACK == (int)WIRE_INTENT_RECLAIM,
               "intents");
_Static_assert((int)ENGINE_VERDICT_COUNT == (int)WIRE_VERDICT_COUNT &&
                   (int)ENGINE_VERDICT_WRONG_PROCESS == (int)WIRE_VERDICT_WRONG_PROCESS,
               "verdicts");
_Static_assert(ENGINE_ID_BYTES == WIRE_ID_BYTES, "ids");

#define RAM_SECTION_ID 1u

void package_add(struct package *package, const void *bytes, size_t length_bytes)
{
    if (package->used + length_bytes > package->size) {
        size_t size = (package->used + length_bytes) * 2 + 256;

        package->bytes = realloc(package->bytes, size);
        if (!package->bytes)
            abort(); /* device state is small; without memory for it nothing can be saved */
        package->size = size;
    }
    if (length_bytes)
        memcpy(package->bytes + package->used, bytes, length_bytes);
    package->used += length_bytes;
}

void package_clear(struct package *package)
{
    free(package->bytes);
    *package = (struct package){0};
}

static void add(struct package *out, const struct wire_message *message)
{
    uint8_t bytes[WIRE_MAX_CONTROL_BYTES];
    size_t used = wire_encode(message, bytes, sizeof(bytes));

    assert(used);
    package_add(out, bytes, used);
}

static void add_simple(struct package *out, enum wire_type type, uint32_t value)
{
    struct wire_message message = {.type = type};

    message.u.value = value;
    add(out, &message);
}

static void add_opening(struct baton *baton, bool one_way, struct package *out)
{
    struct wire_message message = {.type = WIRE_HEADER};

    add(out, &message);
    message = (struct wire_message){.type = WIRE_CONFIGURATION};
    strcpy(message.u.configuration.machine, baton->machine);
    add(out, &message);
    if (!one_way)
        add_simple(out, WIRE_OPEN_RETURN_PATH, 0);
}

static void add_advise(struct baton *baton, struct package *out)
{
    struct wire_message message = {.type = WIRE_ADVISE};

    message.u.advise.sizes = true;
    message.u.advise.page_summary = wire_blocks_page_summary(&baton->wire_blocks);
    message.u.advise.target_page_bytes = WIRE_TARGET_PAGE_BYTES;
    add(out, &message);
}

static void add_ram_section(struct baton *baton, struct package *out, bool start)
{
    struct wire_ram_writer writer;
    uint8_t bytes[64 + BATON_MAX_RAM_BLOCKS * (WIRE_NAME_BYTES + 16)];
    struct wire_put put;

    wire_put_init(&put, bytes, sizeof(bytes));
    wire_ram_writer_init(&writer, &baton->wire_blocks, RAM_SECTION_ID);
    if (start) {
        wire_put_ram_start(&put, &writer, baton->engine.capability[BATON_CAPABILITY_POSTCOPY_RAM]);
    } else {
        wire_put_ram_end(&put, &writer);
        wire_put_ram_eos(&put, &writer);
    }
    assert(!put.overflow);
    package_add(out, bytes, put.used);
}

static void add_hello_source(const struct engine_hello *hello, struct package *out)
{
    struct wire_message message = {.type = WIRE_HELLO_SOURCE};
    struct wire_hello_source *to = &message.u.hello_source;

    to->version = WIRE_PROTOCOL_VERSION;
    to->epoch = hello->epoch;
    to->intent = hello->intent;
    memcpy(to->session, hello->session, ENGINE_ID_BYTES);
    memcpy(to->nonce, hello->nonce, ENGINE_ID_BYTES);
    memcpy(to->voided, hello->voids_session, ENGINE_ID_BYTES);
    memcpy(to->dest_nonce, hello->expected_nonce, ENGINE_ID_BYTES);
    add(out, &message);
}

static void add_hello_dest(const struct engine_hello *hello, struct package *out)
{
    struct wire_message message = {.type = WIRE_HELLO_DEST};
    struct wire_hello_dest *to = &message.u.hello_dest;

    to->version = WIRE_PROTOCOL_VERSION;
    to->epoch = hello->epoch;
    to->state = hello->state;
    memcpy(to->session, hello->session, ENGINE_ID_BYTES);
    memcpy(to->nonce, hello->nonce, ENGINE_ID_BYTES);
    add(out, &message);
}

static void copy_reason(char to[WIRE_NAME_BYTES], const char *reason)
{
    struct text text;

    text_init(&text, to, WIRE_NAME_BYTES);
    text_str(&text, reason);
}

static void add_hello_ack(const struct engine_action *action, struct package *out)
{
    struct wire_message message = {.type = WIRE_HELLO_ACK};

    message.u.hello_ack.epoch = action->hello.epoch;
    message.u.hello_ack.state = action->hello.state;
    message.u.hello_ack.verdict = action->hello.verdict;
    copy_reason(message.u.hello_ack.reason, action->reason);
    add(out, &message);
}

static void add_fault(const struct engine_action *action, struct package *out)
{
    struct wire_message message = {.type = WIRE_FAULT};

    copy_reason(message.u.fault.text, action->reason);
    add(out, &message);
}

static void add_bitmap_requests(struct baton *baton, struct package *out)
{
    for (unsigned b = 0; b < baton->ram.count; b++) {
        struct wire_message message = {.type = WIRE_RECV_BITMAP_REQUEST};

        strcpy(message.u.block.block, baton->ram.blocks[b].name);
        add(out, &message);
    }
}

/* Messages that carry an id or two numbers. */
static void add_with_ids(const struct engine_action *action, enum wire_type type,
                         struct package *out)
{
    struct wire_message message = {.type = type};

    switch (type) {
    case WIRE_VOID:
        memcpy(message.u.voided.session, action->hello.session, ENGINE_ID_BYTES);
        break;
    case WIRE_BYE:
        message.u.bye.epoch = action->value;
        break;
    case WIRE_READY:
        memcpy(message.u.ready.nonce, action->hello.nonce, ENGINE_ID_BYTES);
        message.u.ready.epoch = action->hello.epoch;
        break;
    case WIRE_COMPLETE:
        message.u.complete.epoch = action->hello.epoch;
        message.u.complete.pages = action->value;
        break;
    default: /* BARRIER, BARRIER_ACK: there is one channel, the main one */
        message.u.barrier.channel = 0;
        message.u.barrier.number = action->value;
        break;
    }
    add(out, &message);
}

void encode_message(struct baton *baton, const struct engine_action *action, struct package *out)
{
    uint32_t value = (uint32_t)action->value;

    switch (action->message) {
    case ENGINE_MESSAGE_OPENING:
    case ENGINE_MESSAGE_OPENING_ONE_WAY:
        add_opening(baton, action->message == ENGINE_MESSAGE_OPENING_ONE_WAY, out);
        break;
    case ENGINE_MESSAGE_PING_HELLO:
        add_simple(out, WIRE_PING, WIRE_PING_HELLO);
        break;
    case ENGINE_MESSAGE_PING:
        add_simple(out, WIRE_PING, value);
        break;
    case ENGINE_MESSAGE_HELLO_SOURCE:
        add_hello_source(&action->hello, out);
        break;
    case ENGINE_MESSAGE_ADVISE:
        add_advise(baton, out);
        break;
    case ENGINE_MESSAGE_RAM_START:
        add_ram_section(baton, out, true);
        break;
    case ENGINE_MESSAGE_RAM_END:
        add_ram_section(baton, out, false);
        break;
    case ENGINE_MESSAGE_STREAM_END:
        add_simple(out, WIRE_EOF, 0);
        break;
    case ENGINE_MESSAGE_BARRIER:
        add_with_ids(action, WIRE_BARRIER, out);
        break;
    case ENGINE_MESSAGE_RUN:
        add_simple(out, WIRE_RUN, 0);
        break;
    case ENGINE_MESSAGE_BITMAP_REQUESTS:
        add_bitmap_requests(baton, out);
        break;
    case ENGINE_MESSAGE_RESUME:
        add_simple(out, WIRE_RESUME, 0);
        break;
    case ENGINE_MESSAGE_VOID:
        add_with_ids(action, WIRE_VOID, out);
        break;
    case ENGINE_MESSAGE_BYE:
        add_with_ids(action, WIRE_BYE, out);
        break;
    case ENGINE_MESSAGE_HELLO_DEST:
        add_hello_dest(&action->hello, out);
        break;
    case ENGINE_MESSAGE_PONG:
        add_simple(out, WIRE_PONG, value);
        break;
    case ENGINE_MESSAGE_PONG_HELLO:
        add_simple(out, WIRE_PONG, WIRE_PING_HELLO);
        break;
    case ENGINE_MESSAGE_HELLO_ACK:
        add_hello_ack(action, out);
        break;
    case ENGINE_MESSAGE_BARRIER_ACK:
        add_with_ids(action, WIRE_BARRIER_ACK, out);
        break;
    case ENGINE_MESSAGE_READY:
        add_with_ids(action, WIRE_READY, out);
        break;
    case ENGINE_MESSAGE_RESUME_ACK:
        add_simple(out, WIRE_RESUME_ACK, 1);
        break;
    case ENGINE_MESSAGE_COMPLETE:
        add_with_ids(action, WIRE_COMPLETE, out);
        break;
    case ENGINE_MESSAGE_SHUT:
        add_simple(out, WIRE_SHUT, value);
        break;
    case ENGINE_MESSAGE_FAULT:
        add_fault(action, out);
        break;
    case ENGINE_MESSAGE_BITMAP: /* written by the link: it may be large */
    case ENGINE_MESSAGE_COUNT:
        assert(!"not a message of bytes");
    }
}
