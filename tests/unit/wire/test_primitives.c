/* SPDX-License-Identifier: MIT */
/* Big-endian reading and writing at the borders of a buffer. */
#include "support.h"

#include <string.h>

static void test_put_and_get(void **state)
{
    static const uint8_t expected[] = {
        0x01,                                           /* u8 */
        0x02, 0x03,                                     /* be16 */
        0x04, 0x05, 0x06, 0x07,                         /* be32 */
        0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, /* be64 */
        0xaa, 0xbb,                                     /* bytes */
        0x03, 'r',  'a',  'm',                          /* cstr */
    };
    uint8_t out[sizeof(expected)], pair[2];
    char name[WIRE_NAME_BYTES];
    struct wire_put put;
    struct wire_get get;

    wire_put_init(&put, out, sizeof(out));
    wire_put_u8(&put, 0x01);
    wire_put_be16(&put, 0x0203);
    wire_put_be32(&put, 0x04050607);
    wire_put_be64(&put, 0x08090a0b0c0d0e0f);
    wire_put_bytes(&put, "\xaa\xbb", 2);
    wire_put_cstr(&put, "ram");
    assert_false(put.overflow);
    assert_int_equal(put.used, sizeof(expected));
    assert_memory_equal(out, expected, sizeof(expected));

    wire_get_init(&get, expected, sizeof(expected));
    assert_int_equal(wire_get_u8(&get), 0x01);
    assert_int_equal(wire_get_be16(&get), 0x0203);
    assert_int_equal(wire_get_be32(&get), 0x04050607);
    assert_int_equal(wire_get_be64(&get), 0x08090a0b0c0d0e0f);
    wire_get_bytes(&get, pair, 2);
    assert_memory_equal(pair, "\xaa\xbb", 2);
    assert_true(wire_get_cstr(&get, name));
    assert_string_equal(name, "ram");
    assert_false(get.truncated);
    assert_int_equal(wire_get_left(&get), 0);
}

static void test_overflow_is_sticky(void **state)
{
    uint8_t out[4] = {9, 9, 9, 9};
    struct wire_put put;

    wire_put_init(&put, out, 3);
    wire_put_u8(&put, 1);
    wire_put_be32(&put, 2); /* does not fit: nothing of it is written */
    wire_put_u8(&put, 3);   /* would fit, but would then be in the wrong place */
    assert_true(put.overflow);
    assert_int_equal(put.used, 1);
    assert_memory_equal(out, "\x01\x09\x09\x09", 4);
}

static void test_truncation_is_sticky(void **state)
{
    struct bytes three = bytes_copy("\x01\x02\x03", 3);
    uint8_t buffer[4] = {9, 9, 9, 9};
    struct wire_get get;

    wire_get_init(&get, three.at, three.size);
    assert_int_equal(wire_get_u8(&get), 1);
    assert_int_equal(wire_get_be32(&get), 0);
    assert_int_equal(wire_get_u8(&get), 0);
    wire_get_bytes(&get, buffer, 4);
    assert_memory_equal(buffer, "\0\0\0\0", 4);
    assert_true(get.truncated);
    assert_int_equal(get.wanted, 5); /* of the first read that failed */
    assert_int_equal(get.at, 1);
    bytes_free(&three);
}

static void test_strings(void **state)
{
    char longest[WIRE_NAME_BYTES + 1], name[WIRE_NAME_BYTES];
    uint8_t out[300];
    struct wire_put put;
    struct wire_get get;

    memset(longest, 'x', sizeof(longest));
    longest[255] = '\0';
    wire_put_init(&put, out, sizeof(out));
    wire_put_cstr(&put, longest);
    assert_false(put.overflow);
    assert_int_equal(put.used, 256);
    wire_get_init(&get, out, put.used);
    assert_true(wire_get_cstr(&get, name));
    assert_string_equal(name, longest);

    longest[255] = 'x';
    longest[256] = '\0';
    wire_put_init(&put, out, sizeof(out));
    wire_put_cstr(&put, longest); /* 256 bytes: no length byte can say that */
    assert_true(put.overflow);

    wire_get_init(&get, (const uint8_t *)"\x03x\0y", 4);
    assert_false(wire_get_cstr(&get, name)); /* a zero byte would make two names of one */

    wire_get_init(&get, (const uint8_t *)"\x03x", 2);
    assert_true(wire_get_cstr(&get, name));
    assert_string_equal(name, "");
    assert_true(get.truncated);
    assert_int_equal(get.wanted, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_put_and_get),
        cmocka_unit_test(test_overflow_is_sticky),
        cmocka_unit_test(test_truncation_is_sticky),
        cmocka_unit_test(test_strings),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
