/* SPDX-License-Identifier: MIT */
/*
 * The human monitor: from a line to what a person reads.
 *
 * Problem: people type, and scripts written for QEMU's monitor send, lines instead of JSON. They
 * must get what QMP gives, no more and no less.
 *
 * Data: the table of commands (human_table.c), which is constant. A line is cut into words in a
 * copy of it, which lives as long as the command.
 *
 * Invariants: every command but `help` is one call of a QMP command through its row, with its
 * checks (qmp_call). Only `migrate` without -d does more: it waits, on this client's worker alone,
 * until the migration has ended or is paused; sessions that end and servers that stop cut the wait
 * short.
 *
 * Failure: a line that makes no sense is answered with a sentence, and the session goes on. What a
 * command could not do follows the word "Error:".
 */
#include "monitor/human.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PROMPT "(baton) "
#define MAX_WORDS 8u
#define WAIT_STEP_NS 50000000l

/* ---- Words ---- */

static bool is_space(char byte)
{
    return byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n';
}

/*
 * Cuts `line` in place. A word in double quotes may hold spaces, and \" and \\ for those two.
 * Returns the number of words, or -1 with the error filled.
 */
static int cut_words(struct qmp_context *context, char *line, char *words[MAX_WORDS])
{
    unsigned count = 0;

    for (;;) {
        char *out;
        bool quoted;

        while (is_space(*line))
            line++;
        if (!*line)
            return (int)count;
        if (count == MAX_WORDS) {
            qmp_fail(context, "no command has more than %u words", MAX_WORDS);
            return -1;
        }
        quoted = *line == '"';
        line += quoted;
        words[count++] = out = line;
        while (*line && (quoted ? *line != '"' : !is_space(*line))) {
            if (quoted && *line == '\\' && (line[1] == '"' || line[1] == '\\'))
                line++;
            *out++ = *line++;
        }
        if (quoted && !*line) {
            qmp_fail(context, "a quote is not closed");
            return -1;
        }
        if (*line)
            line++;
        *out = 0;
    }
}

static const struct human_parameter *find_flag(const struct human_command *command,
                                               const char *word)
{
    const struct human_parameter *parameter = command->parameters;

    if (word[0] != '-' || !word[1] || word[2])
        return NULL;
    while (parameter->argument && parameter->flag != word[1])
        parameter++;
    return parameter->argument ? parameter : NULL;
}

static bool has_flags(const struct human_command *command)
{
    return command->parameters[0].flag != 0;
}

/* The words as members of an object; NULL with the error filled. */
static json_t *name_words(struct qmp_context *context, const struct human_command *command,
                          char **words, unsigned count)
{
    const struct human_parameter *parameter = command->parameters;
    json_t *object = json_object();

    for (unsigned i = 0; i < count; i++) {
        const struct human_parameter *flag = find_flag(command, words[i]);

        while (parameter->argument && parameter->flag)
            parameter++;
        if (flag) {
            json_object_set_new(object, flag->argument, json_true());
        } else if (has_flags(command) && words[i][0] == '-') {
            qmp_fail(context, "unsupported option %.100s", words[i]);
            break;
        } else if (!parameter->argument) {
            qmp_fail(context, "'%.100s' is too much", words[i]);
            break;
        } else {
            json_object_set_new(object, parameter++->argument, json_string(words[i]));
        }
    }
    while (parameter->argument && parameter->flag)
        parameter++;
    if (!context->error.text[0] && parameter->argument)
        qmp_fail(context, "%s is missing", parameter->argument);
    if (context->error.text[0]) {
        json_decref(object);
        return NULL;
    }
    return object;
}

/* ---- Carrying out ---- */

static bool is_over(enum baton_status status)
{
    switch (status) {
    case BATON_STATUS_NONE:
    case BATON_STATUS_COMPLETED:
    case BATON_STATUS_FAILED:
    case BATON_STATUS_CANCELLED:
    case BATON_STATUS_POSTCOPY_PAUSED:
        return true;
    default:
        return false;
    }
}

/* Looks again and again: events go to those who asked for them, and this is for people's eyes. */
static void wait_for_end(struct qmp_context *context, FILE *out)
{
    struct baton_info *info = malloc(sizeof(*info));
    const struct timespec step = {.tv_nsec = WAIT_STEP_NS};

    if (!info)
        return;
    for (;;) {
        baton_query(context->server->vm.baton, info);
        if (is_over(info->status) || qmp_session_is_ending(context->session))
            break;
        nanosleep(&step, NULL);
    }
    fprintf(out, "Migration status: %s%s%s%s\n", baton_status_name(info->status),
            info->error[0] ? " (" : "", info->error, info->error[0] ? ")" : "");
    if (info->explain[0])
        fprintf(out, "%s\n", info->explain);
    free(info);
}

static void call(struct qmp_context *context, const struct human_command *command, json_t *words,
                 bool may_wait, FILE *out)
{
    json_t *arguments = command->adapt ? command->adapt(context, words) : json_incref(words);
    json_t *result = NULL;

    if (arguments)
        result = qmp_call(context, qmp_find_command(command->qmp), arguments);
    json_decref(arguments);
    if (!result) {
        fprintf(out, "Error: %s\n", context->error.text);
        return;
    }
    if (command->show)
        command->show(out, result);
    json_decref(result);
    if (strcmp(command->qmp, "migrate") != 0 || json_is_true(json_object_get(words, "detach")))
        return;
    if (may_wait)
        wait_for_end(context, out);
    else
        fprintf(out, "This monitor does not wait: the migration goes on in the background\n");
}

/* The command's name: `info` and its subject are one. Returns how many words that takes. */
static unsigned join_name(char **words, char *name, size_t size)
{
    bool two = strcmp(words[0], "info") == 0 && words[1];

    snprintf(name, size, "%s%s%s", words[0], two ? " " : "", two ? words[1] : "");
    return two ? 2 : 1;
}

static void help(char **words, FILE *out)
{
    char topic[100];

    if (!words[0]) {
        human_help(out, NULL);
        return;
    }
    if (words[join_name(words, topic, sizeof(topic))])
        fprintf(out, "help: one command at a time\n");
    else if (!human_help(out, topic))
        fprintf(out, "unknown command: '%s'\nTry `help`.\n", topic);
}

static void run_words(struct qmp_context *context, char **words, unsigned count, bool may_wait,
                      FILE *out)
{
    const struct human_command *command;
    char name[100];
    unsigned used;
    json_t *named;

    if (strcmp(words[0], "info") == 0 && count == 1) {
        human_help(out, "info");
        return;
    }
    used = join_name(words, name, sizeof(name));
    command = human_find(name);
    if (!command) {
        fprintf(out, "unknown command: '%s'\nTry `help`.\n", name);
        return;
    }
    if (!command->qmp) {
        help(words + 1, out);
        return;
    }
    named = name_words(context, command, words + used, count - used);
    if (!named)
        fprintf(out, "%s: %s\nTry `help %s`.\n", command->name, context->error.text, command->name);
    else
        call(context, command, named, may_wait, out);
    json_decref(named);
}

/* What is to be read; freed by the caller, NULL when memory is short. The context's error is left
 * undefined. */
static char *run_line(struct qmp_context *context, const char *line, bool may_wait,
                      const char *prompt)
{
    char *words[MAX_WORDS + 1] = {NULL}, *copy = strdup(line), *text = NULL;
    size_t length_bytes;
    FILE *out = open_memstream(&text, &length_bytes);
    int count;

    if (copy && out) {
        count = cut_words(context, copy, words);
        if (count < 0)
            fprintf(out, "Error: %s\n", context->error.text);
        else if (count)
            run_words(context, words, (unsigned)count, may_wait, out);
        fputs(prompt, out);
    }
    if (out)
        fclose(out);
    if (!copy) {
        free(text);
        text = NULL;
    }
    free(copy);
    return text;
}

json_t *qmp_run_human(struct qmp_context *context, json_t *arguments)
{
    struct qmp_context inner = {.server = context->server, .session = context->session};
    const char *line = json_string_value(json_object_get(arguments, "command-line"));
    char *text = run_line(&inner, line, false, "");
    json_t *result;

    if (!text)
        return qmp_fail(context, "Out of memory");
    context->quit = inner.quit;
    result = qmp_text(text);
    free(text);
    return result;
}

/* ---- The protocol ---- */

static char *greeting(void)
{
    return strdup("Baton " BATON_VERSION " monitor - type 'help' for more information\n" PROMPT);
}

static void parse(struct qmp_request *request, const struct qmp_frame *frame,
                  enum qmp_frame_result result)
{
    if (result != QMP_FRAME_TEXT) {
        snprintf(request->error, sizeof(request->error), "a line has at most %u bytes",
                 QMP_FRAME_MAX_LINE_BYTES);
        return;
    }
    if (!memchr(frame->text ? frame->text : "", 0, frame->length_bytes))
        request->message = json_stringn(frame->text ? frame->text : "", frame->length_bytes);
    if (!request->message)
        snprintf(request->error, sizeof(request->error), "the line is no text in UTF-8");
}

static char *answer(struct qmp_session *session, const struct qmp_request *request,
                    bool out_of_band, bool *quit)
{
    struct qmp_context context = {.server = session->server, .session = session};
    char *text = NULL;

    if (request->message)
        text = run_line(&context, json_string_value(request->message), true, PROMPT);
    else if (asprintf(&text, "Error: %s\n" PROMPT, request->error) < 0)
        text = NULL;
    *quit = context.quit;
    return text;
}

const struct qmp_protocol qmp_protocol_human = {
    .line_end = "",
    .out_of_memory = "Error: Out of memory\n" PROMPT,
    .greeting = greeting,
    .cut = qmp_frame_push_line,
    .parse = parse,
    .answer = answer,
};
