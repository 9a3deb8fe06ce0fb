/* SPDX-License-Identifier: MIT */
/*
 * `baton set`: capabilities (on, off) and parameters (numbers) of a migration, by the names that
 * QMP has for them.
 *
 * The names are the monitor's business: this command does not know them, so that it can set
 * whatever a QEMU knows. All settings of one kind go in one order, which the monitor carries out
 * whole or not at all.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/cmd.h"
#include "cmd/qmp_client.h"

static const char help[] =
    "Usage: baton set [--json] --qmp SOCK NAME=VALUE...\n"
    "Sets migration capabilities (VALUE on or off) and parameters (VALUE a number, which may end "
    "in K,\n"
    "M or G). To be set before the migration begins; postcopy-ram on both sides.\n"
    "\n"
    "  postcopy-ram=on|off            allow `baton postcopy`\n"
    "  x-postcopy-fast=on|off         switch to postcopy at once, without a precopy pass\n"
    "  events=on|off                  MIGRATION events in the monitor\n"
    "  max-bandwidth=BYTES            per second, in precopy; 0: no limit\n"
    "  max-postcopy-bandwidth=BYTES   per second, in postcopy; 0: no limit\n"
    "  downtime-limit=MS              how long the VM may stand still for the last of precopy\n"
    "\n"
    "  --qmp SOCK     the monitor's socket: Baton's or QEMU's, which knows more names\n"
    "  --json         print the outcome as an object: {\"result\": \"done\"} or \"error\"\n"
    "  --timeout S    how long the monitor may take for an answer (default 10)\n"
    "\n"
    "Exit codes: 0 set, 1 error or refused, 2 usage.\n";

static bool parse_number(const char *text, json_int_t *out)
{
    unsigned shift = 0;
    long long value;
    char *end;

    errno = 0;
    if (!isdigit((unsigned char)*text))
        return false;
    value = strtoll(text, &end, 10);
    if (errno)
        return false;
    if (*end == 'K' || *end == 'k')
        shift = 10;
    else if (*end == 'M' || *end == 'm')
        shift = 20;
    else if (*end == 'G' || *end == 'g')
        shift = 30;
    if (shift)
        end++;
    if (*end || value > INT64_MAX >> shift)
        return false;
    *out = value << shift;
    return true;
}

/* Sorts one NAME=VALUE into the two; false when it is neither. */
static bool sort_setting(const char *setting, json_t *capabilities, json_t *parameters)
{
    const char *equals = strchr(setting, '='), *value = equals ? equals + 1 : NULL;
    char name[64];
    json_int_t number;

    if (!equals || equals == setting || (size_t)(equals - setting) >= sizeof(name))
        return false;
    snprintf(name, sizeof(name), "%.*s", (int)(equals - setting), setting);
    if (strcmp(value, "on") == 0 || strcmp(value, "off") == 0)
        return json_array_append_new(capabilities, json_pack("{s:s, s:b}", "capability", name,
                                                             "state", strcmp(value, "on") == 0)) ==
               0;
    return parse_number(value, &number) &&
           json_object_set_new(parameters, name, json_integer(number)) == 0;
}

/* ---- A capability given a number, or a parameter given on or off ---- */

static json_t *ask(struct qmp_client *client, const char *name)
{
    struct baton_error error = {0};

    return qmp_client_call(client, name, NULL, false, &error);
}

static const char *capability_name(const json_t *entry)
{
    const char *name = json_string_value(json_object_get(entry, "capability"));

    return name ? name : "";
}

static void hint_parameters(struct qmp_client *client, const json_t *capabilities,
                            struct baton_error *error)
{
    json_t *known = ask(client, "query-migrate-parameters"), *entry;
    size_t i;

    json_array_foreach(capabilities, i, entry)
    {
        const char *name = capability_name(entry);

        if (json_object_get(known, name)) {
            baton_error_set(error, EINVAL,
                            "%s is a parameter, not a capability: give it a number, not on or off",
                            name);
            break;
        }
    }
    json_decref(known);
}

static void hint_capabilities(struct qmp_client *client, const json_t *parameters,
                              struct baton_error *error)
{
    json_t *known = ask(client, "query-migrate-capabilities"), *entry;
    size_t i;

    json_array_foreach(known, i, entry)
    {
        const char *name = capability_name(entry);

        if (json_object_get(parameters, name)) {
            baton_error_set(error, EINVAL, "%s is a capability: set it on or off, not to a number",
                            name);
            break;
        }
    }
    json_decref(known);
}

/* ---- Setting ---- */

static bool apply(struct qmp_client *client, json_t *capabilities, json_t *parameters,
                  struct baton_error *error)
{
    json_t *answer;

    if (json_array_size(capabilities)) {
        answer = qmp_client_call(client, "migrate-set-capabilities",
                                 json_pack("{s:O}", "capabilities", capabilities), false, error);
        if (!answer && error->code == EREMOTEIO)
            hint_parameters(client, capabilities, error);
        json_decref(answer);
        if (!answer)
            return false;
    }
    if (!json_object_size(parameters))
        return true;
    answer =
        qmp_client_call(client, "migrate-set-parameters", json_incref(parameters), false, error);
    if (!answer && error->code == EREMOTEIO)
        hint_capabilities(client, parameters, error);
    json_decref(answer);
    return answer != NULL;
}

static int apply_all(const struct cmd_options *options, json_t *capabilities, json_t *parameters,
                     const char *argv0)
{
    struct baton_error error = {0};
    struct qmp_client *client;
    bool done;

    if (qmp_client_open(options->qmp, options->timeout_ms, &client, &error) < 0)
        return cmd_fail(options, argv0, error.text);
    done = apply(client, capabilities, parameters, &error);
    qmp_client_close(client);
    return done ? cmd_end(options, "done", CMD_DONE, NULL) : cmd_fail(options, argv0, error.text);
}

int cmd_set(int argc, char **argv)
{
    struct cmd_options options;
    json_t *capabilities, *parameters;
    int code = cmd_parse(argc, argv, CMD_TAKES_LIST, help, &options);

    if (code >= 0)
        return code;
    capabilities = json_array();
    parameters = json_object();
    for (int i = options.rest; i < argc && code < 0; i++)
        if (!sort_setting(argv[i], capabilities, parameters)) {
            cmd_complain(argv[0], "'%s' is no NAME=on, NAME=off or NAME=NUMBER", argv[i]);
            code = CMD_USAGE;
        }
    if (code < 0)
        code = apply_all(&options, capabilities, parameters, argv[0]);
    json_decref(capabilities);
    json_decref(parameters);
    return code;
}
