/* SPDX-License-Identifier: MIT */
/*
 * `baton status --watch`: looks at a VM and its migration until that is over.
 *
 * Problem: a person wants a picture that stays in place, a log wants lines, a script wants objects.
 * A pause is not the end, and neither is "no migration yet": a destination that waits is watched
 * from before its source comes.
 *
 * Data: nothing is remembered from look to look. The monitor is given up between two looks when it
 * is a QEMU's, which serves one client at a time.
 *
 * Failure: a look that times out is made again, PATIENCE times in a row; a monitor that has gone
 * ends the watch, with success only if it had said that the migration completed.
 */
#include "cmd/watch.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cmd/follow.h"
#include "cmd/migration.h"
#include "cmd/status.h"

#define PATIENCE 6u

struct watch {
    const struct cmd_options *options;
    struct qmp_client *client; /* NULL between two looks at a QEMU */
    unsigned timeouts;         /* in a row */
    bool terminal;
};

static void draw(json_t *status, json_t *migrate)
{
    printf("\033[H\033[J");
    status_print(status, migrate);
}

static void print_line(const struct migration *migration)
{
    char text[256] = "no migration";

    if (!migration_is(migration, "none"))
        follow_describe(migration, text, sizeof(text));
    puts(text);
}

static void show(struct watch *watch, const struct migration *migration, json_t *status)
{
    if (watch->options->json) {
        json_t *both = json_pack("{s:O, s:O}", "status", status, "migrate", migration->json);

        json_dumpf(both, stdout, JSON_COMPACT | JSON_SORT_KEYS);
        printf("\n");
        json_decref(both);
    } else if (watch->terminal) {
        draw(status, migration->json);
    } else {
        print_line(migration);
    }
    fflush(stdout);
}

static void hang_up(struct watch *watch)
{
    qmp_client_close(watch->client);
    watch->client = NULL;
}

static int ask(struct watch *watch, json_t **status, json_t **migrate, struct baton_error *error)
{
    const struct cmd_options *options = watch->options;

    if (!watch->client && qmp_client_open(options->qmp, options->timeout_ms, &watch->client, error))
        return -1;
    return status_ask(watch->client, status, migrate, error);
}

static int lost_contact(struct watch *watch, const struct baton_error *error)
{
    if (watch->client && strcmp(qmp_client_last_status(watch->client), "completed") == 0) {
        if (!watch->options->json)
            printf("completed; the monitor has gone since\n");
        return CMD_DONE;
    }
    cmd_complain("status", "%s", error->text);
    return CMD_ERROR;
}

/* The exit code when it is over, else -1. */
static int look(struct watch *watch)
{
    struct baton_error error = {0};
    struct migration migration;
    json_t *status, *migrate;
    int code;

    if (ask(watch, &status, &migrate, &error) < 0) {
        if (error.code != ETIMEDOUT || ++watch->timeouts >= PATIENCE)
            return lost_contact(watch, &error);
        hang_up(watch);
        return -1;
    }
    watch->timeouts = 0;
    migration_read(migrate, &migration);
    show(watch, &migration, status);
    code = migration_is_over(&migration) ? follow_code(&migration) : -1;
    if (!migration.is_baton)
        hang_up(watch);
    json_decref(status);
    json_decref(migrate);
    return code;
}

int watch_migration(struct qmp_client *client, const struct cmd_options *options)
{
    const struct timespec rest = {.tv_sec = options->watch_ms / 1000,
                                  .tv_nsec = (long)(options->watch_ms % 1000) * 1000000};
    struct watch watch = {
        .options = options, .client = client, .terminal = follow_on_terminal() && !options->json};
    int code;

    while ((code = look(&watch)) < 0)
        nanosleep(&rest, NULL);
    qmp_client_close(watch.client);
    return code;
}
