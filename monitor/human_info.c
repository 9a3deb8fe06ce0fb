/* SPDX-License-Identifier: MIT */
/*
 * Answers for people: the objects that QMP's queries return, as lines.
 *
 * The words are those of QEMU's `info` where it has one, so that scripts which read them go on
 * working; what is ours follows under its own name. A field that is not in the answer is not shown.
 */
#include <stdlib.h>
#include <string.h>

#include "monitor/human.h"

static const char *string_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text ? text : "";
}

static const char *on_off(const json_t *value)
{
    return json_is_true(value) ? "on" : "off";
}

void human_show_version(FILE *out, const json_t *result)
{
    fprintf(out, "%s\n", string_of(result, "package"));
}

void human_show_status(FILE *out, const json_t *result)
{
    const char *status = string_of(result, "status");

    if (json_is_true(json_object_get(result, "running")))
        fprintf(out, "VM status: running\n");
    else if (strcmp(status, "paused") == 0)
        fprintf(out, "VM status: paused\n");
    else
        fprintf(out, "VM status: paused (%s)\n", status);
}

struct row {
    const char *name, *text, *unit;
    unsigned divisor;
};

static void show_rows(FILE *out, const json_t *object, const struct row *rows)
{
    for (; rows->name; rows++) {
        const json_t *value = json_object_get(object, rows->name);

        if (json_is_integer(value))
            fprintf(out, "%s: %" JSON_INTEGER_FORMAT "%s\n", rows->text,
                    json_integer_value(value) / rows->divisor, rows->unit);
        else if (json_is_real(value))
            fprintf(out, "%s: %.2f%s\n", rows->text, json_real_value(value), rows->unit);
    }
}

static const struct row time_rows[] = {{"total-time", "total time", " ms", 1},
                                       {"downtime", "downtime", " ms", 1},
                                       {"setup-time", "setup", " ms", 1},
                                       {0}};

static const struct row ram_rows[] = {{"transferred", "transferred ram", " kbytes", 1024},
                                      {"mbps", "throughput", " mbps", 1},
                                      {"remaining", "remaining ram", " kbytes", 1024},
                                      {"total", "total ram", " kbytes", 1024},
                                      {"duplicate", "duplicate", " pages", 1},
                                      {"normal", "normal", " pages", 1},
                                      {"normal-bytes", "normal bytes", " kbytes", 1024},
                                      {"dirty-sync-count", "dirty sync count", "", 1},
                                      {"page-size", "page size", " kbytes", 1024},
                                      {"pages-per-second", "pages-per-second", "", 1},
                                      {"precopy-bytes", "precopy ram", " kbytes", 1024},
                                      {"downtime-bytes", "downtime ram", " kbytes", 1024},
                                      {"postcopy-bytes", "postcopy ram", " kbytes", 1024},
                                      {"postcopy-requests", "postcopy request count", "", 1},
                                      {0}};

/* Ours: strings as they are, everything else as QMP says it. */
static void show_own(FILE *out, const json_t *object)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)object, key, value)
    {
        char *text;

        if (strncmp(key, "x-baton-", 8) != 0)
            continue;
        if (json_is_string(value)) {
            fprintf(out, "%s: %s\n", key, json_string_value(value));
            continue;
        }
        text = json_dumps(value, JSON_ENCODE_ANY);
        if (text)
            fprintf(out, "%s: %s\n", key, text);
        free(text);
    }
}

void human_show_migrate(FILE *out, const json_t *result)
{
    const char *status = string_of(result, "status"), *error = string_of(result, "error-desc");

    if (*status)
        fprintf(out, "Migration status: %s%s%s%s\n", status, *error ? " (" : "", error,
                *error ? ")" : "");
    show_rows(out, result, time_rows);
    show_rows(out, json_object_get(result, "ram"), ram_rows);
    show_own(out, result);
}

void human_show_capabilities(FILE *out, const json_t *result)
{
    const json_t *member;
    size_t i;

    json_array_foreach(result, i, member) fprintf(out, "%s: %s\n", string_of(member, "capability"),
                                                  on_off(json_object_get(member, "state")));
}

void human_show_parameters(FILE *out, const json_t *result)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)result, key, value)
    {
        if (json_is_integer(value))
            fprintf(out, "%s: %" JSON_INTEGER_FORMAT " %s\n", key, json_integer_value(value),
                    strstr(key, "bandwidth") ? "bytes/second" : "ms");
    }
}
