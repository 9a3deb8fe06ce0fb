/* SPDX-License-Identifier: MIT */
/*
 * What the files of the QMP server share. Nothing here is seen outside of monitor/.
 */
#ifndef MONITOR_INTERNAL_H
#define MONITOR_INTERNAL_H

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "baton/baton.h"
#include "monitor/frame.h"
#include "monitor/qmp.h"

#define QMP_MAX_SESSIONS 32u
#define QMP_MAX_QUEUED_REQUESTS 16u
/* A client with more unread output than this gets no further command carried out until it has read.
 */
#define QMP_OUTPUT_MARK_BYTES (64u * 1024u)
/* With more unread events than this, or with unread output for this long, it is disconnected. */
#define QMP_MAX_EVENT_BYTES (1024u * 1024u)
#define QMP_STALL_NS (30 * 1000000000ull)
#define QMP_MAX_QUEUED_EVENTS 1024u
#define QMP_STOP_GRACE_NS 1000000000ull

/* ---- The VM, as the server sees it: vmm_machine behind a table, so that the server can be tested
 * without one ---- */

struct qmp_vm {
    struct baton *baton;
    void *opaque;
    /* QMP's RunState; what the migration makes of it is added here. */
    const char *(*runstate)(void *opaque);
    /* Guest-physical memory; may wait for missing pages as long as it takes. */
    int (*read_ram)(void *opaque, uint64_t gpa, void *buffer, size_t length_bytes,
                    struct baton_error *error);
    /* As if the reset button were pressed; carried out in the background. */
    int (*reset)(void *opaque, struct baton_error *error);
    void (*quit)(void *opaque); /* asks the process to end; returns at once */
};

/* ---- Events (events.c): from any thread, in order, without ever waiting ---- */

enum qmp_event_type {
    QMP_EVENT_STOP,
    QMP_EVENT_RESUME,
    QMP_EVENT_RESET, /* number: whether the host ordered it */
    QMP_EVENT_SHUTDOWN_GUEST,
    QMP_EVENT_SHUTDOWN_QUIT,
    QMP_EVENT_MIGRATION,      /* number: the enum baton_status */
    QMP_EVENT_MIGRATION_PASS, /* number: the pass */
};

struct qmp_event {
    enum qmp_event_type type;
    uint64_t number;
    char *reason; /* of a status; may be NULL; freed by whoever takes the event */
    struct timespec when;
};

struct qmp_event_queue {
    pthread_mutex_t lock; /* innermost */
    struct qmp_event ring[QMP_MAX_QUEUED_EVENTS];
    size_t first, count;
    uint64_t lost;
};

void qmp_events_init(struct qmp_event_queue *queue);
void qmp_events_fini(struct qmp_event_queue *queue);
bool qmp_events_take(struct qmp_event_queue *queue, struct qmp_event *out, uint64_t *lost);
/* The event as the text of one line; NULL when it is not to be shown. Freed by the caller. */
char *qmp_event_text(struct baton *baton, const struct qmp_event *event);

/* ---- The server (server.c) ---- */

struct qmp_session;
struct qmp_stdio;

#define QMP_MAX_LISTENERS 2u

/* A unix socket at which clients come in, and what is spoken with them. */
struct qmp_listener {
    const struct qmp_protocol *protocol;
    char *path;
    uint64_t device, inode;
    int fd;
};

/*
 * Lives until the last session has let go of it. Locks, outermost first: sessions_lock, a session's
 * lock, events.lock.
 */
struct qmp_server {
    struct qmp_vm vm;
    int wake_fd;
    /* Made by the thread that owns the server; an entry below the count does not change. */
    struct qmp_listener listeners[QMP_MAX_LISTENERS];
    atomic_uint listener_count;
    struct qmp_stdio *stdio; /* the owner's; NULL: none */
    uint64_t stall_ns;
    pthread_t thread;
    atomic_uint references;
    atomic_bool stopping; /* no new client; a command that waits for RAM gives up where it can */
    atomic_bool ending;   /* the last event is handed out: sessions end */
    struct qmp_event_queue events;
    pthread_mutex_t
        ram_lock; /* one reader of guest RAM at a time: the VM knows one waiting monitor */
    pthread_mutex_t sessions_lock;
    pthread_cond_t sessions_changed;
    struct qmp_session *sessions;
    unsigned session_count;
    uint64_t next_number;
};

/* Without a path: no socket yet. */
int qmp_server_open(const struct qmp_vm *vm, const char *path, struct qmp_server **out,
                    struct baton_error *error);
int qmp_server_listen(struct qmp_server *server, const struct qmp_protocol *protocol,
                      const char *path, struct baton_error *error);
void qmp_server_close(struct qmp_server *server);
/* `reason` is copied; NULL: none. */
void qmp_server_event(struct qmp_server *server, enum qmp_event_type type, uint64_t number,
                      const char *reason);
void qmp_server_put(struct qmp_server *server); /* gives a reference back */

/* The unix socket's file (socket.c). */
int qmp_socket_listen(const char *path, uint64_t *device, uint64_t *inode,
                      struct baton_error *error);
void qmp_socket_remove(const char *path, uint64_t device, uint64_t inode);

/* stdin and stdout as a client (stdio.c): *fd is the session's end. */
int qmp_stdio_open(struct qmp_stdio **out, int *fd, struct baton_error *error);
void qmp_stdio_close(struct qmp_stdio *stdio); /* after the session's end is closed; NULL is fine */

/* ---- One client (session.c) ---- */

struct qmp_request {
    struct qmp_request *next;
    json_t *
        message; /* the command as it came (human: the line); NULL: the error below is the answer */
    char error[BATON_ERROR_TEXT_BYTES];
};

/* What is spoken with a client: JSON (dispatch.c) or lines for people (human.c). */
struct qmp_protocol {
    const char *line_end;      /* put behind all that is sent */
    const char *out_of_memory; /* an answer when memory is short */
    char *(*greeting)(void);   /* freed by the caller; NULL: memory is short */
    enum qmp_frame_result (*cut)(struct qmp_frame *frame, const char *bytes, size_t length_bytes,
                                 size_t *used);
    void (*parse)(struct qmp_request *request, const struct qmp_frame *frame,
                  enum qmp_frame_result result);
    /* Carries out a command and gives the answer. Freed by the caller; NULL only when memory is
     * short. */
    char *(*answer)(struct qmp_session *session, const struct qmp_request *request,
                    bool out_of_band, bool *quit);
};

extern const struct qmp_protocol qmp_protocol_json, qmp_protocol_human;

struct qmp_session {
    struct qmp_session *next; /* under the server's sessions_lock */
    struct qmp_server *server;
    const struct qmp_protocol *protocol;
    uint64_t number; /* for people */
    int fd, wake_fd;
    atomic_uint references;
    atomic_bool negotiated, oob; /* set by the worker, once */

    /* Of the I/O thread alone. */
    struct qmp_frame frame;
    bool end_of_input;

    pthread_mutex_t lock; /* for all below */
    pthread_cond_t changed;
    struct qmp_request *first, **last;
    unsigned queued;
    bool working;       /* the worker carries out a command */
    bool closing;       /* no more commands */
    const char *reject; /* why the client is to be disconnected */
    char *output;
    size_t output_first, output_bytes, output_capacity;
    size_t event_bytes; /* of events, since there was no output last */
};

int qmp_session_start(struct qmp_server *server, const struct qmp_protocol *protocol, int fd,
                      struct baton_error *error);
bool qmp_session_is_ending(struct qmp_session *session); /* or the server is */
void qmp_session_event(struct qmp_session *session, const char *text);
void qmp_session_wake(struct qmp_session *session);

/* ---- Commands ---- */

struct qmp_context {
    struct qmp_server *server;
    struct qmp_session *session;
    const char *error_class;
    struct baton_error error;
    bool quit; /* ask the VM's process to end once the answer is on its way */
};

enum qmp_type { QMP_STRING, QMP_BOOL, QMP_UINT, QMP_ARRAY };

struct qmp_argument {
    const char *name;
    enum qmp_type type;
    bool optional;
    const char *help; /* may be NULL */
};

#define QMP_ALLOW_OOB 1u
#define QMP_BEFORE_NEGOTIATION 2u
#define QMP_OF_MIGRATION 4u /* where it stands in the documentation */
#define QMP_MAX_ARGUMENTS 4u

struct qmp_command {
    const char *name;
    const char *help;
    unsigned flags;
    /* A new reference; or NULL with the context's error filled. `arguments` holds only what the row
     * allows, of the right type. */
    json_t *(*run)(struct qmp_context *context, json_t *arguments);
    struct qmp_argument arguments[QMP_MAX_ARGUMENTS + 1]; /* up to one without a name */
};

extern const struct qmp_command qmp_commands[];

/* dispatch.c */
const struct qmp_command *qmp_find_command(const char *name);
/* Whether it is to be carried out at once, on the I/O thread, instead of in its turn. */
bool qmp_is_out_of_band(const struct qmp_session *session, const json_t *message);
/* Holds the arguments against the command's row and carries it out. A new reference; or NULL with
 * the context's error filled. */
json_t *qmp_call(struct qmp_context *context, const struct qmp_command *command, json_t *given);
/* A new string for the documentation: `name`: type, optional, help; ... */
char *qmp_arguments_text(const struct qmp_command *command);
json_t *qmp_fail(struct qmp_context *context, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
json_t *qmp_done(struct qmp_context *context, int status); /* {} or the error */
json_t *qmp_text(const char *text); /* a JSON string, whatever the bytes are */
json_t *qmp_number(uint64_t value); /* JSON's integers end at INT64_MAX here */
json_t *qmp_version(void);
bool qmp_array_member(struct qmp_context *context, json_t *array, size_t index,
                      const char *array_name, json_t **name, json_t **state);

/* The handlers: machine_commands.c, order.c, query_migrate.c. */
json_t *qmp_run_capabilities(struct qmp_context *context, json_t *arguments);
json_t *qmp_run_query_version(struct qmp_context *context, json_t *arguments);
json_t *qmp_run_query_commands(struct qmp_context *context, json_t *arguments);
json_t *qmp_run_query_status(struct qmp_context *context, json_t *arguments);
json_t *qmp_run_stop(struct qmp_context *context, json_t *arguments);
json_t *qmp_run_cont(struct qmp_context *context, json_t *arguments);
json_t *qmp_run_quit(struct qmp_context *context, json_t *arguments);
json_t *qmp_run_system_reset(struct qmp_context *context, json_t *arguments);
json_t *qmp_run_system_powerdown(struct qmp_context *context, json_t *arguments);
json_t *qmp_run_pmemsave(struct qmp_context *context, json_t *arguments);
json_t *qmp_run_device_state(struct qmp_context *context, json_t *arguments);

json_t *qmp_run_migrate(struct qmp_context *context, json_t *arguments);
json_t *qmp_run_migrate_incoming(struct qmp_context *context, json_t *arguments);
json_t *qmp_run_migrate_cancel(struct qmp_context *context, json_t *arguments);
json_t *qmp_run_migrate_start_postcopy(struct qmp_context *context, json_t *arguments);
json_t *qmp_run_migrate_pause(struct qmp_context *context, json_t *arguments);
json_t *qmp_run_migrate_recover(struct qmp_context *context, json_t *arguments);
json_t *qmp_run_set_capabilities(struct qmp_context *context, json_t *arguments);
json_t *qmp_run_query_capabilities(struct qmp_context *context, json_t *arguments);
json_t *qmp_run_set_parameters(struct qmp_context *context, json_t *arguments);
json_t *qmp_run_query_parameters(struct qmp_context *context, json_t *arguments);

json_t *qmp_run_received_map(struct qmp_context *context, json_t *arguments); /* received_map.c */
json_t *qmp_run_query_migrate(struct qmp_context *context, json_t *arguments);
json_t *qmp_run_human(struct qmp_context *context, json_t *arguments); /* human.c */

#endif
