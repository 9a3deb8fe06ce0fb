/* SPDX-License-Identifier: MIT */
/*
 * `baton status`: how a VM and its migration stand, as a block to read, or as JSON.
 *
 * What a Baton tells is shown as told. From a QEMU less is known: its role is guessed from its run
 * state, and the line about what may be done says no more than follows from the state. Lines that
 * have nothing to say are left out.
 */
#include <stdio.h>
#include <string.h>

#include "cmd/cmd.h"
#include "cmd/migration.h"
#include "cmd/qmp_client.h"
#include "cmd/status.h"
#include "cmd/watch.h"

static const char help[] =
    "Usage: baton status [--json] [--watch [SECONDS]] --qmp SOCK\n"
    "Says how the VM and its migration stand, why, and what may be done now and on which side.\n"
    "\n"
    "  --qmp SOCK     the monitor's socket: Baton's or QEMU's\n"
    "  --json         print {\"status\": ..., \"migrate\": ...}, the answers of query-status and\n"
    "                 query-migrate\n"
    "  --watch [S]    look every S seconds (default 1) until the migration has ended: on a\n"
    "                 terminal the block is drawn anew, elsewhere a line is printed, with --json\n"
    "                 an object a line\n"
    "  --timeout S    how long the monitor may take for an answer (default 10)\n"
    "\n"
    "Exit codes: 0 the monitor answered, whatever it said, 1 error, 2 usage; with --watch\n"
    "0 completed, 3 failed or cancelled.\n";

#define LABEL_COLUMNS 11

static void line(const char *label)
{
    printf("%-*s ", LABEL_COLUMNS - 1, label);
}

static bool has(const json_t *json, const char *name)
{
    return json_object_get(json, name) != NULL;
}

/* ---- What may be done ---- */

struct advice {
    const char *status;
    enum migration_role role;
    const char *text;
};

static const struct advice advices[] = {
    {"none", MIGRATION_ROLE_DEST, "wait for the source, where `baton migrate` sends the VM here"},
    {"none", MIGRATION_ROLE_UNKNOWN, "send the VM away with `baton migrate`"},
    {"none", MIGRATION_ROLE_SOURCE, "send the VM away with `baton migrate`"},
    {"setup", MIGRATION_ROLE_SOURCE, "here: `baton cancel`"},
    {"setup", MIGRATION_ROLE_DEST, "wait for the source, where `baton migrate` sends the VM here"},
    {"active", MIGRATION_ROLE_SOURCE,
     "here: `baton postcopy` if postcopy-ram is on, `baton cancel`"},
    {"active", MIGRATION_ROLE_DEST, "at the source: `baton postcopy` or `baton cancel`"},
    {"wait-unplug", MIGRATION_ROLE_SOURCE,
     "wait for the guest to give up a device; `baton cancel`"},
    {"pre-switchover", MIGRATION_ROLE_SOURCE,
     "let it go on with QMP's migrate-continue, for which it waits; `baton cancel`"},
    {"device", MIGRATION_ROLE_SOURCE, "wait: the VM stands still to be handed over"},
    {"device", MIGRATION_ROLE_DEST, "wait: the VM is being handed over"},
    {"postcopy-device", MIGRATION_ROLE_SOURCE,
     "wait: the destination loads the devices; should it not, the VM goes on here"},
    {"postcopy-device", MIGRATION_ROLE_DEST, "wait: the VM is being handed over"},
    {"postcopy-active", MIGRATION_ROLE_SOURCE, "here or there: `baton pause`, to change the link"},
    {"postcopy-active", MIGRATION_ROLE_DEST, "here or there: `baton pause`, to change the link"},
    {"postcopy-paused", MIGRATION_ROLE_SOURCE,
     "at the destination: `baton recover` if it does not listen; then here: `baton migrate "
     "--resume`. "
     "End neither process"},
    {"postcopy-paused", MIGRATION_ROLE_DEST,
     "here: `baton recover` for another address; at the source: `baton migrate --resume`. End "
     "neither "
     "process"},
    {"postcopy-recover-setup", MIGRATION_ROLE_SOURCE,
     "wait for the destination to be reached, or here: `baton pause`, to try another address"},
    {"postcopy-recover-setup", MIGRATION_ROLE_DEST,
     "at the source: `baton migrate --resume`. End neither process"},
    {"postcopy-recover", MIGRATION_ROLE_SOURCE, "wait: both sides compare notes"},
    {"postcopy-recover", MIGRATION_ROLE_DEST, "wait: both sides compare notes"},
    {"failing", MIGRATION_ROLE_SOURCE, "wait: the migration has failed and is being cleared away"},
    {"failing", MIGRATION_ROLE_DEST, "wait: the migration has failed and is being cleared away"},
    {"cancelling", MIGRATION_ROLE_SOURCE, "wait: the migration is being cleared away"},
    {"completed", MIGRATION_ROLE_SOURCE,
     "end this process: the VM lives at the destination, or in what it was written to"},
    {"failed", MIGRATION_ROLE_SOURCE, "see why, then here: `baton migrate` again"},
    {"cancelled", MIGRATION_ROLE_SOURCE, "here: `baton migrate` again"},
};

static void print_advice(const struct migration *migration, enum migration_role role)
{
    for (size_t i = 0; i < sizeof(advices) / sizeof(advices[0]); i++)
        if (migration_is(migration, advices[i].status) && role == advices[i].role) {
            line("You may:");
            words_wrap(advices[i].text, LABEL_COLUMNS);
            return;
        }
}

/* ---- The block ---- */

static enum migration_role role_of(const struct migration *migration, const char *run_state)
{
    if (migration->role != MIGRATION_ROLE_UNKNOWN)
        return migration->role;
    if (strcmp(run_state, "inmigrate") == 0)
        return MIGRATION_ROLE_DEST;
    if (strcmp(run_state, "postmigrate") == 0 || strcmp(run_state, "finish-migrate") == 0)
        return MIGRATION_ROLE_SOURCE;
    if (strncmp(migration->status, "postcopy-", 9) == 0)
        return MIGRATION_ROLE_DEST; /* the source would be in finish-migrate */
    if (!migration->is_baton && (migration_is(migration, "setup") || has(migration->json, "ram")))
        return MIGRATION_ROLE_SOURCE; /* a QEMU destination tells no numbers */
    return MIGRATION_ROLE_UNKNOWN;
}

static void print_head(const struct migration *migration, enum migration_role role,
                       const char *run_state, bool running)
{
    char buffer[WORDS_BYTES];

    if (role != MIGRATION_ROLE_UNKNOWN) {
        line("Role:");
        printf("%s\n", role == MIGRATION_ROLE_SOURCE ? "source" : "destination");
    }
    line("State:");
    printf("%s", migration_is(migration, "none") ? "no migration" : migration->status);
    if (has(migration->json, "x-baton-state-time"))
        printf(" for %s", words_ms(migration->state_ms, buffer));
    printf("\n");
    line("VM:");
    printf("%s here (%s)", running ? "runs" : "does not run", run_state);
    if (!running && migration->is_baton)
        printf(", %s be started here",
               json_is_true(json_object_get(migration->json, "x-baton-vm-may-run")) ? "may"
                                                                                    : "may not");
    printf("\n");
    if (migration->error_desc &&
        !(migration->explain &&
          strncmp(migration->explain, migration->error_desc, strlen(migration->error_desc)) == 0)) {
        line("Why:");
        words_wrap(migration->error_desc, LABEL_COLUMNS);
    }
    if (migration->explain) {
        line("Explained:");
        words_wrap(migration->explain, LABEL_COLUMNS);
    }
}

static void print_waiters(const json_t *json)
{
    const json_t *waiters = json_object_get(json, "x-baton-waiters");
    char buffer[WORDS_BYTES];

    for (size_t i = 0; i < json_array_size(waiters); i++) {
        const json_t *waiter = json_array_get(waiters, i);
        const char *name = json_string_value(json_object_get(waiter, "name"));
        const char *block = json_string_value(json_object_get(waiter, "block"));

        line(i ? "" : "Waiting:");
        printf("%s for %s+0x%llx since %s\n", name ? name : "?", block ? block : "?",
               (unsigned long long)migration_number(waiter, "offset"),
               words_ms(migration_number(waiter, "waiting-time"), buffer));
    }
}

static void print_times(const struct migration *migration)
{
    const json_t *json = migration->json;
    char buffer[WORDS_BYTES];

    if (!has(json, "total-time"))
        return;
    line("Times:");
    printf("total %s", words_ms(migration->total_ms, buffer));
    if (migration->has_downtime)
        printf(", down %s", words_us(migration->downtime_us, buffer));
    if (migration->pauses) {
        printf(", paused %s", words_ms(migration->paused_ms, buffer));
        printf(" (%llu %s", (unsigned long long)migration->pauses,
               migration->pauses == 1 ? "time" : "times");
        if (has(json, "x-baton-recover-time"))
            printf(", last recovery %s",
                   words_ms(migration_number(json, "x-baton-recover-time"), buffer));
        printf(")");
    }
    printf("\n");
}

static void print_moved(const struct migration *migration, const json_t *ram)
{
    char buffer[WORDS_BYTES];

    line("Moved:");
    printf("%s", words_bytes(migration->transferred_bytes, buffer));
    printf(" (precopy %s", words_bytes(migration_number(ram, "precopy-bytes"), buffer));
    printf(", switchover %s", words_bytes(migration_number(ram, "downtime-bytes"), buffer));
    printf(", postcopy %s)\n", words_bytes(migration_number(ram, "postcopy-bytes"), buffer));
}

/* After a refused connection there is nothing to tell of. */
static bool has_moved(const struct migration *migration, const json_t *ram)
{
    return migration->transferred_bytes || migration_number(ram, "normal") ||
           migration_number(ram, "duplicate") || !migration_is_over(migration);
}

/* The sender's numbers. */
static void print_sent(const struct migration *migration, const json_t *ram)
{
    char buffer[WORDS_BYTES];

    line("Memory:");
    printf("%s of ", words_bytes(migration->remaining_bytes, buffer));
    printf("%s left", words_bytes(migration->total_bytes, buffer));
    if (migration->remaining_bytes && migration_has_rate(migration))
        printf(", %s/s", words_bytes((uint64_t)migration->bytes_per_s, buffer));
    printf("\n");
    print_moved(migration, ram);
    line("Pages:");
    printf("%llu with data, %llu zero, %llu requested; %llu passes\n",
           (unsigned long long)migration_number(ram, "normal"),
           (unsigned long long)migration_number(ram, "duplicate"),
           (unsigned long long)migration_number(ram, "postcopy-requests"),
           (unsigned long long)migration_number(ram, "dirty-sync-count"));
}

/* The receiver's: what it counts as moved is what it sends itself, which nobody asks for. */
static void print_received(const struct migration *migration, const json_t *ram)
{
    uint64_t received_bytes = migration->total_bytes > migration->remaining_bytes
                                  ? migration->total_bytes - migration->remaining_bytes
                                  : 0;
    char buffer[WORDS_BYTES];

    line("Received:");
    printf("%s of ", words_bytes(received_bytes, buffer));
    printf("%s\n", words_bytes(migration->total_bytes, buffer));
    line("Pages:");
    printf("%llu with data, %llu zero, %llu requested\n",
           (unsigned long long)migration_number(ram, "normal"),
           (unsigned long long)migration_number(ram, "duplicate"),
           (unsigned long long)migration_number(ram, "postcopy-requests"));
}

static void print_memory(const struct migration *migration, bool here_sends)
{
    const json_t *json = migration->json, *ram = json_object_get(json, "ram");
    uint64_t missing_pages = migration_number(json, "x-baton-missing-pages");
    uint64_t page_bytes = migration_number(ram, "page-size");
    char buffer[WORDS_BYTES];

    if (ram && has_moved(migration, ram)) {
        if (here_sends)
            print_sent(migration, ram);
        else
            print_received(migration, ram);
    }
    if (missing_pages) {
        line("Missing:");
        printf("%llu pages", (unsigned long long)missing_pages);
        if (page_bytes && missing_pages < UINT64_MAX / page_bytes)
            printf(" (%s)", words_bytes(missing_pages * page_bytes, buffer));
        printf("\n");
    }
}

static void print_faults(const json_t *json)
{
    const json_t *latency = json_object_get(json, "x-baton-fault-latency");
    char buffer[WORDS_BYTES];

    if (!migration_number(latency, "count"))
        return;
    line("Faults:");
    printf("%llu, half within %s", (unsigned long long)migration_number(latency, "count"),
           words_us(migration_number(latency, "p50"), buffer));
    printf(", 99 %% within %s", words_us(migration_number(latency, "p99"), buffer));
    printf(", longest %s\n", words_us(migration_number(latency, "max"), buffer));
}

static void print_addresses(const json_t *json)
{
    const json_t *uris = json_object_get(json, "x-baton-addresses");

    for (size_t i = 0; i < json_array_size(uris); i++) {
        const char *uri = json_string_value(json_array_get(uris, i));

        line(i ? "" : "Listens:");
        printf("%s\n", uri ? uri : "?");
    }
}

void status_print(json_t *status, json_t *migrate)
{
    const char *run_state = json_string_value(json_object_get(status, "status"));
    bool running = json_is_true(json_object_get(status, "running"));
    enum migration_role role;
    struct migration migration;

    run_state = run_state ? run_state : "unknown";
    migration_read(migrate, &migration);
    role = role_of(&migration, run_state);
    print_head(&migration, role, run_state, running);
    print_memory(&migration, role != MIGRATION_ROLE_DEST);
    print_waiters(migrate);
    print_times(&migration);
    print_faults(migrate);
    print_addresses(migrate);
    if (!migration.explain) /* which says it better */
        print_advice(&migration, role);
}

int status_ask(struct qmp_client *client, json_t **status, json_t **migrate,
               struct baton_error *error)
{
    *migrate = NULL;
    *status = qmp_client_call(client, "query-status", NULL, false, error);
    if (*status)
        *migrate = qmp_client_call(client, "query-migrate", NULL, false, error);
    if (*migrate)
        return 0;
    json_decref(*status);
    return -1;
}

int cmd_status(int argc, char **argv)
{
    struct baton_error error = {0};
    struct cmd_options options;
    struct qmp_client *client;
    json_t *status, *migrate, *both;
    int code = cmd_parse(argc, argv, CMD_TAKES_WATCH, help, &options);

    if (code >= 0)
        return code;
    if (qmp_client_open(options.qmp, options.timeout_ms, &client, &error) < 0)
        return cmd_fail(&options, argv[0], error.text);
    if (options.watch_ms)
        return watch_migration(client, &options);
    code = status_ask(client, &status, &migrate, &error);
    qmp_client_close(client);
    if (code < 0)
        return cmd_fail(&options, argv[0], error.text);
    both = json_pack("{s:o, s:o}", "status", status, "migrate", migrate);
    if (options.json) {
        json_dumpf(both, stdout, JSON_INDENT(2) | JSON_SORT_KEYS);
        printf("\n");
    } else {
        status_print(status, migrate);
    }
    json_decref(both);
    return CMD_DONE;
}
