/* SPDX-License-Identifier: MIT */
/*
 * The options of the commands that talk to a monitor.
 *
 * They mean the same everywhere, so they are read in one place; a command says which of them it
 * takes and brings its help. A wrong command line says what is wrong in one line and points to the
 * help; nothing has been done then.
 */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "cmd/cmd.h"

#define DEFAULT_TIMEOUT_MS 10000u
#define MAX_SECONDS 86400.0

#define DEFAULT_WATCH_MS 1000u

enum {
    OPTION_QMP = 256,
    OPTION_TIMEOUT,
    OPTION_DETACH,
    OPTION_RESUME,
    OPTION_JSON,
    OPTION_WATCH,
    OPTION_FORCE,
    OPTION_HELP
};

static const struct option known[] = {{"qmp", required_argument, NULL, OPTION_QMP},
                                      {"timeout", required_argument, NULL, OPTION_TIMEOUT},
                                      {"detach", no_argument, NULL, OPTION_DETACH},
                                      {"resume", no_argument, NULL, OPTION_RESUME},
                                      {"json", no_argument, NULL, OPTION_JSON},
                                      {"watch", optional_argument, NULL, OPTION_WATCH},
                                      {"force", no_argument, NULL, OPTION_FORCE},
                                      {"help", no_argument, NULL, OPTION_HELP},
                                      {0}};

void cmd_complain(const char *name, const char *format, ...)
{
    va_list args;

    fprintf(stderr, name ? "baton %s: " : "baton: ", name);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

int cmd_end(const struct cmd_options *options, const char *result, int code, json_t *more)
{
    json_t *object;

    if (!options->json) {
        json_decref(more);
        return code;
    }
    object = json_pack("{s:s}", "result", result);
    if (more)
        json_object_update(object, more);
    json_decref(more);
    json_dumpf(object, stdout, JSON_INDENT(2) | JSON_SORT_KEYS);
    printf("\n");
    json_decref(object);
    return code;
}

int cmd_fail(const struct cmd_options *options, const char *name, const char *sentence)
{
    if (!options->json)
        cmd_complain(name, "%s", sentence);
    return cmd_end(options, "error", CMD_ERROR, json_pack("{s:s}", "error", sentence));
}

static bool parse_seconds(const char *text, unsigned *ms)
{
    char *end;
    double seconds;

    errno = 0;
    seconds = strtod(text, &end);
    if (errno || end == text || *end || !(seconds > 0) || seconds > MAX_SECONDS)
        return false;
    *ms = (unsigned)(seconds * 1000.0);
    if (!*ms)
        *ms = 1;
    return true;
}

static int check(int argc, char **argv, unsigned takes, struct cmd_options *out)
{
    int left = argc - optind;

    out->rest = optind;
    if (!out->qmp && !(takes & CMD_TAKES_NO_VM)) {
        cmd_complain(argv[0], "which VM? Give the path of its monitor's socket with --qmp");
        return CMD_USAGE;
    }
    if (takes & CMD_TAKES_URI) {
        if (left < 1) {
            cmd_complain(argv[0], "the address is missing: tcp:HOST:PORT or unix:PATH");
            return CMD_USAGE;
        }
        out->uri = argv[optind];
        left--;
    } else if (takes & CMD_TAKES_LIST) {
        if (left < 1) {
            cmd_complain(argv[0], "nothing to set: give NAME=VALUE; see `baton help %s`", argv[0]);
            return CMD_USAGE;
        }
        left = 0;
    }
    if (left > 0) {
        cmd_complain(argv[0], "unexpected argument '%s'; see `baton help %s`", argv[argc - left],
                     argv[0]);
        return CMD_USAGE;
    }
    return -1;
}

/* What a command must take for an option to be one of its own. */
static unsigned needs(int option)
{
    switch (option) {
    case OPTION_DETACH:
        return CMD_TAKES_DETACH;
    case OPTION_RESUME:
        return CMD_TAKES_RESUME;
    case OPTION_WATCH:
        return CMD_TAKES_WATCH;
    case OPTION_FORCE:
        return CMD_TAKES_FORCE;
    default:
        return 0;
    }
}

static int parse_time(const char *name, const char *option, const char *text, unsigned *ms)
{
    if (parse_seconds(text, ms))
        return -1;
    cmd_complain(name, "%s takes seconds above 0, not '%s'", option, text);
    return CMD_USAGE;
}

/* The seconds may stand behind a space as well, which getopt knows nothing of. */
static int parse_watch(int argc, char **argv, struct cmd_options *out)
{
    const char *text = optarg;

    if (!text && optind < argc && argv[optind][0] >= '0' && argv[optind][0] <= '9')
        text = argv[optind++];
    out->watch_ms = DEFAULT_WATCH_MS;
    return text ? parse_time(argv[0], "--watch", text, &out->watch_ms) : -1;
}

static int take(int option, int argc, char **argv, struct cmd_options *out)
{
    switch (option) {
    case OPTION_QMP:
        out->qmp = optarg;
        return -1;
    case OPTION_TIMEOUT:
        return parse_time(argv[0], "--timeout", optarg, &out->timeout_ms);
    case OPTION_DETACH:
        out->detach = true;
        return -1;
    case OPTION_RESUME:
        out->resume = true;
        return -1;
    case OPTION_WATCH:
        return parse_watch(argc, argv, out);
    case OPTION_FORCE:
        out->force = true;
        return -1;
    default:
        out->json = true;
        return -1;
    }
}

int cmd_parse(int argc, char **argv, unsigned takes, const char *help, struct cmd_options *out)
{
    int option, code;

    *out = (struct cmd_options){.timeout_ms = DEFAULT_TIMEOUT_MS};
    opterr = 0;
    optind = 0;
    while ((option = getopt_long(argc, argv, ":h", known, NULL)) != -1) {
        bool foreign =
            (takes & CMD_TAKES_NO_VM) && (option == OPTION_QMP || option == OPTION_TIMEOUT);

        if (option == ':') {
            cmd_complain(argv[0], "option '%s' needs a value", argv[optind - 1]);
            return CMD_USAGE;
        }
        if (option == '?' || foreign || (needs(option) & ~takes)) {
            cmd_complain(argv[0], "unknown option '%s'; see `baton help %s`", argv[optind - 1],
                         argv[0]);
            return CMD_USAGE;
        }
        if (option == 'h' || option == OPTION_HELP) {
            fputs(help, stdout);
            return CMD_DONE;
        }
        code = take(option, argc, argv, out);
        if (code >= 0)
            return code;
    }
    return check(argc, argv, takes, out);
}
