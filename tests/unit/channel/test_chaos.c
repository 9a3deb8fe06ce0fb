/* SPDX-License-Identifier: MIT */
/* Chaos cuts where it was told to: to the byte, to the message, and as often as it was told. */
#include "harness.h"

static struct channel *wrap(struct channel *inner, const struct channel_chaos_plan *plan)
{
    struct baton_error error = {0};
    struct channel *chaos;

    must(channel_chaos_wrap(inner, plan, &chaos, &error), &error);
    return chaos;
}

/* Writes messages of 10 bytes, each in two writes, until one fails; returns how many bytes were
 * taken. */
static size_t write_messages(struct channel *channel, unsigned count, int *rc,
                             struct baton_error *error)
{
    size_t total = 0, written;

    *rc = 0;
    for (unsigned i = 0; i < count; i++) {
        *rc = channel_write(channel, "HEAD", 4, &written, error);
        total += written;
        if (*rc)
            return total;
        *rc = channel_write(channel, "-body-", 6, &written, error);
        total += written;
        if (*rc)
            return total;
        channel_mark(channel);
    }
    return total;
}

/* Runs a plan over messages of 10 bytes; checks that exactly so many bytes arrive and that the link
 * is dead then. */
static void expect_cut_after(const struct channel_chaos_plan *plan, size_t bytes)
{
    struct baton_error error = {0};
    struct channel *a, *b, *chaos;
    size_t got;
    char byte;
    int rc;

    make_pair(&a, &b);
    chaos = wrap(a, plan);
    assert_int_equal(write_messages(chaos, 20, &rc, &error), bytes);
    assert_int_equal(rc, -ECONNRESET);
    assert_non_null(strstr(error.text, "on purpose"));
    assert_int_equal(channel_read(chaos, &byte, 1, &got, &error), -ECONNRESET);
    assert_int_equal(read_to_end(b, &rc), bytes);
    assert_int_equal(rc, 0);
    assert_int_not_equal(channel_write(b, "x", 1, NULL, NULL),
                         0); /* the other direction is dead too */
    channel_close(chaos);
    channel_close(b);
}

static void cuts_at_every_byte_going_out(void **state)
{
    for (uint64_t byte = 0; byte <= 45; byte++) {
        struct channel_chaos_plan plan;

        channel_chaos_plan_init(&plan);
        plan.cut_out_byte = byte;
        expect_cut_after(&plan, byte);
    }
}

static void cuts_after_before_and_within_a_message(void **state)
{
    for (uint64_t message = 1; message <= 5; message++) {
        struct channel_chaos_plan plan;

        channel_chaos_plan_init(&plan);
        plan.cut_out_message = message;
        expect_cut_after(&plan, message * 10);
        for (uint64_t tear = 0; tear <= 12; tear++) {
            plan.tear_bytes = tear;
            expect_cut_after(&plan, (message - 1) * 10 + (tear < 10 ? tear : 10));
        }
    }
}

static void cuts_at_every_byte_coming_in(void **state)
{
    for (uint64_t byte = 0; byte <= 20; byte++) {
        struct channel_chaos_plan plan;
        struct channel *a, *b, *chaos;
        int rc;

        channel_chaos_plan_init(&plan);
        plan.cut_in_byte = byte;
        make_pair(&a, &b);
        chaos = wrap(a, &plan);
        write_all(b, "01234567890123456789!", 21);
        assert_int_equal(read_to_end(chaos, &rc), byte);
        assert_int_equal(rc, -ECONNRESET);
        assert_int_equal(channel_write(chaos, "x", 1, NULL, NULL), -ECONNRESET);
        channel_close(chaos);
        channel_close(b);
    }
}

/* A link that goes quiet at the place of the cut is cut all the same: the other side need not wait
 * for one more write. */
static void the_cut_does_not_wait_for_the_next_call(void **state)
{
    struct channel_chaos_plan plan;
    struct channel *a, *b, *chaos;
    int rc;

    channel_chaos_plan_init(&plan);
    plan.cut_out_byte = 4;
    make_pair(&a, &b);
    chaos = wrap(a, &plan);
    write_all(chaos, "four", 4);
    assert_int_equal(read_to_end(b, &rc), 4);
    channel_close(chaos);
    channel_close(b);
}

static void without_a_reason_nothing_is_cut(void **state)
{
    struct channel_counters counters;
    struct channel_chaos_plan plan;
    struct channel *a, *b, *chaos;
    char buffer[200];
    int rc;

    channel_chaos_plan_init(&plan);
    make_pair(&a, &b);
    chaos = wrap(a, &plan);
    assert_int_equal(write_messages(chaos, 20, &rc, NULL), 200);
    assert_int_equal(rc, 0);
    read_all(b, buffer, sizeof(buffer));
    write_all(b, "back", 4);
    read_all(chaos, buffer, 4);
    channel_count(chaos, &counters);
    assert_int_equal(counters.out_bytes, 200);
    assert_int_equal(counters.out_messages, 20);
    assert_int_equal(counters.in_bytes, 4);
    assert_string_equal(channel_peer(chaos), "side a");
    channel_close(chaos);
    channel_close(b);
}

struct writer {
    struct channel *channel;
    int rc;
};

static void *run_write(void *opaque)
{
    struct writer *writer = opaque;

    writer->rc = channel_write(writer->channel, "x", 1, NULL, NULL);
    return NULL;
}

static void a_delay_is_kept_and_ends_at_a_shutdown(void **state)
{
    struct channel_chaos_plan plan;
    struct channel *a, *b;
    struct writer writer;
    pthread_t thread;
    uint64_t begin_ms;

    channel_chaos_plan_init(&plan);
    plan.delay_ms = 30;
    make_pair(&a, &b);
    writer.channel = wrap(a, &plan);
    begin_ms = clock_ms();
    write_all(writer.channel, "x", 1);
    assert_in_range(clock_ms() - begin_ms, 29, 30 + PROMPT_MS);
    channel_close(writer.channel);
    channel_close(b);

    for (unsigned i = 0; i < ROUNDS; i++) {
        plan.delay_ms = 3600000;
        make_pair(&a, &b);
        writer.channel = wrap(a, &plan);
        pthread_create(&thread, NULL, run_write, &writer);
        sleep_us(i * 10);
        begin_ms = clock_ms();
        channel_shutdown(writer.channel);
        pthread_join(thread, NULL);
        assert_in_range(clock_ms() - begin_ms, 0, PROMPT_MS);
        assert_int_equal(writer.rc, -ESHUTDOWN);
        channel_close(writer.channel);
        channel_close(b);
    }
}

static void a_rate_is_kept(void **state)
{
    static char bytes[50000];
    struct channel_chaos_plan plan;
    struct channel *a, *b, *chaos;
    uint64_t begin_ms;

    channel_chaos_plan_init(&plan);
    plan.rate_bytes = 200000;
    make_pair(&a, &b);
    chaos = wrap(a, &plan);
    begin_ms = clock_ms();
    write_all(chaos, bytes, sizeof(bytes)); /* a quarter of a second's worth */
    assert_in_range(clock_ms() - begin_ms, 200, 250 + PROMPT_MS);
    read_all(b, bytes, sizeof(bytes));
    channel_close(chaos);
    channel_close(b);
}

struct reader {
    struct channel *channel;
    int rc;
};

static void *run_read(void *opaque)
{
    struct reader *reader = opaque;
    size_t got;
    char byte;

    reader->rc = channel_read(reader->channel, &byte, 1, &got, NULL);
    return NULL;
}

/* The reader that hangs while the writer reaches the cut must see a broken link, not a shutdown of
 * its own side. */
static void a_cut_frees_the_other_direction(void **state)
{
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct channel_chaos_plan plan;
        struct channel *a, *b;
        struct reader reader;
        pthread_t thread;

        channel_chaos_plan_init(&plan);
        plan.cut_out_byte = 1;
        make_pair(&a, &b);
        reader.channel = wrap(a, &plan);
        pthread_create(&thread, NULL, run_read, &reader);
        sleep_us(i * 5);
        write_all(reader.channel, "x", 1);
        pthread_join(thread, NULL);
        assert_int_equal(reader.rc, -ECONNRESET);
        channel_close(reader.channel);
        channel_close(b);
    }
}

static void a_listener_cuts_the_first_connections_only(void **state)
{
    struct baton_error error = {0};
    struct channel_listener *listener;

    must(channel_listener_open("chaos:cut-out-byte=3,times=2:tcp:127.0.0.1:0", &listener, &error),
         &error);
    assert_memory_equal(channel_listener_uri(listener),
                        "tcp:", 4); /* what a peer dials has no chaos in it */
    for (int i = 0; i < 4; i++) {
        struct channel *a, *b;
        size_t written;
        int rc;

        connect_to(listener, channel_listener_uri(listener), &a, &b);
        assert_int_equal(channel_write(b, "12345", 5, &written, NULL), i < 2 ? -ECONNRESET : 0);
        channel_close(b);
        assert_int_equal(read_to_end(a, &rc), i < 2 ? 3 : 5);
        channel_close(a);
    }
    channel_listener_close(listener);
}

static void a_dialer_cuts_the_first_connections_of_a_uri_only(void **state)
{
    struct baton_error error = {0};
    struct channel_listener *listener;
    struct channel_dialer dialer;
    char uri[BATON_URI_BYTES];

    must(channel_listener_open("tcp:127.0.0.1:0", &listener, &error), &error);
    must(channel_dialer_init(&dialer, &error), &error);
    for (int i = 0; i < 6; i++) {
        struct channel *a, *b;
        size_t written;

        /* The fourth attempt has another URI, which is counted from the beginning. */
        snprintf(uri, sizeof(uri), "chaos:cut-out-byte=%d,times=1:%s", i < 3 ? 2 : 3,
                 channel_listener_uri(listener));
        must(channel_dial(uri, &dialer, DIAL_LIMIT_MS, &a, &error), &error);
        must(channel_listener_accept(listener, &b, &error), &error);
        assert_int_equal(channel_write(a, "12345", 5, &written, NULL),
                         i % 3 == 0 ? -ECONNRESET : 0);
        assert_int_equal(written, i % 3 ? 5 : i < 3 ? 2 : 3);
        channel_close(a);
        channel_close(b);
    }
    channel_dialer_fini(&dialer);
    channel_listener_close(listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_at_every_byte_going_out),
        cmocka_unit_test(cuts_after_before_and_within_a_message),
        cmocka_unit_test(cuts_at_every_byte_coming_in),
        cmocka_unit_test(the_cut_does_not_wait_for_the_next_call),
        cmocka_unit_test(without_a_reason_nothing_is_cut),
        cmocka_unit_test(a_delay_is_kept_and_ends_at_a_shutdown),
        cmocka_unit_test(a_rate_is_kept),
        cmocka_unit_test(a_cut_frees_the_other_direction),
        cmocka_unit_test(a_listener_cuts_the_first_connections_only),
        cmocka_unit_test(a_dialer_cuts_the_first_connections_of_a_uri_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
