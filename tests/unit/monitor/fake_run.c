/* SPDX-License-Identifier: MIT */
/* `baton run` for tests of the other commands: says what it was called with. */
#include "cmd/run.h"

#include <stdio.h>

int cmd_run(int argc, char **argv)
{
    for (int i = 0; i < argc; i++)
        printf("%s%s", i ? " " : "", argv[i]);
    printf("\n");
    return 0;
}
