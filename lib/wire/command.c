/* SPDX-License-Identifier: MIT */
/*
 * COMMAND elements: number, counted length, payload.
 *
 * The number and the length are judged first, by the table in type.c, so that a hostile length is
 * refused and never waited for. Then the payload is decoded from a reader of exactly that length:
 * one byte too few or too many is an error. Which commands may stand inside PACKAGED is fixed by
 * the format and checked here; in what order they may come is the engine's business.
 */
#include <string.h>

#include "wire/internal.h"

enum { COMMAND_HEADER_BYTES = 5 };

static enum wire_result advise_decode(struct wire_get *get, uint64_t offset,
                                      struct wire_message *out, struct wire_error *error)
{
    out->u.advise.sizes = get->size != 0;
    if (!out->u.advise.sizes)
        return WIRE_DONE;
    out->u.advise.page_summary = wire_get_be64(get);
    out->u.advise.target_page_bytes = wire_get_be64(get);
    if (!get->truncated && out->u.advise.target_page_bytes != WIRE_TARGET_PAGE_BYTES)
        return wire_bad_u64(error, offset + 8, "ADVISE: the source's pages have another size",
                            out->u.advise.target_page_bytes, "4096");
    return WIRE_DONE;
}

/* A counted block name of a message, looked up. */
static enum wire_result block_decode(struct wire_get *get, uint64_t offset,
                                     const struct wire_blocks *blocks, char name[WIRE_NAME_BYTES],
                                     unsigned *index, struct wire_error *error)
{
    if (!wire_get_cstr(get, name))
        return wire_bad(error, offset, "a block name holds a zero byte", "text");
    if (get->truncated)
        return WIRE_DONE; /* the caller reports the length */
    return wire_blocks_resolve(blocks, name, offset, index, error);
}

static enum wire_result discard_decode(struct wire_get *get, uint64_t offset,
                                       const struct wire_blocks *blocks, struct wire_discard *out,
                                       struct wire_error *error)
{
    uint8_t version = wire_get_u8(get), zero;
    enum wire_result result;

    if (version != 0)
        return wire_bad_u64(error, offset, "unknown version of RAM_DISCARD", version, "0");
    result = block_decode(get, offset + 1, blocks, out->block, &out->index, error);
    if (result != WIRE_DONE)
        return result;
    zero = wire_get_u8(get);
    if (get->truncated)
        return WIRE_DONE;
    if (zero != 0)
        return wire_bad_u64(error, offset + get->at - 1, "RAM_DISCARD: the name is not terminated",
                            zero, "0");
    if (wire_get_left(get) % 16 || wire_get_left(get) / 16 > WIRE_MAX_DISCARD_RANGES)
        return wire_bad_u64(error, offset + get->at, "RAM_DISCARD: impossible length of the ranges",
                            wire_get_left(get), "1 to 12 times 16");
    while (wire_get_left(get)) {
        struct wire_range *range = &out->range[out->range_count++];

        range->start = wire_get_be64(get);
        range->length = wire_get_be64(get);
        result = wire_blocks_check_range(blocks, out->index, range->start, range->length,
                                         offset + get->at - 16, error);
        if (result != WIRE_DONE)
            return result;
    }
    if (!out->range_count)
        return wire_bad(error, offset + get->at, "RAM_DISCARD without a range", "at least one");
    return WIRE_DONE;
}

static enum wire_result payload_decode(const struct wire_decoder *decoder, struct wire_get *get,
                                       uint64_t offset, struct wire_message *out,
                                       struct wire_error *error)
{
    switch (out->type) {
    case WIRE_PING:
        out->u.value = wire_get_be32(get);
        return WIRE_DONE;
    case WIRE_PACKAGED:
        out->u.length = wire_get_be32(get);
        if (!out->u.length || out->u.length > WIRE_MAX_BLOB_BYTES)
            return wire_bad_u64(error, offset, "impossible length of a package", out->u.length,
                                "1 byte to 16 MiB");
        return WIRE_DONE;
    case WIRE_ADVISE:
        return advise_decode(get, offset, out, error);
    case WIRE_RAM_DISCARD:
        return discard_decode(get, offset, decoder->ram.blocks, &out->u.discard, error);
    case WIRE_RECV_BITMAP_REQUEST:
        return block_decode(get, offset, decoder->ram.blocks, out->u.block.block,
                            &out->u.block.index, error);
    default:
        return wire_is_own(out->type) ? wire_own_payload_decode(get, offset, out, error)
                                      : WIRE_DONE; /* nothing inside */
    }
}

/* LISTEN stands only inside a package, and there only what loads device state and starts the VM. */
static bool in_place(const struct wire_decoder *decoder, enum wire_type type)
{
    if (decoder->position == WIRE_AT_BLOB)
        return type == WIRE_LISTEN || type == WIRE_RUN || type == WIRE_PING;
    return type != WIRE_LISTEN;
}

enum wire_result wire_command_decode(struct wire_decoder *decoder, struct wire_get *get,
                                     struct wire_message *out, struct wire_error *error)
{
    uint64_t offset = decoder->ram.offset + get->at;
    uint16_t number = wire_get_be16(get), length = wire_get_be16(get);
    const struct wire_type_info *info;
    enum wire_result result;
    struct wire_get payload;

    if (get->truncated)
        return WIRE_MORE;
    out->type = wire_type_find(WIRE_CLASS_COMMAND, number);
    if (out->type == WIRE_TYPE_COUNT)
        return wire_bad_u64(error, offset, "unknown command", number,
                            "one that this version knows");
    info = wire_type_info(out->type);
    if (!in_place(decoder, out->type))
        return wire_bad_name(error, offset, "a command stands where it must not", info->name,
                             decoder->position == WIRE_AT_BLOB ? "LISTEN, RUN or PING in a package"
                                                               : "it inside a package");
    if (length < info->min_bytes)
        return wire_bad_u64s(error, offset + 2, "a command is too short", length, info->min_bytes);
    if (length > info->max_bytes)
        return wire_bad_u64s(error, offset + 2, "a command is too long", length, info->max_bytes);
    if (wire_get_left(get) < length)
        return wire_want(get, get->at + length);

    offset += COMMAND_HEADER_BYTES - 1;
    wire_get_init(&payload, get->bytes + get->at, length);
    result = payload_decode(decoder, &payload, offset, out, error);
    if (result != WIRE_DONE)
        return result;
    if (payload.truncated || wire_get_left(&payload))
        return wire_bad_name(error, offset, "a command's length does not fit its content",
                             info->name, "as many bytes as its fields have");
    get->at += length;
    return WIRE_DONE;
}

bool wire_command_payload_encode(struct wire_put *put, const struct wire_message *in)
{
    const struct wire_discard *discard = &in->u.discard;

    switch (in->type) {
    case WIRE_PING:
        wire_put_be32(put, in->u.value);
        return true;
    case WIRE_PACKAGED:
        wire_put_be32(put, in->u.length);
        return in->u.length && in->u.length <= WIRE_MAX_BLOB_BYTES;
    case WIRE_ADVISE:
        if (in->u.advise.sizes) {
            wire_put_be64(put, in->u.advise.page_summary);
            wire_put_be64(put, in->u.advise.target_page_bytes);
        }
        return true;
    case WIRE_RAM_DISCARD:
        if (!wire_is_name(discard->block) || !discard->range_count ||
            discard->range_count > WIRE_MAX_DISCARD_RANGES)
            return false;
        wire_put_u8(put, 0);
        wire_put_cstr(put, discard->block);
        wire_put_u8(put, 0);
        for (unsigned i = 0; i < discard->range_count; i++) {
            wire_put_be64(put, discard->range[i].start);
            wire_put_be64(put, discard->range[i].length);
        }
        return true;
    case WIRE_RECV_BITMAP_REQUEST:
        wire_put_cstr(put, in->u.block.block);
        return wire_is_name(in->u.block.block);
    default:
        return wire_is_own(in->type) ? wire_own_payload_encode(put, in) : true;
    }
}
