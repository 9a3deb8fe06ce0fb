/* SPDX-License-Identifier: MIT */
/*
 * Payloads of Baton's own messages, both directions.
 *
 * Layouts are fixed and big-endian. The two hellos may grow at their end in a later protocol
 * version: a payload that is longer than version 1 is accepted if it says that it is of a later
 * version, and the rest is not looked at. All others have exactly one length. Enumerations of a
 * peer are checked here, so that nobody behind has to. Texts from a peer are shown to people and
 * keep only what prints.
 */
#include <string.h>

#include "base/text.h"
#include "wire/internal.h"

bool wire_is_own(enum wire_type type)
{
    return (type >= WIRE_HELLO_SOURCE && type <= WIRE_BYE) || type >= WIRE_HELLO_DEST;
}

bool wire_own_payload_encode(struct wire_put *put, const struct wire_message *in)
{
    switch (in->type) {
    case WIRE_HELLO_SOURCE: {
        const struct wire_hello_source *hello = &in->u.hello_source;

        wire_put_be16(put, hello->version);
        wire_put_be64(put, hello->features);
        wire_put_bytes(put, hello->session, WIRE_ID_BYTES);
        wire_put_bytes(put, hello->nonce, WIRE_ID_BYTES);
        wire_put_be64(put, hello->epoch);
        wire_put_u8(put, hello->intent);
        wire_put_bytes(put, hello->voided, WIRE_ID_BYTES);
        wire_put_bytes(put, hello->dest_nonce, WIRE_ID_BYTES);
        return true;
    }
    case WIRE_HELLO_DEST: {
        const struct wire_hello_dest *hello = &in->u.hello_dest;

        wire_put_be16(put, hello->version);
        wire_put_be64(put, hello->features);
        wire_put_bytes(put, hello->session, WIRE_ID_BYTES);
        wire_put_bytes(put, hello->nonce, WIRE_ID_BYTES);
        wire_put_be64(put, hello->epoch);
        wire_put_u8(put, hello->state);
        return true;
    }
    case WIRE_HELLO_ACK:
        wire_put_be64(put, in->u.hello_ack.epoch);
        wire_put_u8(put, in->u.hello_ack.state);
        wire_put_u8(put, in->u.hello_ack.verdict);
        wire_put_cstr(put, in->u.hello_ack.reason);
        return true;
    case WIRE_BARRIER:
    case WIRE_BARRIER_ACK:
        wire_put_be32(put, in->u.barrier.channel);
        wire_put_be64(put, in->u.barrier.number);
        return true;
    case WIRE_VOID:
        wire_put_bytes(put, in->u.voided.session, WIRE_ID_BYTES);
        return true;
    case WIRE_BYE:
        wire_put_be64(put, in->u.bye.epoch);
        return true;
    case WIRE_READY:
        wire_put_bytes(put, in->u.ready.nonce, WIRE_ID_BYTES);
        wire_put_be64(put, in->u.ready.epoch);
        return true;
    case WIRE_FAULT:
        wire_put_be16(put, in->u.fault.code);
        wire_put_cstr(put, in->u.fault.text);
        return true;
    case WIRE_COMPLETE:
        wire_put_be64(put, in->u.complete.epoch);
        wire_put_be64(put, in->u.complete.pages);
        return true;
    default:
        return false;
    }
}

static enum wire_result check_enum(const char *what, unsigned value, unsigned count,
                                   uint64_t offset, struct wire_error *error)
{
    if (value < count)
        return WIRE_DONE;
    return wire_bad_u64(error, offset, what, value, "a number that this protocol version knows");
}

/* The version and the rule about what is behind the fields of version 1. */
static enum wire_result check_hello(struct wire_get *get, unsigned version, uint64_t offset,
                                    struct wire_error *error)
{
    if (version < WIRE_PROTOCOL_VERSION)
        return wire_bad_u64(error, offset, "impossible protocol version of a hello", version,
                            "1 or later");
    if (version > WIRE_PROTOCOL_VERSION)
        get->at = get->size;
    return WIRE_DONE;
}

static enum wire_result hello_source_decode(struct wire_get *get, uint64_t offset,
                                            struct wire_hello_source *hello,
                                            struct wire_error *error)
{
    enum wire_result result;

    hello->version = wire_get_be16(get);
    hello->features = wire_get_be64(get);
    wire_get_bytes(get, hello->session, WIRE_ID_BYTES);
    wire_get_bytes(get, hello->nonce, WIRE_ID_BYTES);
    hello->epoch = wire_get_be64(get);
    hello->intent = wire_get_u8(get);
    wire_get_bytes(get, hello->voided, WIRE_ID_BYTES);
    wire_get_bytes(get, hello->dest_nonce, WIRE_ID_BYTES);
    result = check_hello(get, hello->version, offset, error);
    if (result != WIRE_DONE)
        return result;
    return check_enum("unknown intent in a hello", hello->intent, WIRE_INTENT_COUNT, offset, error);
}

static enum wire_result hello_dest_decode(struct wire_get *get, uint64_t offset,
                                          struct wire_hello_dest *hello, struct wire_error *error)
{
    enum wire_result result;

    hello->version = wire_get_be16(get);
    hello->features = wire_get_be64(get);
    wire_get_bytes(get, hello->session, WIRE_ID_BYTES);
    wire_get_bytes(get, hello->nonce, WIRE_ID_BYTES);
    hello->epoch = wire_get_be64(get);
    hello->state = wire_get_u8(get);
    result = check_hello(get, hello->version, offset, error);
    if (result != WIRE_DONE)
        return result;
    return check_enum("unknown state in a hello", hello->state, WIRE_DEST_STATE_COUNT, offset,
                      error);
}

/* A text for people. */
static void get_text(struct wire_get *get, char out[WIRE_NAME_BYTES])
{
    char raw[WIRE_NAME_BYTES];
    struct text text;
    size_t length = wire_get_u8(get);

    memset(raw, 0, sizeof(raw));
    wire_get_bytes(get, raw, length);
    memset(out, 0, WIRE_NAME_BYTES);
    text_init(&text, out, WIRE_NAME_BYTES);
    text_bytes(&text, raw, length);
}

enum wire_result wire_own_payload_decode(struct wire_get *get, uint64_t offset,
                                         struct wire_message *out, struct wire_error *error)
{
    enum wire_result result;

    switch (out->type) {
    case WIRE_HELLO_SOURCE:
        return hello_source_decode(get, offset, &out->u.hello_source, error);
    case WIRE_HELLO_DEST:
        return hello_dest_decode(get, offset, &out->u.hello_dest, error);
    case WIRE_HELLO_ACK:
        out->u.hello_ack.epoch = wire_get_be64(get);
        out->u.hello_ack.state = wire_get_u8(get);
        out->u.hello_ack.verdict = wire_get_u8(get);
        get_text(get, out->u.hello_ack.reason);
        result = check_enum("unknown state in an answer", out->u.hello_ack.state,
                            WIRE_DEST_STATE_COUNT, offset, error);
        if (result != WIRE_DONE)
            return result;
        return check_enum("unknown verdict in an answer", out->u.hello_ack.verdict,
                          WIRE_VERDICT_COUNT, offset, error);
    case WIRE_BARRIER:
    case WIRE_BARRIER_ACK:
        out->u.barrier.channel = wire_get_be32(get);
        out->u.barrier.number = wire_get_be64(get);
        return WIRE_DONE;
    case WIRE_VOID:
        wire_get_bytes(get, out->u.voided.session, WIRE_ID_BYTES);
        return WIRE_DONE;
    case WIRE_BYE:
        out->u.bye.epoch = wire_get_be64(get);
        return WIRE_DONE;
    case WIRE_READY:
        wire_get_bytes(get, out->u.ready.nonce, WIRE_ID_BYTES);
        out->u.ready.epoch = wire_get_be64(get);
        return WIRE_DONE;
    case WIRE_FAULT:
        out->u.fault.code = wire_get_be16(get);
        get_text(get, out->u.fault.text);
        return WIRE_DONE;
    case WIRE_COMPLETE:
        out->u.complete.epoch = wire_get_be64(get);
        out->u.complete.pages = wire_get_be64(get);
        return WIRE_DONE;
    default:
        return wire_bad_u64(error, offset, "not a message of Baton's own", out->type, "one");
    }
}
