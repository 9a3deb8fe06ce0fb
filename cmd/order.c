/* SPDX-License-Identifier: MIT */
/*
 * The commands that are one order to a monitor: postcopy, pause, recover, cancel, incoming, stop,
 * cont, quit.
 *
 * The monitor's refusal is shown in its own words. What repairs a migration is sent out of band
 * where the monitor can take it so, because just then other commands of it may be waiting for the
 * VM; nothing else is asked before it.
 *
 * Two things are looked at here because a QEMU does not: a migration that is not under way is not
 * cancelled, and a process that a VM still needs is not ended without --force. Between the look and
 * the order the state may change; the monitor has the last word then.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cmd/cmd.h"
#include "cmd/migration.h"
#include "cmd/qmp_client.h"

#define COMMON_HELP                                                                                \
    "  --qmp SOCK     the monitor's socket: Baton's or QEMU's\n"                                   \
    "  --json         print the outcome as an object: {\"result\": \"done\"} or \"error\"\n"       \
    "  --timeout S    how long the monitor may take for an answer (default 10)\n"                  \
    "\n"                                                                                           \
    "Exit codes: 0 the order was accepted, 1 error or refused, 2 usage.\n"

static const char postcopy_help[] =
    "Usage: baton postcopy [--json] --qmp SOCK\n"
    "Switches the migration of the VM to postcopy: the VM goes on at the destination at once, and "
    "what\n"
    "memory is missing there follows. Asked of the source. The capability postcopy-ram must have "
    "been\n"
    "on, on both sides, when the migration began (`baton set`).\n\n" COMMON_HELP;

static const char pause_help[] =
    "Usage: baton pause [--json] --qmp SOCK\n"
    "Breaks the link of a postcopy migration on purpose, for instance to move it to another "
    "network.\n"
    "Asked of either side. `baton recover` and `baton migrate --resume` go on.\n\n" COMMON_HELP;

static const char recover_help[] =
    "Usage: baton recover [--json] --qmp SOCK URI\n"
    "Lets the destination of a paused postcopy migration listen at URI for its source to come "
    "back.\n"
    "Asked of the destination. Then `baton migrate --resume` at the source goes on.\n"
    "\n"
    "  URI            tcp:HOST:PORT or unix:PATH; with port 0 the system chooses one, which is\n"
    "                 printed\n" COMMON_HELP;

static const char cancel_help[] =
    "Usage: baton cancel [--json] --qmp SOCK\n"
    "Gives up a migration; the VM stays at the source. Asked of the source. Refused once the VM "
    "may\n"
    "have started at the destination: then only going on is safe.\n\n" COMMON_HELP;

static const char incoming_help[] =
    "Usage: baton incoming [--json] --qmp SOCK URI\n"
    "Lets a VM that was run with `--incoming defer` listen at URI for its source.\n"
    "\n"
    "  URI            tcp:HOST:PORT or unix:PATH; with port 0 the system chooses one, which is\n"
    "                 printed\n" COMMON_HELP;

static const char stop_help[] =
    "Usage: baton stop [--json] --qmp SOCK\n"
    "Stops the VM's CPUs; `baton cont` lets them run again.\n\n" COMMON_HELP;

static const char cont_help[] =
    "Usage: baton cont [--json] --qmp SOCK\n"
    "Lets the VM's CPUs run. Refused where another host may be running them.\n\n" COMMON_HELP;

static const char quit_help[] =
    "Usage: baton quit [--force] [--json] --qmp SOCK\n"
    "Ends the VM's process. Refused while a migration still needs it: the VM would be lost.\n"
    "\n"
    "  --force        even then\n" COMMON_HELP;

struct order {
    const char *command; /* in QMP */
    const char *help;
    unsigned takes;
    bool overtake;
    /* Looks before the order is given; false with the error filled: do not. NULL: no look. */
    bool (*may)(struct qmp_client *client, const struct cmd_options *options,
                struct baton_error *error);
};

/* ---- Before ---- */

static bool may_cancel(struct qmp_client *client, const struct cmd_options *options,
                       struct baton_error *error)
{
    json_t *answer = qmp_client_call(client, "query-migrate", NULL, false, error);
    struct migration migration;
    bool ended;

    if (!answer)
        return false;
    migration_read(answer, &migration);
    ended = migration_is_over(&migration);
    if (migration_is(&migration, "none"))
        baton_error_set(error, EINVAL, "No migration is under way: none has begun");
    else if (ended)
        baton_error_set(error, EINVAL, "No migration is under way: the last one %s%s",
                        migration_is(&migration, "cancelled") ? "was " : "", migration.status);
    ended |= migration_is(&migration, "none");
    json_decref(answer);
    return !ended;
}

static bool may_quit(struct qmp_client *client, const struct cmd_options *options,
                     struct baton_error *error)
{
    struct migration migration;
    json_t *answer;
    bool needed;

    if (options->force)
        return true;
    answer = qmp_client_call(client, "query-migrate", NULL, false, error);
    if (!answer)
        return false;
    migration_read(answer, &migration);
    needed = !migration.is_baton && strncmp(migration.status, "postcopy-", 9) == 0;
    if (needed)
        baton_error_set(error, EBUSY,
                        "Not ended: in %s no host has the whole VM, so it would be lost; "
                        "--force ends it all the same",
                        migration.status);
    json_decref(answer);
    return !needed;
}

/* ---- After ---- */

/* The newest address at which the VM listens, in `uri`; false: the monitor does not say. */
static bool find_address(const json_t *migrate, char *uri, size_t size)
{
    const json_t *uris = json_object_get(migrate, "x-baton-addresses");
    const json_t *sockets = json_object_get(migrate, "socket-address"), *last;
    const char *text = json_string_value(json_array_get(uris, json_array_size(uris) - 1));
    const char *host, *port;

    if (json_array_size(uris) && text) {
        snprintf(uri, size, "%s", text);
        return true;
    }
    if (!json_array_size(sockets))
        return false;
    last = json_array_get(sockets, json_array_size(sockets) - 1);
    host = json_string_value(json_object_get(last, "host"));
    port = json_string_value(json_object_get(last, "port"));
    if (!host || !port)
        return false;
    snprintf(uri, size, strchr(host, ':') ? "tcp:[%s]:%s" : "tcp:%s:%s", host, port);
    return true;
}

static bool port_is_open(const char *uri)
{
    size_t length = uri ? strlen(uri) : 0;

    return length > 6 && strncmp(uri, "tcp:", 4) == 0 && strcmp(uri + length - 2, ":0") == 0;
}

/* The order was accepted: where is it, if the system chose? */
static json_t *say_address(struct qmp_client *client, const struct cmd_options *options,
                           const char *name)
{
    struct baton_error error = {0};
    json_t *answer = qmp_client_call(client, "query-migrate", NULL, false, &error);
    char uri[300];
    json_t *more = NULL;

    if (answer && find_address(answer, uri, sizeof(uri))) {
        more = json_pack("{s:s}", "address", uri);
        if (!options->json)
            printf("%s\n", uri);
    } else {
        cmd_complain(name, "it listens, but the monitor does not say at which port%s%s",
                     error.text[0] ? ": " : "", error.text);
    }
    json_decref(answer);
    return more;
}

/* ---- The order ---- */

static json_t *give(struct qmp_client *client, const struct order *order,
                    const struct cmd_options *options, struct baton_error *error)
{
    json_t *arguments = NULL, *answer;

    if (options->uri)
        arguments = json_pack("{s:s}", "uri", options->uri);
    if (options->force)
        arguments = json_pack("{s:b}", "force", 1);
    answer = qmp_client_call(client, order->command, arguments, order->overtake, error);
    if (!answer && options->force && error->code == EREMOTEIO) /* QEMU's knows no force, nor asks */
        answer = qmp_client_call(client, order->command, NULL, order->overtake, error);
    if (!answer && error->code == ECONNRESET && strcmp(order->command, "quit") == 0)
        answer = json_object(); /* the process was gone before its answer */
    return answer;
}

static int carry(int argc, char **argv, const struct order *order)
{
    struct baton_error error = {0};
    struct cmd_options options;
    struct qmp_client *client;
    json_t *answer = NULL, *more = NULL;
    int code = cmd_parse(argc, argv, order->takes, order->help, &options);

    if (code >= 0)
        return code;
    if (qmp_client_open(options.qmp, options.timeout_ms, &client, &error) < 0)
        return cmd_fail(&options, argv[0], error.text);
    if (!order->may || order->may(client, &options, &error))
        answer = give(client, order, &options, &error);
    if (answer && port_is_open(options.uri))
        more = say_address(client, &options, argv[0]);
    code = answer ? cmd_end(&options, "done", CMD_DONE, more)
                  : cmd_fail(&options, argv[0], error.text);
    json_decref(answer);
    qmp_client_close(client);
    return code;
}

int cmd_postcopy(int argc, char **argv)
{
    static const struct order order = {"migrate-start-postcopy", postcopy_help, 0, false, NULL};

    return carry(argc, argv, &order);
}

int cmd_pause(int argc, char **argv)
{
    static const struct order order = {"migrate-pause", pause_help, 0, true, NULL};

    return carry(argc, argv, &order);
}

int cmd_recover(int argc, char **argv)
{
    static const struct order order = {"migrate-recover", recover_help, CMD_TAKES_URI, true, NULL};

    return carry(argc, argv, &order);
}

int cmd_cancel(int argc, char **argv)
{
    static const struct order order = {"migrate_cancel", cancel_help, 0, false, may_cancel};

    return carry(argc, argv, &order);
}

int cmd_incoming(int argc, char **argv)
{
    static const struct order order = {"migrate-incoming", incoming_help, CMD_TAKES_URI, false,
                                       NULL};

    return carry(argc, argv, &order);
}

int cmd_stop(int argc, char **argv)
{
    static const struct order order = {"stop", stop_help, 0, false, NULL};

    return carry(argc, argv, &order);
}

int cmd_cont(int argc, char **argv)
{
    static const struct order order = {"cont", cont_help, 0, false, NULL};

    return carry(argc, argv, &order);
}

int cmd_quit(int argc, char **argv)
{
    static const struct order order = {"quit", quit_help, CMD_TAKES_FORCE, false, may_quit};

    return carry(argc, argv, &order);
}
