/* SPDX-License-Identifier: MIT */
/*
 * A migration as a monitor tells of it, and words for people. Baton's and QEMU's monitors tell the
 * same things; Baton's tells more.
 */
#ifndef CMD_MIGRATION_H
#define CMD_MIGRATION_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum migration_role { MIGRATION_ROLE_UNKNOWN, MIGRATION_ROLE_SOURCE, MIGRATION_ROLE_DEST };

/* The strings and `json` are borrowed from query-migrate's answer. Numbers that were not told are
 * 0. */
struct migration {
    json_t *json;
    const char *status;     /* "none" before the first migration */
    const char *error_desc; /* NULL: none */
    const char *explain;    /* NULL: none */
    enum migration_role role;
    bool is_baton; /* told by a Baton: the fields in the second half mean something */
    uint64_t total_bytes, remaining_bytes, transferred_bytes;
    double bytes_per_s;
    uint64_t total_ms, downtime_us;
    bool has_downtime;
    uint64_t state_ms, paused_ms, pauses;
};

void migration_read(json_t *json, struct migration *out);
bool migration_is(const struct migration *migration, const char *status);
/* It will not go on by itself or by a recovery: completed, failed or cancelled. */
bool migration_is_over(const struct migration *migration);
/* Whether the rate means something: right after a recovery it still averages over the pause. */
bool migration_has_rate(const struct migration *migration);
/* Why it stands where it does: the longest explanation that was given; NULL: none was. */
const char *migration_why(const struct migration *migration);

uint64_t migration_number(const json_t *object, const char *name);

/* Texts for people, in a buffer of the caller's, returned. */
#define WORDS_BYTES 32
const char *words_bytes(uint64_t bytes, char buffer[WORDS_BYTES]);
const char *words_ms(uint64_t ms, char buffer[WORDS_BYTES]);
const char *words_us(uint64_t us, char buffer[WORDS_BYTES]);

/* Of the terminal that stdout is; 80 if it is none. */
unsigned words_columns(void);
/* Prints text and a newline, broken between words; `column` is where it begins, and where further
 * lines begin. */
void words_wrap(const char *text, unsigned column);

#endif
