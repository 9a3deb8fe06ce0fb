/* SPDX-License-Identifier: MIT */
/*
 * `baton migrate`: gives the source its order and follows it. Nothing here decides anything: ending
 * this command, or losing its monitor, does not touch the migration.
 */
#include "cmd/cmd.h"
#include "cmd/follow.h"
#include "cmd/qmp_client.h"

static const char help[] =
    "Usage: baton migrate [--detach] [--resume] [--json] --qmp SOCK URI\n"
    "Sends the VM whose monitor is SOCK to a destination that listens at URI, and follows until "
    "the end.\n"
    "\n"
    "  URI            tcp:HOST:PORT or unix:PATH\n"
    "  --qmp SOCK     the monitor's socket: Baton's or QEMU's\n"
    "  --resume       go on with a paused postcopy migration over a new link to URI\n"
    "  --detach       give the order and return\n"
    "  --json         print no progress, and at the end an object: {\"result\": \"completed\"},\n"
    "                 \"failed\", \"cancelled\", \"paused\", \"none\", with --detach \"done\", or\n"
    "                 \"error\"; with query-migrate's answer as \"migrate\"\n"
    "  --timeout S    how long the monitor may take for an answer (default 10)\n"
    "\n"
    "Interrupting this command does not stop the migration; `baton cancel` does.\n"
    "Exit codes: 0 completed, 1 error or refused, 2 usage, 3 failed or cancelled, 4 paused.\n";

int cmd_migrate(int argc, char **argv)
{
    struct baton_error error = {0};
    struct cmd_options options;
    struct qmp_client *client;
    json_t *arguments, *answer;
    uint64_t begin_ms;
    bool accepted;
    int code =
        cmd_parse(argc, argv, CMD_TAKES_URI | CMD_TAKES_DETACH | CMD_TAKES_RESUME, help, &options);

    if (code >= 0)
        return code;
    if (qmp_client_open(options.qmp, options.timeout_ms, &client, &error) < 0)
        return cmd_fail(&options, argv[0], error.text);
    arguments = json_pack("{s:s}", "uri", options.uri);
    if (options.resume)
        json_object_set_new(arguments, "resume", json_true());
    begin_ms = follow_now_ms();
    answer = qmp_client_call(client, "migrate", arguments, false, &error);
    accepted = answer != NULL;
    json_decref(answer);
    if (accepted && !options.detach)
        return follow_migration(client, &options, begin_ms);
    qmp_client_close(client);
    return accepted ? cmd_end(&options, "done", CMD_DONE, NULL)
                    : cmd_fail(&options, argv[0], error.text);
}
