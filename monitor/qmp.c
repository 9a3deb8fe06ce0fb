/* SPDX-License-Identifier: MIT */
/*
 * The monitors of a machine: binds the server to vmm_machine.
 *
 * The server knows the VM as a table (struct qmp_vm), so that it can be tested without one; this
 * file fills the table and turns the machine's events into the server's. It holds no state.
 *
 * The machine has one listener. It is set when the server has started and taken away before the
 * server stops, so the server outlives every call of it. What happened before a client came is
 * answered by queries, not by events.
 */
#include <string.h>
#include <unistd.h>

#include "monitor/internal.h"
#include "vmm/machine.h"

static const char *runstate(void *opaque)
{
    return vmm_machine_runstate(opaque);
}

static int read_ram(void *opaque, uint64_t gpa, void *buffer, size_t length_bytes,
                    struct baton_error *error)
{
    return vmm_machine_read_ram(opaque, gpa, buffer, length_bytes, true, error);
}

static int reset(void *opaque, struct baton_error *error)
{
    return vmm_machine_reset(opaque, error);
}

static void quit(void *opaque)
{
    vmm_machine_quit(opaque);
}

static void on_baton_event(struct qmp_server *server, const struct baton_event *event)
{
    switch (event->type) {
    case BATON_EVENT_STATUS:
        qmp_server_event(server, QMP_EVENT_MIGRATION, event->status, event->reason);
        break;
    case BATON_EVENT_PASS:
        qmp_server_event(server, QMP_EVENT_MIGRATION_PASS, event->pass, NULL);
        break;
    case BATON_EVENT_TRACE:
        break;
    }
}

static void on_event(void *opaque, const struct vmm_event *event)
{
    struct qmp_server *server = opaque;

    switch (event->type) {
    case VMM_EVENT_BATON:
        on_baton_event(server, event->baton);
        break;
    case VMM_EVENT_STOP:
        qmp_server_event(server, QMP_EVENT_STOP, 0, NULL);
        break;
    case VMM_EVENT_RESUME:
        qmp_server_event(server, QMP_EVENT_RESUME, 0, NULL);
        break;
    case VMM_EVENT_SHUTDOWN:
        qmp_server_event(server, QMP_EVENT_SHUTDOWN_GUEST, 0, NULL);
        break;
    case VMM_EVENT_RESET:
        qmp_server_event(server, QMP_EVENT_RESET, event->by_host, NULL);
        break;
    }
}

int qmp_server_start(struct vmm_machine *machine, const char *path, struct qmp_server **out,
                     struct baton_error *error)
{
    struct qmp_vm vm = {.baton = vmm_machine_baton(machine),
                        .opaque = machine,
                        .runstate = runstate,
                        .read_ram = read_ram,
                        .reset = reset,
                        .quit = quit};
    int result = qmp_server_open(&vm, path, out, error);

    if (result == 0)
        vmm_machine_on_event(machine, on_event, *out);
    return result;
}

int qmp_server_add_human(struct qmp_server *server, const char *where, struct baton_error *error)
{
    int fd, result;

    if (strcmp(where, "stdio") != 0)
        return qmp_server_listen(server, &qmp_protocol_human, where, error);
    result = qmp_stdio_open(&server->stdio, &fd, error);
    if (result < 0)
        return result;
    result = qmp_session_start(server, &qmp_protocol_human, fd, error);
    if (result < 0) {
        close(fd);
        baton_error_prefix(error, "Cannot start the monitor on stdio");
    }
    return result;
}

void qmp_server_stop(struct qmp_server *server)
{
    if (!server)
        return;
    vmm_machine_on_event(server->vm.opaque, NULL, NULL);
    qmp_server_close(server);
}
