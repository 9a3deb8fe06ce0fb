/* SPDX-License-Identifier: MIT */
/*
 * Follows a migration at its source until it ends.
 *
 * Problem: a person wants one line that moves, a log wants few lines that stay, and both want to be
 * told plainly how it ended, since what to do next differs. The answer to "how does it stand" right
 * after the order may still be about the migration before.
 *
 * Data: the monitor's answers, asked for every POLL_MS; nothing is remembered but the last phase
 * and when a line was printed.
 *
 * Invariants: an end is believed only when it is an end of this migration: one that the monitor
 * dates after the order, or that follows another state, or that still stands after STALE_MS.
 * Standing still at the source is no reason to give up: only the states say when it is over.
 *
 * A QEMU serves one monitor client at a time: between two looks the connection is given up, so that
 * others (`baton postcopy`) get in, and a look that finds another client there is tried again.
 *
 * Failure: when the monitor goes away the migration goes on without us, or has ended; that is said,
 * with the last event, if one came.
 */
#include "cmd/follow.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cmd/migration.h"

#define POLL_MS 200u
#define LINE_EVERY_MS 5000u
#define STALE_MS 5000u
#define PATIENCE 6u /* looks in a row that may time out */

struct follow {
    const struct cmd_options *options;
    struct qmp_client *client; /* NULL between two looks at a QEMU */
    unsigned timeouts;         /* in a row */
    bool terminal;
    bool line_open; /* the terminal's line holds progress */
    bool moved;     /* another state than the first has been seen */
    char phase[32];
    uint64_t begin_ms, printed_ms;
};

uint64_t follow_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

bool follow_on_terminal(void)
{
    const char *term = getenv("TERM");

    return isatty(STDOUT_FILENO) && term && strcmp(term, "dumb") != 0;
}

static void close_line(struct follow *follow)
{
    if (follow->line_open)
        fputs("\r\033[K", stdout);
    follow->line_open = false;
}

void follow_describe(const struct migration *migration, char *line, size_t size)
{
    char sent[WORDS_BYTES], left[WORDS_BYTES], total[WORDS_BYTES], rate[WORDS_BYTES],
        eta[WORDS_BYTES];
    int used = snprintf(line, size, "%s", migration->status);

    if (!migration->total_bytes)
        return;
    used += snprintf(line + used, size - (size_t)used, ": ");
    if (migration->role != MIGRATION_ROLE_DEST) /* which counts its return path only */
        used += snprintf(line + used, size - (size_t)used, "%s sent, ",
                         words_bytes(migration->transferred_bytes, sent));
    used += snprintf(line + used, size - (size_t)used, "%s of %s left",
                     words_bytes(migration->remaining_bytes, left),
                     words_bytes(migration->total_bytes, total));
    if (migration->role == MIGRATION_ROLE_DEST || !migration_has_rate(migration) ||
        (size_t)used >= size)
        return;
    snprintf(
        line + used, size - (size_t)used, ", %s/s, %s to go",
        words_bytes((uint64_t)migration->bytes_per_s, rate),
        words_ms((uint64_t)((double)migration->remaining_bytes * 1000.0 / migration->bytes_per_s),
                 eta));
}

static void show(struct follow *follow, const struct migration *migration)
{
    bool new_phase = strcmp(follow->phase, migration->status) != 0;
    uint64_t now = follow_now_ms();
    char line[256];

    follow_describe(migration, line, sizeof(line));
    if (follow->options->json) {
        /* Its object comes at the end. */
    } else if (follow->terminal) {
        printf("\r\033[K%.*s", (int)words_columns() - 1, line);
        follow->line_open = true;
    } else if (new_phase || now - follow->printed_ms >= LINE_EVERY_MS) {
        puts(line);
        follow->printed_ms = now;
    }
    fflush(stdout);
    snprintf(follow->phase, sizeof(follow->phase), "%s", migration->status);
}

/* Whether a state in which nothing moves may be what an earlier migration has left. */
static bool may_be_stale(const struct follow *follow, const struct migration *migration)
{
    uint64_t elapsed_ms = follow_now_ms() - follow->begin_ms;

    if (follow->moved)
        return false;
    if (migration->is_baton && !migration_is(migration, "none"))
        return migration->state_ms > elapsed_ms + 1 && elapsed_ms < STALE_MS;
    /* QEMU sets the new state before it answers the order, except for a recovery, and "none" is
     * never an end. */
    return (follow->options->resume || migration_is(migration, "none")) && elapsed_ms < STALE_MS;
}

static void print_completed(const struct migration *migration)
{
    char time[WORDS_BYTES], down[WORDS_BYTES], paused[WORDS_BYTES], sent[WORDS_BYTES];

    printf("completed in %s", words_ms(migration->total_ms, time));
    if (migration->has_downtime)
        printf(", downtime %s", words_us(migration->downtime_us, down));
    if (migration->pauses)
        printf(", paused for %s (%llu %s)", words_ms(migration->paused_ms, paused),
               (unsigned long long)migration->pauses, migration->pauses == 1 ? "time" : "times");
    printf(", %s sent\n", words_bytes(migration->transferred_bytes, sent));
}

static void print_paused(const struct follow *follow, const struct migration *migration)
{
    const char *why = migration_why(migration);

    printf("The migration is paused: the link is lost, the VM is not.\n");
    if (why)
        words_wrap(why, 0);
    if (!migration->explain)
        printf("To go on: at the destination `baton recover --qmp SOCK URI`, then here\n"
               "`baton migrate --resume --qmp %s URI`. Until then neither process may end.\n",
               follow->options->qmp);
}

static void print_end(const struct follow *follow, const struct migration *migration)
{
    const char *why = migration_why(migration);

    if (migration_is(migration, "completed"))
        print_completed(migration);
    else if (migration_is(migration, "postcopy-paused"))
        print_paused(follow, migration);
    else
        printf("The migration %s%s%s\n",
               migration_is(migration, "none")     ? "did not begin"
               : migration_is(migration, "failed") ? "failed"
                                                   : "was cancelled",
               why ? ": " : "", why ? why : "");
}

int follow_code(const struct migration *migration)
{
    if (migration_is(migration, "completed"))
        return CMD_DONE;
    return migration_is(migration, "postcopy-paused") ? CMD_PAUSED : CMD_FAILED;
}

/* The exit code when this is the end, else -1. */
static int ending(struct follow *follow, const struct migration *migration)
{
    bool paused = migration_is(migration, "postcopy-paused");

    if (!migration_is_over(migration) && !paused && !migration_is(migration, "none")) {
        follow->moved = true;
        return -1;
    }
    if (may_be_stale(follow, migration))
        return -1;
    close_line(follow);
    if (!follow->options->json)
        print_end(follow, migration);
    return cmd_end(follow->options, paused ? "paused" : migration->status, follow_code(migration),
                   json_pack("{s:O}", "migrate", migration->json));
}

static int lost_contact(struct follow *follow, const struct baton_error *error)
{
    char sentence[BATON_ERROR_TEXT_BYTES + 160];

    close_line(follow);
    if (follow->client && strcmp(qmp_client_last_status(follow->client), "completed") == 0) {
        if (!follow->options->json)
            printf("completed; the monitor has gone since\n");
        return cmd_end(follow->options, "completed", CMD_DONE, NULL);
    }
    fflush(stdout);
    snprintf(sentence, sizeof(sentence),
             "%s. The migration is not followed any more, and may go on; the last state seen was "
             "%s",
             error->text, follow->phase[0] ? follow->phase : "none");
    return cmd_fail(follow->options, "migrate", sentence);
}

static void hang_up(struct follow *follow)
{
    qmp_client_close(follow->client);
    follow->client = NULL;
}

/* One look; NULL with the error filled. */
static json_t *ask(struct follow *follow, struct baton_error *error)
{
    const struct cmd_options *options = follow->options;

    if (!follow->client &&
        qmp_client_open(options->qmp, options->timeout_ms, &follow->client, error) < 0)
        return NULL;
    return qmp_client_call(follow->client, "query-migrate", NULL, false, error);
}

static int look(struct follow *follow)
{
    struct baton_error error = {0};
    struct migration migration;
    json_t *answer = ask(follow, &error);
    int code;

    if (!answer && error.code == ETIMEDOUT && ++follow->timeouts < PATIENCE) {
        hang_up(follow);
        return -1;
    }
    if (!answer)
        return lost_contact(follow, &error);
    follow->timeouts = 0;
    migration_read(answer, &migration);
    code = ending(follow, &migration);
    if (code < 0 && follow->moved)
        show(follow, &migration);
    if (!migration.is_baton)
        hang_up(follow);
    json_decref(answer);
    return code;
}

int follow_migration(struct qmp_client *client, const struct cmd_options *options,
                     uint64_t begin_ms)
{
    const struct timespec rest = {.tv_nsec = POLL_MS * 1000000};
    struct follow follow = {.options = options,
                            .client = client,
                            .terminal = follow_on_terminal(),
                            .begin_ms = begin_ms};
    int code;

    while ((code = look(&follow)) < 0)
        nanosleep(&rest, NULL);
    qmp_client_close(follow.client);
    return code;
}
