/* SPDX-License-Identifier: MIT */
/*
 * The stream cutter: every text comes out whole however the bytes are split, and rubbish costs no
 * more than itself.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "monitor/frame.h"

/* Pushes in pieces of `step` bytes and writes what came out: texts as they are, the rest as !1, !2
 * ... each in <>. */
static void cut(const char *input, size_t count, size_t step, char *out, size_t size)
{
    struct qmp_frame frame;
    size_t used_out = 0;

    qmp_frame_init(&frame);
    out[0] = 0;
    for (size_t at = 0; at < count;) {
        size_t piece = count - at < step ? count - at : step, used = 0;
        enum qmp_frame_result result = qmp_frame_push(&frame, input + at, piece, &used);

        assert_true(used <= piece);
        at += used;
        if (result == QMP_FRAME_TEXT)
            used_out += (size_t)snprintf(out + used_out, size - used_out, "<%.*s>",
                                         (int)frame.length_bytes, frame.text);
        else if (result != QMP_FRAME_MORE)
            used_out += (size_t)snprintf(out + used_out, size - used_out, "<!%d>", result);
        assert_true(used_out < size);
    }
    qmp_frame_fini(&frame);
}

static void test_cuts(void **state)
{
    static const struct {
        const char *input, *output;
    } rows[] = {
        {"{}", "<{}>"},
        {" {\"a\":[1,{}]}{}\n[]", "<{\"a\":[1,{}]}><{}><[]>"},
        {"{\"a\":\"}{\\\"]\"}", "<{\"a\":\"}{\\\"]\"}>"},
        {"{\"a\":\n1\r\n}\n", "<{\"a\":\n1\r\n}>"},
        {"nope{}", "<nope><{}>"},
        {"5 true\n", "<5><true>"},
        {"\"text\" {}", "<\"text\"><{}>"},
        {"{\"a\":\"b\n}{}", "<!2><!2><{}>"},
        {"}{}", "<!2><{}>"},
        {"{\"a\": \xff{}", "<!2><{}>"},
        {"\xff\xff{}", "<{}>"},
        {"{]", "<{]>"},
        {"", ""},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        for (size_t step = 1; step < 20; step++) {
            char out[200];

            cut(rows[i].input, strlen(rows[i].input), step, out, sizeof(out));
            assert_string_equal(out, rows[i].output);
        }
}

static void test_limits(void **state)
{
    size_t count = 3u * 1024 * 1024;
    char *input = malloc(count), out[200];

    memset(input, ' ', count);
    input[0] = '{';
    memcpy(input + count - 4, "\n{}", 3);
    cut(input, count, 4096, out, sizeof(out));
    assert_string_equal(out, "<!3><{}>");

    memset(input, '[', count);
    memcpy(input + count - 4, "\n{} ", 4);
    cut(input, count, 1000, out, sizeof(out));
    assert_string_equal(out, "<!4><{}>");

    /* Exactly as much as is allowed. */
    memset(input, ' ', count);
    input[0] = '[';
    input[QMP_FRAME_MAX_BYTES - 1] = ']';
    {
        struct qmp_frame frame;
        size_t used;

        qmp_frame_init(&frame);
        assert_int_equal(qmp_frame_push(&frame, input, count, &used), QMP_FRAME_TEXT);
        assert_int_equal(used, QMP_FRAME_MAX_BYTES);
        assert_int_equal(frame.length_bytes, QMP_FRAME_MAX_BYTES);
        qmp_frame_fini(&frame);
    }
    free(input);
}

/* Whatever the bytes are, every call makes progress and stays within its bounds. */
static void test_noise(void **state)
{
    static const char alphabet[] = "{}[]\"\\\n a1:,\xff\x80";
    uint64_t random = 88172645463325252ull;
    char input[4096];

    for (int round = 0; round < 500; round++) {
        struct qmp_frame frame;
        size_t idle = 0;

        qmp_frame_init(&frame);
        for (size_t i = 0; i < sizeof(input); i++) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            input[i] = alphabet[random % (sizeof(alphabet) - 1)];
        }
        for (size_t at = 0; at < sizeof(input);) {
            size_t used = 0;

            qmp_frame_push(&frame, input + at, sizeof(input) - at, &used);
            assert_true(used <= sizeof(input) - at);
            idle = used ? 0 : idle + 1;
            assert_true(idle < 2);
            assert_true(frame.depth <= QMP_FRAME_MAX_DEPTH);
            at += used;
        }
        qmp_frame_fini(&frame);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_noise),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
