/* SPDX-License-Identifier: MIT */
/* Dialing: what connects, what is refused with which sentence, and that an attempt that hangs ends
 * when told. */
#include "harness.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdatomic.h>

/* An address of a documentation network: on most hosts nothing answers, on some there is no route.
 */
#define NOBODY "tcp:203.0.113.1:4444"

/* A listening socket whose queue is full: further attempts hang. */
struct full_listener {
    int fd;
    int fillers[64];
    unsigned filler_count;
    char uri[BATON_URI_BYTES];
};

static int connect_without_waiting(const struct sockaddr *address, socklen_t bytes)
{
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    if (connect(fd, address, bytes) < 0 && errno != EINPROGRESS) {
        close(fd);
        return -1;
    }
    return fd;
}

static void fill(struct full_listener *full, const struct sockaddr *address, socklen_t bytes)
{
    full->filler_count = 0;
    for (int fd; full->filler_count < 8; full->fillers[full->filler_count++] = fd) {
        fd = connect_without_waiting(address, bytes);
        if (fd < 0)
            break;
    }
    sleep_us(20000);
}

static void open_full_tcp(struct full_listener *full)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof(address);

    full->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(full->fd, (struct sockaddr *)&address, bytes), 0);
    assert_int_equal(listen(full->fd, 0), 0);
    assert_int_equal(getsockname(full->fd, (struct sockaddr *)&address, &bytes), 0);
    snprintf(full->uri, sizeof(full->uri), "tcp:127.0.0.1:%u", ntohs(address.sin_port));
    fill(full, (struct sockaddr *)&address, bytes);
}

static void open_full_unix(struct full_listener *full)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/baton-full-%d", (int)getpid());
    unlink(address.sun_path);
    full->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(full->fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(full->fd, 0), 0);
    snprintf(full->uri, sizeof(full->uri), "unix:%s", address.sun_path);
    fill(full, (struct sockaddr *)&address, sizeof(address));
}

static void close_full(struct full_listener *full)
{
    while (full->filler_count)
        close(full->fillers[--full->filler_count]);
    close(full->fd);
    if (strncmp(full->uri, "unix:", 5) == 0)
        unlink(full->uri + 5);
}

struct attempt {
    pthread_t thread;
    struct channel_dialer dialer;
    const char *uri;
    int rc;
    _Atomic bool begun;
    struct baton_error error;
};

static void *run_dial(void *opaque)
{
    struct attempt *attempt = opaque;
    struct channel *channel = NULL;

    atomic_store(&attempt->begun, true);
    attempt->rc =
        channel_dial(attempt->uri, &attempt->dialer, DIAL_LIMIT_MS, &channel, &attempt->error);
    if (attempt->rc == 0)
        channel_close(channel);
    return NULL;
}

/* Starts to dial, cancels after a moment, and returns the result; fails if it was not prompt. */
static int dial_and_cancel(const char *uri, unsigned after_us)
{
    struct attempt attempt = {.uri = uri};
    struct baton_error error = {0};
    uint64_t cancelled_ms;

    must(channel_dialer_init(&attempt.dialer, &error), &error);
    assert_int_equal(pthread_create(&attempt.thread, NULL, run_dial, &attempt), 0);
    while (!atomic_load(&attempt.begun))
        sleep_us(20);
    sleep_us(after_us);
    cancelled_ms = clock_ms();
    channel_dialer_cancel(&attempt.dialer);
    pthread_join(attempt.thread, NULL);
    assert_in_range(clock_ms() - cancelled_ms, 0, PROMPT_MS);
    channel_dialer_fini(&attempt.dialer);
    return attempt.rc;
}

static void a_full_tcp_backlog_hangs_until_cancelled(void **state)
{
    struct full_listener full;

    open_full_tcp(&full);
    for (unsigned i = 0; i < ROUNDS; i++)
        assert_int_equal(dial_and_cancel(full.uri, i * 20), -ECANCELED);
    close_full(&full);
}

static void a_full_unix_backlog_hangs_until_cancelled(void **state)
{
    struct full_listener full;

    open_full_unix(&full);
    for (unsigned i = 0; i < ROUNDS; i++)
        assert_int_equal(dial_and_cancel(full.uri, i * 20), -ECANCELED);
    close_full(&full);
}

static void an_address_where_nobody_answers_can_be_cancelled(void **state)
{
    int rc = dial_and_cancel(NOBODY, 20000);

    if (rc != -ECANCELED) {
        print_message("this host answers for %s (%s): nothing to cancel\n", NOBODY, strerror(-rc));
        skip();
    }
}

static void a_cancelled_dialer_stays_cancelled_until_rearmed(void **state)
{
    struct baton_error error = {0};
    struct channel_listener *listener;
    struct channel_dialer dialer;
    struct channel *a, *b;

    must(channel_listener_open("tcp:127.0.0.1:0", &listener, &error), &error);
    must(channel_dialer_init(&dialer, &error), &error);
    channel_dialer_cancel(&dialer);
    channel_dialer_cancel(&dialer);
    for (int i = 0; i < 2; i++)
        assert_int_equal(
            channel_dial(channel_listener_uri(listener), &dialer, DIAL_LIMIT_MS, &a, &error),
            -ECANCELED);
    assert_non_null(strstr(error.text, "called off"));
    channel_dialer_rearm(&dialer);
    channel_dialer_rearm(&dialer);
    must(channel_dial(channel_listener_uri(listener), &dialer, DIAL_LIMIT_MS, &a, &error), &error);
    must(channel_listener_accept(listener, &b, &error), &error);
    channel_close(a);
    channel_close(b);
    channel_dialer_fini(&dialer);
    channel_listener_close(listener);
}

static void the_time_limit_is_kept(void **state)
{
    void (*const opens[])(struct full_listener *) = {open_full_tcp, open_full_unix};

    for (int i = 0; i < 2; i++) {
        struct baton_error error = {0};
        struct channel_dialer dialer;
        struct full_listener full;
        struct channel *channel;
        uint64_t begin_ms;

        opens[i](&full);
        must(channel_dialer_init(&dialer, &error), &error);
        begin_ms = clock_ms();
        assert_int_equal(channel_dial(full.uri, &dialer, 150, &channel, &error), -ETIMEDOUT);
        assert_in_range(clock_ms() - begin_ms, 140, 150 + PROMPT_MS);
        assert_non_null(strstr(error.text, full.uri));
        channel_dialer_fini(&dialer);
        close_full(&full);
    }
}

static void refusals_say_what_to_do(void **state)
{
    static const struct {
        const char *uri;
        int rc;
        const char *says;
    } cases[] = {
        {"tcp:127.0.0.1:1", -ECONNREFUSED, "check that the other side listens"},
        {"tcp:127.0.0.1:0", -EINVAL, "any free port"},
        {"tcp:127.0.0.1:00", -EINVAL, "any free port"},
        {"unix:/nonexistent/baton", -ENOENT, "unix:/nonexistent/baton"},
        {"tcp:no..such..host:1", -EHOSTUNREACH, "cannot be resolved"},
        {"bad", -EINVAL, "no kind of address"},
    };
    struct baton_error error = {0};
    struct channel_dialer dialer;
    struct channel *channel;

    must(channel_dialer_init(&dialer, &error), &error);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(channel_dial(cases[i].uri, &dialer, 2000, &channel, &error), cases[i].rc);
        if (!strstr(error.text, cases[i].says))
            fail_msg("'%s' was answered with: %s", cases[i].uri, error.text);
    }
    channel_dialer_fini(&dialer);
}

/* The answer and the cancellation race: whichever wins, nothing leaks and nothing hangs. */
static void cancelling_races_with_success(void **state)
{
    struct baton_error error = {0};
    struct channel_listener *listener;

    must(channel_listener_open("tcp:127.0.0.1:0", &listener, &error), &error);
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct channel *channel;
        int rc = dial_and_cancel(channel_listener_uri(listener), i % 50);

        assert_true(rc == 0 || rc == -ECANCELED);
        if (rc == 0) {
            must(channel_listener_accept(listener, &channel, &error), &error);
            channel_close(channel);
        }
    }
    channel_listener_close(listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_tcp_backlog_hangs_until_cancelled),
        cmocka_unit_test(a_full_unix_backlog_hangs_until_cancelled),
        cmocka_unit_test(an_address_where_nobody_answers_can_be_cancelled),
        cmocka_unit_test(a_cancelled_dialer_stays_cancelled_until_rearmed),
        cmocka_unit_test(the_time_limit_is_kept),
        cmocka_unit_test(refusals_say_what_to_do),
        cmocka_unit_test(cancelling_races_with_success),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
