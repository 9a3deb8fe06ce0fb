/* SPDX-License-Identifier: MIT */
/*
 * Captured streams of stock QEMU are read to their last byte, whole and dripping in byte by byte.
 * This is the proof that the decoders know the format and not only their own encoders.
 */
#include "support.h"

#include <string.h>

static const char *const versions[] = {"7.2", "10.0", "11.1"};

static struct bytes versioned(const char *what, const char *version, const char *rest)
{
    char name[64] = "";

    strcat(strcat(strcat(strcat(name, what), version), rest), ".bin");
    return bytes_file(name);
}

static void test_precopy(void **state)
{
    static const unsigned not_zero[] = {0, 1, 2, 5, 100, 511, 512, 1023};

    for (unsigned v = 0; v < 3; v++) {
        struct bytes stream = versioned("precopy-none-4M-", versions[v], "");
        struct wire_blocks blocks = blocks_mem0(4 * MIB);
        struct wire_decoder decoder;
        struct walk walk;

        wire_decoder_init(&decoder, WIRE_STREAM_EITHER, &blocks, false);
        assert_int_equal(walk_forward(&walk, &decoder, stream), WIRE_DONE);
        assert_int_equal(walk.at, stream.size);
        assert_int_equal(walk.pages, 8);
        assert_int_equal(walk.zeros, 1016);
        for (unsigned i = 0; i < 8; i++)
            assert_int_not_equal(walk.page_fill[not_zero[i]], 0);
        assert_int_equal(walk.messages[0], WIRE_HEADER);
        assert_int_equal(walk.messages[1], WIRE_CONFIGURATION);
        assert_int_equal(walk.messages[2], WIRE_RAM_START);
        assert_int_equal(walk.of_type[WIRE_RAM_END], 1);
        assert_int_equal(walk.of_type[WIRE_SWITCHOVER_START], v > 0);
        assert_int_equal(walk.of_type[WIRE_SECTION_FULL], 2);
        assert_int_equal(walk.of_type[WIRE_EOF], 1);
        assert_int_equal(walk.last.type, WIRE_VMDESCRIPTION);
        assert_int_equal(decoder.ram.section_id, v ? 1 : 2);

        wire_decoder_init(&decoder, WIRE_STREAM_NEW, &blocks, false);
        assert_int_equal(drip_forward(&decoder, stream), WIRE_DONE);
        bytes_free(&stream);
    }
}

static void check_package(const uint8_t *bytes, size_t size)
{
    static const enum wire_type expected[] = {WIRE_LISTEN, WIRE_SECTION_FULL, WIRE_SECTION_FULL,
                                              WIRE_PING, WIRE_RUN};
    struct bytes copy = bytes_copy(bytes, size);
    struct wire_globalstate globalstate;
    struct wire_message message;
    struct wire_error error;
    struct wire_blob blob;

    wire_blob_init(&blob, copy.at, copy.size);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(wire_blob_next(&blob, &message, &error), WIRE_DONE);
        assert_int_equal(message.type, expected[i]);
        if (i == 1) {
            assert_string_equal(message.u.full.name, "timer");
            assert_int_equal(message.u.full.body_bytes, WIRE_TIMER_BODY_BYTES);
            assert_false(message.u.full.own);
        }
        if (i == 2) {
            assert_string_equal(message.u.full.name, "globalstate");
            assert_int_equal(wire_globalstate_decode(message.u.full.body, &globalstate, &error),
                             WIRE_DONE);
            assert_string_equal(globalstate.runstate, "prelaunch");
            assert_false(globalstate.has_suspended);
        }
    }
    assert_int_equal(wire_blob_next(&blob, &message, &error), WIRE_END);

    for (size_t cut = 0; cut < size;
         cut++) { /* a package cut short is bad, unless between elements */
        struct bytes some = bytes_copy(bytes, cut);
        enum wire_result result;

        wire_blob_init(&blob, some.at, some.size);
        do
            result = wire_blob_next(&blob, &message, &error);
        while (result == WIRE_DONE);
        assert_true(result == WIRE_BAD || result == WIRE_END);
        bytes_free(&some);
    }
    bytes_free(&copy);
}

static void test_postcopy(void **state)
{
    static const enum wire_type expected[] = {
        WIRE_HEADER,    WIRE_CONFIGURATION, WIRE_OPEN_RETURN_PATH, WIRE_PING, WIRE_ADVISE,
        WIRE_RAM_START, WIRE_RAM_PART,      WIRE_RAM_DISCARD,      WIRE_PING, WIRE_PACKAGED,
        WIRE_PING,      WIRE_RAM_PART,      WIRE_RAM_END,          WIRE_EOF};
    static const unsigned not_zero[] = {0, 1, 3, 100, 200, 201, 255};
    struct bytes stream = bytes_file("postcopy-1M-7.2.bin");
    struct wire_blocks blocks = blocks_mem0(MIB);
    struct wire_decoder decoder;
    struct walk walk;

    wire_decoder_init(&decoder, WIRE_STREAM_EITHER, &blocks, true);
    assert_int_equal(walk_forward(&walk, &decoder, stream), WIRE_DONE);
    assert_int_equal(walk.message_count, sizeof(expected) / sizeof(expected[0]));
    for (unsigned i = 0; i < walk.message_count; i++)
        assert_int_equal(walk.messages[i], expected[i]);
    assert_int_equal(walk.pages, 7);
    assert_int_equal(walk.zeros, 249);
    for (unsigned i = 0; i < 7; i++)
        assert_int_equal(walk.page_fill[not_zero[i]], 0x40 + i);
    assert_true(decoder.ram.advised);
    assert_int_equal(walk.blob_size, 201);
    check_package(stream.at + walk.blob_at, walk.blob_size);

    wire_decoder_init(&decoder, WIRE_STREAM_NEW, &blocks, true);
    assert_int_equal(drip_forward(&decoder, stream), WIRE_DONE);
    bytes_free(&stream);
}

/* The first connection is cut inside a page; the recovery goes on with what was learnt from it. */
static void test_cut_and_resume(void **state)
{
    for (unsigned v = 0; v < 3; v++) {
        struct bytes head = versioned("postcopy-head-", versions[v], "");
        struct bytes resume = versioned("resume-head-", versions[v], "");
        struct wire_blocks blocks = blocks_mem0(16 * MIB);
        struct wire_decoder decoder;
        struct walk walk;

        wire_decoder_init(&decoder, WIRE_STREAM_EITHER, &blocks, true);
        assert_int_equal(walk_forward(&walk, &decoder, head), WIRE_MORE);
        assert_int_equal(walk.messages[walk.message_count - 1], WIRE_RAM_PART);

        wire_decoder_reconnect(&decoder, WIRE_STREAM_EITHER);
        assert_int_equal(walk_forward(&walk, &decoder, resume), WIRE_MORE);
        assert_int_equal(walk.messages[0], WIRE_RECV_BITMAP_REQUEST);
        assert_int_equal(walk.messages[1], WIRE_RESUME);
        assert_int_equal(walk.messages[2], WIRE_RAM_PART);
        assert_true(walk.pages + walk.zeros >= 2);

        /* Without the first connection nobody knows what section this is. */
        wire_decoder_init(&decoder, WIRE_STREAM_EITHER, &blocks, true);
        assert_int_equal(walk_forward(&walk, &decoder, resume), WIRE_BAD);
        bytes_free(&head);
        bytes_free(&resume);
    }
}

static void test_return_paths(void **state)
{
    static const char *const kinds[] = {"dst-", "peer-"};
    uint64_t words[64];

    for (unsigned v = 0; v < 3; v++) {
        for (unsigned k = 0; k < 2; k++) {
            struct wire_blocks blocks = blocks_mem0(16 * MIB);
            struct wire_return_decoder decoder;
            struct bytes rp = versioned(kinds[k], versions[v], "-rp");
            struct bytes resume = versioned(kinds[k], versions[v], "-resume-rp");
            struct wire_message message;
            struct wire_error error;
            struct walk walk;
            size_t used;

            wire_return_decoder_init(&decoder, &blocks);
            assert_int_equal(walk_return(&walk, &decoder, rp), WIRE_DONE);
            assert_true(walk.of_type[WIRE_PONG] >= 3);
            assert_true(walk.of_type[WIRE_REQ_PAGES] >= 3);
            assert_string_equal(
                walk.last.type == WIRE_REQ_PAGES ? walk.last.u.req_pages.block : "mem0", "mem0");

            wire_return_decoder_init(&decoder, &blocks);
            assert_int_equal(walk_return(&walk, &decoder, resume), WIRE_DONE);
            assert_int_equal(walk.messages[0], WIRE_RECV_BITMAP);
            assert_int_equal(walk.messages[1], WIRE_RESUME_ACK);
            assert_int_equal(walk.messages[2], WIRE_REQ_PAGES);
            assert_int_equal(walk.last.type, WIRE_SHUT);
            assert_int_equal(walk.last.u.value, 0);

            wire_return_decoder_init(&decoder, &blocks);
            assert_int_equal(
                wire_decode_return(&decoder, resume.at, resume.size, &used, &message, &error),
                WIRE_DONE);
            assert_int_equal(message.u.recv_bitmap.bitmap_bytes, 512);
            wire_bitmap_unpack(resume.at + used, 4096, words);
            assert_int_equal(words[0], UINT64_MAX); /* the first pages had arrived in all runs */
            assert_int_equal(wire_bitmap_check_end(resume.at + used + 512, &error), WIRE_DONE);

            wire_return_decoder_init(&decoder, &blocks);
            assert_int_equal(drip_return(&decoder, rp), WIRE_DONE);
            wire_return_decoder_init(&decoder, &blocks);
            assert_int_equal(drip_return(&decoder, resume), WIRE_DONE);
            bytes_free(&rp);
            bytes_free(&resume);
        }
    }
}

static void test_subsections(void **state)
{
    static const uint8_t uuid[WIRE_ID_BYTES] = {0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88,
                                                0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff, 0x00};
    struct bytes with_uuid = bytes_file("uuid-head-10.0.bin");
    struct bytes with_capability = bytes_file("ignore-shared-head-10.0.bin");
    struct wire_blocks blocks = blocks_mem0(4 * MIB);
    struct wire_decoder decoder;
    struct wire_message message;
    struct wire_error error;
    struct walk walk;
    size_t used;

    wire_decoder_init(&decoder, WIRE_STREAM_NEW, &blocks, false);
    assert_int_equal(
        wire_decode_element(&decoder, with_uuid.at, with_uuid.size, &used, &message, &error),
        WIRE_DONE);
    assert_int_equal(wire_decode_element(&decoder, with_uuid.at + 8, with_uuid.size - 8, &used,
                                         &message, &error),
                     WIRE_DONE);
    assert_int_equal(used, 49);
    assert_string_equal(message.u.configuration.machine, "none");
    assert_true(message.u.configuration.has_uuid);
    assert_memory_equal(message.u.configuration.uuid, uuid, sizeof(uuid));

    wire_decoder_init(&decoder, WIRE_STREAM_NEW, &blocks, false);
    assert_int_equal(drip_forward(&decoder, with_uuid), WIRE_MORE); /* cut inside a page */

    wire_decoder_init(&decoder, WIRE_STREAM_NEW, &blocks, false);
    assert_int_equal(walk_forward(&walk, &decoder, with_capability), WIRE_BAD);
    assert_non_null(strstr(walk.error.text, "\"x-ignore-shared\""));
    bytes_free(&with_uuid);
    bytes_free(&with_capability);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_precopy),        cmocka_unit_test(test_postcopy),
        cmocka_unit_test(test_cut_and_resume), cmocka_unit_test(test_return_paths),
        cmocka_unit_test(test_subsections),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
