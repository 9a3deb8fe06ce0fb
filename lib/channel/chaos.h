/* SPDX-License-Identifier: MIT */
/*
 * Chaos: a channel that wraps another and breaks it on purpose, so that people can rehearse what
 * Baton is for.
 *
 *   chaos:cut-out-byte=100000,delay-ms=2:tcp:192.0.2.7:4444
 *
 *   cut-out-byte=N     cut the link when N bytes have been sent (0: instead of the first one)
 *   cut-in-byte=N      cut the link when N bytes have been read
 *   cut-out-message=N  cut the link after message N (the first is 1) was sent
 *   tear-bytes=K       ... but after the first K bytes of that message already (0: before it). A
 * shorter one is sent whole. delay-ms=D         wait D milliseconds before each write rate-bytes=R
 * send at most R bytes per second times=N            cut only the first N connections (of the
 * listener, or of the dialer with this URI); later ones are delayed and rated only. Without it each
 * connection is cut.
 *
 * To cut is to shut down both directions at once. What was sent before still arrives, exactly.
 */
#ifndef CHANNEL_CHAOS_H
#define CHANNEL_CHAOS_H

#include "channel/channel.h"

#define CHANNEL_CHAOS_NEVER UINT64_MAX

struct channel_chaos_plan {
    uint64_t cut_out_byte;    /* CHANNEL_CHAOS_NEVER: not */
    uint64_t cut_in_byte;     /* CHANNEL_CHAOS_NEVER: not */
    uint64_t cut_out_message; /* 1 is the first; 0: not */
    uint64_t tear_bytes;      /* CHANNEL_CHAOS_NEVER: the message is sent whole */
    uint64_t delay_ms;
    uint64_t rate_bytes; /* per second; 0: no limit */
    uint64_t times;      /* connections that are cut; CHANNEL_CHAOS_NEVER: all of them */
};

/* A plan that does nothing: to be filled in. */
void channel_chaos_plan_init(struct channel_chaos_plan *plan);

/*
 * If `uri` begins with "chaos:", reads the plan and sets *inner to the URI behind it; else *inner =
 * uri and the plan does nothing.
 */
int channel_chaos_parse(const char *uri, struct channel_chaos_plan *plan, const char **inner,
                        struct baton_error *error);

/* Whether anything in the plan is left to do for a connection with this number (0 is the first);
 * takes out what is not. */
bool channel_chaos_plan_for(struct channel_chaos_plan *plan, uint64_t connection);

/* Wraps `inner`, which the wrapper owns from now on. On failure `inner` is still the caller's. */
int channel_chaos_wrap(struct channel *inner, const struct channel_chaos_plan *plan,
                       struct channel **out, struct baton_error *error);

#endif
