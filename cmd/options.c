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
#define MAX_TIMEOUT_S 86400.0

enum { OPTION_QMP = 256, OPTION_TIMEOUT, OPTION_DETACH, OPTION_RESUME, OPTION_JSON, OPTION_HELP };

static const struct option options[] = {{"qmp", required_argument, NULL, OPTION_QMP},
                                        {"timeout", required_argument, NULL, OPTION_TIMEOUT},
                                        {"detach", no_argument, NULL, OPTION_DETACH},
                                        {"resume", no_argument, NULL, OPTION_RESUME},
                                        {"json", no_argument, NULL, OPTION_JSON},
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

static bool parse_timeout(const char *text, unsigned *timeout_ms)
{
    char *end;
    double seconds;

    errno = 0;
    seconds = strtod(text, &end);
    if (errno || end == text || *end || !(seconds > 0) || seconds > MAX_TIMEOUT_S)
        return false;
    *timeout_ms = (unsigned)(seconds * 1000.0);
    if (!*timeout_ms)
        *timeout_ms = 1;
    return true;
}

static int check(int argc, char **argv, unsigned takes, struct cmd_options *out)
{
    int left = argc - optind;

    out->rest = optind;
    if (!out->qmp) {
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

int cmd_parse(int argc, char **argv, unsigned takes, const char *help, struct cmd_options *out)
{
    int option;

    *out = (struct cmd_options){.timeout_ms = DEFAULT_TIMEOUT_MS};
    opterr = 0;
    optind = 0;
    while ((option = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
        unsigned needs = option == OPTION_DETACH   ? CMD_TAKES_DETACH
                         : option == OPTION_RESUME ? CMD_TAKES_RESUME
                         : option == OPTION_JSON   ? CMD_TAKES_JSON
                                                   : 0;

        if (option == '?' || (needs & ~takes)) {
            cmd_complain(argv[0], "unknown option '%s'; see `baton help %s`", argv[optind - 1],
                         argv[0]);
            return CMD_USAGE;
        }
        switch (option) {
        case 'h':
        case OPTION_HELP:
            fputs(help, stdout);
            return CMD_DONE;
        case ':':
            cmd_complain(argv[0], "option '%s' needs a value", argv[optind - 1]);
            return CMD_USAGE;
        case OPTION_QMP:
            out->qmp = optarg;
            break;
        case OPTION_TIMEOUT:
            if (!parse_timeout(optarg, &out->timeout_ms)) {
                cmd_complain(argv[0], "--timeout takes seconds above 0, not '%s'", optarg);
                return CMD_USAGE;
            }
            break;
        case OPTION_DETACH:
            out->detach = true;
            break;
        case OPTION_RESUME:
            out->resume = true;
            break;
        case OPTION_JSON:
            out->json = true;
            break;
        }
    }
    return check(argc, argv, takes, out);
}
