/* SPDX-License-Identifier: MIT */
/*
 * The table of the human monitor's commands.
 *
 * One row a command: its name in QEMU, its words, and the QMP command that does it. Parsing, help
 * and the documentation's test read this table; it is constant. No row does anything by itself:
 * what QMP refuses is refused here, in the same words.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "monitor/human.h"

/* ---- Where QMP wants another shape ---- */

static json_t *capability(struct qmp_context *context, json_t *words)
{
    const char *state = json_string_value(json_object_get(words, "state"));
    bool on = strcmp(state, "on") == 0;

    if (!on && strcmp(state, "off") != 0)
        return qmp_fail(context, "Expected 'on' or 'off', not '%.100s'", state);
    return json_pack("{s:[{s:O, s:b}]}", "capabilities", "capability",
                     json_object_get(words, "capability"), "state", on ? 1 : 0);
}

static bool is_parameter(const char *name)
{
    for (int i = 0; i < BATON_PARAMETER_COUNT; i++)
        if (strcmp(name, baton_parameter_name((enum baton_parameter)i)) == 0)
            return true;
    return false;
}

/* A number with a unit of bytes, if `units`; without one it is in units of 2^shift. */
static bool parse_number(const char *text, bool units, unsigned shift, uint64_t *value)
{
    static const char suffixes[] = "BKMGT";
    const char *suffix;
    char *rest;

    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    *value = strtoull(text, &rest, 10);
    if (errno)
        return false;
    if (units && *rest && (suffix = strchr(suffixes, *rest & ~0x20))) {
        shift = 10 * (unsigned)(suffix - suffixes);
        rest++;
    }
    if (*rest || *value > (uint64_t)INT64_MAX >> shift)
        return false;
    *value <<= shift;
    return true;
}

static json_t *parameter(struct qmp_context *context, json_t *words)
{
    const char *name = json_string_value(json_object_get(words, "parameter"));
    const char *text = json_string_value(json_object_get(words, "value"));
    bool is_size = strstr(name, "bandwidth") != NULL;
    /* QEMU takes a bare number for MiB in this one, and in this one only. */
    unsigned shift = strcmp(name, "max-bandwidth") == 0 ? 20 : 0;
    uint64_t value;

    if (!is_parameter(name))
        return qmp_fail(
            context,
            "There is no parameter '%.100s'; `info migrate_parameters` shows those that "
            "there are",
            name);
    if (!parse_number(text, is_size, shift, &value))
        return qmp_fail(context, "Parameter '%s' expects a number%s, not '%.100s'", name,
                        is_size ? ", perhaps with B, K, M, G or T behind it" : "", text);
    return json_pack("{s:o}", name, qmp_number(value));
}

/* ---- The table ---- */

const struct human_command human_commands[] = {
    {"help", "?", "[command]", "shows this list, or one command", NULL, {{0}}, NULL, NULL},
    {"info status",
     NULL,
     "",
     "whether the VM runs",
     "query-status",
     {{0}},
     NULL,
     human_show_status},
    {"info migrate",
     NULL,
     "",
     "how the migration stands",
     "query-migrate",
     {{0}},
     NULL,
     human_show_migrate},
    {"info migrate_capabilities",
     NULL,
     "",
     "the capabilities of migration",
     "query-migrate-capabilities",
     {{0}},
     NULL,
     human_show_capabilities},
    {"info migrate_parameters",
     NULL,
     "",
     "the parameters of migration",
     "query-migrate-parameters",
     {{0}},
     NULL,
     human_show_parameters},
    {"info version",
     NULL,
     "",
     "the version of Baton",
     "query-version",
     {{0}},
     NULL,
     human_show_version},
    {"stop", "s", "", "stops the VM's CPUs", "stop", {{0}}, NULL, NULL},
    {"cont", "c", "", "lets the VM's CPUs run", "cont", {{0}}, NULL, NULL},
    {"system_reset", NULL, "", "resets the VM", "system_reset", {{0}}, NULL, NULL},
    {"system_powerdown",
     NULL,
     "",
     "refused: the machine has no power button",
     "system_powerdown",
     {{0}},
     NULL,
     NULL},
    {"quit",
     "q",
     "[-f]",
     "ends the process, unless the VM would be lost with it (-f: even then)",
     "quit",
     {{'f', "force"}},
     NULL,
     NULL},
    {"migrate",
     NULL,
     "[-d] [-r] uri",
     "sends the VM to uri and waits for the end or a pause (-d: does not wait; -r: goes on with a "
     "paused migration)",
     "migrate",
     {{'d', "detach"}, {'r', "resume"}, {0, "uri"}},
     NULL,
     NULL},
    {"migrate_incoming",
     NULL,
     "uri",
     "listens at uri for a VM",
     "migrate-incoming",
     {{0, "uri"}},
     NULL,
     NULL},
    {"migrate_start_postcopy",
     NULL,
     "",
     "switches the running migration to postcopy",
     "migrate-start-postcopy",
     {{0}},
     NULL,
     NULL},
    {"migrate_pause",
     NULL,
     "",
     "breaks the link of a postcopy migration on purpose",
     "migrate-pause",
     {{0}},
     NULL,
     NULL},
    {"migrate_recover",
     NULL,
     "uri",
     "listens at uri for the source of a paused migration",
     "migrate-recover",
     {{0, "uri"}},
     NULL,
     NULL},
    {"migrate_cancel",
     NULL,
     "",
     "gives up the migration; the VM stays here",
     "migrate_cancel",
     {{0}},
     NULL,
     NULL},
    {"migrate_set_capability",
     NULL,
     "capability on|off",
     "switches a capability of migration",
     "migrate-set-capabilities",
     {{0, "capability"}, {0, "state"}},
     capability,
     NULL},
    {"migrate_set_parameter",
     NULL,
     "parameter value",
     "sets a parameter of migration (a bandwidth may have a unit: K, M, G; max-bandwidth without "
     "one is in MiB/s)",
     "migrate-set-parameters",
     {{0, "parameter"}, {0, "value"}},
     parameter,
     NULL},
    {0}};

const struct human_command *human_find(const char *name)
{
    for (const struct human_command *command = human_commands; command->name; command++)
        if (strcmp(command->name, name) == 0 ||
            (command->alias && strcmp(command->alias, name) == 0))
            return command;
    return NULL;
}

static bool is_about(const struct human_command *command, const char *topic)
{
    size_t length_bytes = strlen(topic);

    return human_find(topic) == command ||
           (strncmp(command->name, topic, length_bytes) == 0 && command->name[length_bytes] == ' ');
}

bool human_help(FILE *out, const char *topic)
{
    bool found = false;

    for (const struct human_command *command = human_commands; command->name; command++) {
        if (topic && !is_about(command, topic))
            continue;
        found = true;
        fprintf(out, "%s%s%s%s%s -- %s\n", command->name, command->alias ? "|" : "",
                command->alias ? command->alias : "", *command->parameters_text ? " " : "",
                command->parameters_text, command->help);
    }
    return found;
}
