/* SPDX-License-Identifier: MIT */
/* Listening: every family, real ports, socket files that are stale or not, and freeing a thread
 * that accepts. */
#include "harness.h"

#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/stat.h>

static char path[64], unix_uri[80];

static int set_up(void **state)
{
    snprintf(path, sizeof(path), "/tmp/baton-listen-%d", (int)getpid());
    snprintf(unix_uri, sizeof(unix_uri), "unix:%s", path);
    unlink(path);
    return 0;
}

static int tear_down(void **state)
{
    unlink(path);
    return 0;
}

/* Listens, lets the caller check the URI, and passes bytes both ways. */
static void exchange(struct channel_listener *listener, const char *uri, const char *peer_begins)
{
    struct channel *a, *b;
    char buffer[4];

    connect_to(listener, uri, &a, &b);
    write_all(a, "ping", 4);
    read_all(b, buffer, 4);
    assert_memory_equal(buffer, "ping", 4);
    write_all(b, "pong", 4);
    read_all(a, buffer, 4);
    assert_memory_equal(buffer, "pong", 4);
    if (strncmp(channel_peer(b), peer_begins, strlen(peer_begins)) != 0)
        fail_msg("the peer is shown as %s, not %s...", channel_peer(b), peer_begins);
    channel_close(a);
    channel_close(b);
}

static void ipv4_with_any_free_port(void **state)
{
    struct baton_error error = {0};
    struct channel_listener *listener;

    must(channel_listener_open("tcp:127.0.0.1:0", &listener, &error), &error);
    assert_memory_equal(channel_listener_uri(listener), "tcp:127.0.0.1:", 14);
    assert_true(atoi(channel_listener_uri(listener) + 14) > 0);
    exchange(listener, channel_listener_uri(listener), "tcp:127.0.0.1:");
    channel_listener_close(listener);
}

static void ipv6_is_shown_in_brackets(void **state)
{
    struct baton_error error = {0};
    struct channel_listener *listener;

    if (channel_listener_open("tcp:[::1]:0", &listener, &error)) {
        print_message("no IPv6 on this host: %s\n", error.text);
        skip();
    }
    assert_memory_equal(channel_listener_uri(listener), "tcp:[::1]:", 10);
    exchange(listener, channel_listener_uri(listener), "tcp:[::1]:");
    channel_listener_close(listener);
}

static void an_empty_host_is_every_interface(void **state)
{
    struct baton_error error = {0};
    struct channel_listener *listener;
    const char *port;
    char uri[64];

    must(channel_listener_open("tcp::0", &listener, &error), &error);
    port = strrchr(channel_listener_uri(listener), ':') + 1;
    snprintf(uri, sizeof(uri), "tcp:127.0.0.1:%s", port);
    exchange(listener, uri, "tcp:127.0.0.1:");
    snprintf(uri, sizeof(uri), "tcp::%s", port); /* an empty host to dial is loopback */
    exchange(listener, uri, "tcp:");
    exchange(listener, channel_listener_uri(listener), "tcp:");
    if (strncmp(channel_listener_uri(listener), "tcp:[::]:", 9) == 0) {
        snprintf(uri, sizeof(uri), "tcp:[::1]:%s", port);
        exchange(listener, uri, "tcp:[::1]:");
    }
    channel_listener_close(listener);
}

static void a_port_in_use_is_refused_and_free_again_at_once(void **state)
{
    struct baton_error error = {0};
    struct channel_listener *listener, *second;
    char uri[BATON_URI_BYTES];

    must(channel_listener_open("tcp:127.0.0.1:0", &listener, &error), &error);
    snprintf(uri, sizeof(uri), "%s", channel_listener_uri(listener));
    assert_int_equal(channel_listener_open(uri, &second, &error), -EADDRINUSE);
    assert_non_null(strstr(error.text, "choose another port"));
    exchange(listener, uri, "tcp:"); /* leaves a connection in TIME_WAIT */
    channel_listener_close(listener);
    must(channel_listener_open(uri, &listener, &error), &error);
    channel_listener_close(listener);
    assert_int_equal(channel_listener_open("tcp:203.0.113.1:0", &listener, &error), -EADDRNOTAVAIL);
}

static void a_unix_socket_is_the_owners_and_goes_away(void **state)
{
    struct baton_error error = {0};
    struct channel_listener *listener;
    struct stat status;

    must(channel_listener_open(unix_uri, &listener, &error), &error);
    assert_int_equal(lstat(path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    assert_string_equal(channel_listener_uri(listener), unix_uri);
    exchange(listener, unix_uri, unix_uri);
    channel_listener_close(listener);
    assert_int_equal(lstat(path, &status), -1);
}

static void a_stale_socket_is_replaced(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct baton_error error = {0};
    struct channel_listener *listener;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 1), 0);
    close(fd); /* what a killed process leaves behind */
    must(channel_listener_open(unix_uri, &listener, &error), &error);
    exchange(listener, unix_uri, unix_uri);
    channel_listener_close(listener);
}

static void a_living_socket_is_refused(void **state)
{
    struct baton_error error = {0};
    struct channel_listener *listener, *second;
    struct channel *channel, *end;
    size_t got;
    char byte;

    must(channel_listener_open(unix_uri, &listener, &error), &error);
    assert_int_equal(channel_listener_open(unix_uri, &second, &error), -EADDRINUSE);
    assert_non_null(strstr(error.text, "somebody listens there"));
    /* The look at it was a connection that ended at once; whoever listens sees just that, and goes
     * on. */
    must(channel_listener_accept(listener, &channel, &error), &error);
    assert_int_equal(channel_read(channel, &byte, 1, &got, NULL), 0);
    assert_int_equal(got, 0);
    channel_close(channel);
    connect_to(listener, unix_uri, &channel, &end);
    channel_close(channel);
    channel_close(end);
    channel_listener_close(listener);
}

static void a_file_that_is_no_socket_is_left_alone(void **state)
{
    struct baton_error error = {0};
    struct channel_listener *listener;
    struct stat status;
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    fclose(file);
    assert_int_equal(channel_listener_open(unix_uri, &listener, &error), -EEXIST);
    assert_int_equal(lstat(path, &status), 0);
    assert_true(S_ISREG(status.st_mode));
    assert_int_equal(channel_listener_open("unix:/nonexistent/dir/s", &listener, &error), -ENOENT);
}

static void close_spares_a_file_that_is_not_its_own(void **state)
{
    struct baton_error error = {0};
    struct channel_listener *first, *second;
    struct stat status;

    must(channel_listener_open(unix_uri, &first, &error), &error);
    unlink(path);
    must(channel_listener_open(unix_uri, &second, &error), &error);
    channel_listener_close(first);
    assert_int_equal(lstat(path, &status), 0);
    exchange(second, unix_uri, unix_uri);
    channel_listener_close(second);
}

struct acceptor {
    struct channel_listener *listener;
    int rc;
    _Atomic bool begun;
};

static void *run_accept(void *opaque)
{
    struct acceptor *acceptor = opaque;
    struct channel *channel;

    atomic_store(&acceptor->begun, true);
    while ((acceptor->rc = channel_listener_accept(acceptor->listener, &channel, NULL)) == 0)
        channel_close(channel);
    return NULL;
}

static void a_shutdown_frees_accept(void **state)
{
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct baton_error error = {0};
        struct acceptor acceptor = {0};
        struct channel *channel;
        pthread_t thread;
        uint64_t shut_ms;

        must(
            channel_listener_open(i % 2 ? "tcp:127.0.0.1:0" : unix_uri, &acceptor.listener, &error),
            &error);
        pthread_create(&thread, NULL, run_accept, &acceptor);
        while (!atomic_load(&acceptor.begun))
            sleep_us(20);
        sleep_us(i * 10);
        shut_ms = clock_ms();
        channel_listener_shutdown(acceptor.listener);
        channel_listener_shutdown(acceptor.listener);
        pthread_join(thread, NULL);
        assert_in_range(clock_ms() - shut_ms, 0, PROMPT_MS);
        assert_int_equal(acceptor.rc, -ESHUTDOWN);
        assert_int_equal(channel_listener_accept(acceptor.listener, &channel, &error), -ESHUTDOWN);
        channel_listener_close(acceptor.listener);
    }
}

/* No descriptors left is a passing trouble: the listener must outlive it. */
static void running_out_of_descriptors_is_waited_out(void **state)
{
    struct baton_error error = {0};
    struct acceptor acceptor = {0};
    struct rlimit old, tight;
    struct channel_dialer dialer;
    struct channel *a;
    pthread_t thread;
    size_t got = 1;
    int lowest;
    char byte;

    must(channel_listener_open("tcp:127.0.0.1:0", &acceptor.listener, &error), &error);
    must(channel_dialer_init(&dialer, &error), &error);
    must(channel_dial(channel_listener_uri(acceptor.listener), &dialer, DIAL_LIMIT_MS, &a, &error),
         &error);
    lowest = dup(0);
    close(lowest);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    tight = old;
    tight.rlim_cur = (rlim_t)lowest;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    pthread_create(&thread, NULL, run_accept, &acceptor);
    sleep_us(250000);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_int_equal(channel_read(a, &byte, 1, &got, NULL),
                     0); /* accepted after all, then closed */
    assert_int_equal(got, 0);
    channel_listener_shutdown(acceptor.listener);
    pthread_join(thread, NULL);
    assert_int_equal(acceptor.rc, -ESHUTDOWN);
    channel_close(a);
    channel_dialer_fini(&dialer);
    channel_listener_close(acceptor.listener);
}

int main(void)
{
#define LISTEN_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        LISTEN_TEST(ipv4_with_any_free_port),
        LISTEN_TEST(ipv6_is_shown_in_brackets),
        LISTEN_TEST(an_empty_host_is_every_interface),
        LISTEN_TEST(a_port_in_use_is_refused_and_free_again_at_once),
        LISTEN_TEST(a_unix_socket_is_the_owners_and_goes_away),
        LISTEN_TEST(a_stale_socket_is_replaced),
        LISTEN_TEST(a_living_socket_is_refused),
        LISTEN_TEST(a_file_that_is_no_socket_is_left_alone),
        LISTEN_TEST(close_spares_a_file_that_is_not_its_own),
        LISTEN_TEST(a_shutdown_frees_accept),
        LISTEN_TEST(running_out_of_descriptors_is_waited_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
