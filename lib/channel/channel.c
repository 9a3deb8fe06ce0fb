/* SPDX-License-Identifier: MIT */
/*
 * The front of every channel: counts what passes, and calls the implementation.
 *
 * Problem: the engine wants the same few promises of every channel (a failed write says what has
 * left, a read of nothing is the end and nothing else), and the monitor wants to count bytes while
 * others move them. Data: the counters in struct channel. Each is written by one thread (the
 * reader's or the writer's) and read by any, so relaxed atomics do. Failure: is the
 * implementation's to describe; the front only refuses a read of no bytes, whose result would look
 * like the end of the stream.
 */
#include "channel/channel.h"

#include <errno.h>

void channel_base_init(struct channel *channel, const struct channel_ops *ops, const char *peer)
{
    channel->ops = ops;
    channel->peer = peer;
    channel->one_way = false;
    atomic_init(&channel->in_bytes, 0);
    atomic_init(&channel->out_bytes, 0);
    atomic_init(&channel->out_messages, 0);
}

int channel_read(struct channel *channel, void *buffer, size_t length_bytes, size_t *got_bytes,
                 struct baton_error *error)
{
    int rc;

    *got_bytes = 0;
    if (length_bytes == 0)
        return baton_error_set(error, EINVAL, "a read of no bytes from %s was asked for",
                               channel->peer);
    rc = channel->ops->read(channel, buffer, length_bytes, got_bytes, error);
    atomic_fetch_add_explicit(&channel->in_bytes, *got_bytes, memory_order_relaxed);
    return rc;
}

int channel_write(struct channel *channel, const void *bytes, size_t length_bytes,
                  size_t *written_bytes, struct baton_error *error)
{
    size_t written = 0;
    int rc = channel->ops->write(channel, bytes, length_bytes, &written, error);

    atomic_fetch_add_explicit(&channel->out_bytes, written, memory_order_relaxed);
    if (written_bytes)
        *written_bytes = written;
    return rc;
}

bool channel_is_one_way(const struct channel *channel)
{
    return channel->one_way;
}

int channel_finish(struct channel *channel, struct baton_error *error)
{
    return channel->ops->finish ? channel->ops->finish(channel, error) : 0;
}

void channel_mark(struct channel *channel)
{
    atomic_fetch_add_explicit(&channel->out_messages, 1, memory_order_relaxed);
    if (channel->ops->mark)
        channel->ops->mark(channel);
}

void channel_shutdown(struct channel *channel)
{
    channel->ops->shutdown(channel);
}

void channel_close(struct channel *channel)
{
    if (channel)
        channel->ops->close(channel);
}

const char *channel_peer(const struct channel *channel)
{
    return channel->peer;
}

void channel_count(const struct channel *channel, struct channel_counters *counters)
{
    counters->in_bytes = atomic_load_explicit(&channel->in_bytes, memory_order_relaxed);
    counters->out_bytes = atomic_load_explicit(&channel->out_bytes, memory_order_relaxed);
    counters->out_messages = atomic_load_explicit(&channel->out_messages, memory_order_relaxed);
}
