/* SPDX-License-Identifier: MIT */
/*
 * Sections around a body, and the two small bodies that are QEMU's.
 *
 * A section's body has no length in QEMU's format: a reader must know each layout. Known here are
 * `timer` and `globalstate`; all others must be Baton's own, whose idstr begins with "baton/" and
 * whose body begins with its length. The prefix exists only on the wire. A body is handed up only
 * when all of it and its footer are in the buffer, so that a device never loads half a state.
 */
#include <string.h>

#include "wire/internal.h"

static const char prefix[] = WIRE_OWN_SECTION_PREFIX;
enum { PREFIX_BYTES = sizeof(prefix) - 1, FOOTER_BYTES = 5 };

void wire_footer_encode(struct wire_put *put, uint32_t section_id)
{
    wire_put_u8(put, WIRE_ELEMENT_FOOTER);
    wire_put_be32(put, section_id);
}

enum wire_result wire_footer_decode(struct wire_get *get, uint64_t offset, uint32_t section_id,
                                    struct wire_error *error)
{
    size_t at = get->at;
    uint8_t mark = wire_get_u8(get);
    uint32_t found;

    if (!get->truncated && mark != WIRE_ELEMENT_FOOTER)
        return wire_bad_u64(error, offset + at, "a section does not end with its footer", mark,
                            "0x7e (its layout may differ from the one known here)");
    found = wire_get_be32(get);
    if (get->truncated)
        return WIRE_MORE;
    if (found != section_id)
        return wire_bad_u64s(error, offset + at + 1, "a footer closes another section", found,
                             section_id);
    return WIRE_DONE;
}

/* How long the body is, from what is known about the name; reads the length of Baton's own. */
static enum wire_result body_length(struct wire_get *get, uint64_t offset, struct wire_full *out,
                                    struct wire_error *error)
{
    uint32_t version;

    if (strncmp(out->name, prefix, PREFIX_BYTES) == 0 && out->name[PREFIX_BYTES]) {
        memmove(out->name, out->name + PREFIX_BYTES, sizeof(out->name) - PREFIX_BYTES);
        out->own = true;
        out->body_bytes = wire_get_be32(get);
        if (get->truncated)
            return WIRE_MORE;
        if (out->body_bytes > WIRE_MAX_BODY_BYTES)
            return wire_bad_u64(error, offset + get->at - 4, "a device section is too long",
                                out->body_bytes, "at most 1 MiB");
        return WIRE_DONE;
    }
    if (strcmp(out->name, WIRE_TIMER_NAME) == 0) {
        version = WIRE_TIMER_VERSION;
        out->body_bytes = WIRE_TIMER_BODY_BYTES;
    } else if (strcmp(out->name, WIRE_GLOBALSTATE_NAME) == 0) {
        version = WIRE_GLOBALSTATE_VERSION;
        out->body_bytes = WIRE_GLOBALSTATE_BODY_BYTES;
    } else {
        return wire_bad_name(error, offset, "unknown section", out->name,
                             "timer, globalstate or one of Baton's own devices");
    }
    if (out->version != version)
        return wire_bad_u64s(error, offset, "unknown version of a section", out->version, version);
    if (out->instance != 0)
        return wire_bad_u64(error, offset, "unknown instance of a section", out->instance, "0");
    return WIRE_DONE;
}

enum wire_result wire_full_decode(struct wire_get *get, uint64_t offset, struct wire_full *out,
                                  struct wire_error *error)
{
    size_t begin = get->at, body;
    enum wire_result result;
    bool is_text;

    memset(out, 0, sizeof(*out));
    out->section_id = wire_get_be32(get);
    is_text = wire_get_cstr(get, out->name);
    out->instance = wire_get_be32(get);
    out->version = wire_get_be32(get);
    if (!is_text)
        return wire_bad(error, offset + begin + 4, "a section name holds a zero byte", "text");
    if (get->truncated)
        return WIRE_MORE;
    result = body_length(get, offset, out, error);
    if (result != WIRE_DONE)
        return result;
    body = get->at;
    if (wire_get_left(get) < out->body_bytes + FOOTER_BYTES)
        return wire_want(get, body + out->body_bytes + FOOTER_BYTES);
    out->body = get->bytes + body;
    get->at = body + out->body_bytes;
    return wire_footer_decode(get, offset, out->section_id, error);
}

bool wire_full_encode(struct wire_put *put, const struct wire_full *in)
{
    char name[WIRE_NAME_BYTES + PREFIX_BYTES];

    if (!wire_is_name(in->name) || in->body_bytes > WIRE_MAX_BODY_BYTES)
        return false;
    memcpy(name, prefix, PREFIX_BYTES);
    memcpy(name + PREFIX_BYTES, in->name, strlen(in->name) + 1);
    wire_put_u8(put, WIRE_ELEMENT_FULL);
    wire_put_be32(put, in->section_id);
    wire_put_cstr(put, in->own ? name : in->name);
    wire_put_be32(put, in->instance);
    wire_put_be32(put, in->version);
    if (in->own)
        wire_put_be32(put, (uint32_t)in->body_bytes);
    wire_put_bytes(put, in->body, in->body_bytes);
    wire_footer_encode(put, in->section_id);
    return true;
}

void wire_ram_start_header_encode(struct wire_put *put, uint32_t section_id)
{
    wire_put_u8(put, WIRE_ELEMENT_START);
    wire_put_be32(put, section_id);
    wire_put_cstr(put, "ram");
    wire_put_be32(put, 0);
    wire_put_be32(put, WIRE_RAM_SECTION_VERSION);
}

void wire_timer_encode(const struct wire_timer *timer, uint8_t body[WIRE_TIMER_BODY_BYTES])
{
    struct wire_put put;

    wire_put_init(&put, body, WIRE_TIMER_BODY_BYTES);
    wire_put_be64(&put, timer->ticks_offset);
    wire_put_be64(&put, 0);
    wire_put_be64(&put, (uint64_t)timer->clock_offset_ns);
}

void wire_timer_decode(const uint8_t body[WIRE_TIMER_BODY_BYTES], struct wire_timer *timer)
{
    struct wire_get get;

    wire_get_init(&get, body, WIRE_TIMER_BODY_BYTES);
    timer->ticks_offset = wire_get_be64(&get);
    (void)wire_get_be64(&get);
    timer->clock_offset_ns = (int64_t)wire_get_be64(&get);
}

void wire_globalstate_encode(const struct wire_globalstate *state,
                             uint8_t body[WIRE_GLOBALSTATE_BODY_BYTES])
{
    size_t length = strnlen(state->runstate, WIRE_RUNSTATE_BYTES - 1);
    struct wire_put put;

    memset(body, 0, WIRE_GLOBALSTATE_BODY_BYTES);
    wire_put_init(&put, body, WIRE_GLOBALSTATE_BODY_BYTES);
    wire_put_be32(&put, (uint32_t)length + 1);
    wire_put_bytes(&put, state->runstate, length);
    body[4 + WIRE_RUNSTATE_BYTES] = state->has_suspended;
    body[4 + WIRE_RUNSTATE_BYTES + 1] = state->has_suspended && state->suspended;
}

enum wire_result wire_globalstate_decode(const uint8_t body[WIRE_GLOBALSTATE_BODY_BYTES],
                                         struct wire_globalstate *state, struct wire_error *error)
{
    struct wire_get get;
    uint32_t size;
    uint8_t has, suspended;

    wire_get_init(&get, body, WIRE_GLOBALSTATE_BODY_BYTES);
    size = wire_get_be32(&get);
    memset(state, 0, sizeof(*state));
    if (size < 2 || size > WIRE_RUNSTATE_BYTES)
        return wire_bad_u64(error, 0, "globalstate: impossible length of the run state", size,
                            "2 to 32");
    wire_get_bytes(&get, state->runstate, WIRE_RUNSTATE_BYTES);
    if (strnlen(state->runstate, WIRE_RUNSTATE_BYTES) != size - 1)
        return wire_bad(error, 4, "globalstate: the run state's length is not that of its text",
                        "equal lengths");
    has = wire_get_u8(&get);
    suspended = wire_get_u8(&get);
    if (has > 1 || suspended > 1)
        return wire_bad_u64(error, 4 + WIRE_RUNSTATE_BYTES, "globalstate: impossible suspend flags",
                            (uint64_t)has << 8 | suspended, "0 or 1 each");
    state->has_suspended = has;
    state->suspended = has && suspended;
    return WIRE_DONE;
}
