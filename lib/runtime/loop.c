/* SPDX-License-Identifier: MIT */
/*
 * The loop: one thread that owns the engine. It takes events from a queue, steps the engine, and
 * carries out the actions, one event after the other.
 *
 * Results of actions (LOADED, FAULTS_READY, PREPARED) are stepped before the next event of the
 * queue and before the poster of the current one is let go, so that a reader which posted PACKAGE
 * goes on only when READY is on its way or the link is dying.
 *
 * When the library ends, links are killed and events are answered but no longer stepped, until no
 * thread is left.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/link.h"

uint64_t runtime_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- Posting ---- */

static void enqueue(struct baton *baton, struct post *post) /* with loop_lock */
{
    post->next = NULL;
    if (baton->queue_tail)
        baton->queue_tail->next = post;
    else
        baton->queue_head = post;
    baton->queue_tail = post;
    pthread_cond_signal(&baton->loop_wake);
}

int loop_post(struct baton *baton, const struct engine_event *event, const char *uri,
              struct baton_error *error)
{
    struct post post = {.event = *event, .error = error, .waits = true};

    if (uri)
        strncpy(post.uri, uri, sizeof(post.uri) - 1);
    pthread_mutex_lock(&baton->loop_lock);
    enqueue(baton, &post);
    while (!post.done)
        pthread_cond_wait(&baton->loop_done, &baton->loop_lock);
    pthread_mutex_unlock(&baton->loop_lock);
    return post.verdict;
}

void loop_post_last(struct baton *baton, const struct engine_event *event)
{
    struct post *post = calloc(1, sizeof(*post));

    if (!post)
        abort(); /* the engine would wait for this for ever; a few bytes were not to be had */
    post->event = *event;
    pthread_mutex_lock(&baton->loop_lock);
    enqueue(baton, post);
    pthread_mutex_unlock(&baton->loop_lock);
}

void loop_poke(struct baton *baton)
{
    pthread_mutex_lock(&baton->loop_lock);
    baton->poked = true;
    pthread_cond_signal(&baton->loop_wake);
    pthread_mutex_unlock(&baton->loop_lock);
}

void loop_result(struct baton *baton, const struct engine_event *event)
{
    if (baton->internal_count < sizeof(baton->internal) / sizeof(*baton->internal))
        baton->internal[baton->internal_count++] = *event;
}

/* ---- Stepping ---- */

static void step(struct baton *baton, struct engine_event *event)
{
    event->now_ns = runtime_now_ns();
    engine_step(&baton->engine, event, &baton->out);
    apply_actions(baton, &baton->out);
    query_update(baton);
}

static void step_results(struct baton *baton)
{
    while (baton->internal_count) {
        struct engine_event event = baton->internal[0];

        baton->internal_count--;
        memmove(baton->internal, baton->internal + 1,
                baton->internal_count * sizeof(*baton->internal));
        step(baton, &event);
    }
}

static void note_before(struct baton *baton, struct post *post)
{
    switch (post->event.type) {
    case ENGINE_EVENT_MIGRATE:
    case ENGINE_EVENT_RESUME:
        if (!baton->engine.dialing)
            memcpy(baton->dial_uri, post->uri, sizeof(baton->dial_uri));
        for (unsigned i = 0; i < BATON_CAPABILITY_COUNT; i++)
            baton->engine.capability[i] = atomic_load(&baton->capabilities[i]);
        break;
    case ENGINE_EVENT_DIALED:
    case ENGINE_EVENT_DIAL_FAILED:
        dial_join(baton);
        break;
    default:
        break;
    }
    baton->engine.downtime_limit_ns =
        atomic_load(&baton->parameters[BATON_PARAMETER_DOWNTIME_LIMIT]) * 1000000u;
}

static void forget_rested_link(struct baton *baton, const struct engine_event *event)
{
    struct link *link;

    if (event->type != ENGINE_EVENT_LINK_RESTS)
        return;
    link = link_find(baton, event->link);
    if (link)
        link_free(link);
}

static void serve(struct baton *baton, struct post *post, bool ending)
{
    if (!ending) {
        note_before(baton, post);
        step(baton, &post->event);
        post->verdict = -baton->out.verdict;
        if (baton->out.verdict)
            baton_error_set(post->error, baton->out.verdict, "%s", baton->out.refusal);
        step_results(baton);
    } else if (post->event.type == ENGINE_EVENT_DIALED) {
        struct link *link = link_find(baton, post->event.link);

        dial_join(baton);
        link_free(link);
    } else if (post->event.type == ENGINE_EVENT_DIAL_FAILED) {
        dial_join(baton);
    } else {
        post->verdict = baton_error_set(post->error, ESHUTDOWN, "the library is ending");
    }
    forget_rested_link(baton, &post->event);
}

/*
 * Connections that never said who they are cost a place; they get ten seconds, and there may be so
 * many of them, of which the newest stay. Those that were sent away get the same time to take their
 * last word. Returns when the next one is due, or 0.
 */
static uint64_t drop_strangers(struct baton *baton)
{
    uint64_t now_ns = runtime_now_ns(), due_ns = 0;
    unsigned strangers = 0;

    pthread_mutex_lock(&baton->links_lock);
    /* The list begins with the newest. */
    for (struct link *link = baton->links; link; link = link->next) {
        uint64_t end_ns = link->since_ns + RUNTIME_STRANGER_NS;

        if (link->role != BATON_ROLE_DEST || link->adopted || link->killed ||
            link->id == baton->engine.dest.pending_link)
            continue;
        strangers += !link->dropped;
        if (end_ns <= now_ns || strangers > RUNTIME_MAX_STRANGERS) {
            link->killed = true;
            link_quit(link);
        } else if (!due_ns || end_ns < due_ns) {
            due_ns = end_ns;
        }
    }
    pthread_mutex_unlock(&baton->links_lock);
    return due_ns;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return !a ? b : !b ? a : a < b ? a : b;
}

/* With loop_lock: waits for an event or for the deadline. NULL: the deadline has passed. */
static struct post *wait_for_post(struct baton *baton, uint64_t deadline_ns, bool ending)
{
    struct post *post;

    /* What the caller has seen already must not be waited for: `ending` may have been set since. */
    while (!baton->queue_head && !baton->poked && baton->ending == ending) {
        struct timespec at = {.tv_sec = (time_t)(deadline_ns / 1000000000u),
                              .tv_nsec = (long)(deadline_ns % 1000000000u)};

        if (!deadline_ns)
            pthread_cond_wait(&baton->loop_wake, &baton->loop_lock);
        else if (pthread_cond_timedwait(&baton->loop_wake, &baton->loop_lock, &at) == ETIMEDOUT)
            return NULL;
    }
    baton->poked = false;
    post = baton->queue_head;
    if (post) {
        baton->queue_head = post->next;
        if (!baton->queue_head)
            baton->queue_tail = NULL;
    }
    return post;
}

static void kill_links(struct baton *baton)
{
    struct link *link;

    pthread_mutex_lock(&baton->links_lock);
    for (link = baton->links; link; link = link->next) {
        fault_halt(baton, link);
        link_quit(link);
    }
    pthread_mutex_unlock(&baton->links_lock);
}

static bool is_quiet(struct baton *baton)
{
    bool quiet;

    pthread_mutex_lock(&baton->links_lock);
    quiet = !baton->links;
    pthread_mutex_unlock(&baton->links_lock);
    return quiet && !baton->dialing;
}

static void *loop_main(void *opaque)
{
    struct baton *baton = opaque;
    struct engine_event timeout = {.type = ENGINE_EVENT_TIMEOUT};

    pthread_mutex_lock(&baton->loop_lock);
    for (;;) {
        struct post *post;
        uint64_t deadline_ns;
        bool ending = baton->ending;

        pthread_mutex_unlock(&baton->loop_lock);
        deadline_ns = ending ? 0 : earlier(engine_deadline(&baton->engine), drop_strangers(baton));
        if (ending) {
            kill_links(baton);
            if (is_quiet(baton))
                return NULL;
        }
        pthread_mutex_lock(&baton->loop_lock);
        post = wait_for_post(baton, deadline_ns, ending);
        pthread_mutex_unlock(&baton->loop_lock);
        if (post) {
            serve(baton, post, ending);
        } else if (!ending) {
            step(baton, &timeout);
            step_results(baton);
        }
        pthread_mutex_lock(&baton->loop_lock);
        if (post && post->waits) {
            post->done = true;
            pthread_cond_broadcast(&baton->loop_done);
        } else {
            free(post);
        }
    }
}

int loop_start(struct baton *baton, struct baton_error *error)
{
    if (pthread_create(&baton->loop, NULL, loop_main, baton))
        return baton_error_set(error, EAGAIN, "cannot make a thread for the migration loop");
    return 0;
}

void loop_end(struct baton *baton)
{
    channel_dialer_cancel(&baton->dialer);
    pthread_mutex_lock(&baton->loop_lock);
    baton->ending = true;
    pthread_cond_signal(&baton->loop_wake);
    pthread_mutex_unlock(&baton->loop_lock);
    pthread_join(baton->loop, NULL);
}
