/* SPDX-License-Identifier: MIT */
/* Names of everything that the engine can show, for traces and for people. Each table is as long as
 * its enum, or does not compile. */
#include "engine/engine.h"

#include <stddef.h>

static const char *const event_names[] = {
#define E(name, text) #name,
    ENGINE_EVENTS(E)
#undef E
};
_Static_assert(sizeof(event_names) / sizeof(*event_names) == ENGINE_EVENT_COUNT, "event names");

static const char *const action_names[] = {
#define A(name, text) #name,
    ENGINE_ACTIONS(A)
#undef A
};
_Static_assert(sizeof(action_names) / sizeof(*action_names) == ENGINE_ACTION_COUNT, "action names");

static const char *const message_names[] = {
#define M(name, text) #name,
    ENGINE_MESSAGES(M)
#undef M
};
_Static_assert(sizeof(message_names) / sizeof(*message_names) == ENGINE_MESSAGE_COUNT,
               "message names");

static const char *const status_names[] = {
    "none",
    "setup",
    "active",
    "device",
    "postcopy-device",
    "postcopy-active",
    "postcopy-paused",
    "postcopy-recover-setup",
    "postcopy-recover",
    "completed",
    "failed",
    "cancelling",
    "cancelled",
};
_Static_assert(sizeof(status_names) / sizeof(*status_names) == BATON_STATUS_COUNT, "status names");

static const char *const capability_names[] = {"postcopy-ram", "x-postcopy-fast", "return-path",
                                               "events"};
_Static_assert(sizeof(capability_names) / sizeof(*capability_names) == BATON_CAPABILITY_COUNT,
               "capability names");

static const char *const parameter_names[] = {"max-bandwidth", "max-postcopy-bandwidth",
                                              "downtime-limit"};
_Static_assert(sizeof(parameter_names) / sizeof(*parameter_names) == BATON_PARAMETER_COUNT,
               "parameter names");

static const char *const faults_names[] = {"auto", "userfaultfd", "software"};
_Static_assert(sizeof(faults_names) / sizeof(*faults_names) == BATON_FAULTS_COUNT, "faults names");

const char *baton_faults_name(enum baton_faults faults)
{
    return faults_names[faults];
}

const char *engine_event_name(enum engine_event_type type)
{
    return event_names[type];
}

const char *engine_action_name(enum engine_action_type type)
{
    return action_names[type];
}

const char *engine_message_name(enum engine_message message)
{
    return message_names[message];
}

const char *baton_status_name(enum baton_status status)
{
    return status_names[status];
}

const char *baton_capability_name(enum baton_capability capability)
{
    return capability_names[capability];
}

const char *baton_parameter_name(enum baton_parameter parameter)
{
    return parameter_names[parameter];
}
