/* SPDX-License-Identifier: MIT */
/* `baton run`: see run.c. */
#ifndef CMD_RUN_H
#define CMD_RUN_H

/* argv[0] is the command's own name. Returns the exit code of the process. */
int cmd_run(int argc, char **argv);

#endif
