/* SPDX-License-Identifier: MIT */
/* URIs taken apart. Private to lib/channel. */
#ifndef CHANNEL_URI_H
#define CHANNEL_URI_H

#include "channel/chaos.h"

enum channel_uri_kind { CHANNEL_URI_TCP, CHANNEL_URI_UNIX };

struct channel_uri {
    enum channel_uri_kind kind;
    bool chaos; /* there was a prefix; the plan is in `plan` */
    struct channel_chaos_plan plan;
    char host[BATON_URI_BYTES]; /* without brackets; may be empty */
    char port[8];
    char path[108]; /* what sockaddr_un can hold, with the terminator */
};

int channel_uri_parse(const char *uri, struct channel_uri *parsed, struct baton_error *error);

#endif
