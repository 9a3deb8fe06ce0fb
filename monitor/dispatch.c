/* SPDX-License-Identifier: MIT */
/*
 * From a JSON text to the answer's line.
 *
 * Problem: what a client sends is to be held against the command's row, with QEMU's words for what
 * is wrong, before a handler sees it; and every answer has the same frame.
 *
 * Data: the table of commands (commands.c), which is constant. A context lives as long as one
 * command.
 *
 * Invariants: a handler is called with exactly the arguments that its row allows, each of the right
 * type, the ones that are not optional present. A handler returns a result or fills the error,
 * never both. The id of the request is in the answer whenever the request was an object, whatever
 * else was wrong with it.
 *
 * Failure: an error with a class and a sentence; the session goes on.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "monitor/internal.h"

#define GENERIC_ERROR "GenericError"
#define COMMAND_NOT_FOUND "CommandNotFound"

json_t *qmp_fail(struct qmp_context *context, const char *format, ...)
{
    va_list args;

    context->error.code = EINVAL;
    va_start(args, format);
    vsnprintf(context->error.text, sizeof(context->error.text), format, args);
    va_end(args);
    return NULL;
}

json_t *qmp_done(struct qmp_context *context, int status)
{
    if (status == 0)
        return json_object();
    if (!context->error.text[0])
        return qmp_fail(context, "The order was refused: %s", strerror(-status));
    return NULL;
}

json_t *qmp_text(const char *text)
{
    json_t *string = json_string(text);
    char *copy;

    if (string)
        return string;
    copy = strdup(text);
    if (!copy)
        return json_string("");
    for (char *byte = copy; *byte; byte++)
        if ((unsigned char)*byte >= 0x80)
            *byte = '?';
    string = json_string(copy);
    free(copy);
    return string;
}

json_t *qmp_number(uint64_t value)
{
    return json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value);
}

json_t *qmp_version(void)
{
    int major = 0, minor = 0, micro = 0;

    sscanf(BATON_VERSION, "%d.%d.%d", &major, &minor, &micro);
    return json_pack("{s:{s:i, s:i, s:i}, s:s}", "qemu", "micro", micro, "minor", minor, "major",
                     major, "package", "baton " BATON_VERSION);
}

const struct qmp_command *qmp_find_command(const char *name)
{
    for (const struct qmp_command *command = qmp_commands; command->name; command++)
        if (strcmp(command->name, name) == 0)
            return command;
    return NULL;
}

const char *qmp_command_name(size_t index, const char **help)
{
    for (size_t i = 0; qmp_commands[i].name; i++)
        if (i == index) {
            if (help)
                *help = qmp_commands[i].help;
            return qmp_commands[i].name;
        }
    return NULL;
}

bool qmp_is_out_of_band(const struct qmp_session *session, const json_t *message)
{
    return atomic_load(&session->oob) && json_object_get(message, "exec-oob") &&
           !json_object_get(message, "execute");
}

/* ---- What the row says ---- */

static bool has_type(const json_t *value, enum qmp_type type)
{
    switch (type) {
    case QMP_STRING:
        return json_is_string(value);
    case QMP_BOOL:
        return json_is_boolean(value);
    case QMP_UINT:
        return json_is_integer(value) && json_integer_value(value) >= 0;
    case QMP_ARRAY:
        return json_is_array(value);
    }
    return false;
}

static const char *type_name(enum qmp_type type)
{
    switch (type) {
    case QMP_STRING:
        return "string";
    case QMP_BOOL:
        return "boolean";
    case QMP_UINT:
        return "non-negative integer";
    case QMP_ARRAY:
        return "array";
    }
    return "?";
}

char *qmp_arguments_text(const struct qmp_command *command)
{
    char *text = NULL;
    size_t length_bytes;
    FILE *out = open_memstream(&text, &length_bytes);

    if (!out)
        return NULL;
    for (const struct qmp_argument *argument = command->arguments; argument->name; argument++)
        fprintf(out, "%s`%s`: %s%s%s%s", argument == command->arguments ? "" : "; ", argument->name,
                type_name(argument->type), argument->optional ? ", optional" : "",
                argument->help ? ", " : "", argument->help ? argument->help : "");
    fclose(out);
    return text;
}

static bool check_arguments(struct qmp_context *context, const struct qmp_command *command,
                            json_t *arguments)
{
    const char *key;
    json_t *value;

    for (const struct qmp_argument *want = command->arguments; want->name; want++) {
        value = json_object_get(arguments, want->name);
        if (!value && !want->optional) {
            qmp_fail(context, "Parameter '%s' is missing", want->name);
            return false;
        }
        if (value && !has_type(value, want->type)) {
            qmp_fail(context, "Invalid parameter type for '%s', expected: %s", want->name,
                     type_name(want->type));
            return false;
        }
    }
    json_object_foreach(arguments, key, value)
    {
        const struct qmp_argument *want = command->arguments;

        while (want->name && strcmp(want->name, key) != 0)
            want++;
        if (!want->name) {
            qmp_fail(context, "Parameter '%.200s' is unexpected", key);
            return false;
        }
    }
    return true;
}

bool qmp_array_member(struct qmp_context *context, json_t *array, size_t index,
                      const char *array_name, json_t **name, json_t **state)
{
    json_t *member = json_array_get(array, index), *value;
    const char *key;

    if (!json_is_object(member)) {
        qmp_fail(context, "Invalid parameter type for '%s[%zu]', expected: object", array_name,
                 index);
        return false;
    }
    *name = json_object_get(member, "capability");
    *state = json_object_get(member, "state");
    if (!*name || !*state) {
        qmp_fail(context, "Parameter '%s[%zu].%s' is missing", array_name, index,
                 *name ? "state" : "capability");
        return false;
    }
    if (!json_is_string(*name) || !json_is_boolean(*state)) {
        bool name_is_wrong = !json_is_string(*name);

        qmp_fail(context, "Invalid parameter type for '%s[%zu].%s', expected: %s", array_name,
                 index, name_is_wrong ? "capability" : "state",
                 name_is_wrong ? "string" : "boolean");
        return false;
    }
    json_object_foreach(member, key, value)
    {
        if (value != *name && value != *state) {
            qmp_fail(context, "Parameter '%s[%zu].%.200s' is unexpected", array_name, index, key);
            return false;
        }
    }
    return true;
}

/* ---- The request ---- */

/* Finds the name of the command; false with the error filled. `arguments` and `id` are borrowed. */
static bool check_request(struct qmp_context *context, const json_t *message, const char **name,
                          json_t **arguments)
{
    bool may_oob = atomic_load(&context->session->oob);
    json_t *execute, *oob, *command, *value;
    const char *key;

    if (!json_is_object(message)) {
        qmp_fail(context, "QMP input must be a JSON object");
        return false;
    }
    execute = json_object_get(message, "execute");
    oob = json_object_get(message, "exec-oob");
    json_object_foreach((json_t *)message, key, value)
    {
        if (strcmp(key, "execute") != 0 && strcmp(key, "arguments") != 0 &&
            strcmp(key, "id") != 0 && !(may_oob && strcmp(key, "exec-oob") == 0)) {
            qmp_fail(context, "QMP input member '%.200s' is unexpected", key);
            return false;
        }
    }
    if (execute && oob) {
        qmp_fail(context, "QMP input member 'execute' clashes with 'exec-oob'");
        return false;
    }
    command = execute ? execute : oob;
    if (!command) {
        qmp_fail(context, "QMP input lacks member 'execute'");
        return false;
    }
    if (!json_is_string(command)) {
        qmp_fail(context, "QMP input member '%s' must be a string",
                 execute ? "execute" : "exec-oob");
        return false;
    }
    *arguments = json_object_get(message, "arguments");
    if (*arguments && !json_is_object(*arguments)) {
        qmp_fail(context, "QMP input member 'arguments' must be an object");
        return false;
    }
    *name = json_string_value(command);
    return true;
}

json_t *qmp_call(struct qmp_context *context, const struct qmp_command *command, json_t *given)
{
    json_t *arguments = given ? json_incref(given) : json_object();
    json_t *result =
        check_arguments(context, command, arguments) ? command->run(context, arguments) : NULL;

    json_decref(arguments);
    return result;
}

static json_t *run(struct qmp_context *context, const json_t *message, bool out_of_band)
{
    struct qmp_session *session = context->session;
    const struct qmp_command *command;
    json_t *arguments;
    const char *name;

    if (!check_request(context, message, &name, &arguments))
        return NULL;
    command = qmp_find_command(name);
    if (!atomic_load(&session->negotiated) &&
        (!command || !(command->flags & QMP_BEFORE_NEGOTIATION))) {
        context->error_class = COMMAND_NOT_FOUND;
        return qmp_fail(context, "Expecting capabilities negotiation with 'qmp_capabilities'");
    }
    if (!command) {
        context->error_class = COMMAND_NOT_FOUND;
        return qmp_fail(context, "The command %.200s has not been found", name);
    }
    if (out_of_band && !(command->flags & QMP_ALLOW_OOB))
        return qmp_fail(context, "The command %s does not support OOB", name);
    return qmp_call(context, command, arguments);
}

static char *answer(struct qmp_session *session, const struct qmp_request *request,
                    bool out_of_band, bool *quit)
{
    struct qmp_context context = {
        .server = session->server, .session = session, .error_class = GENERIC_ERROR};
    json_t *result = NULL, *frame = json_object(), *id = NULL;
    char *text;

    if (request->message)
        result = run(&context, request->message, out_of_band);
    else
        qmp_fail(&context, "%s", request->error);
    if (result)
        json_object_set_new(frame, "return", result);
    else
        json_object_set_new(frame, "error",
                            json_pack("{s:s, s:o}", "class", context.error_class, "desc",
                                      qmp_text(context.error.text)));
    if (request->message)
        id = json_object_get(request->message, "id");
    if (id)
        json_object_set(frame, "id", id);
    text = json_dumps(frame, 0);
    json_decref(frame);
    *quit = context.quit;
    return text;
}

/* ---- The protocol ---- */

static char *greeting(void)
{
    json_t *object =
        json_pack("{s:{s:o, s:[s]}}", "QMP", "version", qmp_version(), "capabilities", "oob");
    char *text = json_dumps(object, JSON_PRESERVE_ORDER);

    json_decref(object);
    return text;
}

static void parse(struct qmp_request *request, const struct qmp_frame *frame,
                  enum qmp_frame_result result)
{
    json_error_t problem;

    if (result == QMP_FRAME_TEXT) {
        request->message = json_loadb(frame->text, frame->length_bytes,
                                      JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &problem);
        if (!request->message)
            snprintf(request->error, sizeof(request->error), "JSON parse error, %s", problem.text);
    } else if (result == QMP_FRAME_BROKEN) {
        snprintf(request->error, sizeof(request->error), "JSON parse error, invalid text");
    } else if (result == QMP_FRAME_TOO_DEEP) {
        snprintf(request->error, sizeof(request->error),
                 "JSON nesting depth limit of %u exceeded; what follows on the line is skipped",
                 QMP_FRAME_MAX_DEPTH);
    } else {
        snprintf(request->error, sizeof(request->error),
                 "JSON text size limit of %u bytes exceeded; what follows on the line is skipped",
                 QMP_FRAME_MAX_BYTES);
    }
}

const struct qmp_protocol qmp_protocol_json = {
    .line_end = "\r\n",
    .out_of_memory = "{\"error\": {\"class\": \"GenericError\", \"desc\": \"Out of memory\"}}",
    .greeting = greeting,
    .cut = qmp_frame_push,
    .parse = parse,
    .answer = answer,
};
