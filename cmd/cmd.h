/* SPDX-License-Identifier: MIT */
/*
 * What the client commands share: exit codes, options, numbers for people.
 */
#ifndef CMD_CMD_H
#define CMD_CMD_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Documented in baton(1): scripts rely on them. */
enum cmd_exit {
    CMD_DONE = 0,
    CMD_ERROR = 1,  /* could not be asked, or was refused; `check`: something needed is missing */
    CMD_USAGE = 2,  /* the command line makes no sense */
    CMD_FAILED = 3, /* the migration failed or was cancelled; the VM stays where it was */
    CMD_PAUSED = 4  /* the migration is paused; the VM waits for a recovery */
};

struct cmd_options {
    const char *qmp;
    const char *uri; /* the first argument that is no option, if the command takes one */
    unsigned timeout_ms;
    unsigned watch_ms; /* 0: look once */
    bool detach, resume, json, force;
    int rest; /* index of the first argument after the options */
};

/* All commands take --json, --timeout and --help. */
#define CMD_TAKES_URI 1u
#define CMD_TAKES_DETACH 2u
#define CMD_TAKES_RESUME 4u
#define CMD_TAKES_WATCH 8u
#define CMD_TAKES_LIST 16u /* one argument or more; looked at by the command */
#define CMD_TAKES_FORCE 32u
#define CMD_TAKES_NO_VM 64u /* asks no monitor: no --qmp, no --timeout */

/* Returns -1 when the command shall go on, else the exit code: help was asked for, or the usage is
 * wrong. */
int cmd_parse(int argc, char **argv, unsigned takes, const char *help, struct cmd_options *out);

/* Prints "baton NAME: sentence" on stderr. */
void cmd_complain(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * Ends a command. With --json an object with `result` (and `error`, or what `more` holds) goes to
 * stdout, else the error goes to stderr as a sentence. `more` is taken over; NULL: nothing. The
 * exit code is returned.
 */
int cmd_fail(const struct cmd_options *options, const char *name, const char *sentence);
int cmd_end(const struct cmd_options *options, const char *result, int code, json_t *more);

/* The commands: argv[0] is the command's own name; the exit code is returned. */
int cmd_migrate(int argc, char **argv);
int cmd_postcopy(int argc, char **argv);
int cmd_pause(int argc, char **argv);
int cmd_cancel(int argc, char **argv);
int cmd_recover(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_stop(int argc, char **argv);
int cmd_cont(int argc, char **argv);
int cmd_quit(int argc, char **argv);
int cmd_incoming(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_set(int argc, char **argv);

#endif
