/* SPDX-License-Identifier: MIT */
/*
 * The forward stream, element by element, and the encoder of all messages.
 *
 * A decoder knows where in the stream it stands (header, configuration, elements, the trailer after
 * EOF, or inside a package) and what it has learnt: the ram section's id, whether its block list
 * was checked, whether page sizes are part of that list. Nothing is changed by an attempt that ends
 * in MORE; so a caller simply comes again with more bytes. Only the format is judged here: whether
 * a message is welcome now is the engine's business.
 */
#include <assert.h>
#include <string.h>

#include "wire/internal.h"

bool wire_is_name(const char *string)
{
    return string[0] && strnlen(string, WIRE_NAME_BYTES) < WIRE_NAME_BYTES;
}

void wire_decoder_init(struct wire_decoder *decoder, enum wire_stream stream,
                       const struct wire_blocks *blocks, bool postcopy_ram)
{
    *decoder = (struct wire_decoder){
        .stream = stream,
        .position = WIRE_AT_BEGIN,
        .ram = {.blocks = blocks, .postcopy_ram = postcopy_ram, .last_block = WIRE_NO_BLOCK},
    };
}

void wire_decoder_reconnect(struct wire_decoder *decoder, enum wire_stream stream)
{
    decoder->stream = stream;
    decoder->position = WIRE_AT_BEGIN;
    decoder->headed = false;
    decoder->ram.offset = 0;
    decoder->ram.in_body = false;
    decoder->ram.in_start = false;
    decoder->ram.last_block = WIRE_NO_BLOCK;
}

/* START of the one section that has parts. */
static enum wire_result ram_start_decode(struct wire_decoder *decoder, struct wire_get *get,
                                         struct wire_message *out, struct wire_error *error)
{
    uint64_t offset = decoder->ram.offset + get->at;
    uint32_t instance, version;
    char name[WIRE_NAME_BYTES];
    bool is_text;

    out->type = WIRE_RAM_START;
    out->u.ram.section_id = wire_get_be32(get);
    is_text = wire_get_cstr(get, name);
    instance = wire_get_be32(get);
    version = wire_get_be32(get);
    if (!is_text)
        return wire_bad(error, offset + 4, "a section name holds a zero byte", "text");
    if (get->truncated)
        return WIRE_MORE;
    if (strcmp(name, "ram") != 0)
        return wire_bad_name(error, offset + 4, "an unknown section starts", name, "\"ram\"");
    if (instance != 0)
        return wire_bad_u64(error, offset, "unknown instance of the ram section", instance, "0");
    if (version != WIRE_RAM_SECTION_VERSION)
        return wire_bad_u64(error, offset, "unknown version of the ram section", version, "4");
    if (!decoder->headed)
        return wire_bad(error, offset, "the ram section starts on a connection without a header",
                        "a header at the beginning of a new migration");
    if (decoder->ram.started)
        return wire_bad(error, offset, "the ram section starts twice", "one start");
    return WIRE_DONE;
}

static enum wire_result ram_part_decode(const struct wire_decoder *decoder, struct wire_get *get,
                                        struct wire_message *out, struct wire_error *error)
{
    uint64_t offset = decoder->ram.offset + get->at;

    out->u.ram.section_id = wire_get_be32(get);
    if (get->truncated)
        return WIRE_MORE;
    if (!decoder->ram.started || !decoder->ram.listed)
        return wire_bad_u64(error, offset, "a section goes on that has not started",
                            out->u.ram.section_id, "a start before it");
    if (out->u.ram.section_id != decoder->ram.section_id)
        return wire_bad_u64s(error, offset, "an unknown section goes on", out->u.ram.section_id,
                             decoder->ram.section_id);
    return WIRE_DONE;
}

static enum wire_result vmdescription_decode(const struct wire_decoder *decoder,
                                             struct wire_get *get, struct wire_message *out,
                                             struct wire_error *error)
{
    out->type = WIRE_VMDESCRIPTION;
    out->u.length = wire_get_be32(get);
    if (get->truncated)
        return WIRE_MORE;
    if (out->u.length > WIRE_MAX_VMDESCRIPTION_BYTES)
        return wire_bad_u64(error, decoder->ram.offset + 1, "the VM description is too long",
                            out->u.length, "at most 16 MiB");
    return WIRE_DONE;
}

/* Which elements may stand where; those of ram only in the middle of the stream. */
static bool in_place(enum wire_position position, uint8_t element)
{
    switch (element) {
    case WIRE_ELEMENT_COMMAND:
        return true;
    case WIRE_ELEMENT_FULL:
        return position != WIRE_AT_TRAILER;
    case WIRE_ELEMENT_VMDESCRIPTION:
        return position == WIRE_AT_TRAILER;
    case WIRE_ELEMENT_EOF:
    case WIRE_ELEMENT_START:
    case WIRE_ELEMENT_PART:
    case WIRE_ELEMENT_END:
        return position == WIRE_AT_ELEMENT || position == WIRE_AT_BEGIN;
    default:
        return false;
    }
}

static enum wire_result middle_decode(struct wire_decoder *decoder, struct wire_get *get,
                                      struct wire_message *out, struct wire_error *error)
{
    uint64_t offset = decoder->ram.offset;
    uint8_t element = wire_get_u8(get);

    if (get->truncated)
        return WIRE_MORE;
    if (!in_place(decoder->position, element))
        return wire_bad_u64(error, offset, "an element that is unknown or out of place", element,
                            decoder->position == WIRE_AT_BLOB ? "a device section or a command"
                            : decoder->position == WIRE_AT_TRAILER
                                ? "a command or the VM description, after the end of the stream"
                                : "a section, a command or the end of the stream");
    switch (element) {
    case WIRE_ELEMENT_COMMAND:
        return wire_command_decode(decoder, get, out, error);
    case WIRE_ELEMENT_FULL:
        out->type = WIRE_SECTION_FULL;
        return wire_full_decode(get, offset, &out->u.full, error);
    case WIRE_ELEMENT_VMDESCRIPTION:
        return vmdescription_decode(decoder, get, out, error);
    case WIRE_ELEMENT_START:
        return ram_start_decode(decoder, get, out, error);
    case WIRE_ELEMENT_PART:
    case WIRE_ELEMENT_END:
        out->type = element == WIRE_ELEMENT_PART ? WIRE_RAM_PART : WIRE_RAM_END;
        return ram_part_decode(decoder, get, out, error);
    default:
        out->type = WIRE_EOF;
        return WIRE_DONE;
    }
}

/* What a decoded message changes in the decoder. */
static void learn(struct wire_decoder *decoder, const struct wire_message *message, size_t used)
{
    struct wire_ram_state *ram = &decoder->ram;

    ram->offset += used;
    if (decoder->position == WIRE_AT_BEGIN || decoder->position == WIRE_AT_CONFIGURATION)
        decoder->position = WIRE_AT_ELEMENT;
    switch (message->type) {
    case WIRE_HEADER: /* a new migration, whatever was known before */
        ram->started = ram->listed = ram->advised = false;
        decoder->headed = true;
        decoder->position = WIRE_AT_CONFIGURATION;
        break;
    case WIRE_ADVISE:
        ram->advised = message->u.advise.sizes;
        break;
    case WIRE_RAM_START:
        ram->started = true;
        ram->section_id = message->u.ram.section_id;
        ram->in_body = ram->in_start = true;
        break;
    case WIRE_RAM_PART:
    case WIRE_RAM_END:
        ram->in_body = true;
        break;
    case WIRE_PACKAGED:
    case WIRE_VMDESCRIPTION:
        ram->offset += message->u.length;
        break;
    case WIRE_EOF:
        decoder->position = WIRE_AT_TRAILER;
        break;
    default:
        break;
    }
}

enum wire_result wire_decode_element(struct wire_decoder *decoder, const uint8_t *bytes,
                                     size_t available, size_t *used, struct wire_message *out,
                                     struct wire_error *error)
{
    enum wire_result result;
    struct wire_get get;

    assert(!decoder->ram.in_body);
    memset(out, 0, sizeof(*out));
    *used = 1;
    if (!available)
        return WIRE_MORE;
    wire_get_init(&get, bytes, available);
    if (decoder->position == WIRE_AT_BEGIN &&
        (decoder->stream == WIRE_STREAM_NEW ||
         (decoder->stream == WIRE_STREAM_EITHER && bytes[0] == WIRE_MAGIC >> 24))) {
        result = wire_header_decode(&get, decoder->ram.offset, out, error);
    } else if (decoder->position == WIRE_AT_CONFIGURATION) {
        out->type = WIRE_CONFIGURATION;
        result = wire_configuration_decode(&get, decoder->ram.offset, &out->u.configuration, error);
    } else {
        result = middle_decode(decoder, &get, out, error);
    }
    if (result == WIRE_DONE) {
        *used = get.at;
        learn(decoder, out, get.at);
    } else {
        *used = result == WIRE_MORE ? get.wanted : 0;
    }
    return result;
}

static bool element_encode(struct wire_put *put, const struct wire_message *in)
{
    switch (in->type) {
    case WIRE_HEADER:
        wire_put_be32(put, WIRE_MAGIC);
        wire_put_be32(put, WIRE_VERSION);
        return true;
    case WIRE_CONFIGURATION:
        return wire_configuration_encode(put, &in->u.configuration);
    case WIRE_SECTION_FULL:
        return wire_full_encode(put, &in->u.full);
    case WIRE_RAM_START:
        wire_ram_start_header_encode(put, in->u.ram.section_id);
        return true;
    case WIRE_RAM_PART:
    case WIRE_RAM_END:
        wire_put_u8(put, (uint8_t)wire_type_code(in->type));
        wire_put_be32(put, in->u.ram.section_id);
        return true;
    case WIRE_VMDESCRIPTION:
        wire_put_u8(put, WIRE_ELEMENT_VMDESCRIPTION);
        wire_put_be32(put, in->u.length);
        return in->u.length <= WIRE_MAX_VMDESCRIPTION_BYTES;
    default:
        wire_put_u8(put, WIRE_ELEMENT_EOF);
        return true;
    }
}

size_t wire_encode(const struct wire_message *message, uint8_t *out, size_t size)
{
    const struct wire_type_info *info = wire_type_info(message->type);
    size_t payload, length;
    struct wire_put put;
    bool expressible;

    wire_put_init(&put, out, size);
    if (info->class == WIRE_CLASS_ELEMENT)
        return element_encode(&put, message) && !put.overflow ? put.used : 0;

    if (info->class == WIRE_CLASS_COMMAND)
        wire_put_u8(&put, WIRE_ELEMENT_COMMAND);
    wire_put_be16(&put, message->type == WIRE_REQ_PAGES && !message->u.req_pages.named
                            ? (uint16_t)WIRE_REQ_PAGES_SAME_BLOCK
                            : (uint16_t)info->code);
    wire_put_be16(&put, 0); /* the length, once it is known */
    payload = put.used;
    expressible = info->class == WIRE_CLASS_COMMAND ? wire_command_payload_encode(&put, message)
                                                    : wire_return_payload_encode(&put, message);
    length = put.used - payload;
    if (!expressible || put.overflow)
        return 0;
    out[payload - 2] = (uint8_t)(length >> 8);
    out[payload - 1] = (uint8_t)length;
    if (message->type == WIRE_RECV_BITMAP)
        wire_put_be64(&put, message->u.recv_bitmap.bitmap_bytes);
    return put.overflow ? 0 : put.used;
}
