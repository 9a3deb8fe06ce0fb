/* SPDX-License-Identifier: MIT */
/*
 * The return path: what a destination says to its source, on the same connection.
 *
 * type, counted length of at most 512, payload. Two messages are irregular. A page request has a
 * short form without a name, for the block of the request before; that memory belongs to the
 * connection and starts empty. RECV_BITMAP is followed, outside the counted length, by a be64 size,
 * the bitmap and an end mark: the size is decoded here and must be the one that the block's length
 * implies, the rest is the caller's.
 */
#include <string.h>

#include "wire/internal.h"

enum { RETURN_HEADER_BYTES = 4 };

void wire_return_decoder_init(struct wire_return_decoder *decoder, const struct wire_blocks *blocks)
{
    *decoder = (struct wire_return_decoder){.blocks = blocks, .last_block = WIRE_NO_BLOCK};
}

static enum wire_result block_decode(const struct wire_return_decoder *decoder,
                                     struct wire_get *get, uint64_t offset,
                                     char name[WIRE_NAME_BYTES], unsigned *index,
                                     struct wire_error *error)
{
    if (!wire_get_cstr(get, name))
        return wire_bad(error, offset, "a block name holds a zero byte", "text");
    if (get->truncated)
        return WIRE_DONE; /* the caller reports the length */
    return wire_blocks_resolve(decoder->blocks, name, offset, index, error);
}

static enum wire_result req_pages_decode(const struct wire_return_decoder *decoder,
                                         struct wire_get *get, uint64_t offset,
                                         struct wire_req_pages *out, struct wire_error *error)
{
    enum wire_result result;

    out->named = get->size > 12;
    out->start = wire_get_be64(get);
    out->length = wire_get_be32(get);
    if (out->named) {
        result = block_decode(decoder, get, offset + 12, out->block, &out->index, error);
        if (result != WIRE_DONE || get->truncated)
            return result;
    } else {
        const char *name;

        if (decoder->last_block == WIRE_NO_BLOCK)
            return wire_bad(error, offset, "a page request refers to a request before it",
                            "the first request on a connection to name its block");
        out->index = decoder->last_block;
        name = decoder->blocks->block[out->index].name;
        memcpy(out->block, name, strnlen(name, WIRE_NAME_BYTES - 1));
    }
    return wire_blocks_check_range(decoder->blocks, out->index, out->start, out->length, offset,
                                   error);
}

static enum wire_result payload_decode(const struct wire_return_decoder *decoder,
                                       struct wire_get *get, uint64_t offset,
                                       struct wire_message *out, struct wire_error *error)
{
    switch (out->type) {
    case WIRE_SHUT:
    case WIRE_PONG:
        out->u.value = wire_get_be32(get);
        return WIRE_DONE;
    case WIRE_RESUME_ACK:
        out->u.value = wire_get_be32(get);
        if (out->u.value != 1)
            return wire_bad_u64(error, offset, "RESUME_ACK does not agree", out->u.value, "1");
        return WIRE_DONE;
    case WIRE_REQ_PAGES:
        return req_pages_decode(decoder, get, offset, &out->u.req_pages, error);
    case WIRE_RECV_BITMAP:
        return block_decode(decoder, get, offset, out->u.recv_bitmap.block,
                            &out->u.recv_bitmap.index, error);
    default:
        return wire_is_own(out->type) ? wire_own_payload_decode(get, offset, out, error)
                                      : WIRE_DONE; /* nothing inside */
    }
}

/* The size behind RECV_BITMAP, and nothing of the bitmap. */
static enum wire_result bitmap_size_decode(struct wire_return_decoder *decoder,
                                           struct wire_get *get, struct wire_recv_bitmap *out,
                                           struct wire_error *error)
{
    const struct wire_block *block = &decoder->blocks->block[out->index];
    uint64_t expected = wire_bitmap_bytes(block->used_bytes / WIRE_TARGET_PAGE_BYTES);

    out->bitmap_bytes = wire_get_be64(get);
    if (get->truncated)
        return WIRE_MORE;
    if (out->bitmap_bytes != expected)
        return wire_bad_u64s(error, decoder->offset + get->at - 8,
                             "a received bitmap has the wrong size for its block",
                             out->bitmap_bytes, expected);
    return WIRE_DONE;
}

/* Type and length, judged before the payload is waited for. */
static enum wire_result preamble_decode(const struct wire_return_decoder *decoder,
                                        struct wire_get *get, struct wire_message *out,
                                        uint16_t *length, struct wire_error *error)
{
    uint16_t code = wire_get_be16(get), min_bytes, max_bytes;

    *length = wire_get_be16(get);
    if (get->truncated)
        return WIRE_MORE;
    if (code == WIRE_REQ_PAGES_SAME_BLOCK) {
        out->type = WIRE_REQ_PAGES;
        min_bytes = max_bytes = 12;
    } else {
        out->type = wire_type_find(WIRE_CLASS_RETURN, code);
        if (out->type == WIRE_TYPE_COUNT)
            return wire_bad_u64(error, decoder->offset, "unknown return-path message", code,
                                "one that this version knows");
        min_bytes = wire_type_info(out->type)->min_bytes;
        max_bytes = wire_type_info(out->type)->max_bytes;
    }
    if (*length < min_bytes)
        return wire_bad_u64s(error, decoder->offset + 2, "a return-path message is too short",
                             *length, min_bytes);
    if (*length > max_bytes)
        return wire_bad_u64s(error, decoder->offset + 2, "a return-path message is too long",
                             *length, max_bytes);
    return WIRE_DONE;
}

enum wire_result wire_decode_return(struct wire_return_decoder *decoder, const uint8_t *bytes,
                                    size_t available, size_t *used, struct wire_message *out,
                                    struct wire_error *error)
{
    struct wire_get get, payload;
    enum wire_result result;
    uint16_t length;

    memset(out, 0, sizeof(*out));
    *used = 0;
    wire_get_init(&get, bytes, available);
    result = preamble_decode(decoder, &get, out, &length, error);
    if (result == WIRE_DONE && wire_get_left(&get) < length)
        result = wire_want(&get, get.at + length);
    if (result == WIRE_DONE) {
        wire_get_init(&payload, bytes + get.at, length);
        result =
            payload_decode(decoder, &payload, decoder->offset + RETURN_HEADER_BYTES, out, error);
        if (result == WIRE_DONE && (payload.truncated || wire_get_left(&payload)))
            result = wire_bad_name(error, decoder->offset,
                                   "a return-path message's length does not fit its content",
                                   wire_type_name(out->type), "as many bytes as its fields have");
        get.at += length;
    }
    if (result == WIRE_DONE && out->type == WIRE_RECV_BITMAP)
        result = bitmap_size_decode(decoder, &get, &out->u.recv_bitmap, error);
    if (result == WIRE_MORE)
        *used = get.wanted;
    if (result != WIRE_DONE)
        return result;

    *used = get.at;
    decoder->offset += get.at;
    if (out->type == WIRE_REQ_PAGES)
        decoder->last_block = out->u.req_pages.index;
    if (out->type == WIRE_RECV_BITMAP)
        decoder->offset += out->u.recv_bitmap.bitmap_bytes + 8;
    return WIRE_DONE;
}

bool wire_return_payload_encode(struct wire_put *put, const struct wire_message *in)
{
    switch (in->type) {
    case WIRE_SHUT:
    case WIRE_PONG:
    case WIRE_RESUME_ACK:
        wire_put_be32(put, in->u.value);
        return true;
    case WIRE_REQ_PAGES:
        wire_put_be64(put, in->u.req_pages.start);
        wire_put_be32(put, in->u.req_pages.length);
        if (!in->u.req_pages.named)
            return true;
        wire_put_cstr(put, in->u.req_pages.block);
        return wire_is_name(in->u.req_pages.block);
    case WIRE_RECV_BITMAP:
        wire_put_cstr(put, in->u.recv_bitmap.block);
        return wire_is_name(in->u.recv_bitmap.block);
    default:
        return wire_is_own(in->type) ? wire_own_payload_encode(put, in) : true;
    }
}

void wire_request_writer_init(struct wire_request_writer *writer, const struct wire_blocks *blocks)
{
    *writer = (struct wire_request_writer){.blocks = blocks, .last_block = WIRE_NO_BLOCK};
}

size_t wire_encode_page_request(struct wire_request_writer *writer, unsigned block, uint64_t start,
                                uint32_t length, uint8_t *out, size_t size)
{
    bool named = block != writer->last_block;
    struct wire_put put;
    const char *name;

    if (block >= writer->blocks->count)
        return 0;
    name = writer->blocks->block[block].name;
    wire_put_init(&put, out, size);
    wire_put_be16(&put, named ? (uint16_t)wire_type_code(WIRE_REQ_PAGES)
                              : (uint16_t)WIRE_REQ_PAGES_SAME_BLOCK);
    wire_put_be16(&put, named ? (uint16_t)(13 + strlen(name)) : 12);
    wire_put_be64(&put, start);
    wire_put_be32(&put, length);
    if (named)
        wire_put_cstr(&put, name);
    if (put.overflow)
        return 0;
    writer->last_block = block;
    return put.used;
}
