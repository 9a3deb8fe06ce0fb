/* SPDX-License-Identifier: MIT */
/* Packages of device state, QEMU's small sections, received bitmaps, page requests. */
#include "support.h"

#include <stdlib.h>
#include <string.h>

static size_t append(uint8_t *out, size_t size, size_t at, const struct wire_message *message)
{
    size_t used = wire_encode(message, out + at, size - at);

    assert_true(used > 0);
    return at + used;
}

/* The package of an 11.1: one more PING; and a device of Baton's own. */
static void test_package(void **state)
{
    uint8_t globalstate[WIRE_GLOBALSTATE_BODY_BYTES], out[512];
    static const uint8_t cpu[300] = {1, 2, 3};
    struct wire_message message, ping3 = {.type = WIRE_PING, .u.value = 3},
                                 ping42 = {.type = WIRE_PING, .u.value = WIRE_PING_DEVICES_LOADED};
    static const enum wire_type expected[] = {WIRE_LISTEN, WIRE_SECTION_FULL, WIRE_SECTION_FULL,
                                              WIRE_PING,   WIRE_PING,         WIRE_RUN};
    struct wire_error error;
    struct wire_blob blob;
    struct bytes exact;
    size_t size = 0;

    wire_globalstate_encode(
        &(struct wire_globalstate){.runstate = "running", .has_suspended = true}, globalstate);
    size = append(out, sizeof(out), size, &(struct wire_message){.type = WIRE_LISTEN});
    message = (struct wire_message){
        .type = WIRE_SECTION_FULL,
        .u.full = {3, "globalstate", false, 0, 1, globalstate, sizeof(globalstate)}};
    size = append(out, sizeof(out), size, &message);
    message = (struct wire_message){.type = WIRE_SECTION_FULL,
                                    .u.full = {4, "rv64-cpu", true, 5, 1, cpu, 200}};
    size = append(out, sizeof(out), size, &message);
    size = append(out, sizeof(out), size, &ping3);
    size = append(out, sizeof(out), size, &ping42);
    size = append(out, sizeof(out), size, &(struct wire_message){.type = WIRE_RUN});

    exact = bytes_copy(out, size);
    wire_blob_init(&blob, exact.at, exact.size);
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(wire_blob_next(&blob, &message, &error), WIRE_DONE);
        assert_int_equal(message.type, expected[i]);
        if (i == 2) {
            assert_string_equal(message.u.full.name, "rv64-cpu");
            assert_true(message.u.full.own);
            assert_int_equal(message.u.full.instance, 5);
            assert_int_equal(message.u.full.body_bytes, 200);
            assert_memory_equal(message.u.full.body, cpu, 200);
        }
    }
    assert_int_equal(message.type, WIRE_RUN);
    assert_int_equal(wire_blob_next(&blob, &message, &error), WIRE_END);
    bytes_free(&exact);
}

/* What has no place in a package. */
static void test_package_refuses(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
    } cases[] = {
#define CASE(bytes) {bytes, sizeof(bytes) - 1}
        CASE("QEVM\0\0\0\x03"),
        CASE("\x07\0\0\0\x04none\x08"),
        CASE("\x00"),
        CASE("\x01\0\0\0\x01\x03ram\0\0\0\0\0\0\0\x04"),
        CASE("\x02\0\0\0\x01"),
        CASE("\x06\0\0\0\0"),
        CASE("\x08\0\x07\0\x04\0\0\0\x05"), /* a package in a package */
        CASE("\x08\0\x09\0\0"),
        CASE("\x08\0\x01\0\0"),
        CASE("\x08\x0b\xa4\0\x08\0\0\0\0\0\0\0\0"),
        CASE("\x04\0\0\0\0\x04slirp\0\0\0\0\0\0\0\x01"), /* nobody knows its length */
        CASE("\x04\0\0\0\0\x06"
             "baton/\0\0\0\0\0\0\0\x01\0\0\0\0\x7e\0\0\0\0"), /* no name behind the prefix */
        CASE("\x04\0\0\0\0\x07"
             "baton/x\0\0\0\0\0\0\0\x01\0\0\0\0\x7e\0\0\0\x01"), /* footer of another */
        CASE("\x04\0\0\0\0\x07"
             "baton/x\0\0\0\0\0\0\0\x01\xff\xff\xff\xff"), /* 4 GiB of body */
        CASE("\x04\0\0\0\0\x05timer\0\0\0\x01\0\0\0\x02"), /* another instance */
        CASE("\x04\0\0\0\0\x05timer\0\0\0\0\0\0\0\x03"),   /* another version */
        CASE("\x04\0\0\0\0\x0bglobalstate\0\0\0\0\0\0\0\x02"),
#undef CASE
    };

    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bytes exact = bytes_copy(cases[i].bytes, cases[i].size);
        struct wire_message message;
        struct wire_error error;
        struct wire_blob blob;

        wire_blob_init(&blob, exact.at, exact.size);
        if (wire_blob_next(&blob, &message, &error) != WIRE_BAD)
            fail_msg("case %u was accepted", i);
        bytes_free(&exact);
    }
}

static void test_globalstate(void **state)
{
    uint8_t body[WIRE_GLOBALSTATE_BODY_BYTES];
    struct wire_globalstate in = {.runstate = "paused"}, out;
    struct wire_error error;

    wire_globalstate_encode(&in, body); /* 7.2 */
    assert_memory_equal(body, "\0\0\0\x07paused\0", 11);
    for (unsigned i = 11; i < sizeof(body); i++)
        assert_int_equal(body[i], 0);
    assert_int_equal(wire_globalstate_decode(body, &out, &error), WIRE_DONE);
    assert_string_equal(out.runstate, "paused");
    assert_false(out.has_suspended);

    in.has_suspended = in.suspended = true; /* 10.0 */
    wire_globalstate_encode(&in, body);
    assert_int_equal(body[36], 1);
    assert_int_equal(body[37], 1);
    assert_int_equal(wire_globalstate_decode(body, &out, &error), WIRE_DONE);
    assert_true(out.has_suspended && out.suspended);

    body[37] = 2;
    assert_int_equal(wire_globalstate_decode(body, &out, &error), WIRE_BAD);
    body[37] = 0;
    body[3] = 8; /* longer than the text */
    assert_int_equal(wire_globalstate_decode(body, &out, &error), WIRE_BAD);
    body[3] = 33;
    assert_int_equal(wire_globalstate_decode(body, &out, &error), WIRE_BAD);
    body[3] = 0;
    assert_int_equal(wire_globalstate_decode(body, &out, &error), WIRE_BAD);
    memset(body + 4, 'x', 32); /* no end */
    body[3] = 32;
    assert_int_equal(wire_globalstate_decode(body, &out, &error), WIRE_BAD);
}

static void test_timer(void **state)
{
    struct wire_timer in = {.ticks_offset = 0x0102030405060708, .clock_offset_ns = -2}, out;
    uint8_t body[WIRE_TIMER_BODY_BYTES];

    wire_timer_encode(&in, body);
    assert_memory_equal(body,
                        "\x01\x02\x03\x04\x05\x06\x07\x08"
                        "\0\0\0\0\0\0\0\0"
                        "\xff\xff\xff\xff\xff\xff\xff\xfe",
                        24);
    wire_timer_decode(body, &out);
    assert_int_equal(out.ticks_offset, in.ticks_offset);
    assert_int_equal(out.clock_offset_ns, -2);
}

static void test_bitmap(void **state)
{
    static const uint64_t sizes[] = {0, 1, 63, 64, 65, 127, 128, 1000, 4096};
    struct wire_error error;

    assert_int_equal(wire_bitmap_bytes(0), 0);
    assert_int_equal(wire_bitmap_bytes(1), 8);
    assert_int_equal(wire_bitmap_bytes(64), 8);
    assert_int_equal(wire_bitmap_bytes(65), 16);
    assert_int_equal(wire_bitmap_bytes(4096), 512);
    assert_true(wire_bitmap_bytes(UINT64_MAX) > 0);

    for (unsigned s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        uint64_t pages = sizes[s], size = wire_bitmap_bytes(pages), words[64], back[64];
        uint8_t *bytes = malloc(size + 1);

        assert_non_null(bytes);
        for (unsigned i = 0; i < 64; i++)
            words[i] = 0x9e3779b97f4a7c15 * (i + 1);
        memset(bytes, 0xee, size + 1);
        wire_bitmap_pack(words, pages, bytes);
        assert_int_equal(bytes[size], 0xee);
        for (uint64_t i = 0; i < size * 8; i++) /* little-endian bits and bytes, padding 0 */
            assert_int_equal(bytes[i / 8] >> i % 8 & 1,
                             i < pages ? (int)(words[i / 64] >> i % 64 & 1) : 0);
        if (pages % 64)
            bytes[size - 1] |= 0x80; /* padding of a peer is ignored */
        wire_bitmap_unpack(bytes, pages, back);
        for (uint64_t i = 0; i < size * 8; i++)
            assert_int_equal(back[i / 64] >> i % 64 & 1,
                             i < pages ? (int)(words[i / 64] >> i % 64 & 1) : 0);
        free(bytes);
    }
    assert_int_equal(
        wire_bitmap_check_end((const uint8_t *)"\x01\x23\x45\x67\x89\xab\xcd\xef", &error),
        WIRE_DONE);
    assert_int_equal(
        wire_bitmap_check_end((const uint8_t *)"\xef\xcd\xab\x89\x67\x45\x23\x01", &error),
        WIRE_BAD);
}

/* The name goes with the first request of a connection and whenever the block changes. */
static void test_page_requests(void **state)
{
    static const struct wire_blocks two = {
        .block = {{.name = "a", .used_bytes = MIB, .page_bytes = 4096},
                  {.name = "b", .used_bytes = MIB, .page_bytes = 4096}},
        .count = 2,
    };
    static const unsigned blocks[] = {0, 0, 1, 1, 0};
    static const size_t sizes[] = {18, 16, 18, 16, 18};
    struct wire_return_decoder decoder;
    struct wire_request_writer writer;
    struct wire_message message;
    struct wire_error error;
    uint8_t out[18];
    size_t used;

    wire_request_writer_init(&writer, &two);
    wire_return_decoder_init(&decoder, &two);
    for (unsigned i = 0; i < 5; i++) {
        uint64_t start = 0x1000 * (i + 1);

        assert_int_equal(wire_encode_page_request(&writer, blocks[i], start, 4096, out, 15), 0);
        assert_int_equal(wire_encode_page_request(&writer, blocks[i], start, 4096, out, 18),
                         sizes[i]);
        assert_int_equal(wire_decode_return(&decoder, out, sizes[i], &used, &message, &error),
                         WIRE_DONE);
        assert_int_equal(used, sizes[i]);
        assert_int_equal(message.u.req_pages.index, blocks[i]);
        assert_string_equal(message.u.req_pages.block, two.block[blocks[i]].name);
        assert_int_equal(message.u.req_pages.start, start);
        assert_int_equal(message.u.req_pages.length, 4096);
    }
    assert_int_equal(wire_encode_page_request(&writer, 2, 0, 4096, out, 18), 0);
}

static void test_block_table(void **state)
{
    struct wire_blocks blocks = {
        .block = {{.name = "a", .used_bytes = 4096, .page_bytes = 4096},
                  {.name = "b", .used_bytes = 4 << 20, .page_bytes = 2 << 20}},
        .count = 2};

    assert_int_equal(wire_blocks_find(&blocks, "b"), 1);
    assert_int_equal(wire_blocks_find(&blocks, "c"), WIRE_NO_BLOCK);
    assert_int_equal(wire_blocks_total_bytes(&blocks), 4096 + (4 << 20));
    assert_int_equal(wire_blocks_page_summary(&blocks), 0x201000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_package),     cmocka_unit_test(test_package_refuses),
        cmocka_unit_test(test_globalstate), cmocka_unit_test(test_timer),
        cmocka_unit_test(test_bitmap),      cmocka_unit_test(test_page_requests),
        cmocka_unit_test(test_block_table),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
