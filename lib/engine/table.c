/* SPDX-License-Identifier: MIT */
/*
 * The transition table. Each row of transitions.def becomes an enumerator and a designated
 * initialiser: a doubled row defines the enumerator twice, and a missing one is missed by the
 * checks at the end, which name every (state, event) pair of each role. Neither compiles.
 */
#include "engine/table.h"

#include <stddef.h>

#define STATES_OF(X, event)                                                                        \
    X(none, event)                                                                                 \
    X(setup, event)                                                                                \
    X(active, event)                                                                               \
    X(device, event)                                                                               \
    X(postcopy_device, event)                                                                      \
    X(postcopy_active, event)                                                                      \
    X(postcopy_paused, event)                                                                      \
    X(postcopy_recover_setup, event)                                                               \
    X(postcopy_recover, event)                                                                     \
    X(completed, event)                                                                            \
    X(failed, event)                                                                               \
    X(cancelling, event)                                                                           \
    X(cancelled, event)

#define SOURCE_EVENTS(E)                                                                           \
    E(MIGRATE)                                                                                     \
    E(RESUME)                                                                                      \
    E(START_POSTCOPY)                                                                              \
    E(PAUSE)                                                                                       \
    E(CANCEL)                                                                                      \
    E(STOP)                                                                                        \
    E(HALT)                                                                                        \
    E(CONT)                                                                                        \
    E(DIALED)                                                                                      \
    E(DIAL_FAILED)                                                                                 \
    E(LINK_LOST)                                                                                   \
    E(LINK_RESTS)                                                                                  \
    E(TIMEOUT)                                                                                     \
    E(CLOSED)                                                                                      \
    E(HELLO_DEST)                                                                                  \
    E(PONG)                                                                                        \
    E(HELLO_ACK)                                                                                   \
    E(BARRIER_ACK)                                                                                 \
    E(READY)                                                                                       \
    E(BITMAP)                                                                                      \
    E(RESUME_ACK)                                                                                  \
    E(COMPLETE)                                                                                    \
    E(SHUT)                                                                                        \
    E(FAULT)                                                                                       \
    E(PASS_DONE)                                                                                   \
    E(RUN_WRITTEN)                                                                                 \
    E(ALL_SENT)                                                                                    \
    E(PREPARED)

#define DEST_EVENTS(E)                                                                             \
    E(INCOMING)                                                                                    \
    E(RECOVER)                                                                                     \
    E(PAUSE)                                                                                       \
    E(CANCEL)                                                                                      \
    E(STOP)                                                                                        \
    E(HALT)                                                                                        \
    E(CONT)                                                                                        \
    E(LINK_LOST)                                                                                   \
    E(LINK_RESTS)                                                                                  \
    E(TIMEOUT)                                                                                     \
    E(ONE_WAY)                                                                                     \
    E(PING_HELLO)                                                                                  \
    E(HELLO_SOURCE)                                                                                \
    E(PING)                                                                                        \
    E(ADVISE)                                                                                      \
    E(RAM_START)                                                                                   \
    E(BARRIER)                                                                                     \
    E(DISCARD)                                                                                     \
    E(PACKAGE)                                                                                     \
    E(RUN)                                                                                         \
    E(STREAM_END)                                                                                  \
    E(BITMAP_REQUEST)                                                                              \
    E(RESUME_REQUEST)                                                                              \
    E(VOID)                                                                                        \
    E(BYE)                                                                                         \
    E(FAULTS_READY)                                                                                \
    E(LOADED)

/* The names of transitions.def as numbers. */
enum {
    STATE_none = BATON_STATUS_NONE,
    STATE_setup = BATON_STATUS_SETUP,
    STATE_active = BATON_STATUS_ACTIVE,
    STATE_device = BATON_STATUS_DEVICE,
    STATE_postcopy_device = BATON_STATUS_POSTCOPY_DEVICE,
    STATE_postcopy_active = BATON_STATUS_POSTCOPY_ACTIVE,
    STATE_postcopy_paused = BATON_STATUS_POSTCOPY_PAUSED,
    STATE_postcopy_recover_setup = BATON_STATUS_POSTCOPY_RECOVER_SETUP,
    STATE_postcopy_recover = BATON_STATUS_POSTCOPY_RECOVER,
    STATE_completed = BATON_STATUS_COMPLETED,
    STATE_failed = BATON_STATUS_FAILED,
    STATE_cancelling = BATON_STATUS_CANCELLING,
    STATE_cancelled = BATON_STATUS_CANCELLED
};
#define COUNT_STATE(state, event) +1
_Static_assert(STATES_OF(COUNT_STATE, ) == BATON_STATUS_COUNT, "a status is missing in STATES_OF");

#define IGNORE engine_ignore
#define IMPOSSIBLE engine_impossible

static engine_handler *const source_rows[BATON_STATUS_COUNT][ENGINE_EVENT_COUNT] = {
#define SOURCE(state, event, handler) [STATE_##state][ENGINE_EVENT_##event] = handler,
#include "engine/transitions.def"
};

static engine_handler *const dest_rows[BATON_STATUS_COUNT][ENGINE_EVENT_COUNT] = {
#define DEST(state, event, handler) [STATE_##state][ENGINE_EVENT_##event] = handler,
#include "engine/transitions.def"
};

/* Doubled rows: an enumerator cannot be defined twice. */
enum {
#define SOURCE(state, event, handler) SOURCE_ROW_##state##_##event = 1,
#define DEST(state, event, handler) DEST_ROW_##state##_##event = 1,
#include "engine/transitions.def"
};

/* Missing rows: each pair is named. */
#define CHECK_SOURCE(state, event) &&SOURCE_ROW_##state##_##event
#define CHECK_DEST(state, event) &&DEST_ROW_##state##_##event
#define CHECK_SOURCE_EVENT(event)                                                                  \
    _Static_assert(1 STATES_OF(CHECK_SOURCE, event), "a row is missing");
#define CHECK_DEST_EVENT(event) _Static_assert(1 STATES_OF(CHECK_DEST, event), "a row is missing");
SOURCE_EVENTS(CHECK_SOURCE_EVENT)
DEST_EVENTS(CHECK_DEST_EVENT)

engine_handler *engine_table_row(enum baton_role role, enum baton_status status,
                                 enum engine_event_type event)
{
    return role == BATON_ROLE_DEST ? dest_rows[status][event] : source_rows[status][event];
}
