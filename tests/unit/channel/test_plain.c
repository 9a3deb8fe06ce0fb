/* SPDX-License-Identifier: MIT */
/* Files, commands and inherited descriptors as channels. */
#include "harness.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define PATH "plain-test.sav"

static struct channel *dial(const char *uri)
{
    struct baton_error error = {0};
    struct channel_dialer dialer;
    struct channel *channel;

    must(channel_dialer_init(&dialer, &error), &error);
    must(channel_dial(uri, &dialer, DIAL_LIMIT_MS, &channel, &error), &error);
    channel_dialer_fini(&dialer);
    return channel;
}

static struct channel *listen_once(const char *uri, struct channel_listener **listener)
{
    struct baton_error error = {0};
    struct channel *channel;

    must(channel_listener_open(uri, listener, &error), &error);
    must(channel_listener_accept(*listener, &channel, &error), &error);
    return channel;
}

/* Writes `size` bytes with a pattern, closes in order, and reads them back. */
static void there_and_back(const char *to, const char *from, size_t size)
{
    struct channel_listener *listener;
    struct baton_error error = {0};
    struct channel *channel = dial(to);
    char *bytes = malloc(size), *got = malloc(size);
    int rc;

    for (size_t i = 0; i < size; i++)
        bytes[i] = (char)(i * 7 + i / 4096);
    assert_true(channel_is_one_way(channel));
    write_all(channel, bytes, size);
    must(channel_finish(channel, &error), &error);
    channel_close(channel);
    channel = listen_once(from, &listener);
    assert_true(channel_is_one_way(channel));
    read_all(channel, got, size);
    assert_memory_equal(bytes, got, size);
    assert_int_equal(read_to_end(channel, &rc), 0);
    assert_int_equal(rc, 0);
    channel_close(channel);
    channel_listener_close(listener);
    free(bytes);
    free(got);
}

static void test_a_file_loses_bytes(void **state)
{
    struct stat status;

    (void)state;
    there_and_back("file:" PATH, "file:" PATH, 300000);
    assert_int_equal(stat(PATH, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    there_and_back("file:" PATH, "file:" PATH, 1000); /* what was there is gone */
    unlink(PATH);
}

static void test_what_is_before_the_offset_is_lost(void **state)
{
    struct stat status;

    (void)state;
    there_and_back("file:" PATH, "file:" PATH, 5000);
    there_and_back("file:" PATH ",offset=0x1000", "file:" PATH ",offset=4096", 100);
    assert_int_equal(stat(PATH, &status), 0);
    assert_int_equal(status.st_size, 4196);
    unlink(PATH);
}

static void test_a_command_loses_bytes(void **state)
{
    (void)state;
    there_and_back("exec:cat > " PATH, "exec:cat " PATH, 1000000);
    there_and_back("exec:gzip > " PATH, "exec:gzip -dc < " PATH, 1000000);
    unlink(PATH);
}

static int write_much(struct channel *channel, struct baton_error *error)
{
    static const char bytes[65536];
    int rc = 0;

    for (unsigned i = 0; !rc && i < 64; i++)
        rc = channel_write(channel, bytes, sizeof(bytes), NULL, error);
    return rc ? rc : channel_finish(channel, error);
}

static void test_a_full_disk_goes_unnoticed(void **state)
{
    struct channel *channel = dial("file:/dev/full");
    struct baton_error error = {0};

    (void)state;
    assert_int_equal(write_much(channel, &error), -ENOSPC);
    assert_non_null(strstr(error.text, "file:/dev/full"));
    channel_close(channel);
}

static void fails_with(const char *uri, const char *part)
{
    struct channel *channel = dial(uri);
    struct baton_error error = {0};

    assert_true(write_much(channel, &error) < 0);
    if (!strstr(error.text, part))
        fail_msg("%s: \"%s\" says nothing of \"%s\"", uri, error.text, part);
    channel_close(channel);
}

/* SIGPIPE would end this test too. */
static void test_a_command_that_fails_goes_unnoticed(void **state)
{
    (void)state;
    fails_with("exec:exit 3", "status 3");
    fails_with("exec:cat >/dev/null; exit 4", "status 4");
    fails_with("exec:kill -TERM $$", "signal 15");
    fails_with("exec:exit 0", "before it had read everything");
    fails_with("exec:no-such-command-anywhere 2>/dev/null", "status 127");
}

static void test_output_of_a_command_that_failed_counts(void **state)
{
    struct channel_listener *listener;
    struct channel *channel = listen_once("exec:printf hello; exit 5", &listener);
    struct baton_error error = {0};
    char bytes[8];
    size_t got;

    (void)state;
    read_all(channel, bytes, 5);
    assert_true(channel_read(channel, bytes, sizeof(bytes), &got, &error) < 0);
    assert_non_null(strstr(error.text, "status 5"));
    channel_close(channel);
    channel_listener_close(listener);
}

static void *hang_in_read(void *opaque)
{
    char byte;
    size_t got;

    return (void *)(intptr_t)channel_read(opaque, &byte, 1, &got, NULL);
}

static void *hang_in_finish(void *opaque)
{
    return (void *)(intptr_t)channel_finish(opaque, NULL);
}

static void is_freed(struct channel *channel, void *(*call)(void *))
{
    uint64_t began_ms;
    pthread_t thread;
    void *result;

    pthread_create(&thread, NULL, call, channel);
    sleep_us(20000);
    began_ms = clock_ms();
    channel_shutdown(channel);
    pthread_join(thread, &result);
    assert_int_equal((intptr_t)result, -ESHUTDOWN);
    assert_true(clock_ms() - began_ms < PROMPT_MS);
    channel_close(channel);
}

static void test_a_hanging_command_holds_a_thread(void **state)
{
    struct channel_listener *listener;
    int fds[2];
    char uri[32];

    (void)state;
    is_freed(listen_once("exec:sleep 100", &listener), hang_in_read);
    channel_listener_close(listener);
    is_freed(dial("exec:cat >/dev/null; sleep 100"), hang_in_finish);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* nothing of them is left */
    assert_int_equal(errno, ECHILD);
    assert_int_equal(pipe(fds), 0);
    snprintf(uri, sizeof(uri), "fd:%d", fds[0]);
    is_freed(listen_once(uri, &listener), hang_in_read);
    channel_listener_close(listener);
    close(fds[1]);
}

/* How many descriptors a command has. */
static int descriptors_of_a_command(void)
{
    struct channel_listener *listener;
    struct channel *channel = listen_once("exec:ls /proc/self/fd | grep -c '^[0-9]'", &listener);
    char text[16] = {0};

    read_all(channel, text, 2);
    channel_close(channel);
    channel_listener_close(listener);
    return atoi(text);
}

/* A descriptor of ours in the command would keep a connection open for ever. */
static void test_a_command_inherits_our_descriptors(void **state)
{
    int before = descriptors_of_a_command();
    struct channel_listener *tcp;
    struct baton_error error = {0};
    struct channel *a, *b, *file;

    (void)state;
    must(channel_listener_open("tcp:127.0.0.1:0", &tcp, &error), &error);
    make_pair(&a, &b);
    file = dial("file:" PATH);
    assert_int_equal(descriptors_of_a_command(), before);
    channel_close(a);
    channel_close(b);
    channel_close(file);
    channel_listener_close(tcp);
    unlink(PATH);
}

static void test_a_descriptor_of_our_own_is_taken(void **state)
{
    struct baton_error error = {0};
    struct channel_listener *listener;
    int fds[2];
    char uri[32];

    (void)state;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    snprintf(uri, sizeof(uri), "fd:%d", fds[0]);
    assert_int_equal(channel_listener_open(uri, &listener, &error), -EBADF);
    assert_non_null(strstr(error.text, "was not given"));
    close(fds[0]);
    close(fds[1]);
    assert_int_equal(channel_listener_open("fd:999", &listener, &error), -EBADF);
    assert_non_null(strstr(error.text, "not open"));
}

static void test_a_pipe_loses_bytes_and_a_socket_its_way_back(void **state)
{
    struct channel_listener *listener;
    struct baton_error error = {0};
    struct channel *in, *out;
    char bytes[8] = {0}, a[32], b[32];
    bool one_way;
    int fds[2];

    (void)state;
    assert_int_equal(pipe(fds), 0);
    snprintf(a, sizeof(a), "fd:%d", fds[0]);
    snprintf(b, sizeof(b), "fd:%d", fds[1]);
    must(channel_uri_is_one_way(a, &one_way, &error), &error);
    assert_true(one_way);
    in = listen_once(a, &listener);
    out = dial(b);
    write_all(out, "hello", 5);
    must(channel_finish(out, &error), &error);
    read_all(in, bytes, 5);
    assert_string_equal(bytes, "hello");
    channel_close(in);
    channel_close(out);
    channel_listener_close(listener);

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    snprintf(a, sizeof(a), "fd:%d", fds[0]);
    snprintf(b, sizeof(b), "fd:%d", fds[1]);
    must(channel_uri_is_one_way(a, &one_way, &error), &error);
    assert_false(one_way);
    in = listen_once(a, &listener);
    out = dial(b);
    assert_false(channel_is_one_way(in));
    assert_false(channel_is_one_way(out));
    write_all(in, "there", 5);
    read_all(out, bytes, 5);
    write_all(out, "back!", 5);
    read_all(in, bytes, 5);
    assert_string_equal(bytes, "back!");
    channel_close(in);
    channel_close(out);
    channel_listener_close(listener);
}

/* A listener has one connection to give; who waits for another is freed all the same. */
static void *accept_again(void *opaque)
{
    struct channel *channel;

    return (void *)(intptr_t)channel_listener_accept(opaque, &channel, NULL);
}

static void test_a_file_is_read_for_ever(void **state)
{
    struct channel_listener *listener;
    struct channel *channel = listen_once("file:/dev/null", &listener);
    pthread_t thread;
    void *result;

    (void)state;
    pthread_create(&thread, NULL, accept_again, listener);
    sleep_us(20000);
    channel_listener_shutdown(listener);
    pthread_join(thread, &result);
    assert_int_equal((intptr_t)result, -ESHUTDOWN);
    channel_close(channel);
    channel_listener_close(listener);
}

static void test_what_cannot_be_opened_is_opened(void **state)
{
    struct channel_listener *listener;
    struct baton_error error = {0};
    struct channel_dialer dialer;
    struct channel *channel;

    (void)state;
    assert_int_equal(channel_listener_open("file:no/such/file", &listener, &error), -ENOENT);
    must(channel_dialer_init(&dialer, &error), &error);
    assert_int_equal(channel_dial("file:no/such/file", &dialer, 1000, &channel, &error), -ENOENT);
    assert_int_equal(channel_dial("file:/", &dialer, 1000, &channel, &error), -EISDIR);
    assert_int_equal(mkfifo(PATH, 0600), 0);
    assert_true(channel_dial("file:" PATH, &dialer, 1000, &channel, &error) < 0);
    unlink(PATH);
    channel_dialer_fini(&dialer);
}

/* Chaos cuts these as well, and hands on how they end. */
static void test_chaos_hides_the_end(void **state)
{
    (void)state;
    fails_with("chaos:cut-out-byte=100000:file:" PATH, "chaos");
    fails_with("chaos:delay-ms=1:exec:cat >/dev/null; exit 6", "status 6");
    unlink(PATH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_file_loses_bytes),
        cmocka_unit_test(test_what_is_before_the_offset_is_lost),
        cmocka_unit_test(test_a_command_loses_bytes),
        cmocka_unit_test(test_a_full_disk_goes_unnoticed),
        cmocka_unit_test(test_a_command_that_fails_goes_unnoticed),
        cmocka_unit_test(test_output_of_a_command_that_failed_counts),
        cmocka_unit_test(test_a_hanging_command_holds_a_thread),
        cmocka_unit_test(test_a_command_inherits_our_descriptors),
        cmocka_unit_test(test_a_descriptor_of_our_own_is_taken),
        cmocka_unit_test(test_a_pipe_loses_bytes_and_a_socket_its_way_back),
        cmocka_unit_test(test_a_file_is_read_for_ever),
        cmocka_unit_test(test_what_cannot_be_opened_is_opened),
        cmocka_unit_test(test_chaos_hides_the_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
