/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target for all decoders of the wire layer. The first byte of the input chooses one of
 * them; the rest is the peer's bytes. Seeds: tests/unit/wire/data, each with a byte put before it.
 * By hand:
 *
 *   clang -std=gnu17 -D_GNU_SOURCE -g -O1 -fsanitize=fuzzer,address,undefined -Iinclude -Ilib -o
 * fuzz_wire \ tests/fuzz/fuzz_wire.c lib/wire/[a-z]*.c lib/base/text.c
 *   ./fuzz_wire -max_len=16384 -max_total_time=60
 *
 * What must hold: no read outside of the input, progress or a question for more than there is, and
 * never a block or an offset that does not exist. What was decoded is encoded again, which must
 * give the bytes that were read, except where the format leaves a choice.
 */
#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "wire/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct wire_blocks blocks = {
    .block = {{.name = "mem0", .used_bytes = 1 << 20, .page_bytes = 4096},
              {.name = "big", .used_bytes = 4 << 20, .page_bytes = 2 << 20}},
    .count = 2,
};

/* Forms that a decoder accepts and our encoder does not make: other subsections, later hellos,
 * texts that do not print. */
static bool has_one_form(const struct wire_message *message)
{
    switch (message->type) {
    case WIRE_CONFIGURATION:
    case WIRE_HELLO_SOURCE:
    case WIRE_HELLO_DEST:
    case WIRE_HELLO_ACK:
    case WIRE_FAULT:
        return false;
    default:
        return true;
    }
}

static void encode_again(const struct wire_message *message, const uint8_t *bytes, size_t used)
{
    size_t size = WIRE_MAX_CONTROL_BYTES + used;
    uint8_t *out = malloc(size);
    size_t length;

    assert(out);
    length = wire_encode(message, out, size);
    assert(length);
    if (has_one_form(message))
        assert(length == used && memcmp(out, bytes, used) == 0);
    free(out);
}

/* What the caller takes after a message; false if it is not there. */
static bool take(size_t length, size_t size, size_t *at)
{
    if (length > size - *at)
        return false;
    *at += length;
    return true;
}

static void forward(struct wire_decoder *decoder, const uint8_t *data, size_t size)
{
    struct wire_ram_record record;
    struct wire_message message;
    struct wire_error error;
    size_t at = 0, used;

    for (;;) {
        enum wire_result result;

        if (decoder->ram.in_body) {
            result =
                wire_decode_ram_record(&decoder->ram, data + at, size - at, &used, &record, &error);
        } else {
            result = wire_decode_element(decoder, data + at, size - at, &used, &message, &error);
            if (result == WIRE_DONE)
                encode_again(&message, data + at, used);
            record.kind = WIRE_RAM_EOS;
        }
        assert(result != WIRE_MORE || (used > size - at && used <= WIRE_MAX_ELEMENT_BYTES));
        if (result != WIRE_DONE)
            return;
        assert(used && used <= size - at);
        at += used;
        if (record.kind == WIRE_RAM_PAGE || record.kind == WIRE_RAM_ZERO)
            assert(record.block < blocks.count &&
                   record.offset < blocks.block[record.block].used_bytes);
        if (record.kind == WIRE_RAM_PAGE && !take(WIRE_TARGET_PAGE_BYTES, size, &at))
            return;
        if (record.kind == WIRE_RAM_EOS && !decoder->ram.in_body &&
            (message.type == WIRE_PACKAGED || message.type == WIRE_VMDESCRIPTION)) {
            if (!take(message.u.length, size, &at))
                return;
            message.type = WIRE_EOF; /* taken */
        }
    }
}

static void back(const uint8_t *data, size_t size)
{
    struct wire_return_decoder decoder;
    struct wire_message message;
    struct wire_error error;
    size_t at = 0, used;

    wire_return_decoder_init(&decoder, &blocks);
    for (;;) {
        enum wire_result result =
            wire_decode_return(&decoder, data + at, size - at, &used, &message, &error);

        assert(result != WIRE_MORE || (used > size - at && used <= WIRE_MAX_RETURN_BYTES));
        if (result != WIRE_DONE)
            return;
        encode_again(&message, data + at, used);
        at += used;
        if (message.type == WIRE_RECV_BITMAP &&
            !take(message.u.recv_bitmap.bitmap_bytes + 8, size, &at))
            return;
    }
}

static void package(const uint8_t *data, size_t size)
{
    struct wire_globalstate globalstate;
    struct wire_message message;
    struct wire_error error;
    struct wire_blob blob;

    wire_blob_init(&blob, data, size);
    while (wire_blob_next(&blob, &message, &error) == WIRE_DONE)
        if (message.type == WIRE_SECTION_FULL && !message.u.full.own &&
            strcmp(message.u.full.name, WIRE_GLOBALSTATE_NAME) == 0)
            (void)wire_globalstate_decode(message.u.full.body, &globalstate, &error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wire_decoder decoder;

    if (!size)
        return 0;
    wire_decoder_init(&decoder, WIRE_STREAM_EITHER, &blocks, data[0] & 4);
    switch (data[0] & 3) {
    case 0:
        forward(&decoder, data + 1, size - 1);
        break;
    case 1: /* a recovery, when the ram section is known */
        decoder.ram.started = decoder.ram.listed = true;
        decoder.ram.section_id = 1;
        forward(&decoder, data + 1, size - 1);
        break;
    case 2:
        back(data + 1, size - 1);
        break;
    default:
        package(data + 1, size - 1);
        break;
    }
    return 0;
}
