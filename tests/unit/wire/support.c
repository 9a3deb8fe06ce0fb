/* SPDX-License-Identifier: MIT */
/* The reader of the tests; the contract is in support.h. Buffers are exact, so that sanitizers find
 * every overrun. */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bytes bytes_copy(const void *from, size_t size)
{
    struct bytes bytes = {.at = malloc(size ? size : 1), .size = size};

    assert_non_null(bytes.at);
    if (size)
        memcpy(bytes.at, from, size);
    return bytes;
}

struct bytes bytes_file(const char *name)
{
    static uint8_t buffer[1 << 17];
    char path[512];
    size_t size;
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", WIRE_DATA, name);
    file = fopen(path, "rb");
    if (!file)
        fail_msg("cannot open %s", path);
    size = fread(buffer, 1, sizeof(buffer), file);
    assert_true(size > 0 && size < sizeof(buffer));
    fclose(file);
    return bytes_copy(buffer, size);
}

void bytes_free(struct bytes *bytes)
{
    free(bytes->at);
    bytes->at = NULL;
}

struct wire_blocks blocks_mem0(uint64_t used_bytes)
{
    return (struct wire_blocks){
        .block = {{.name = "mem0", .used_bytes = used_bytes, .page_bytes = 4096}}, .count = 1};
}

/* What the caller takes after a message. */
static size_t follows(const struct wire_message *message)
{
    switch (message->type) {
    case WIRE_PACKAGED:
    case WIRE_VMDESCRIPTION:
        return message->u.length;
    case WIRE_RECV_BITMAP:
        return message->u.recv_bitmap.bitmap_bytes + 8;
    default:
        return 0;
    }
}

static void note(struct walk *walk, const struct wire_message *message)
{
    assert_true(message->type < WIRE_TYPE_COUNT);
    if (walk->message_count < WALK_MAX_MESSAGES)
        walk->messages[walk->message_count++] = message->type;
    walk->of_type[message->type]++;
    walk->last = *message;
    if (message->type == WIRE_PACKAGED) {
        walk->blob_at = walk->at;
        walk->blob_size = message->u.length;
    }
}

static enum wire_result note_record(struct walk *walk, const struct wire_blocks *blocks,
                                    const struct wire_ram_record *record, struct bytes stream)
{
    if (record->kind == WIRE_RAM_EOS)
        walk->eos++;
    if (record->kind == WIRE_RAM_EOS || record->kind == WIRE_RAM_BLOCK_LIST)
        return WIRE_DONE;
    assert_true(record->block < blocks->count);
    assert_true(record->offset < blocks->block[record->block].used_bytes);
    walk->last_offset = record->offset;
    if (record->kind == WIRE_RAM_ZERO) {
        walk->zeros++;
        walk->page_fill[record->offset / 4096 % 4096] = 0;
        return WIRE_DONE;
    }
    if (stream.size - walk->at < WIRE_TARGET_PAGE_BYTES)
        return WIRE_MORE;
    walk->pages++;
    walk->page_fill[record->offset / 4096 % 4096] = stream.at[walk->at];
    walk->at += WIRE_TARGET_PAGE_BYTES;
    return WIRE_DONE;
}

enum wire_result walk_forward(struct walk *walk, struct wire_decoder *decoder, struct bytes stream)
{
    memset(walk, 0, sizeof(*walk));
    while (walk->at < stream.size) {
        const uint8_t *bytes = stream.at + walk->at;
        size_t left = stream.size - walk->at, used = 0;
        struct wire_ram_record record;
        struct wire_message message;
        enum wire_result result;
        bool in_body = decoder->ram.in_body;

        assert_int_equal(decoder->ram.offset, walk->at);
        if (in_body)
            result =
                wire_decode_ram_record(&decoder->ram, bytes, left, &used, &record, &walk->error);
        else
            result = wire_decode_element(decoder, bytes, left, &used, &message, &walk->error);
        if (result == WIRE_MORE)
            assert_true(used > left && used <= WIRE_MAX_ELEMENT_BYTES);
        if (result == WIRE_BAD)
            assert_in_range(strlen(walk->error.text), 20, sizeof(walk->error.text) - 1);
        if (result != WIRE_DONE)
            return result;
        assert_true(used && used <= left);
        walk->at += used;
        if (in_body) {
            result = note_record(walk, decoder->ram.blocks, &record, stream);
            if (result != WIRE_DONE)
                return result;
            continue;
        }
        note(walk, &message);
        if (follows(&message) > stream.size - walk->at)
            return WIRE_MORE;
        walk->at += follows(&message);
    }
    return WIRE_DONE;
}

enum wire_result walk_return(struct walk *walk, struct wire_return_decoder *decoder,
                             struct bytes stream)
{
    memset(walk, 0, sizeof(*walk));
    while (walk->at < stream.size) {
        size_t left = stream.size - walk->at, used = 0;
        struct wire_message message;
        enum wire_result result;

        assert_int_equal(decoder->offset, walk->at);
        result =
            wire_decode_return(decoder, stream.at + walk->at, left, &used, &message, &walk->error);
        if (result == WIRE_MORE)
            assert_true(used > left && used <= WIRE_MAX_RETURN_BYTES);
        if (result == WIRE_BAD)
            assert_in_range(strlen(walk->error.text), 20, sizeof(walk->error.text) - 1);
        if (result != WIRE_DONE)
            return result;
        assert_true(used && used <= left);
        walk->at += used;
        note(walk, &message);
        if (follows(&message) > stream.size - walk->at)
            return WIRE_MORE;
        walk->at += follows(&message);
    }
    return WIRE_DONE;
}

/* One attempt of drip_*: a decoder of either kind, and what came out. */
struct attempt {
    struct wire_decoder *forward;
    struct wire_return_decoder *back;
    struct wire_message message;
    struct wire_ram_record record;
    bool was_record;
    size_t used;
};

static enum wire_result attempt(struct attempt *a, struct bytes some)
{
    struct wire_error error;

    a->was_record = a->forward && a->forward->ram.in_body;
    if (a->back)
        return wire_decode_return(a->back, some.at, some.size, &a->used, &a->message, &error);
    if (a->was_record)
        return wire_decode_ram_record(&a->forward->ram, some.at, some.size, &a->used, &a->record,
                                      &error);
    return wire_decode_element(a->forward, some.at, some.size, &a->used, &a->message, &error);
}

static enum wire_result drip(struct attempt *a, struct bytes stream)
{
    size_t at = 0;

    while (at < stream.size) {
        size_t asked = 0, given = 0;

        for (;; given++) {
            void *decoder = a->back ? (void *)a->back : (void *)a->forward;
            size_t decoder_bytes = a->back ? sizeof(*a->back) : sizeof(*a->forward);
            uint8_t before[sizeof(struct wire_decoder)];
            enum wire_result result;
            struct bytes some;

            if (given > stream.size - at)
                return WIRE_MORE;
            some = bytes_copy(stream.at + at, given);
            memcpy(before, decoder, decoder_bytes);
            result = attempt(a, some);
            bytes_free(&some);
            if (result == WIRE_DONE)
                break;
            if (result != WIRE_MORE)
                return result;
            assert_memory_equal(before, decoder, decoder_bytes);
            assert_true(a->used > given);
            assert_true(a->used >= asked); /* never takes back what it asked for */
            asked = a->used;
        }
        assert_true(asked <= given); /* nor asks for what it does not need */
        at += a->used;
        at += a->was_record ? (a->record.kind == WIRE_RAM_PAGE ? WIRE_TARGET_PAGE_BYTES : 0)
                            : follows(&a->message);
    }
    return at == stream.size ? WIRE_DONE : WIRE_MORE;
}

enum wire_result drip_forward(struct wire_decoder *decoder, struct bytes stream)
{
    struct attempt a = {.forward = decoder};

    return drip(&a, stream);
}

enum wire_result drip_return(struct wire_return_decoder *decoder, struct bytes stream)
{
    struct attempt a = {.back = decoder};

    return drip(&a, stream);
}
