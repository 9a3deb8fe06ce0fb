/* SPDX-License-Identifier: MIT */
/*
 * Events on their way from the VM to the clients.
 *
 * Problem: events arise on the library's and the VM's own threads, which must not wait, must not
 * call back into the library, and may hold locks. Telling clients takes JSON, queries and sockets.
 *
 * Data: a ring of small records (a status brings the sentence that says why, on the heap), filled
 * by those threads and emptied by the server's thread, which does the rest.
 *
 * Invariants: order is kept; a record is taken once. Adding takes the ring's lock, which nobody
 * holds for longer than a copy, and nothing else.
 *
 * Failure: when the ring is full the newest event is lost and counted; the server says so on
 * stderr. Clients can always ask (query-migrate), so an event is a convenience and never the only
 * word.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "monitor/internal.h"

void qmp_events_init(struct qmp_event_queue *queue)
{
    pthread_mutex_init(&queue->lock, NULL);
    queue->first = queue->count = 0;
    queue->lost = 0;
}

void qmp_events_fini(struct qmp_event_queue *queue)
{
    for (; queue->count; queue->count--, queue->first++)
        free(queue->ring[queue->first % QMP_MAX_QUEUED_EVENTS].reason);
    pthread_mutex_destroy(&queue->lock);
}

void qmp_server_event(struct qmp_server *server, enum qmp_event_type type, uint64_t number,
                      const char *reason)
{
    struct qmp_event_queue *queue = &server->events;
    struct qmp_event event = {
        .type = type, .number = number, .reason = reason && *reason ? strdup(reason) : NULL};
    uint64_t one = 1;
    ssize_t written;

    clock_gettime(CLOCK_REALTIME, &event.when);
    pthread_mutex_lock(&queue->lock);
    if (queue->count < QMP_MAX_QUEUED_EVENTS) {
        queue->ring[(queue->first + queue->count++) % QMP_MAX_QUEUED_EVENTS] = event;
        event.reason = NULL;
    } else {
        queue->lost++;
    }
    pthread_mutex_unlock(&queue->lock);
    free(event.reason);
    written = write(server->wake_fd, &one, sizeof(one)); /* full: somebody else has woken it */
    (void)written;
}

bool qmp_events_take(struct qmp_event_queue *queue, struct qmp_event *out, uint64_t *lost)
{
    bool found;

    pthread_mutex_lock(&queue->lock);
    *lost = queue->lost;
    queue->lost = 0;
    found = queue->count > 0;
    if (found) {
        *out = queue->ring[queue->first];
        queue->first = (queue->first + 1) % QMP_MAX_QUEUED_EVENTS;
        queue->count--;
    }
    pthread_mutex_unlock(&queue->lock);
    return found;
}

static json_t *event_data(const struct qmp_event *event)
{
    json_t *data;

    switch (event->type) {
    case QMP_EVENT_STOP:
    case QMP_EVENT_RESUME:
        return NULL;
    case QMP_EVENT_RESET:
        return json_pack("{s:b, s:s}", "guest", event->number ? 0 : 1, "reason",
                         event->number ? "host-qmp-system-reset" : "guest-reset");
    case QMP_EVENT_SHUTDOWN_GUEST:
        return json_pack("{s:b, s:s}", "guest", 1, "reason", "guest-shutdown");
    case QMP_EVENT_SHUTDOWN_QUIT:
        return json_pack("{s:b, s:s}", "guest", 0, "reason", "host-qmp-quit");
    case QMP_EVENT_MIGRATION:
        data = json_pack("{s:s}", "status", baton_status_name((enum baton_status)event->number));
        if (event->reason)
            json_object_set_new(data, "x-baton-reason", qmp_text(event->reason));
        return data;
    case QMP_EVENT_MIGRATION_PASS:
        return json_pack("{s:o}", "pass", qmp_number(event->number));
    }
    return NULL;
}

static const char *event_name(enum qmp_event_type type)
{
    switch (type) {
    case QMP_EVENT_STOP:
        return "STOP";
    case QMP_EVENT_RESUME:
        return "RESUME";
    case QMP_EVENT_RESET:
        return "RESET";
    case QMP_EVENT_SHUTDOWN_GUEST:
    case QMP_EVENT_SHUTDOWN_QUIT:
        return "SHUTDOWN";
    case QMP_EVENT_MIGRATION:
        return "MIGRATION";
    case QMP_EVENT_MIGRATION_PASS:
        return "MIGRATION_PASS";
    }
    return "UNKNOWN";
}

char *qmp_event_text(struct baton *baton, const struct qmp_event *event)
{
    bool migration = event->type == QMP_EVENT_MIGRATION || event->type == QMP_EVENT_MIGRATION_PASS;
    json_t *message, *data;
    char *text;

    if (migration && !baton_get_capability(baton, BATON_CAPABILITY_EVENTS))
        return NULL;
    message = json_pack("{s:{s:I, s:I}, s:s}", "timestamp", "seconds",
                        (json_int_t)event->when.tv_sec, "microseconds",
                        (json_int_t)(event->when.tv_nsec / 1000), "event", event_name(event->type));
    data = event_data(event);
    if (data)
        json_object_set_new(message, "data", data);
    text = json_dumps(message, 0);
    json_decref(message);
    return text;
}
