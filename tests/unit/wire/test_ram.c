/* SPDX-License-Identifier: MIT */
/* Records of the ram section: what the writer makes is what QEMU would, and what is wrong is
 * refused. */
#include "support.h"

#include <string.h>

static const struct wire_blocks two = {
    .block = {{.name = "ram", .used_bytes = 0x8000, .page_bytes = 4096},
              {.name = "/rom@x", .used_bytes = 0x1000, .page_bytes = 4096}},
    .count = 2,
};

/* A state as it is inside a PART, and inside a START before its list. */
static struct wire_ram_state in_part(void)
{
    return (struct wire_ram_state){.blocks = &two,
                                   .started = true,
                                   .listed = true,
                                   .in_body = true,
                                   .section_id = 9,
                                   .last_block = WIRE_NO_BLOCK};
}

static struct wire_ram_state in_start(const struct wire_blocks *blocks)
{
    return (struct wire_ram_state){.blocks = blocks,
                                   .started = true,
                                   .in_body = true,
                                   .in_start = true,
                                   .section_id = 9,
                                   .last_block = WIRE_NO_BLOCK};
}

static enum wire_result record(struct wire_ram_state *state, const void *bytes, size_t size,
                               struct wire_ram_record *out, struct wire_error *error)
{
    struct bytes exact = bytes_copy(bytes, size);
    size_t used = 0;
    enum wire_result result =
        wire_decode_ram_record(state, exact.at, exact.size, &used, out, error);

    if (result == WIRE_DONE)
        assert_int_equal(used, size);
    bytes_free(&exact);
    return result;
}

static void test_start(void **state)
{
    static const uint8_t expected[] = {
        0x01, 0,   0,   0,   9,   3,   'r',  'a',  'm',  0, 0,    0, 0, 0,    0, 0, 4, /* START */
        0,    0,   0,   0,   0,   0,   0x90, 0x04,                   /* total | MEM_SIZE */
        3,    'r', 'a', 'm', 0,   0,   0,    0,    0,    0, 0x80, 0, /* a block */
        6,    '/', 'r', 'o', 'm', '@', 'x',  0,    0,    0, 0,    0, 0, 0x10, 0, /* another */
        0,    0,   0,   0,   0,   0,   0,    0x10, 0x7e, 0, 0,    0, 9,          /* EOS, footer */
    };
    struct wire_ram_writer writer;
    struct wire_decoder decoder;
    struct wire_put put;
    struct bytes stream;
    struct walk walk;
    uint8_t out[128];

    wire_ram_writer_init(&writer, &two, 9);
    wire_put_init(&put, out, sizeof(out));
    wire_put_ram_start(&put, &writer, true);
    assert_int_equal(put.used, sizeof(expected));
    assert_memory_equal(out, expected, sizeof(expected));

    stream = bytes_copy(out, put.used);
    wire_decoder_init(&decoder, WIRE_STREAM_RECOVERY, &two, true);
    assert_int_equal(walk_forward(&walk, &decoder, stream), WIRE_BAD); /* no header before it */
    wire_decoder_init(&decoder, WIRE_STREAM_RECOVERY, &two, true);
    decoder.headed = true;
    assert_int_equal(walk_forward(&walk, &decoder, stream), WIRE_DONE);
    assert_true(decoder.ram.listed);
    assert_int_equal(walk.eos, 1);
    bytes_free(&stream);
}

/* Large pages: their size is in the list only when both ends know that it must be. */
static void test_page_size_rule(void **state)
{
    static const struct wire_blocks huge = {
        .block = {{.name = "m", .used_bytes = 4 << 20, .page_bytes = 2 << 20}}, .count = 1};

    for (unsigned i = 0; i < 8; i++) {
        bool sent = i & 1, advised = i & 2, postcopy_ram = i & 4;
        struct wire_ram_state ram = in_start(&huge);
        struct wire_ram_writer writer;
        struct wire_ram_record out;
        struct wire_error error;
        struct wire_put put;
        uint8_t bytes[128];
        size_t used;

        wire_ram_writer_init(&writer, &huge, 9);
        wire_put_init(&put, bytes, sizeof(bytes));
        wire_put_ram_start(&put, &writer, sent);
        ram.advised = advised;
        ram.postcopy_ram = postcopy_ram;
        assert_int_equal(
            wire_decode_ram_record(&ram, bytes + 17, put.used - 17, &used, &out, &error),
            sent || !(advised && postcopy_ram) ? WIRE_DONE : WIRE_BAD);
        if (sent == (advised && postcopy_ram))
            assert_int_equal(used, put.used - 17 - 13);
        else if (sent) /* what is not expected is not taken: the next record is nonsense */
            assert_int_equal(
                wire_decode_ram_record(&ram, bytes + 17 + used, 21, &used, &out, &error), WIRE_BAD);
    }
}

static void test_pages(void **state)
{
    static const uint8_t named[] = {0, 0, 0, 0, 0, 0, 0x10, 0x08, 3, 'r', 'a', 'm'};
    static const uint8_t again[] = {0, 0, 0, 0, 0, 0, 0x20, 0x28};
    static const uint8_t zero[] = {0, 0, 0, 0, 0, 0, 0x70, 0x22, 0};
    static const uint8_t other[] = {0, 0, 0, 0, 0, 0, 0, 0x02, 6, '/', 'r', 'o', 'm', '@', 'x', 0};
    static const uint8_t eos[] = {0, 0, 0, 0, 0, 0, 0, 0x10, 0x7e, 0, 0, 0, 9};
    struct wire_ram_state ram = in_part();
    struct wire_ram_writer writer;
    struct wire_ram_record out;
    struct wire_error error;
    struct wire_put put;
    uint8_t bytes[64];

    wire_ram_writer_init(&writer, &two, 9);
    wire_put_init(&put, bytes, sizeof(bytes));
    wire_put_page_header(&put, &writer, 0, 0x1000);
    assert_int_equal(put.used, sizeof(named));
    assert_memory_equal(bytes, named, sizeof(named));
    wire_put_init(&put, bytes, sizeof(bytes));
    wire_put_page_header(&put, &writer, 0, 0x2000);
    wire_put_zero_page(&put, &writer, 0, 0x7000);
    wire_put_zero_page(&put, &writer, 1, 0);
    wire_put_ram_eos(&put, &writer);
    assert_false(put.overflow);
    assert_memory_equal(bytes, again, 8);
    assert_memory_equal(bytes + 8, zero, 9);
    assert_memory_equal(bytes + 17, other, 16);
    assert_memory_equal(bytes + 33, eos, 13);
    wire_put_init(&put, bytes, sizeof(bytes));
    wire_ram_writer_forget(&writer);
    wire_put_page_header(&put, &writer, 0, 0x1000);
    assert_memory_equal(bytes, named, sizeof(named));

    assert_int_equal(record(&ram, named, sizeof(named), &out, &error), WIRE_DONE);
    assert_int_equal(out.kind, WIRE_RAM_PAGE);
    assert_int_equal(out.block, 0);
    assert_int_equal(out.offset, 0x1000);
    assert_int_equal(ram.offset, sizeof(named) + 4096);
    assert_int_equal(record(&ram, again, sizeof(again), &out, &error), WIRE_DONE);
    assert_int_equal(out.offset, 0x2000);
    assert_int_equal(record(&ram, zero, sizeof(zero), &out, &error), WIRE_DONE);
    assert_int_equal(out.kind, WIRE_RAM_ZERO);
    assert_int_equal(out.offset, 0x7000);
    assert_int_equal(record(&ram, other, sizeof(other), &out, &error), WIRE_DONE);
    assert_int_equal(out.block, 1);
    assert_int_equal(record(&ram, eos, sizeof(eos), &out, &error), WIRE_DONE);
    assert_int_equal(out.kind, WIRE_RAM_EOS);
    assert_false(ram.in_body);
    assert_int_equal(ram.last_block, 1); /* CONTINUE crosses the border of sections */
}

/* A header that does not fit is not sent: neither half of it, nor the memory of it. */
static void test_writer_overflow(void **state)
{
    struct wire_ram_writer writer;
    struct wire_put put;
    uint8_t bytes[10];

    wire_ram_writer_init(&writer, &two, 9);
    wire_put_init(&put, bytes, sizeof(bytes));
    wire_put_page_header(&put, &writer, 0, 0);
    assert_true(put.overflow);
    assert_int_equal(put.used, 0);
    assert_int_equal(writer.last_block, WIRE_NO_BLOCK);
}

struct refusal {
    const char *about; /* part of the sentence */
    const char *bytes;
    size_t size;
};
#define REFUSE(about, bytes)                                                                       \
    {                                                                                              \
        about, bytes, sizeof(bytes) - 1                                                            \
    }

static void test_refused_in_part(void **state)
{
    static const struct refusal cases[] = {
        REFUSE("refers to the block of a page before it", "\0\0\0\0\0\0\x10\x28"),
        REFUSE("unknown RAM block: found \"rom\"", "\0\0\0\0\0\0\x10\x08\x03rom"),
        REFUSE("unknown RAM block: found \"\"", "\0\0\0\0\0\0\x10\x08\0"),
        REFUSE("holds a zero byte", "\0\0\0\0\0\0\x10\x08\x04ram\0"),
        REFUSE("behind the end of its block", "\0\0\0\0\0\0\x80\x08\x03ram"),
        REFUSE("behind the end of its block", "\xff\xff\xff\xff\xff\xff\xf0\x08\x03ram"),
        REFUSE("behind the end of its block", "\0\0\0\0\0\0\x10\x02\x06/rom@x"),
        REFUSE("filled with something else", "\0\0\0\0\0\0\x10\x02\x03ram\x01"),
        REFUSE("uses multifd", "\0\0\0\0\0\0\x02\0"),
        REFUSE("uses xbzrle", "\0\0\0\0\0\0\x10\x40"),
        REFUSE("uses compress", "\0\0\0\0\0\0\x11\0"),
        REFUSE("unknown flags", "\0\0\0\0\0\0\x10\x0a"),
        REFUSE("unknown flags", "\0\0\0\0\0\0\x10\0"),
        REFUSE("unknown flags", "\0\0\0\0\0\0\x10\x30"),
        REFUSE("unknown flags", "\0\0\0\0\0\0\x10\x80"),
        REFUSE("has an offset", "\0\0\0\0\0\0\x10\x10"),
        REFUSE("does not end with its footer", "\0\0\0\0\0\0\0\x10\x7f\0\0\0\x09"),
        REFUSE("closes another section", "\0\0\0\0\0\0\0\x10\x7e\0\0\0\x08"),
        REFUSE("second block list", "\0\0\0\0\0\0\x90\x04\x03ram"),
    };

    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct wire_ram_state ram = in_part(), before = ram;
        struct wire_ram_record out;
        struct wire_error error;

        assert_int_equal(record(&ram, cases[i].bytes, cases[i].size, &out, &error), WIRE_BAD);
        if (!strstr(error.text, cases[i].about))
            fail_msg("expected \"%s\", got \"%s\"", cases[i].about, error.text);
        assert_memory_equal(&ram, &before, sizeof(ram));
    }
}

static void test_refused_in_start(void **state)
{
    static const struct refusal cases[] = {
        REFUSE("before the list", "\0\0\0\0\0\0\x10\x08\x03ram"),
        REFUSE("without its block list", "\0\0\0\0\0\0\0\x10\x7e\0\0\0\x09"),
        REFUSE("another amount of RAM", "\0\0\0\0\0\0\x80\x04"),
        REFUSE("another amount of RAM", "\0\0\0\0\0\0\0\x04"),
        REFUSE("unknown RAM block", "\0\0\0\0\0\0\x90\x04\x03rax\0\0\0\0\0\0\x80\0"),
        REFUSE("another length at the source", "\0\0\0\0\0\0\x90\x04\x03ram\0\0\0\0\0\0\x70\0"),
        REFUSE("listed twice", "\0\0\0\0\0\0\x90\x04\x06/rom@x\0\0\0\0\0\0\x10\0"
                               "\x06/rom@x\0\0\0\0\0\0\x10\0"),
    };

    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct wire_ram_state ram = in_start(&two);
        struct wire_ram_record out;
        struct wire_error error;

        assert_int_equal(record(&ram, cases[i].bytes, cases[i].size, &out, &error), WIRE_BAD);
        if (!strstr(error.text, cases[i].about))
            fail_msg("expected \"%s\", got \"%s\"", cases[i].about, error.text);
        assert_false(ram.listed);
    }
}

/* A machine without RAM: an empty list, and nothing after it. */
static void test_no_ram(void **state)
{
    static const struct wire_blocks none;
    struct wire_ram_state ram = in_start(&none);
    struct wire_ram_record out;
    struct wire_error error;

    assert_int_equal(record(&ram, "\0\0\0\0\0\0\0\x04", 8, &out, &error), WIRE_DONE);
    assert_int_equal(out.kind, WIRE_RAM_BLOCK_LIST);
    assert_int_equal(record(&ram, "\0\0\0\0\0\0\0\x10\x7e\0\0\0\x09", 13, &out, &error), WIRE_DONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_start),           cmocka_unit_test(test_page_size_rule),
        cmocka_unit_test(test_pages),           cmocka_unit_test(test_writer_overflow),
        cmocka_unit_test(test_refused_in_part), cmocka_unit_test(test_refused_in_start),
        cmocka_unit_test(test_no_ram),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
