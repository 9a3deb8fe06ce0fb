/* SPDX-License-Identifier: MIT */
/*
 * The commands that are one order to a monitor: postcopy, pause, recover, cancel.
 *
 * The monitor's refusal is shown in its own words. What repairs a migration is sent out of band
 * where the monitor can take it so, because just then other commands of it may be waiting for the
 * VM.
 */
#include "cmd/cmd.h"
#include "cmd/qmp_client.h"

#define COMMON_HELP                                                                                \
    "  --qmp SOCK     the monitor's socket: Baton's or QEMU's\n"                                   \
    "  --timeout S    how long the monitor may take for an answer (default 10)\n"                  \
    "\n"                                                                                           \
    "Exit codes: 0 the order was accepted, 1 error or refused, 2 usage.\n"

static const char postcopy_help[] =
    "Usage: baton postcopy --qmp SOCK\n"
    "Switches the migration of the VM to postcopy: the VM goes on at the destination at once, and "
    "what\n"
    "memory is missing there follows. Asked of the source. The capability postcopy-ram must have "
    "been\n"
    "on, on both sides, when the migration began (`baton set`).\n\n" COMMON_HELP;

static const char pause_help[] =
    "Usage: baton pause --qmp SOCK\n"
    "Breaks the link of a postcopy migration on purpose, for instance to move it to another "
    "network.\n"
    "Asked of either side. `baton recover` and `baton migrate --resume` go on.\n\n" COMMON_HELP;

static const char recover_help[] = "Usage: baton recover --qmp SOCK URI\n"
                                   "Lets the destination of a paused postcopy migration listen at "
                                   "URI for its source to come back.\n"
                                   "Asked of the destination. Then `baton migrate --resume` at the "
                                   "source goes on.\n\n" COMMON_HELP;

static const char cancel_help[] =
    "Usage: baton cancel --qmp SOCK\n"
    "Gives up a migration; the VM stays at the source. Asked of the source. Refused once the VM "
    "may\n"
    "have started at the destination: then only going on is safe.\n\n" COMMON_HELP;

static int order(int argc, char **argv, unsigned takes, const char *help, const char *name,
                 bool overtake)
{
    struct baton_error error = {0};
    struct cmd_options options;
    struct qmp_client *client;
    json_t *answer;
    int code = cmd_parse(argc, argv, takes, help, &options);

    if (code >= 0)
        return code;
    if (qmp_client_open(options.qmp, options.timeout_ms, &client, &error) < 0) {
        cmd_complain(argv[0], "%s", error.text);
        return CMD_ERROR;
    }
    answer =
        qmp_client_call(client, name, options.uri ? json_pack("{s:s}", "uri", options.uri) : NULL,
                        overtake, &error);
    if (!answer)
        cmd_complain(argv[0], "%s", error.text);
    code = answer ? CMD_DONE : CMD_ERROR;
    json_decref(answer);
    qmp_client_close(client);
    return code;
}

int cmd_postcopy(int argc, char **argv)
{
    return order(argc, argv, 0, postcopy_help, "migrate-start-postcopy", false);
}

int cmd_pause(int argc, char **argv)
{
    return order(argc, argv, 0, pause_help, "migrate-pause", true);
}

int cmd_recover(int argc, char **argv)
{
    return order(argc, argv, CMD_TAKES_URI, recover_help, "migrate-recover", true);
}

int cmd_cancel(int argc, char **argv)
{
    return order(argc, argv, 0, cancel_help, "migrate_cancel", false);
}
