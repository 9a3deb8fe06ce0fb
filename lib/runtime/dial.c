/* SPDX-License-Identifier: MIT */
/*
 * Dialing: a thread for one attempt, because connecting may hang for as long as it likes. It can be
 * called off at any moment. Its last act is to post DIALED, with a link that has no threads yet, or
 * DIAL_FAILED; the loop joins it then.
 */
#include <stdlib.h>
#include <string.h>

#include "runtime/link.h"

static void *dial_main(void *opaque)
{
    struct baton *baton = opaque;
    struct engine_event event = {.type = ENGINE_EVENT_DIAL_FAILED};
    struct channel *channel = NULL;
    struct link *link;

    if (channel_dial(baton->dial_uri, &baton->dialer, RUNTIME_DIAL_MS, &channel,
                     &baton->dial_error) < 0) {
        event.reason = baton->dial_error.text;
        loop_post_last(baton, &event);
        return NULL;
    }
    link = link_new(baton, BATON_ROLE_SOURCE, channel);
    if (!link)
        abort(); /* out of memory for a few kilobytes */
    event.type = ENGINE_EVENT_DIALED;
    event.link = link->id;
    loop_post_last(baton, &event);
    return NULL;
}

void dial_start(struct baton *baton)
{
    struct engine_event event = {.type = ENGINE_EVENT_DIAL_FAILED,
                                 .reason = "no thread to be had for connecting"};

    channel_dialer_rearm(&baton->dialer);
    baton->dialing = true;
    if (pthread_create(&baton->dial_thread, NULL, dial_main, baton)) {
        baton->dialing = false;
        loop_result(baton, &event);
    }
}

void dial_join(struct baton *baton)
{
    if (!baton->dialing)
        return;
    pthread_join(baton->dial_thread, NULL);
    baton->dialing = false;
}
