/* SPDX-License-Identifier: MIT */
/*
 * `baton run` over the fake library, for booting a guest by hand: the same options, but nothing
 * migrates and there is no monitor.
 */
#include <errno.h>

#include "cmd/run.h"
#include "monitor/qmp.h"

int qmp_server_start(struct vmm_machine *machine, const char *path, struct qmp_server **out,
                     struct baton_error *error)
{
    return baton_error_set(error, ENOTSUP, "this helper has no monitor; leave --qmp out");
}

void qmp_server_stop(struct qmp_server *server)
{
}

int main(int argc, char **argv)
{
    return cmd_run(argc, argv);
}
