/* SPDX-License-Identifier: MIT */
/*
 * A peer that lies: impossible lengths are refused at once, not waited for, and no wrong byte
 * anywhere leads a decoder out of its buffer or out of a RAM block (support.c asserts that; a
 * sanitizer watches the reads).
 */
#include "support.h"

#include <string.h>

struct refusal {
    const char *about; /* part of the sentence */
    const char *bytes;
    size_t size;
};
#define REFUSE(about, bytes)                                                                       \
    {                                                                                              \
        about, bytes, sizeof(bytes) - 1                                                            \
    }

static void check_text(const struct refusal *refusal, const struct wire_error *error)
{
    if (!strstr(error->text, refusal->about))
        fail_msg("expected \"%s\", got \"%s\"", refusal->about, error->text);
}

static void test_begin_refused(void **state)
{
    static const struct refusal cases[] = {
        REFUSE("not a migration stream: found 287454020 (0x11223344) at byte 0",
               "\x11\x22\x33\x44"),
        REFUSE("not a migration stream", "\x16\x03\x01\x02"), /* a TLS hello */
        REFUSE("unknown stream version: found 2 at byte 4", "QEVM\0\0\0\x02"),
    };
    static const struct refusal configurations[] = {
        REFUSE("not followed by a configuration", "\x08\0\x01\0\0"),
        REFUSE("impossible length of the machine name", "\x07\xff\xff\xff\xff"),
        REFUSE("impossible length of the machine name", "\x07\0\0\0\0"),
        REFUSE("holds a zero byte", "\x07\0\0\0\x04no\0e"),
        REFUSE("subsection: found \"configuration/x\"", "\x07\0\0\0\x01m\x05\x0f"
                                                        "configuration/x\0\0\0\x01"),
        REFUSE("unknown version of a configuration subsection", "\x07\0\0\0\x01m\x05\x12"
                                                                "configuration/uuid\0\0\0\x02"),
        REFUSE("came twice", "\x07\0\0\0\x01m\x05\x12"
                             "configuration/uuid\0\0\0\x01"
                             "0123456789abcdef"
                             "\x05\x12"
                             "configuration/uuid\0\0\0\x01"
                             "0123456789abcdef"),
        REFUSE("pages have another size: found 16",
               "\x07\0\0\0\x01m\x05\x1e"
               "configuration/target-page-bits\0\0\0\x01\0\0\0\x10"),
        REFUSE("capability on: found \"mapped-ram\"",
               "\x07\0\0\0\x01m\x05\x1a"
               "configuration/capabilities\0\0\0\x01\0\0\0\x01\x0amapped-ram"),
    };
    struct wire_blocks blocks = blocks_mem0(MIB);
    struct wire_decoder decoder;
    struct wire_message message;
    struct wire_error error;
    struct bytes exact;
    size_t used;

    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        exact = bytes_copy(cases[i].bytes, cases[i].size);
        wire_decoder_init(&decoder, WIRE_STREAM_NEW, &blocks, true);
        assert_int_equal(
            wire_decode_element(&decoder, exact.at, exact.size, &used, &message, &error), WIRE_BAD);
        check_text(&cases[i], &error);
        bytes_free(&exact);
    }
    for (unsigned i = 0; i < sizeof(configurations) / sizeof(configurations[0]); i++) {
        exact = bytes_copy(configurations[i].bytes, configurations[i].size);
        wire_decoder_init(&decoder, WIRE_STREAM_NEW, &blocks, true);
        decoder.position = WIRE_AT_CONFIGURATION;
        assert_int_equal(
            wire_decode_element(&decoder, exact.at, exact.size, &used, &message, &error), WIRE_BAD);
        check_text(&configurations[i], &error);
        bytes_free(&exact);
    }
}

/* The page-bits subsection with our own number, and an empty list of capabilities, are harmless. */
static void test_harmless_subsections(void **state)
{
    static const char bytes[] = "\x07\0\0\0\x01m"
                                "\x05\x1e"
                                "configuration/target-page-bits\0\0\0\x01\0\0\0\x0c"
                                "\x05\x1a"
                                "configuration/capabilities\0\0\0\x01\0\0\0\0"
                                "\x08";
    struct bytes exact = bytes_copy(bytes, sizeof(bytes) - 1);
    struct wire_blocks blocks = blocks_mem0(MIB);
    struct wire_decoder decoder;
    struct wire_message message;
    struct wire_error error;
    size_t used;

    wire_decoder_init(&decoder, WIRE_STREAM_NEW, &blocks, true);
    decoder.position = WIRE_AT_CONFIGURATION;
    assert_int_equal(wire_decode_element(&decoder, exact.at, exact.size, &used, &message, &error),
                     WIRE_DONE);
    assert_int_equal(used, exact.size - 1);
    assert_string_equal(message.u.configuration.machine, "m");
    bytes_free(&exact);
}

static void test_elements_refused(void **state)
{
    static const struct refusal cases[] = {
        REFUSE("unknown or out of place: found 5 at byte 0", "\x05"),
        REFUSE("out of place", "\x7e\0\0\0\x01"),
        REFUSE("out of place", "\x07\0\0\0\x04none"),
        REFUSE("out of place", "\x06\0\0\0\x01"), /* a description before the end */
        REFUSE("out of place", "\xff"),
        REFUSE("unknown command: found 0", "\x08\0\0\0\0"),
        REFUSE("unknown command: found 8", "\x08\0\x08\0\0"),
        REFUSE("unknown command: found 12", "\x08\0\x0c\xff\xff"),
        REFUSE("too long: found 65535 (0xffff) at byte 3; expected 0", "\x08\0\x01\xff\xff"),
        REFUSE("too short: found 3", "\x08\0\x02\0\x03"),
        REFUSE("too long: found 5", "\x08\0\x02\0\x05"),
        REFUSE("does not fit its content: found \"ADVISE\"", "\x08\0\x03\0\x08\0\0\0\0\0\0\x10\0"),
        REFUSE("pages have another size", "\x08\0\x03\0\x10\0\0\0\0\0\0\x10\0\0\0\0\0\0\0\x40\0"),
        REFUSE("found \"LISTEN\"", "\x08\0\x04\0\0"), /* outside a package */
        REFUSE("length of a package: found 0", "\x08\0\x07\0\x04\0\0\0\0"),
        REFUSE("length of a package: found 4294967295", "\x08\0\x07\0\x04\xff\xff\xff\xff"),
        REFUSE("unknown RAM block: found \"mem1\"", "\x08\0\x0a\0\x05\x04mem1"),
        REFUSE("does not fit its content", "\x08\0\x0a\0\x05\x05mem0"),
        REFUSE("does not fit its content", "\x08\0\x0a\0\x06\x04mem0x"),
        REFUSE("unknown section: found \"cpu\"", "\x04\0\0\0\x01\x03"
                                                 "cpu\0\0\0\0\0\0\0\x01"),
        REFUSE("an unknown section starts", "\x01\0\0\0\x01\x03rum\0\0\0\0\0\0\0\x04"),
        REFUSE("instance of the ram section", "\x01\0\0\0\x01\x03ram\0\0\0\x01\0\0\0\x04"),
        REFUSE("version of the ram section", "\x01\0\0\0\x01\x03ram\0\0\0\0\0\0\0\x05"),
        REFUSE("starts twice", "\x01\0\0\0\x01\x03ram\0\0\0\0\0\0\0\x04"),
        REFUSE("an unknown section goes on: found 2 at byte 1; expected 1", "\x02\0\0\0\x02"),
        REFUSE("an unknown section goes on", "\x03\xff\xff\xff\xff"),
        /* discards: version, zero byte, no range, half a range, outside, misaligned, empty */
        REFUSE("version of RAM_DISCARD", "\x08\0\x06\0\x17\x01\x04mem0\0"
                                         "\0\0\0\0\0\0\0\0"
                                         "\0\0\0\0\0\0\x10\0"),
        REFUSE("not terminated", "\x08\0\x06\0\x17\0\x04mem0\x01"
                                 "\0\0\0\0\0\0\0\0"
                                 "\0\0\0\0\0\0\x10\0"),
        REFUSE("too short", "\x08\0\x06\0\x07\0\x04mem0\0"),
        REFUSE("length of the ranges", "\x08\0\x06\0\x18\0\x04mem0\0"
                                       "\0\0\0\0\0\0\0\0"
                                       "\0\0\0\0\0\0\x10\0"
                                       "\0"),
        REFUSE("behind its RAM block", "\x08\0\x06\0\x17\0\x04mem0\0"
                                       "\0\0\0\0\0\0\x10\0"
                                       "\xff\xff\xff\xff\xff\xff\xf0\0"),
        REFUSE("behind its RAM block", "\x08\0\x06\0\x17\0\x04mem0\0"
                                       "\0\0\0\0\0\x10\0\0"
                                       "\0\0\0\0\0\0\x10\0"),
        REFUSE("does not begin at a page", "\x08\0\x06\0\x17\0\x04mem0\0"
                                           "\0\0\0\0\0\0\x08\0"
                                           "\0\0\0\0\0\0\x10\0"),
        REFUSE("not made of whole pages", "\x08\0\x06\0\x17\0\x04mem0\0"
                                          "\0\0\0\0\0\0\0\0"
                                          "\0\0\0\0\0\0\0\0"),
        REFUSE(
            "protocol version of a hello",
            "\x08\x0b\xa1\0\x53\0\0"
            "01234567890123456789012345678901234567890123456789012345678901234567890123456789\0"),
    };
    struct wire_blocks blocks = blocks_mem0(MIB);

    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bytes exact = bytes_copy(cases[i].bytes, cases[i].size);
        struct wire_decoder decoder;
        struct wire_message message;
        struct wire_error error = {"(nothing)"};
        size_t used;

        wire_decoder_init(&decoder, WIRE_STREAM_RECOVERY, &blocks, true);
        decoder.ram.started = decoder.ram.listed = decoder.headed = true;
        decoder.ram.section_id = 1;
        if (wire_decode_element(&decoder, exact.at, exact.size, &used, &message, &error) !=
            WIRE_BAD)
            fail_msg("accepted, instead of \"%s\"", cases[i].about);
        check_text(&cases[i], &error);
        /* A caller that does not want the sentence. */
        assert_int_equal(wire_decode_element(&decoder, exact.at, exact.size, &used, &message, NULL),
                         WIRE_BAD);
        bytes_free(&exact);
    }
}

static void test_after_the_end(void **state)
{
    static const struct refusal cases[] = {
        REFUSE("after the end of the stream", "\0"),
        REFUSE("after the end of the stream", "\x02\0\0\0\x01"),
        REFUSE("description is too long", "\x06\xff\xff\xff\xff"),
    };
    struct wire_blocks blocks = blocks_mem0(MIB);
    struct wire_decoder decoder;
    struct wire_message message;
    struct wire_error error;
    size_t used;

    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bytes exact = bytes_copy(cases[i].bytes, cases[i].size);

        wire_decoder_init(&decoder, WIRE_STREAM_RECOVERY, &blocks, true);
        assert_int_equal(
            wire_decode_element(&decoder, (const uint8_t *)"\0", 1, &used, &message, &error),
            WIRE_DONE);
        assert_int_equal(message.type, WIRE_EOF);
        assert_int_equal(
            wire_decode_element(&decoder, exact.at, exact.size, &used, &message, &error), WIRE_BAD);
        check_text(&cases[i], &error);
        bytes_free(&exact);
    }
}

static void test_returns_refused(void **state)
{
    static const struct refusal cases[] = {
        REFUSE("unknown return-path message: found 0", "\0\0\0\0"),
        REFUSE("unknown return-path message: found 47623 (0xba07)", "\xba\x07\0\0"),
        REFUSE("too long: found 513 (0x201) at byte 2", "\xba\x01\x02\x01"),
        REFUSE("too long: found 65535", "\0\x03\xff\xff"),
        REFUSE("too short: found 3", "\0\x01\0\x03"),
        REFUSE("too long: found 16", "\0\x04\0\x10"),
        REFUSE("refers to a request before it", "\0\x04\0\x0c\0\0\0\0\0\0\x10\0\0\0\x10\0"),
        REFUSE("unknown RAM block", "\0\x03\0\x11\0\0\0\0\0\0\x10\0\0\0\x10\0\x04mem1"),
        REFUSE("begin at a page", "\0\x03\0\x11\0\0\0\0\0\0\x10\x01\0\0\x10\0\x04mem0"),
        REFUSE("whole pages: found 0", "\0\x03\0\x11\0\0\0\0\0\0\x10\0\0\0\0\0\x04mem0"),
        REFUSE("whole pages: found 4097", "\0\x03\0\x11\0\0\0\0\0\0\x10\0\0\0\x10\x01\x04mem0"),
        REFUSE("behind its RAM block", "\0\x03\0\x11\0\0\0\0\0\x0f\xf0\0\0\0\x20\0\x04mem0"),
        REFUSE("behind its RAM block",
               "\0\x03\0\x11\xff\xff\xff\xff\xff\xff\xf0\0\0\0\x20\0\x04mem0"),
        REFUSE("fit its content: found \"REQ_PAGES\"",
               "\0\x03\0\x12\0\0\0\0\0\0\x10\0\0\0\x10\0\x04mem0x"),
        REFUSE("fit its content: found \"REQ_PAGES\"",
               "\0\x03\0\x10\0\0\0\0\0\0\x10\0\0\0\x10\0\x04mem"),
        REFUSE("wrong size for its block: found 33 (0x21) at byte 9; expected 32",
               "\0\x05\0\x05\x04mem0\0\0\0\0\0\0\0\x21"),
        REFUSE("wrong size for its block", "\0\x05\0\x05\x04mem0\xff\xff\xff\xff\xff\xff\xff\xff"),
        REFUSE("RESUME_ACK does not agree", "\0\x06\0\x04\0\0\0\0"),
        REFUSE("unknown state in an answer", "\xba\x02\0\x0b\0\0\0\0\0\0\0\0\x07\0\0"),
        REFUSE("unknown verdict in an answer", "\xba\x02\0\x0b\0\0\0\0\0\0\0\0\0\x06\0"),
        REFUSE("fit its content", "\xba\x04\0\x05\0\x01\x03no"),
    };
    struct wire_blocks blocks = blocks_mem0(MIB);

    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bytes exact = bytes_copy(cases[i].bytes, cases[i].size);
        struct wire_return_decoder decoder;
        struct wire_message message;
        struct wire_error error = {"(nothing)"};
        size_t used;

        wire_return_decoder_init(&decoder, &blocks);
        if (wire_decode_return(&decoder, exact.at, exact.size, &used, &message, &error) != WIRE_BAD)
            fail_msg("accepted, instead of \"%s\"", cases[i].about);
        check_text(&cases[i], &error);
        bytes_free(&exact);
    }
}

/* A text of a peer is for people's terminals. */
static void test_texts_are_tamed(void **state)
{
    static const uint8_t bytes[] = "\xba\x04\0\x07\0\x01\x04\x1b[2\0";
    struct wire_blocks blocks = blocks_mem0(MIB);
    struct wire_return_decoder decoder;
    struct wire_message message;
    struct wire_error error;
    size_t used;

    wire_return_decoder_init(&decoder, &blocks);
    assert_int_equal(
        wire_decode_return(&decoder, bytes, sizeof(bytes) - 1, &used, &message, &error), WIRE_DONE);
    assert_string_equal(message.u.fault.text, "?[2?");
}

/* Every bit of [from, to) turned, and some values that lengths like least. */
static void corrupt(struct bytes stream, size_t from, size_t to, uint64_t ram_bytes)
{
    static const uint8_t values[] = {0x00, 0x7f, 0x80, 0xff};
    struct wire_blocks blocks = blocks_mem0(ram_bytes);

    for (size_t i = from; i < to && i < stream.size; i++) {
        uint8_t good = stream.at[i];

        for (unsigned n = 0; n < 8 + sizeof(values); n++) {
            struct wire_decoder decoder;
            struct walk walk;

            stream.at[i] = n < 8 ? (uint8_t)(good ^ 1u << n) : values[n - 8];
            wire_decoder_init(&decoder, WIRE_STREAM_EITHER, &blocks, true);
            (void)walk_forward(&walk, &decoder, stream);
        }
        stream.at[i] = good;
    }
}

static void test_corrupt_forward(void **state)
{
    struct bytes postcopy = bytes_file("postcopy-1M-7.2.bin");
    struct bytes precopy = bytes_file("precopy-none-4M-11.1.bin");
    struct bytes uuid = bytes_file("uuid-head-10.0.bin");

    /* Headers, the first records; the switch with its package; the end. Between them only pages. */
    corrupt(postcopy, 0, 160, MIB);
    corrupt(postcopy, 12400, 12760, MIB);
    corrupt(postcopy, postcopy.size - 80, postcopy.size, MIB);
    corrupt(precopy, 0, 110, 4 * MIB);
    corrupt(precopy, 42000, 42300, 4 * MIB);
    corrupt(uuid, 0, uuid.size, 4 * MIB);
    bytes_free(&postcopy);
    bytes_free(&precopy);
    bytes_free(&uuid);
}

static void test_corrupt_package(void **state)
{
    struct bytes stream = bytes_file("postcopy-1M-7.2.bin");
    struct bytes package = bytes_copy(stream.at + 12493, 201);

    assert_int_equal(package.at[0], 0x08);
    for (size_t i = 0; i < package.size; i++) {
        uint8_t good = package.at[i];

        for (unsigned value = 0; value < 256; value++) {
            struct wire_message message;
            struct wire_error error;
            struct wire_blob blob;
            unsigned elements = 0;

            package.at[i] = (uint8_t)value;
            wire_blob_init(&blob, package.at, package.size);
            while (wire_blob_next(&blob, &message, &error) == WIRE_DONE)
                assert_true(++elements < 50);
        }
        package.at[i] = good;
    }
    bytes_free(&package);
    bytes_free(&stream);
}

static void test_corrupt_return(void **state)
{
    static const char *const names[] = {"dst-11.1-rp.bin", "dst-11.1-resume-rp.bin"};
    struct wire_blocks blocks = blocks_mem0(16 * MIB);

    for (unsigned n = 0; n < 2; n++) {
        struct bytes stream = bytes_file(names[n]);

        for (size_t i = 0; i < stream.size; i++) {
            uint8_t good = stream.at[i];

            for (unsigned value = 0; value < 256; value++) {
                struct wire_return_decoder decoder;
                struct walk walk;

                stream.at[i] = (uint8_t)value;
                wire_return_decoder_init(&decoder, &blocks);
                (void)walk_return(&walk, &decoder, stream);
            }
            stream.at[i] = good;
        }
        bytes_free(&stream);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_begin_refused),    cmocka_unit_test(test_harmless_subsections),
        cmocka_unit_test(test_elements_refused), cmocka_unit_test(test_after_the_end),
        cmocka_unit_test(test_returns_refused),  cmocka_unit_test(test_texts_are_tamed),
        cmocka_unit_test(test_corrupt_forward),  cmocka_unit_test(test_corrupt_package),
        cmocka_unit_test(test_corrupt_return),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
