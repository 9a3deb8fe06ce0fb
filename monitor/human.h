/* SPDX-License-Identifier: MIT */
/*
 * What the files of the human monitor share. The theory of operation is in human.c.
 */
#ifndef MONITOR_HUMAN_H
#define MONITOR_HUMAN_H

#include <stdio.h>

#include "monitor/internal.h"

#define HUMAN_MAX_PARAMETERS 3u

struct human_parameter {
    char flag;            /* -d and the like: sets `argument` true; 0: a word */
    const char *argument; /* of the QMP command, or what `adapt` knows it by */
};

struct human_command {
    const char *name; /* may be two words */
    const char *alias;
    const char *parameters_text; /* as shown to people */
    const char *help;
    const char *qmp; /* the command that does it; NULL: `help` itself */
    struct human_parameter parameters[HUMAN_MAX_PARAMETERS + 1]; /* up to one without an argument */
    /* What QMP wants, made of the words; a new reference, or NULL with the context's error filled.
     * NULL: they fit as they are. */
    json_t *(*adapt)(struct qmp_context *context, json_t *words);
    void (*show)(FILE *out, const json_t *result); /* NULL: silence says that it was done */
};

extern const struct human_command human_commands[];

/* human_table.c */
const struct human_command *human_find(const char *name);
/* Those whose name is, or begins with the word, `topic`; NULL: all. False: none. */
bool human_help(FILE *out, const char *topic);

/* human_info.c */
void human_show_version(FILE *out, const json_t *result);
void human_show_status(FILE *out, const json_t *result);
void human_show_migrate(FILE *out, const json_t *result);
void human_show_capabilities(FILE *out, const json_t *result);
void human_show_parameters(FILE *out, const json_t *result);

#endif
