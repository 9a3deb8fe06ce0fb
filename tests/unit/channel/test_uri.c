/* SPDX-License-Identifier: MIT */
/* Every way to write a URI, right and wrong; the wrong ones must be answered with a sentence that
 * helps. */
#include "harness.h"

static void good_uris_are_accepted(void **state)
{
    static const char *const uris[] = {
        "tcp:127.0.0.1:4444",
        "tcp:host.example:0",
        "tcp:[::1]:65535",
        "tcp:[fe80::1%eth0]:1",
        "tcp::4444",
        "unix:/run/x.sock",
        "unix:relative",
        "unix:/with:colons:4",
        "chaos:cut-out-byte=0:tcp:h:1",
        "chaos:cut-in-byte=5,delay-ms=1,rate-bytes=100,times=3:unix:/x",
        "chaos:cut-out-message=1,tear-bytes=0:tcp:[::1]:1",
        "chaos:delay-ms=3600000:unix:/a:b",
    };

    for (size_t i = 0; i < sizeof(uris) / sizeof(uris[0]); i++) {
        struct baton_error error = {0};

        must(channel_uri_check(uris[i], &error), &error);
        assert_int_equal(error.code, 0);
    }
}

static void bad_uris_are_refused_with_a_sentence(void **state)
{
    static const struct {
        const char *uri, *says;
    } cases[] = {
        {"", "empty"},
        {"tcp", "no kind of address"},
        {"udp:h:1", "no kind of address"},
        {"TCP:h:1", "no kind of address"},
        {"tcp:", "no port"},
        {"tcp:host", "no port"},
        {"tcp:host:", "is not a number"},
        {"tcp:host:http", "is not a number"},
        {"tcp:host:-1", "is not a number"},
        {"tcp:host:65536", "is not a number"},
        {"tcp:host:000001", "is not a number"},
        {"tcp:host:1,ipv4=on", "is not a number"},
        {"tcp:::1:4444", "in brackets"},
        {"tcp:[::1]", "closed by ']'"},
        {"tcp:[::1]4444", "closed by ']'"},
        {"tcp:[::1:4444", "closed by ']'"},
        {"tcp:[]:4444", "brackets are empty"},
        {"unix:", "no path"},
        {"chaos:", "no options"},
        {"chaos:cut-out-byte=1", "no options"},
        {"chaos::tcp:h:1", "no options"},
        {"chaos:cut=1:tcp:h:1", "is not a chaos option"},
        {"chaos:delay-ms:tcp:h:1", "is not a chaos option"},
        {"chaos:,delay-ms=1:tcp:h:1", "is not a chaos option"},
        {"chaos:delay-ms=1,:tcp:h:1", "after the last comma"},
        {"chaos:delay-ms=:tcp:h:1", "is not a value"},
        {"chaos:delay-ms=0:tcp:h:1", "is not a value"},
        {"chaos:delay-ms=1x:tcp:h:1", "is not a value"},
        {"chaos:delay-ms=3600001:tcp:h:1", "is not a value"},
        {"chaos:cut-out-byte=18446744073709551617:tcp:h:1", "is not a value"},
        {"chaos:cut-out-message=0:tcp:h:1", "is not a value"},
        {"chaos:delay-ms=1,delay-ms=2:tcp:h:1", "twice"},
        {"chaos:tear-bytes=1:tcp:h:1", "needs cut-out-message"},
        {"chaos:delay-ms=1,times=1:tcp:h:1", "needs cut-out-byte"},
        {"chaos:delay-ms=1:chaos:delay-ms=1:tcp:h:1", "second chaos prefix"},
        {"chaos:delay-ms=1:tcp:h", "no port"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct baton_error error = {0};

        assert_int_equal(channel_uri_check(cases[i].uri, &error), -EINVAL);
        if (!strstr(error.text, cases[i].says))
            fail_msg("'%s' was answered with: %s", cases[i].uri, error.text);
    }
    assert_int_equal(channel_uri_check(NULL, NULL), -EINVAL);
}

static void long_uris_are_refused(void **state)
{
    char uri[1000];
    struct baton_error error = {0};

    memset(uri, 'a', sizeof(uri) - 1);
    uri[sizeof(uri) - 1] = 0;
    memcpy(uri, "unix:/", 6);
    assert_int_equal(channel_uri_check(uri, &error), -EINVAL);
    uri[5 + 108] = 0;
    assert_int_equal(channel_uri_check(uri, &error), -EINVAL);
    assert_non_null(strstr(error.text, "shorter"));
    uri[5 + 107] = 0;
    assert_int_equal(channel_uri_check(uri, &error), 0);
}

static void a_plan_is_read_as_written(void **state)
{
    struct channel_chaos_plan plan;
    const char *inner;

    assert_int_equal(channel_chaos_parse("tcp:h:1", &plan, &inner, NULL), 0);
    assert_string_equal(inner, "tcp:h:1");
    assert_false(channel_chaos_plan_for(&plan, 0));

    assert_int_equal(
        channel_chaos_parse("chaos:cut-out-byte=7,cut-in-byte=8,cut-out-message=9,tear-bytes=10,"
                            "delay-ms=11,rate-bytes=12,times=2:tcp:h:1",
                            &plan, &inner, NULL),
        0);
    assert_string_equal(inner, "tcp:h:1");
    assert_int_equal(plan.cut_out_byte, 7);
    assert_int_equal(plan.cut_in_byte, 8);
    assert_int_equal(plan.cut_out_message, 9);
    assert_int_equal(plan.tear_bytes, 10);
    assert_int_equal(plan.delay_ms, 11);
    assert_int_equal(plan.rate_bytes, 12);
    assert_int_equal(plan.times, 2);
    assert_true(channel_chaos_plan_for(&plan, 1));
    assert_int_equal(plan.cut_out_byte, 7);
    assert_true(channel_chaos_plan_for(&plan, 2)); /* still delayed, no longer cut */
    assert_int_equal(plan.cut_out_byte, CHANNEL_CHAOS_NEVER);
    assert_int_equal(plan.cut_in_byte, CHANNEL_CHAOS_NEVER);
    assert_int_equal(plan.cut_out_message, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_uris_are_accepted),
        cmocka_unit_test(bad_uris_are_refused_with_a_sentence),
        cmocka_unit_test(long_uris_are_refused),
        cmocka_unit_test(a_plan_is_read_as_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
