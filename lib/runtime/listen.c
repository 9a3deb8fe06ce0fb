/* SPDX-License-Identifier: MIT */
/*
 * Listening: a thread for each address. A connection gets its threads at once, but it is nobody's
 * link until it has said a valid hello (lib/engine/dest_hello.c); how many such strangers there may
 * be, and for how long, is the loop's business.
 *
 * Listeners stay open as long as a source may come: from `migrate-incoming` until the source has
 * said BYE.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/link.h"

static void *listen_main(void *opaque)
{
    struct listening *listening = opaque;
    struct channel *channel;

    while (channel_listener_accept(listening->listener, &channel, NULL) == 0) {
        struct link *link = link_new(listening->baton, BATON_ROLE_DEST, channel);

        if (link)
            link_start(link);
        else
            channel_close(channel);
        loop_poke(listening->baton);
    }
    return NULL;
}

int listen_open(struct baton *baton, const char *uri, struct channel_listener **out,
                struct baton_error *error)
{
    bool full;

    pthread_mutex_lock(&baton->listeners_lock);
    full = baton->listener_count == BATON_MAX_ADDRESSES;
    pthread_mutex_unlock(&baton->listeners_lock);
    if (full)
        return baton_error_set(error, ENOSPC,
                               "listening at %d addresses already, no more than that",
                               BATON_MAX_ADDRESSES);
    return channel_listener_open(uri, out, error);
}

int listen_start(struct baton *baton, const char *uri, struct channel_listener *listener,
                 struct baton_error *error)
{
    struct listening *listening = calloc(1, sizeof(*listening));
    int result = 0;

    pthread_mutex_lock(&baton->listeners_lock);
    if (!listening) {
        result = baton_error_set(error, ENOMEM, "no memory for another listener");
    } else if (baton->listener_count == BATON_MAX_ADDRESSES) {
        result = baton_error_set(error, ENOSPC, "listening at too many addresses already");
    } else {
        listening->baton = baton;
        listening->listener = listener;
        snprintf(listening->uri, sizeof(listening->uri), "%s", uri);
        if (pthread_create(&listening->thread, NULL, listen_main, listening))
            result = baton_error_set(error, EAGAIN, "no thread to be had for listening");
        else
            baton->listeners[baton->listener_count++] = listening;
    }
    pthread_mutex_unlock(&baton->listeners_lock);
    if (result < 0) {
        free(listening);
        channel_listener_close(listener);
    }
    return result;
}

bool listen_has(struct baton *baton, const char *uri)
{
    bool found = false;

    pthread_mutex_lock(&baton->listeners_lock);
    for (unsigned i = 0; i < baton->listener_count; i++)
        if (strcmp(baton->listeners[i]->uri, uri) == 0 ||
            strcmp(channel_listener_uri(baton->listeners[i]->listener), uri) == 0)
            found = true;
    pthread_mutex_unlock(&baton->listeners_lock);
    return found;
}

/* Whoever takes the listeners out of the table closes them: the loop and baton_free() may come at
 * the same time. */
void listen_close_all(struct baton *baton)
{
    struct listening *taken[BATON_MAX_ADDRESSES];
    unsigned count;

    pthread_mutex_lock(&baton->listeners_lock);
    count = baton->listener_count;
    baton->listener_count = 0;
    memcpy(taken, baton->listeners, sizeof(taken));
    pthread_mutex_unlock(&baton->listeners_lock);
    for (unsigned i = 0; i < count; i++) {
        channel_listener_shutdown(taken[i]->listener);
        pthread_join(taken[i]->thread, NULL);
        channel_listener_close(taken[i]->listener);
        free(taken[i]);
    }
}

void listen_list(struct baton *baton, struct baton_info *info)
{
    pthread_mutex_lock(&baton->listeners_lock);
    info->address_count = baton->listener_count;
    for (unsigned i = 0; i < baton->listener_count; i++)
        snprintf(info->addresses[i], sizeof(info->addresses[i]), "%s",
                 channel_listener_uri(baton->listeners[i]->listener));
    pthread_mutex_unlock(&baton->listeners_lock);
}
