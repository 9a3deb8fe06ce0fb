/* SPDX-License-Identifier: MIT */
/*
 * Byte channels: what the migration stream travels over, whatever carries it.
 *
 * Calls block. A thread that hangs in one is freed by channel_shutdown() from any other thread, so
 * nobody needs timers or signals. At a time at most one thread reads a channel and at most one
 * writes it (and calls channel_mark()); they may be different ones. Closing is the owner's, after
 * all other users are gone.
 *
 * URIs:
 *   tcp:HOST:PORT    HOST a name, an IPv4 address or an IPv6 address in brackets. Empty HOST: all
 * interfaces when listening, loopback when dialing. PORT 0 when listening: any free one.
 *   unix:PATH        a stream socket in the file system
 *   file:PATH[,offset=N]  a file, from byte N on
 *   exec:COMMAND     a command of /bin/sh: who dials writes its stdin, who listens reads its stdout
 *   fd:NUMBER        a descriptor that this process was started with: socket, pipe or file
 *   chaos:OPTION=NUMBER,...:URI    any of the above, made to fail on purpose: see chaos.h
 *
 * A socket goes two ways. Files, commands and pipes go one way: who dials writes, who listens reads
 * (and listens for one connection only), and the end of the stream counts only when
 * channel_finish(), or a read of nothing, has said that all went well behind it.
 */
#ifndef CHANNEL_CHANNEL_H
#define CHANNEL_CHANNEL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "baton/baton.h"

struct channel;
struct channel_listener;

/*
 * Reads at least one byte (blocks for it) and at most length_bytes; *got_bytes = 0 means that the
 * peer has ended the stream. A reset, a shutdown by us and any other trouble is an error:
 * -ECONNRESET, -ESHUTDOWN (ours), ...
 */
int channel_read(struct channel *channel, void *buffer, size_t length_bytes, size_t *got_bytes,
                 struct baton_error *error);

/*
 * Writes everything. On failure too, *written_bytes (may be NULL) says how many bytes have left for
 * the peer as far as this host can know: those MAY arrive, all others never will.
 */
int channel_write(struct channel *channel, const void *bytes, size_t length_bytes,
                  size_t *written_bytes, struct baton_error *error);

/* Whether nothing comes back: see above. */
bool channel_is_one_way(const struct channel *channel);

/*
 * After the last byte of a one-way stream: waits until it is where it belongs. A file is on the
 * disk then; a command has read its stdin to the end and ended with status 0. The other thread may
 * end the waiting by channel_shutdown(). Nothing may be written afterwards.
 */
int channel_finish(struct channel *channel, struct baton_error *error);

/* Says that a message ends with the last byte written. For statistics and for chaos, which cuts at
 * messages. */
void channel_mark(struct channel *channel);

/*
 * Both directions die at once, and for good: calls that hang and all later ones fail with
 * -ESHUTDOWN, and bytes that lie unread in the kernel are never handed out. What was written may
 * still arrive at the peer. Any thread, any number of times.
 */
void channel_shutdown(struct channel *channel);

/* Frees the channel. NULL is fine. Nobody may be using it. */
void channel_close(struct channel *channel);

/* Who is at the other end, for messages: "tcp:192.0.2.7:4444". Valid until the channel is closed.
 */
const char *channel_peer(const struct channel *channel);

/* What has passed so far. Any thread; the three numbers are each true, not of one instant. */
struct channel_counters {
    uint64_t in_bytes, out_bytes, out_messages;
};
void channel_count(const struct channel *channel, struct channel_counters *counters);

/* Wraps a connected stream socket, which it owns from now on (also when it fails: out of memory).
 * `peer` is copied. */
int channel_from_socket(int fd, const char *peer, struct channel **out, struct baton_error *error);

/* Whether `uri` can be understood: 0 or -EINVAL. Says nothing about whether anybody is there. */
int channel_uri_check(const char *uri, struct baton_error *error);
/* The same, and whether what it names goes one way only. For fd: the descriptor is looked at. */
int channel_uri_is_one_way(const char *uri, bool *one_way, struct baton_error *error);

/* ---- Dialing ---- */

/* Who dials; lets another thread call the attempt off. Also remembers how often a chaos URI was
 * dialed (`times`). */
struct channel_dialer {
    int cancel_fd; /* eventfd: readable once cancelled */
    char chaos_uri[BATON_URI_BYTES];
    unsigned chaos_connections;
};

int channel_dialer_init(struct channel_dialer *dialer, struct baton_error *error);
void channel_dialer_fini(struct channel_dialer *dialer);
/* Ends the attempt under way, and every later one at once, with -ECANCELED. Any thread. */
void channel_dialer_cancel(struct channel_dialer *dialer);
/* Makes a cancelled dialer usable again. The dialing thread's, between attempts. */
void channel_dialer_rearm(struct channel_dialer *dialer);

/*
 * Connects, trying each address of the host within limit_ms altogether (-ETIMEDOUT). A host given
 * as a number is never looked up. Looking up a name is the C library's: it cannot be cancelled, and
 * its own limits apply (resolv.conf, by default 5 seconds for each server and attempt); limit_ms
 * counts from after it. One dial at a time for each dialer.
 */
int channel_dial(const char *uri, struct channel_dialer *dialer, unsigned limit_ms,
                 struct channel **out, struct baton_error *error);

/* ---- Listening ---- */

/* A unix socket is made with mode 0600; a stale file of a listener that is gone is replaced, a
 * living one refused (-EADDRINUSE). */
int channel_listener_open(const char *uri, struct channel_listener **out,
                          struct baton_error *error);
/* Blocks for a connection. Trouble that may pass (no free descriptors) is waited out. Fails only
 * with -ESHUTDOWN. */
int channel_listener_accept(struct channel_listener *listener, struct channel **out,
                            struct baton_error *error);
/* Frees the thread that hangs in accept; later calls fail at once. Any thread, any number of times.
 */
void channel_listener_shutdown(struct channel_listener *listener);
/* Where it listens, with the real port and without a chaos prefix: what a peer may dial. Valid
 * until closed. */
const char *channel_listener_uri(const struct channel_listener *listener);
/* Frees it and removes the file of a unix socket, if it is still its own. NULL is fine. Nobody may
 * be using it. */
void channel_listener_close(struct channel_listener *listener);

/* ---- For those who implement channels ---- */

struct channel_ops {
    int (*read)(struct channel *channel, void *buffer, size_t length_bytes, size_t *got_bytes,
                struct baton_error *error);
    int (*write)(struct channel *channel, const void *bytes, size_t length_bytes,
                 size_t *written_bytes, struct baton_error *error);
    void (*mark)(struct channel *channel);                             /* may be NULL */
    int (*finish)(struct channel *channel, struct baton_error *error); /* NULL: nothing to do */
    void (*shutdown)(struct channel *channel);
    void (*close)(
        struct channel *channel); /* frees what the implementation made, `channel` included */
};

/* The first member of each implementation's struct. `peer` outlives the channel. */
struct channel {
    const struct channel_ops *ops;
    const char *peer;
    bool one_way; /* false unless the implementation says so */
    _Atomic uint64_t in_bytes, out_bytes, out_messages;
};

void channel_base_init(struct channel *channel, const struct channel_ops *ops, const char *peer);

#endif
