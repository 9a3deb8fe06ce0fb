/* SPDX-License-Identifier: MIT */
/* URIs taken apart. Private to lib/channel. */
#ifndef CHANNEL_URI_H
#define CHANNEL_URI_H

#include "channel/chaos.h"

enum channel_uri_kind {
    CHANNEL_URI_TCP,
    CHANNEL_URI_UNIX,
    CHANNEL_URI_FILE,
    CHANNEL_URI_EXEC,
    CHANNEL_URI_FD
};

/* Those that are no address but the thing itself: a connection is made once. */
#define CHANNEL_URI_IS_PLAIN(kind) ((kind) >= CHANNEL_URI_FILE)

struct channel_uri {
    enum channel_uri_kind kind;
    bool chaos; /* there was a prefix; the plan is in `plan` */
    struct channel_chaos_plan plan;
    char host[BATON_URI_BYTES]; /* without brackets; may be empty */
    char port[8];
    char path[108];             /* what sockaddr_un can hold, with the terminator */
    char name[BATON_URI_BYTES]; /* the URI without chaos, for people */
    char text[BATON_URI_BYTES]; /* of a file: its path; of a command: the command */
    uint64_t offset_bytes;      /* of a file */
    int fd;
};

int channel_uri_parse(const char *uri, struct channel_uri *parsed, struct baton_error *error);

#endif
