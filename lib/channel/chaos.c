/* SPDX-License-Identifier: MIT */
/*
 * The channel that breaks on purpose.
 *
 * Problem: "any cut is survivable" can be rehearsed only if a cut can be put at any byte and any
 * message of a real connection, again and again at the same place, with no privilege and no
 * firewall. Data: the plan (fixed), and how far each direction has come. `out_*` belongs to the
 * writing thread, `in_bytes` to the reading one; `cut` and `down` are set by any and never cleared.
 * Invariants: not one byte beyond the place of the cut is given to the inner channel or to the
 * reader. The cut happens as soon as the place is reached, not with the next call, so that a link
 * that goes quiet there is cut all the same; only a cut at byte 0 or before a message waits for the
 * write that would have come. A cut looks like the network's doing
 * (-ECONNRESET), a shutdown by our own side does not (-ESHUTDOWN): whoever reacts to the one must
 * not be fooled. Failure: errors of the inner channel pass through. A wait (delay, rate) ends at
 * once at a shutdown.
 */
#include "channel/chaos.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000ull
#define NS_PER_MS 1000000ull
#define RATE_SLICES_PER_S 50 /* a rate is kept to within a fiftieth of a second */

struct chaos_channel {
    struct channel base;
    struct channel *inner;
    struct channel_chaos_plan plan;
    int down_fd; /* eventfd: readable once `cut` or `down` is set; ends waits */
    _Atomic bool cut, down;
    uint64_t out_bytes, out_messages, out_message_bytes; /* the last: of the message under way */
    uint64_t rate_next_ns;                               /* when the next slice may go */
    uint64_t in_bytes;
};

static struct chaos_channel *chaos_of(struct channel *channel)
{
    return (struct chaos_channel *)channel;
}

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void chaos_wait_until(struct chaos_channel *self, uint64_t until_ns)
{
    struct pollfd down = {.fd = self->down_fd, .events = POLLIN};
    uint64_t now;

    while (!atomic_load(&self->cut) && !atomic_load(&self->down) && (now = now_ns()) < until_ns) {
        struct timespec left = {.tv_sec = (time_t)((until_ns - now) / NS_PER_S),
                                .tv_nsec = (long)((until_ns - now) % NS_PER_S)};

        (void)ppoll(&down, 1, &left, NULL);
    }
}

static void chaos_end_waits(struct chaos_channel *self)
{
    uint64_t one = 1;

    /* Fails only if the counter is full, and then it is readable already. */
    (void)!write(self->down_fd, &one, sizeof(one));
}

static void chaos_cut(struct chaos_channel *self)
{
    atomic_store(&self->cut, true);
    channel_shutdown(self->inner);
    chaos_end_waits(self);
}

/* What to report when the inner channel has failed, or would be used after a cut. */
static int chaos_failure(struct chaos_channel *self, int rc, struct baton_error *error)
{
    if (atomic_load(&self->down))
        return baton_error_set(error, ESHUTDOWN, "the link to %s was shut down by this side",
                               self->base.peer);
    if (atomic_load(&self->cut))
        return baton_error_set(error, ECONNRESET,
                               "the link to %s was cut on purpose by the chaos in front of its URI",
                               self->base.peer);
    return rc;
}

static bool chaos_is_dead(struct chaos_channel *self)
{
    return atomic_load(&self->down) || atomic_load(&self->cut);
}

/* How many bytes may still go out before the place of the cut. */
static uint64_t chaos_out_left(const struct chaos_channel *self)
{
    const struct channel_chaos_plan *plan = &self->plan;
    uint64_t left = UINT64_MAX;

    if (plan->cut_out_byte != CHANNEL_CHAOS_NEVER)
        left = plan->cut_out_byte - self->out_bytes;
    if (plan->tear_bytes != CHANNEL_CHAOS_NEVER && self->out_messages + 1 == plan->cut_out_message)
        left = least(left, plan->tear_bytes - self->out_message_bytes);
    return left;
}

/* Waits for the next slice of the rate and returns its size. */
static uint64_t chaos_rate_slice(struct chaos_channel *self, uint64_t length_bytes)
{
    uint64_t slice, now;

    if (!self->plan.rate_bytes)
        return length_bytes;
    chaos_wait_until(self, self->rate_next_ns);
    now = now_ns();
    slice = least(length_bytes, self->plan.rate_bytes / RATE_SLICES_PER_S + 1);
    if (self->rate_next_ns < now)
        self->rate_next_ns = now;
    self->rate_next_ns +=
        (uint64_t)((double)slice * (double)NS_PER_S / (double)self->plan.rate_bytes);
    return slice;
}

static int chaos_write(struct channel *channel, const void *bytes, size_t length_bytes,
                       size_t *written_bytes, struct baton_error *error)
{
    struct chaos_channel *self = chaos_of(channel);
    const char *from = bytes;

    if (self->plan.delay_ms)
        chaos_wait_until(self, now_ns() + self->plan.delay_ms * NS_PER_MS);
    while (*written_bytes < length_bytes) {
        uint64_t chunk = least(length_bytes - *written_bytes, chaos_out_left(self));
        size_t done = 0;
        int rc;

        if (chunk == 0)
            chaos_cut(self);
        else
            chunk = chaos_rate_slice(self, chunk);
        if (chaos_is_dead(self))
            return chaos_failure(self, -EIO, error);
        rc = channel_write(self->inner, from + *written_bytes, chunk, &done, error);
        *written_bytes += done;
        self->out_bytes += done;
        self->out_message_bytes += done;
        if (rc)
            return chaos_failure(self, rc, error);
        if (chaos_out_left(self) == 0)
            chaos_cut(self);
    }
    return 0;
}

static void chaos_mark(struct channel *channel)
{
    struct chaos_channel *self = chaos_of(channel);

    channel_mark(self->inner);
    self->out_messages++;
    self->out_message_bytes = 0;
    if (self->out_messages == self->plan.cut_out_message)
        chaos_cut(self);
}

static int chaos_read(struct channel *channel, void *buffer, size_t length_bytes, size_t *got_bytes,
                      struct baton_error *error)
{
    struct chaos_channel *self = chaos_of(channel);
    uint64_t left = self->plan.cut_in_byte == CHANNEL_CHAOS_NEVER
                        ? UINT64_MAX
                        : self->plan.cut_in_byte - self->in_bytes;
    int rc;

    if (left == 0)
        chaos_cut(self);
    if (chaos_is_dead(self))
        return chaos_failure(self, -EIO, error);
    rc = channel_read(self->inner, buffer, least(length_bytes, left), got_bytes, error);
    if (rc)
        return chaos_failure(self, rc, error);
    self->in_bytes += *got_bytes;
    if (*got_bytes == left)
        chaos_cut(self);
    return 0;
}

static int chaos_finish(struct channel *channel, struct baton_error *error)
{
    struct chaos_channel *self = chaos_of(channel);
    int rc;

    if (chaos_is_dead(self))
        return chaos_failure(self, -EIO, error);
    rc = channel_finish(self->inner, error);
    return rc ? chaos_failure(self, rc, error) : 0;
}

static void chaos_shutdown(struct channel *channel)
{
    struct chaos_channel *self = chaos_of(channel);

    atomic_store(&self->down, true);
    channel_shutdown(self->inner);
    chaos_end_waits(self);
}

static void chaos_close(struct channel *channel)
{
    struct chaos_channel *self = chaos_of(channel);

    channel_close(self->inner);
    close(self->down_fd);
    free(self);
}

static const struct channel_ops chaos_ops = {
    .read = chaos_read,
    .write = chaos_write,
    .mark = chaos_mark,
    .finish = chaos_finish,
    .shutdown = chaos_shutdown,
    .close = chaos_close,
};

int channel_chaos_wrap(struct channel *inner, const struct channel_chaos_plan *plan,
                       struct channel **out, struct baton_error *error)
{
    struct chaos_channel *self = calloc(1, sizeof(*self));

    if (!self)
        return baton_error_set(error, ENOMEM, "no memory for chaos on the link to %s",
                               channel_peer(inner));
    self->down_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (self->down_fd < 0) {
        int code = errno;

        free(self);
        return baton_error_set(
            error, code, "no descriptor for chaos on the link to %s; raise the limit of open files",
            channel_peer(inner));
    }
    self->inner = inner;
    self->plan = *plan;
    atomic_init(&self->cut, false);
    atomic_init(&self->down, false);
    channel_base_init(&self->base, &chaos_ops, channel_peer(inner));
    self->base.one_way = channel_is_one_way(inner);
    *out = &self->base;
    return 0;
}
