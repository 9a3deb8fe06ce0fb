/* SPDX-License-Identifier: MIT */
/*
 * `baton`: one program, a command a job.
 *
 * This file knows the commands' names and a line about each, nothing of what they do: options and
 * help are the command's own. `baton help NAME` is `baton NAME --help`. The table is constant;
 * there is no other state.
 */
#include <stdio.h>
#include <string.h>

#include "cmd/cmd.h"
#include "cmd/run.h"

static const struct command {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"run", "run a virtual machine, or receive one", cmd_run},
    {"migrate", "send a running VM to another host, or go on with a paused migration", cmd_migrate},
    {"postcopy", "switch a migration to postcopy: the VM moves now, its memory follows",
     cmd_postcopy},
    {"pause", "break the link of a postcopy migration on purpose", cmd_pause},
    {"recover", "let the destination listen for the source to come back", cmd_recover},
    {"cancel", "give up a migration; the VM stays where it is", cmd_cancel},
    {"status", "say how the VM and its migration stand, and what may be done", cmd_status},
    {"set", "set migration capabilities and parameters", cmd_set},
    {"incoming", "let a VM that was run with --incoming defer listen for its source", cmd_incoming},
    {"stop", "stop the VM's CPUs", cmd_stop},
    {"cont", "let the VM's CPUs run, unless another host may run them", cmd_cont},
    {"quit", "end the VM's process, unless the VM would be lost with it", cmd_quit},
    {"check", "say what this host offers for migration, and what to do about the rest", cmd_check},
};
#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

static void print_help(FILE *out)
{
    fprintf(out, "Usage: baton COMMAND [options]\n"
                 "Live migration of virtual machines that survives a broken link.\n\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fprintf(out, "  %-10s %s\n", "help", "this, or with a command's name the help on it");
    fprintf(out,
            "\n  --version  print the version\n\n"
            "All commands but `run` and `check` talk to a VM's monitor (--qmp SOCK): Baton's own "
            "or QEMU's.\n"
            "Exit codes: 0 done, 1 error, 2 usage, 3 migration failed or cancelled, 4 paused.\n"
            "See baton(1).\n");
}

static const struct command *find(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    cmd_complain(NULL, "there is no command '%s'; `baton help` lists them", name);
    return NULL;
}

static int help(int argc, char **argv)
{
    const struct command *command;
    char name[32], option[] = "--help", *arguments[] = {name, option, NULL};

    if (argc < 2) {
        print_help(stdout);
        return CMD_DONE;
    }
    command = find(argv[1]);
    if (!command)
        return CMD_USAGE;
    snprintf(name, sizeof(name), "%s", command->name);
    return command->run(2, arguments);
}

int main(int argc, char **argv)
{
    const struct command *command;

    if (argc < 2) {
        print_help(stderr);
        return CMD_USAGE;
    }
    if (strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0 ||
        strcmp(argv[1], "-h") == 0)
        return help(argc - 1, argv + 1);
    if (strcmp(argv[1], "--version") == 0) {
        printf("baton %s\n", BATON_VERSION);
        return CMD_DONE;
    }
    command = find(argv[1]);
    return command ? command->run(argc - 1, argv + 1) : CMD_USAGE;
}
