/* SPDX-License-Identifier: MIT */
/* What the channel tests share: cmocka, pairs of channels, and threads that hang in a call until
 * they are freed. */
#ifndef TEST_CHANNEL_HARNESS_H
#define TEST_CHANNEL_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "channel/channel.h"
#include "channel/chaos.h"

#define ROUNDS 100          /* of each race */
#define PROMPT_MS 200       /* a thread that is freed must be out within this */
#define DIAL_LIMIT_MS 10000 /* for attempts that are meant to succeed */

static inline uint64_t clock_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static inline void sleep_us(unsigned us)
{
    struct timespec time = {.tv_sec = us / 1000000, .tv_nsec = (long)(us % 1000000) * 1000};

    nanosleep(&time, NULL);
}

static inline void must(int rc, const struct baton_error *error)
{
    if (rc)
        fail_msg("%s", error->text);
}

/* Two connected channels over a socket pair. */
static inline void make_pair(struct channel **a, struct channel **b)
{
    struct baton_error error = {0};
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    must(channel_from_socket(fds[0], "side a", a, &error), &error);
    must(channel_from_socket(fds[1], "side b", b, &error), &error);
}

/* Dials the listener and accepts, in one thread: the backlog holds the connection meanwhile. */
static inline void connect_to(struct channel_listener *listener, const char *uri,
                              struct channel **dialed, struct channel **accepted)
{
    struct baton_error error = {0};
    struct channel_dialer dialer;

    must(channel_dialer_init(&dialer, &error), &error);
    must(channel_dial(uri, &dialer, DIAL_LIMIT_MS, dialed, &error), &error);
    must(channel_listener_accept(listener, accepted, &error), &error);
    channel_dialer_fini(&dialer);
}

/* Reads exactly so many bytes. */
static inline void read_all(struct channel *channel, void *buffer, size_t length_bytes)
{
    struct baton_error error = {0};

    for (size_t done = 0, got; done < length_bytes; done += got) {
        must(channel_read(channel, (char *)buffer + done, length_bytes - done, &got, &error),
             &error);
        assert_int_not_equal(got, 0);
    }
}

/* Reads until the end or an error; returns how many bytes came, and how it ended. */
static inline size_t read_to_end(struct channel *channel, int *rc)
{
    static char sink[65536];
    size_t total = 0, got;

    while ((*rc = channel_read(channel, sink, sizeof(sink), &got, NULL)) == 0 && got > 0)
        total += got;
    return total;
}

static inline void write_all(struct channel *channel, const void *bytes, size_t length_bytes)
{
    struct baton_error error = {0};

    must(channel_write(channel, bytes, length_bytes, NULL, &error), &error);
}

#endif
