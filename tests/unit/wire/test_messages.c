/* SPDX-License-Identifier: MIT */
/*
 * Every message as bytes, in both directions.
 *
 * A row holds a message and the bytes that it is on the wire, written by hand. Encoding the message
 * must give the bytes; decoding the bytes must give a message that encodes to the same bytes again.
 * Rows that only a decoder of a certain position takes are put there by the test.
 */
#include "support.h"

#include <string.h>

#define ID_A                                                                                       \
    0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf
#define ID_B                                                                                       \
    0xb0, 0xb1, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xbb, 0xbc, 0xbd, 0xbe, 0xbf
#define ID_0 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
#define ID_C                                                                                       \
    0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xcb, 0xcc, 0xcd, 0xce, 0xcf
#define BE64_5 0, 0, 0, 0, 0, 0, 0, 5
#define MEM0 0x04, 'm', 'e', 'm', '0'

struct row {
    struct wire_message message;
    const uint8_t *bytes;
    size_t size;
};
#define ROW(...) (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__})

static const uint8_t device_body[] = {0xde, 0xad, 0xbe};
static const uint8_t timer_body[WIRE_TIMER_BODY_BYTES];

/* clang-format off */
static const struct row rows[] = {
    {{.type = WIRE_HEADER},
     ROW('Q', 'E', 'V', 'M', 0, 0, 0, 3)},
    {{.type = WIRE_CONFIGURATION, .u.configuration = {.machine = "virt"}},
     ROW(0x07, 0, 0, 0, 4, 'v', 'i', 'r', 't')},
    {{.type = WIRE_CONFIGURATION, .u.configuration = {.machine = "none", .has_uuid = true, .uuid = {ID_A}}},
     ROW(0x07, 0, 0, 0, 4, 'n', 'o', 'n', 'e',
         0x05, 18, 'c', 'o', 'n', 'f', 'i', 'g', 'u', 'r', 'a', 't', 'i', 'o', 'n', '/', 'u', 'u', 'i', 'd',
         0, 0, 0, 1, ID_A)},
    {{.type = WIRE_RAM_START, .u.ram = {2}},
     ROW(0x01, 0, 0, 0, 2, 3, 'r', 'a', 'm', 0, 0, 0, 0, 0, 0, 0, 4)},
    {{.type = WIRE_RAM_PART, .u.ram = {2}}, ROW(0x02, 0, 0, 0, 2)},
    {{.type = WIRE_RAM_END, .u.ram = {2}}, ROW(0x03, 0, 0, 0, 2)},
    {{.type = WIRE_SECTION_FULL, .u.full = {.section_id = 7, .name = "rv64-cpu", .own = true, .instance = 1,
                                            .version = 2, .body = device_body, .body_bytes = 3}},
     ROW(0x04, 0, 0, 0, 7, 14, 'b', 'a', 't', 'o', 'n', '/', 'r', 'v', '6', '4', '-', 'c', 'p', 'u',
         0, 0, 0, 1, 0, 0, 0, 2,
         0, 0, 0, 3, 0xde, 0xad, 0xbe, /* the body's length and the body */
         0x7e, 0, 0, 0, 7)},
    {{.type = WIRE_SECTION_FULL, .u.full = {.section_id = 0, .name = "timer", .version = 2,
                                            .body = timer_body, .body_bytes = sizeof(timer_body)}},
     ROW(0x04, 0, 0, 0, 0, 5, 't', 'i', 'm', 'e', 'r', 0, 0, 0, 0, 0, 0, 0, 2,
         ID_0, 0, 0, 0, 0, 0, 0, 0, 0, 0x7e, 0, 0, 0, 0)},
    {{.type = WIRE_EOF}, ROW(0x00)},
    {{.type = WIRE_VMDESCRIPTION, .u.length = 0x1e6}, ROW(0x06, 0, 0, 0x01, 0xe6)},
    /* commands: 08, number, length, payload */
    {{.type = WIRE_OPEN_RETURN_PATH}, ROW(0x08, 0, 1, 0, 0)},
    {{.type = WIRE_PING, .u.value = WIRE_PING_HELLO}, ROW(0x08, 0, 2, 0, 4, 0xba, 0x70, 0x4e, 0x01)},
    {{.type = WIRE_ADVISE, .u.advise = {true, 0x1000, 0x1000}},
     ROW(0x08, 0, 3, 0, 16, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0x10, 0)},
    {{.type = WIRE_ADVISE}, ROW(0x08, 0, 3, 0, 0)},
    {{.type = WIRE_LISTEN}, ROW(0x08, 0, 4, 0, 0)},
    {{.type = WIRE_RUN}, ROW(0x08, 0, 5, 0, 0)},
    {{.type = WIRE_RAM_DISCARD, .u.discard = {.block = "mem0", .range_count = 2,
                                              .range = {{0x1000, 0x2000}, {0xff000, 0x1000}}}},
     ROW(0x08, 0, 6, 0, 39, 0, MEM0, 0,
         0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0x20, 0,
         0, 0, 0, 0, 0, 0x0f, 0xf0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0)},
    {{.type = WIRE_PACKAGED, .u.length = 201}, ROW(0x08, 0, 7, 0, 4, 0, 0, 0, 201)},
    {{.type = WIRE_RESUME}, ROW(0x08, 0, 9, 0, 0)},
    {{.type = WIRE_RECV_BITMAP_REQUEST, .u.block = {.block = "mem0"}}, ROW(0x08, 0, 10, 0, 5, MEM0)},
    {{.type = WIRE_SWITCHOVER_START}, ROW(0x08, 0, 11, 0, 0)},
    /* Baton's own commands */
    {{.type = WIRE_HELLO_SOURCE,
      .u.hello_source = {.version = 1, .features = 5, .session = {ID_A}, .nonce = {ID_B}, .epoch = 5,
                         .intent = WIRE_INTENT_RECOVER, .voided = {ID_0}, .dest_nonce = {ID_C}}},
     ROW(0x08, 0x0b, 0xa1, 0, 83, 0, 1, BE64_5, ID_A, ID_B, BE64_5, 1, ID_0, ID_C)},
    {{.type = WIRE_BARRIER, .u.barrier = {.channel = 1, .number = 5}},
     ROW(0x08, 0x0b, 0xa2, 0, 12, 0, 0, 0, 1, BE64_5)},
    {{.type = WIRE_VOID, .u.voided = {{ID_A}}}, ROW(0x08, 0x0b, 0xa3, 0, 16, ID_A)},
    {{.type = WIRE_BYE, .u.bye = {5}}, ROW(0x08, 0x0b, 0xa4, 0, 8, BE64_5)},
    /* return path: type, length, payload */
    {{.type = WIRE_SHUT}, ROW(0, 1, 0, 4, 0, 0, 0, 0)},
    {{.type = WIRE_SHUT, .u.value = 1}, ROW(0, 1, 0, 4, 0, 0, 0, 1)},
    {{.type = WIRE_PONG, .u.value = 0x42}, ROW(0, 2, 0, 4, 0, 0, 0, 0x42)},
    {{.type = WIRE_REQ_PAGES, .u.req_pages = {.named = true, .block = "mem0", .start = 0xff000, .length = 0x1000}},
     ROW(0, 3, 0, 17, 0, 0, 0, 0, 0, 0x0f, 0xf0, 0, 0, 0, 0x10, 0, MEM0)},
    {{.type = WIRE_REQ_PAGES, .u.req_pages = {.block = "mem0", .start = 0xfe000, .length = 0x1000}},
     ROW(0, 4, 0, 12, 0, 0, 0, 0, 0, 0x0f, 0xe0, 0, 0, 0, 0x10, 0)},
    {{.type = WIRE_RECV_BITMAP, .u.recv_bitmap = {.block = "mem0", .bitmap_bytes = 32}},
     ROW(0, 5, 0, 5, MEM0, 0, 0, 0, 0, 0, 0, 0, 32)},
    {{.type = WIRE_RESUME_ACK, .u.value = 1}, ROW(0, 6, 0, 4, 0, 0, 0, 1)},
    {{.type = WIRE_SWITCHOVER_ACK}, ROW(0, 7, 0, 0)},
    /* Baton's own */
    {{.type = WIRE_HELLO_DEST, .u.hello_dest = {.version = 1, .features = 5, .session = {ID_A}, .nonce = {ID_B},
                                                .epoch = 5, .state = WIRE_DEST_NOT_STARTED}},
     ROW(0xba, 0x01, 0, 51, 0, 1, BE64_5, ID_A, ID_B, BE64_5, 2)},
    {{.type = WIRE_HELLO_ACK, .u.hello_ack = {.epoch = 5, .state = WIRE_DEST_NEVER,
                                              .verdict = WIRE_VERDICT_STALE_EPOCH, .reason = "old"}},
     ROW(0xba, 0x02, 0, 14, BE64_5, 5, 1, 3, 'o', 'l', 'd')},
    {{.type = WIRE_HELLO_ACK, .u.hello_ack = {.epoch = 5}}, ROW(0xba, 0x02, 0, 11, BE64_5, 0, 0, 0)},
    {{.type = WIRE_READY, .u.ready = {{ID_B}, 5}}, ROW(0xba, 0x03, 0, 24, ID_B, BE64_5)},
    {{.type = WIRE_FAULT, .u.fault = {.code = 2, .text = "no"}}, ROW(0xba, 0x04, 0, 5, 0, 2, 2, 'n', 'o')},
    {{.type = WIRE_COMPLETE, .u.complete = {5, 5}}, ROW(0xba, 0x05, 0, 16, BE64_5, BE64_5)},
    {{.type = WIRE_BARRIER_ACK, .u.barrier = {.channel = 1, .number = 5}},
     ROW(0xba, 0x06, 0, 12, 0, 0, 0, 1, BE64_5)},
};
/* clang-format on */
enum { ROWS = sizeof(rows) / sizeof(rows[0]) };

/* A decoder that stands where the row's message may come. */
static void place(struct wire_decoder *decoder, const struct wire_blocks *blocks,
                  enum wire_type type)
{
    wire_decoder_init(decoder, WIRE_STREAM_NEW, blocks, true);
    decoder->headed = true;
    decoder->ram.started = decoder->ram.listed = type != WIRE_RAM_START;
    decoder->ram.section_id = 2;
    decoder->position = type == WIRE_HEADER          ? WIRE_AT_BEGIN
                        : type == WIRE_CONFIGURATION ? WIRE_AT_CONFIGURATION
                        : type == WIRE_VMDESCRIPTION ? WIRE_AT_TRAILER
                        : type == WIRE_LISTEN        ? WIRE_AT_BLOB
                                                     : WIRE_AT_ELEMENT;
}

static enum wire_result decode(const struct wire_blocks *blocks, enum wire_type type,
                               struct bytes bytes, size_t *used, struct wire_message *out,
                               struct wire_error *error)
{
    struct wire_return_decoder back;
    struct wire_decoder forward;

    if (wire_type_is_return(type)) {
        wire_return_decoder_init(&back, blocks);
        back.last_block = 0;
        return wire_decode_return(&back, bytes.at, bytes.size, used, out, error);
    }
    place(&forward, blocks, type);
    return wire_decode_element(&forward, bytes.at, bytes.size, used, out, error);
}

static void test_both_directions(void **state)
{
    struct wire_blocks blocks = blocks_mem0(MIB);
    bool seen[WIRE_TYPE_COUNT] = {false};

    for (unsigned i = 0; i < ROWS; i++) {
        const struct row *row = &rows[i];
        uint8_t out[WIRE_MAX_CONTROL_BYTES];
        struct wire_message message;
        struct wire_error error = {""};
        struct bytes bytes;
        size_t used = 0;
        /* A configuration ends where something else begins. */
        bool peeks = row->message.type == WIRE_CONFIGURATION;

        seen[row->message.type] = true;
        assert_int_equal(wire_encode(&row->message, out, sizeof(out)), row->size);
        assert_memory_equal(out, row->bytes, row->size);
        for (size_t size = 0; size < row->size; size++) /* no buffer is overrun */
            assert_int_equal(wire_encode(&row->message, out, size), 0);

        memcpy(out, row->bytes, row->size);
        out[row->size] = 0x08;
        bytes = bytes_copy(out, row->size + peeks);
        if (decode(&blocks, row->message.type, bytes, &used, &message, &error) != WIRE_DONE)
            fail_msg("%s: %s", wire_type_name(row->message.type), error.text);
        assert_int_equal(used, row->size);
        assert_int_equal(message.type, row->message.type);
        memset(out, 0, sizeof(out));
        assert_int_equal(wire_encode(&message, out, sizeof(out)), row->size);
        assert_memory_equal(out, row->bytes, row->size);
        bytes_free(&bytes);

        for (size_t size = 0; size < row->size; size++) { /* every beginning of it: more, please */
            bytes = bytes_copy(row->bytes, size);
            assert_int_equal(decode(&blocks, row->message.type, bytes, &used, &message, &error),
                             WIRE_MORE);
            assert_true(used > size && used <= row->size + peeks);
            bytes_free(&bytes);
        }
    }
    for (unsigned i = 0; i < WIRE_TYPE_COUNT; i++)
        assert_true(seen[i]); /* no type without a row */
}

static void test_decoded_fields(void **state)
{
    struct wire_blocks blocks = blocks_mem0(MIB);

    for (unsigned i = 0; i < ROWS; i++) {
        struct bytes bytes = bytes_copy(rows[i].bytes, rows[i].size);
        struct wire_message message;
        struct wire_error error;
        size_t used;

        if (rows[i].message.type == WIRE_REQ_PAGES) {
            decode(&blocks, WIRE_REQ_PAGES, bytes, &used, &message, &error);
            assert_string_equal(message.u.req_pages.block, "mem0"); /* also in the short form */
            assert_int_equal(message.u.req_pages.index, 0);
            assert_int_equal(message.u.req_pages.named, rows[i].message.u.req_pages.named);
        }
        if (rows[i].message.type == WIRE_HELLO_SOURCE) {
            decode(&blocks, WIRE_HELLO_SOURCE, bytes, &used, &message, &error);
            assert_memory_equal(&message.u.hello_source, &rows[i].message.u.hello_source,
                                sizeof(message.u.hello_source));
        }
        if (rows[i].message.type == WIRE_SECTION_FULL && rows[i].message.u.full.own) {
            decode(&blocks, WIRE_SECTION_FULL, bytes, &used, &message, &error);
            assert_string_equal(message.u.full.name, "rv64-cpu");
            assert_int_equal(message.u.full.body_bytes, 3);
            assert_memory_equal(message.u.full.body, device_body, 3);
        }
        bytes_free(&bytes);
    }
}

static void test_what_cannot_be_said(void **state)
{
    static const struct wire_message bad[] = {
        {.type = WIRE_CONFIGURATION}, /* no name */
        {.type = WIRE_RAM_DISCARD, .u.discard = {.block = "mem0"}},
        {.type = WIRE_RAM_DISCARD, .u.discard = {.range_count = 1, .range = {{0, 4096}}}},
        {.type = WIRE_RAM_DISCARD, .u.discard = {.block = "mem0", .range_count = 13}},
        {.type = WIRE_RECV_BITMAP_REQUEST},
        {.type = WIRE_RECV_BITMAP},
        {.type = WIRE_REQ_PAGES, .u.req_pages = {.named = true, .length = 4096}},
        {.type = WIRE_PACKAGED},
        {.type = WIRE_PACKAGED, .u.length = WIRE_MAX_BLOB_BYTES + 1},
        {.type = WIRE_VMDESCRIPTION, .u.length = WIRE_MAX_VMDESCRIPTION_BYTES + 1},
        {.type = WIRE_SECTION_FULL},
    };
    uint8_t out[WIRE_MAX_CONTROL_BYTES];
    struct wire_message message = {.type = WIRE_SECTION_FULL, .u.full = {.own = true}};

    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(wire_encode(&bad[i], out, sizeof(out)), 0);
    memset(message.u.full.name, 'x', 249); /* with the prefix: 255, the most */
    assert_int_not_equal(wire_encode(&message, out, sizeof(out)), 0);
    message.u.full.name[249] = 'x';
    assert_int_equal(wire_encode(&message, out, sizeof(out)), 0);
}

/* The largest control messages fit into what the header promises. */
static void test_promised_sizes(void **state)
{
    struct wire_message message = {.type = WIRE_RAM_DISCARD,
                                   .u.discard = {.range_count = WIRE_MAX_DISCARD_RANGES}};
    uint8_t out[WIRE_MAX_CONTROL_BYTES];

    memset(message.u.discard.block, 'x', 255);
    assert_int_equal(wire_encode(&message, out, sizeof(out)), 5 + 2 + 256 + 12 * 16);
    message = (struct wire_message){.type = WIRE_HELLO_ACK};
    memset(message.u.hello_ack.reason, 'x', 255);
    assert_int_equal(wire_encode(&message, out, sizeof(out)), 4 + 266);
}

/* A later protocol version may say more in a hello; nobody else may. */
static void test_longer_messages(void **state)
{
    struct wire_blocks blocks = blocks_mem0(MIB);

    for (unsigned i = 0; i < ROWS; i++) {
        const struct row *row = &rows[i];
        bool back = wire_type_is_return(row->message.type);
        uint8_t raw[WIRE_MAX_CONTROL_BYTES];
        size_t at = back ? 0 : 1, used;
        struct wire_message message;
        struct wire_error error;
        struct bytes bytes;
        bool hello = row->message.type == WIRE_HELLO_SOURCE || row->message.type == WIRE_HELLO_DEST;

        if (row->message.type < WIRE_OPEN_RETURN_PATH || row->message.type == WIRE_RECV_BITMAP)
            continue;
        memcpy(raw, row->bytes, row->size);
        raw[row->size] = 0;
        raw[at + 3]++; /* the length, by one */
        bytes = bytes_copy(raw, row->size + 1);
        assert_int_equal(decode(&blocks, row->message.type, bytes, &used, &message, &error),
                         WIRE_BAD);
        if (hello) {
            bytes.at[at + 5] = 2; /* "version 2" */
            assert_int_equal(decode(&blocks, row->message.type, bytes, &used, &message, &error),
                             WIRE_DONE);
            assert_int_equal(used, row->size + 1);
        }
        bytes_free(&bytes);
    }
}

static void test_names_of_types(void **state)
{
    for (unsigned i = 0; i < WIRE_TYPE_COUNT; i++)
        assert_true(strlen(wire_type_name((enum wire_type)i)) > 2);
    assert_string_equal(wire_type_name(WIRE_TYPE_COUNT), "?");
    assert_string_equal(wire_type_name(WIRE_RAM_DISCARD), "RAM_DISCARD");
    assert_int_equal(wire_type_code(WIRE_HELLO_DEST), 0xba01);
    assert_false(wire_type_is_return(WIRE_BYE));
    assert_true(wire_type_is_return(WIRE_SHUT));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_directions),     cmocka_unit_test(test_decoded_fields),
        cmocka_unit_test(test_what_cannot_be_said), cmocka_unit_test(test_promised_sizes),
        cmocka_unit_test(test_longer_messages),     cmocka_unit_test(test_names_of_types),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
