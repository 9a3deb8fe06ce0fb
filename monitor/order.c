/* SPDX-License-Identifier: MIT */
/*
 * Orders to the migration: one call of the library each.
 *
 * The library says whether an order may be carried out and why not; its sentence goes to the client
 * as it is. The two commands that set several things at once set all of them or none: what was set
 * before the one that failed is put back.
 */
#include <string.h>

#include "monitor/internal.h"

static const char *uri_of(json_t *arguments)
{
    return json_string_value(json_object_get(arguments, "uri"));
}

json_t *qmp_run_migrate(struct qmp_context *context, json_t *arguments)
{
    bool resume = json_is_true(json_object_get(arguments, "resume"));

    return qmp_done(context, baton_migrate(context->server->vm.baton, uri_of(arguments), resume,
                                           &context->error));
}

json_t *qmp_run_migrate_incoming(struct qmp_context *context, json_t *arguments)
{
    return qmp_done(context,
                    baton_incoming(context->server->vm.baton, uri_of(arguments), &context->error));
}

json_t *qmp_run_migrate_cancel(struct qmp_context *context, json_t *arguments)
{
    return qmp_done(context, baton_cancel(context->server->vm.baton, &context->error));
}

json_t *qmp_run_migrate_start_postcopy(struct qmp_context *context, json_t *arguments)
{
    return qmp_done(context, baton_start_postcopy(context->server->vm.baton, &context->error));
}

json_t *qmp_run_migrate_pause(struct qmp_context *context, json_t *arguments)
{
    return qmp_done(context, baton_pause(context->server->vm.baton, &context->error));
}

json_t *qmp_run_migrate_recover(struct qmp_context *context, json_t *arguments)
{
    return qmp_done(context,
                    baton_recover(context->server->vm.baton, uri_of(arguments), &context->error));
}

static int find_capability(const char *name)
{
    for (int i = 0; i < BATON_CAPABILITY_COUNT; i++)
        if (strcmp(name, baton_capability_name((enum baton_capability)i)) == 0)
            return i;
    return -1;
}

json_t *qmp_run_set_capabilities(struct qmp_context *context, json_t *arguments)
{
    struct baton *baton = context->server->vm.baton;
    json_t *list = json_object_get(arguments, "capabilities"), *name, *state;
    bool old[BATON_CAPABILITY_COUNT];

    for (size_t i = 0; i < json_array_size(list); i++) {
        if (!qmp_array_member(context, list, i, "capabilities", &name, &state))
            return NULL;
        if (find_capability(json_string_value(name)) < 0)
            return qmp_fail(context, "Parameter 'capability' does not accept value '%.200s'",
                            json_string_value(name));
    }
    for (int i = 0; i < BATON_CAPABILITY_COUNT; i++)
        old[i] = baton_get_capability(baton, (enum baton_capability)i);
    for (size_t i = 0; i < json_array_size(list); i++) {
        int capability, result;

        qmp_array_member(context, list, i, "capabilities", &name, &state);
        capability = find_capability(json_string_value(name));
        result = baton_set_capability(baton, (enum baton_capability)capability, json_is_true(state),
                                      &context->error);
        if (result < 0) {
            for (int k = 0; k < BATON_CAPABILITY_COUNT; k++)
                if (baton_get_capability(baton, (enum baton_capability)k) != old[k])
                    baton_set_capability(baton, (enum baton_capability)k, old[k], NULL);
            return qmp_done(context, result);
        }
    }
    return json_object();
}

json_t *qmp_run_query_capabilities(struct qmp_context *context, json_t *arguments)
{
    json_t *list = json_array();

    for (int i = 0; i < BATON_CAPABILITY_COUNT; i++) {
        enum baton_capability capability = (enum baton_capability)i;
        bool on = baton_get_capability(context->server->vm.baton, capability);

        json_array_append_new(list,
                              json_pack("{s:s, s:b}", "capability",
                                        baton_capability_name(capability), "state", on ? 1 : 0));
    }
    return list;
}

json_t *qmp_run_set_parameters(struct qmp_context *context, json_t *arguments)
{
    struct baton *baton = context->server->vm.baton;
    uint64_t old[BATON_PARAMETER_COUNT];

    for (int i = 0; i < BATON_PARAMETER_COUNT; i++)
        old[i] = baton_get_parameter(baton, (enum baton_parameter)i);
    for (int i = 0; i < BATON_PARAMETER_COUNT; i++) {
        enum baton_parameter parameter = (enum baton_parameter)i;
        json_t *value = json_object_get(arguments, baton_parameter_name(parameter));
        int result;

        if (!value)
            continue;
        result = baton_set_parameter(baton, parameter, (uint64_t)json_integer_value(value),
                                     &context->error);
        if (result < 0) {
            while (i-- > 0)
                baton_set_parameter(baton, (enum baton_parameter)i, old[i], NULL);
            return qmp_done(context, result);
        }
    }
    return json_object();
}

json_t *qmp_run_query_parameters(struct qmp_context *context, json_t *arguments)
{
    json_t *object = json_object();

    for (int i = 0; i < BATON_PARAMETER_COUNT; i++) {
        enum baton_parameter parameter = (enum baton_parameter)i;

        json_object_set_new(object, baton_parameter_name(parameter),
                            qmp_number(baton_get_parameter(context->server->vm.baton, parameter)));
    }
    return object;
}
