/* SPDX-License-Identifier: MIT */
/*
 * Commands about the session and the VM as such.
 *
 * Each handler runs on its client's worker thread and may take its time. Nothing is kept here: what
 * there is to know is asked of the VM each time, so two clients never disagree. Who may run the VM
 * is the library's decision (baton_cont, baton_may_quit); these handlers only carry the words.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "monitor/internal.h"

#define PMEMSAVE_CHUNK_BYTES (64u * 1024u)

json_t *qmp_run_capabilities(struct qmp_context *context, json_t *arguments)
{
    json_t *enable = json_object_get(arguments, "enable"), *value;
    bool oob = false;
    size_t i;

    if (atomic_load(&context->session->negotiated)) {
        context->error_class = "CommandNotFound";
        return qmp_fail(context, "Capabilities negotiation is already complete, command ignored");
    }
    json_array_foreach(enable, i, value)
    {
        if (!json_is_string(value))
            return qmp_fail(context, "Invalid parameter type for 'enable[%zu]', expected: string",
                            i);
        if (strcmp(json_string_value(value), "oob") != 0)
            return qmp_fail(context, "Parameter 'enable[%zu]' does not accept value '%.100s'", i,
                            json_string_value(value));
        oob = true;
    }
    atomic_store(&context->session->oob, oob);
    atomic_store(&context->session->negotiated, true);
    return json_object();
}

json_t *qmp_run_query_version(struct qmp_context *context, json_t *arguments)
{
    return qmp_version();
}

json_t *qmp_run_query_commands(struct qmp_context *context, json_t *arguments)
{
    json_t *list = json_array();

    for (const struct qmp_command *command = qmp_commands; command->name; command++)
        json_array_append_new(list, json_pack("{s:s}", "name", command->name));
    return list;
}

/* QEMU's RunState: the VM's own state, and what the migration has made of it. */
static const char *run_state(const struct qmp_vm *vm, const struct baton_info *info)
{
    const char *own = vm->runstate(vm->opaque);
    bool away = info->role == BATON_ROLE_SOURCE;

    if (strcmp(own, "running") == 0 || strcmp(own, "shutdown") == 0)
        return own;
    switch (info->status) {
    case BATON_STATUS_DEVICE:
    case BATON_STATUS_POSTCOPY_DEVICE:
        return away ? "finish-migrate" : "inmigrate";
    case BATON_STATUS_POSTCOPY_ACTIVE:
    case BATON_STATUS_POSTCOPY_PAUSED:
    case BATON_STATUS_POSTCOPY_RECOVER_SETUP:
    case BATON_STATUS_POSTCOPY_RECOVER:
        return away ? "finish-migrate" : own;
    case BATON_STATUS_COMPLETED:
        return away ? "postmigrate" : own;
    case BATON_STATUS_SETUP:
    case BATON_STATUS_ACTIVE:
        return info->role == BATON_ROLE_DEST ? "inmigrate" : own;
    default:
        return own;
    }
}

json_t *qmp_run_query_status(struct qmp_context *context, json_t *arguments)
{
    const struct qmp_vm *vm = &context->server->vm;
    struct baton_info info;
    const char *state;

    baton_query(vm->baton, &info);
    state = run_state(vm, &info);
    return json_pack("{s:s, s:b}", "status", state, "running", strcmp(state, "running") == 0);
}

json_t *qmp_run_stop(struct qmp_context *context, json_t *arguments)
{
    return qmp_done(context, baton_stop(context->server->vm.baton, &context->error));
}

json_t *qmp_run_cont(struct qmp_context *context, json_t *arguments)
{
    return qmp_done(context, baton_cont(context->server->vm.baton, &context->error));
}

json_t *qmp_run_quit(struct qmp_context *context, json_t *arguments)
{
    bool force = json_is_true(json_object_get(arguments, "force"));

    if (!force && baton_may_quit(context->server->vm.baton, &context->error) < 0)
        return qmp_done(context, -EBUSY);
    qmp_server_event(context->server, QMP_EVENT_SHUTDOWN_QUIT, 0, NULL);
    context->quit = true;
    return json_object();
}

json_t *qmp_run_system_reset(struct qmp_context *context, json_t *arguments)
{
    const struct qmp_vm *vm = &context->server->vm;

    return qmp_done(context, vm->reset(vm->opaque, &context->error));
}

json_t *qmp_run_system_powerdown(struct qmp_context *context, json_t *arguments)
{
    return qmp_fail(context,
                    "Cannot press the power button: the virt machine has none. Shut the guest down "
                    "from inside, or end the VM with quit");
}

static int write_all(int fd, const char *bytes, size_t length_bytes)
{
    while (length_bytes) {
        ssize_t written = write(fd, bytes, length_bytes);

        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return written < 0 ? -errno : -EIO;
        bytes += written;
        length_bytes -= (size_t)written;
    }
    return 0;
}

/* Guest memory goes through a private buffer: no system call gets an address whose page may be
 * missing. */
static int read_guest(struct qmp_context *context, uint64_t gpa, char *buffer, size_t length_bytes)
{
    struct qmp_server *server = context->server;
    int result;

    pthread_mutex_lock(&server->ram_lock);
    if (atomic_load(&server->stopping))
        result = baton_error_set(&context->error, ECANCELED, "The process ends");
    else
        result = server->vm.read_ram(server->vm.opaque, gpa, buffer, length_bytes, &context->error);
    pthread_mutex_unlock(&server->ram_lock);
    return result;
}

static int copy_guest(struct qmp_context *context, uint64_t gpa, uint64_t left_bytes, int fd,
                      const char *path, char *buffer)
{
    while (left_bytes) {
        size_t chunk = left_bytes < PMEMSAVE_CHUNK_BYTES ? left_bytes : PMEMSAVE_CHUNK_BYTES;
        int result = read_guest(context, gpa, buffer, chunk);

        if (result < 0)
            return result;
        result = write_all(fd, buffer, chunk);
        if (result < 0)
            return baton_error_set(&context->error, -result, "Could not write '%s': %s", path,
                                   strerror(-result));
        gpa += chunk;
        left_bytes -= chunk;
    }
    return 0;
}

json_t *qmp_run_pmemsave(struct qmp_context *context, json_t *arguments)
{
    uint64_t gpa = (uint64_t)json_integer_value(json_object_get(arguments, "val"));
    uint64_t size_bytes = (uint64_t)json_integer_value(json_object_get(arguments, "size"));
    const char *path = json_string_value(json_object_get(arguments, "filename"));
    char *buffer = malloc(PMEMSAVE_CHUNK_BYTES);
    int fd, result;

    if (!buffer)
        return qmp_fail(context, "Out of memory");
    /* What the guest holds is nobody else's business: 0600. */
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
        free(buffer);
        return qmp_fail(context, "Could not open '%s': %s", path, strerror(errno));
    }
    result = copy_guest(context, gpa, size_bytes, fd, path, buffer);
    if (close(fd) < 0 && result == 0)
        result = baton_error_set(&context->error, errno, "Could not write '%s': %s", path,
                                 strerror(errno));
    free(buffer);
    return qmp_done(context, result);
}

static char *to_base64(const uint8_t *bytes, size_t length_bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *text = malloc((length_bytes + 2) / 3 * 4 + 1);
    char *out = text;

    if (!text)
        return NULL;
    for (size_t i = 0; i < length_bytes; i += 3) {
        size_t left = length_bytes - i;
        uint32_t group = (uint32_t)bytes[i] << 16;

        group |= left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0;
        group |= left > 2 ? bytes[i + 2] : 0;
        *out++ = digits[group >> 18];
        *out++ = digits[group >> 12 & 63];
        *out++ = left > 1 ? digits[group >> 6 & 63] : '=';
        *out++ = left > 2 ? digits[group & 63] : '=';
    }
    *out = 0;
    return text;
}

json_t *qmp_run_device_state(struct qmp_context *context, json_t *arguments)
{
    uint8_t *bytes = NULL;
    size_t length_bytes = 0;
    json_t *result;
    char *text;
    int status =
        baton_save_devices(context->server->vm.baton, &bytes, &length_bytes, &context->error);

    if (status < 0)
        return qmp_done(context, status);
    text = to_base64(bytes, length_bytes);
    free(bytes);
    if (!text)
        return qmp_fail(context, "Out of memory");
    result = json_pack("{s:s, s:o}", "base64", text, "length", qmp_number(length_bytes));
    free(text);
    return result;
}
