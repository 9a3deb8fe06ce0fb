/* SPDX-License-Identifier: MIT */
/* Bytes over connected sockets: partial reads and writes, all the ways a stream ends, and freeing
 * threads that hang. */
#include "harness.h"

#include <stdatomic.h>

#define BULK_BYTES (3u * 1024 * 1024 + 17)

/* A thread that makes one call, and what came of it. */
struct call {
    pthread_t thread;
    struct channel *channel;
    unsigned char *bytes;
    size_t length_bytes, done_bytes;
    int rc;
    _Atomic bool begun;
    uint64_t ended_ms;
};

static void *run_write(void *opaque)
{
    struct call *call = opaque;

    atomic_store(&call->begun, true);
    call->rc =
        channel_write(call->channel, call->bytes, call->length_bytes, &call->done_bytes, NULL);
    call->ended_ms = clock_ms();
    return NULL;
}

static void *run_read(void *opaque)
{
    struct call *call = opaque;

    atomic_store(&call->begun, true);
    call->rc =
        channel_read(call->channel, call->bytes, call->length_bytes, &call->done_bytes, NULL);
    call->ended_ms = clock_ms();
    return NULL;
}

static void *run_shutdown(void *channel)
{
    channel_shutdown(channel);
    return NULL;
}

static void start(struct call *call, void *(*run)(void *), struct channel *channel,
                  unsigned char *bytes, size_t length_bytes)
{
    memset(call, 0, sizeof(*call));
    call->channel = channel;
    call->bytes = bytes;
    call->length_bytes = length_bytes;
    assert_int_equal(pthread_create(&call->thread, NULL, run, call), 0);
    while (!atomic_load(&call->begun))
        sleep_us(50);
}

static unsigned char *pattern(void)
{
    unsigned char *bytes = malloc(BULK_BYTES);

    assert_non_null(bytes);
    for (size_t i = 0; i < BULK_BYTES; i++)
        bytes[i] = (unsigned char)(i * 31 + i / 251);
    return bytes;
}

static void bytes_arrive_in_order_and_are_counted(void **state)
{
    unsigned char *sent = pattern(), *got = malloc(BULK_BYTES);
    struct channel_counters counters;
    struct channel *a, *b;
    struct call write;

    make_pair(&a, &b);
    start(&write, run_write, a, sent, BULK_BYTES); /* far more than a socket buffer holds */
    read_all(b, got, BULK_BYTES);
    pthread_join(write.thread, NULL);
    assert_int_equal(write.rc, 0);
    assert_int_equal(write.done_bytes, BULK_BYTES);
    assert_memory_equal(sent, got, BULK_BYTES);
    channel_mark(a);
    channel_count(a, &counters);
    assert_int_equal(counters.out_bytes, BULK_BYTES);
    assert_int_equal(counters.out_messages, 1);
    assert_int_equal(counters.in_bytes, 0);
    channel_count(b, &counters);
    assert_int_equal(counters.in_bytes, BULK_BYTES);
    channel_close(a);
    channel_close(b);
    free(sent);
    free(got);
}

static void a_read_returns_what_is_there(void **state)
{
    struct baton_error error = {0};
    struct channel *a, *b;
    char buffer[64];
    size_t got;

    make_pair(&a, &b);
    write_all(a, "abc", 3);
    assert_int_equal(channel_read(b, buffer, 2, &got, NULL), 0);
    assert_int_equal(got, 2);
    assert_int_equal(channel_read(b, buffer, sizeof(buffer), &got, NULL), 0);
    assert_int_equal(got, 1);
    assert_int_equal(buffer[0], 'c');
    assert_int_equal(channel_read(b, buffer, 0, &got, &error), -EINVAL);
    assert_string_equal(channel_peer(b), "side b");
    channel_close(a);
    channel_close(b);
}

static void the_end_of_the_stream_is_not_an_error(void **state)
{
    struct channel *a, *b;
    char buffer[8];
    size_t got = 99;

    make_pair(&a, &b);
    write_all(a, "last", 4);
    channel_close(a);
    read_all(b, buffer, 4);
    assert_int_equal(channel_read(b, buffer, sizeof(buffer), &got, NULL), 0);
    assert_int_equal(got, 0);
    channel_close(b);
}

static void a_reset_is_an_error(void **state)
{
    struct baton_error error = {0};
    struct channel_listener *listener;
    struct channel *a, *b;
    char buffer[8];
    size_t got;

    must(channel_listener_open("tcp:127.0.0.1:0", &listener, &error), &error);
    connect_to(listener, channel_listener_uri(listener), &a, &b);
    write_all(a, "unread", 6);
    must(channel_read(b, buffer, 1, &got, &error), &error);
    channel_close(b); /* with bytes unread: TCP answers with a reset */
    assert_int_equal(channel_read(a, buffer, sizeof(buffer), &got, &error), -ECONNRESET);
    assert_int_equal(error.code, ECONNRESET);
    assert_non_null(strstr(error.text, "tcp:127.0.0.1:"));
    channel_close(a);
    channel_listener_close(listener);
}

static void a_write_to_nobody_fails_without_a_signal(void **state)
{
    struct baton_error error = {0};
    struct channel *a, *b;
    size_t written = 99;

    make_pair(&a, &b);
    channel_close(b);
    assert_int_equal(channel_write(a, "x", 1, &written, &error), -EPIPE);
    assert_int_equal(written, 0);
    assert_non_null(strstr(error.text, "side a"));
    channel_close(a);
}

static void a_shutdown_frees_a_reader(void **state)
{
    unsigned char byte;

    for (int i = 0; i < ROUNDS; i++) {
        struct channel *a, *b;
        struct call read;
        uint64_t shut_ms;

        make_pair(&a, &b);
        start(&read, run_read, a, &byte, 1);
        sleep_us(i % 4 ? (unsigned)(i * 7) : 0);
        shut_ms = clock_ms();
        channel_shutdown(a);
        pthread_join(read.thread, NULL);
        assert_int_equal(read.rc, -ESHUTDOWN);
        assert_in_range(read.ended_ms - shut_ms, 0, PROMPT_MS);
        channel_close(a);
        channel_close(b);
    }
}

/* The engine decides by *written whether RUN may have left: it must be exactly what the peer can
 * read. */
static void a_shutdown_frees_a_writer_that_knows_what_has_left(void **state)
{
    unsigned char *sent = pattern();

    for (int i = 0; i < ROUNDS; i++) {
        struct channel *a, *b;
        struct call write;
        uint64_t shut_ms;
        int rc;

        make_pair(&a, &b);
        start(&write, run_write, a, sent,
              BULK_BYTES); /* nobody reads: it hangs with full buffers */
        sleep_us((unsigned)(i * 20));
        shut_ms = clock_ms();
        channel_shutdown(a);
        pthread_join(write.thread, NULL);
        assert_int_equal(write.rc, -ESHUTDOWN);
        assert_in_range(write.ended_ms - shut_ms, 0, PROMPT_MS);
        assert_int_equal(read_to_end(b, &rc), write.done_bytes);
        channel_close(a);
        channel_close(b);
    }
    free(sent);
}

static void after_a_shutdown_nothing_is_read_or_written(void **state)
{
    struct channel_listener *listener;
    struct baton_error error = {0};
    struct channel *a, *b;
    char buffer[8];
    size_t count = 99;

    must(channel_listener_open("tcp:127.0.0.1:0", &listener, &error), &error);
    connect_to(listener, channel_listener_uri(listener), &a, &b);
    write_all(a, "RUN", 3);
    sleep_us(10000); /* now it lies in b's kernel buffer */
    channel_shutdown(b);
    channel_shutdown(b);
    assert_int_equal(channel_read(b, buffer, sizeof(buffer), &count, &error), -ESHUTDOWN);
    assert_int_equal(count, 0);
    assert_int_equal(channel_write(b, "x", 1, &count, &error), -ESHUTDOWN);
    assert_int_equal(count, 0);
    assert_int_equal(channel_read(a, buffer, sizeof(buffer), &count, NULL), 0);
    assert_int_equal(count, 0); /* the peer sees the end */
    channel_close(a);
    channel_close(b);
    channel_listener_close(listener);
}

static void reader_writer_and_two_shutdowns_at_once(void **state)
{
    unsigned char *sent = pattern(), byte;

    for (int i = 0; i < ROUNDS; i++) {
        struct channel_counters counters;
        struct channel *a, *b;
        struct call read, write;
        pthread_t other;

        make_pair(&a, &b);
        start(&read, run_read, a, &byte, 1);
        start(&write, run_write, a, sent, BULK_BYTES);
        pthread_create(&other, NULL, run_shutdown, a);
        channel_shutdown(a);
        channel_count(a, &counters);
        pthread_join(other, NULL);
        pthread_join(read.thread, NULL);
        pthread_join(write.thread, NULL);
        assert_int_equal(read.rc, -ESHUTDOWN);
        assert_int_equal(write.rc, -ESHUTDOWN);
        channel_close(a);
        channel_close(b);
    }
    free(sent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_arrive_in_order_and_are_counted),
        cmocka_unit_test(a_read_returns_what_is_there),
        cmocka_unit_test(the_end_of_the_stream_is_not_an_error),
        cmocka_unit_test(a_reset_is_an_error),
        cmocka_unit_test(a_write_to_nobody_fails_without_a_signal),
        cmocka_unit_test(a_shutdown_frees_a_reader),
        cmocka_unit_test(a_shutdown_frees_a_writer_that_knows_what_has_left),
        cmocka_unit_test(after_a_shutdown_nothing_is_read_or_written),
        cmocka_unit_test(reader_writer_and_two_shutdowns_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
