/* SPDX-License-Identifier: MIT */
/*
 * query-migrate: the library's account of the migration in QEMU's fields, and in ours.
 *
 * QEMU's names, units and rules for which field is there are kept, since tools read them: nothing
 * before the first migration, `ram` once pages may have moved, `downtime` when it is known. What
 * QEMU has no word for is under "x-baton-". Times are milliseconds unless the name says otherwise.
 */
#include <stdlib.h>
#include <string.h>

#include "monitor/internal.h"

#define NS_PER_MS 1000000u
#define NS_PER_US 1000u

static void set(json_t *object, const char *name, uint64_t value)
{
    json_object_set_new(object, name, qmp_number(value));
}

static json_t *ram_of(const struct baton_info *info)
{
    json_t *ram = json_object();

    set(ram, "transferred", info->transferred_bytes);
    set(ram, "remaining", info->ram_remaining_bytes);
    set(ram, "total", info->ram_total_bytes);
    set(ram, "duplicate", info->zero_pages);
    set(ram, "skipped", 0);
    set(ram, "normal", info->normal_pages);
    set(ram, "normal-bytes", info->normal_pages * info->page_bytes);
    set(ram, "dirty-pages-rate", 0);
    json_object_set_new(ram, "mbps",
                        json_real((double)info->bandwidth_bytes_per_s * 8.0 / 1000000.0));
    set(ram, "dirty-sync-count", info->dirty_sync_count);
    set(ram, "postcopy-requests", info->requested_pages);
    set(ram, "page-size", info->page_bytes);
    set(ram, "multifd-bytes", 0);
    set(ram, "pages-per-second",
        info->page_bytes ? info->bandwidth_bytes_per_s / info->page_bytes : 0);
    set(ram, "precopy-bytes", info->precopy_bytes);
    set(ram, "downtime-bytes", info->downtime_bytes);
    set(ram, "postcopy-bytes", info->postcopy_bytes);
    set(ram, "dirty-sync-missed-zero-copy", 0);
    return ram;
}

/* tcp:HOST:PORT and unix:PATH as QEMU's SocketAddress; NULL for what it has no word for. */
static json_t *socket_address(const char *uri)
{
    const char *host = uri + 4, *port = strrchr(uri, ':');
    size_t host_bytes;

    if (strncmp(uri, "unix:", 5) == 0)
        return json_pack("{s:s, s:o}", "type", "unix", "path", qmp_text(uri + 5));
    if (strncmp(uri, "tcp:", 4) != 0 || port < host)
        return NULL;
    host_bytes = (size_t)(port - host);
    if (host_bytes >= 2 && host[0] == '[' && host[host_bytes - 1] == ']') {
        host++;
        host_bytes -= 2;
    }
    return json_pack("{s:s, s:s%, s:s}", "type", "inet", "host", host, host_bytes, "port",
                     port + 1);
}

static void add_addresses(json_t *object, const struct baton_info *info)
{
    json_t *sockets = json_array(), *uris = json_array();

    for (unsigned i = 0; i < info->address_count && i < BATON_MAX_ADDRESSES; i++) {
        json_t *address = socket_address(info->addresses[i]);

        if (address)
            json_array_append_new(sockets, address);
        json_array_append_new(uris, qmp_text(info->addresses[i]));
    }
    if (json_array_size(uris)) {
        json_object_set(object, "socket-address", sockets);
        json_object_set(object, "x-baton-addresses", uris);
    }
    json_decref(sockets);
    json_decref(uris);
}

static json_t *waiters_of(const struct baton_info *info)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < info->waiter_count && i < BATON_MAX_WAITERS; i++) {
        const struct baton_waiter_info *waiter = &info->waiters[i];

        json_array_append_new(
            list, json_pack("{s:o, s:o, s:o, s:o}", "name", qmp_text(waiter->name), "block",
                            qmp_text(waiter->block), "offset", qmp_number(waiter->offset),
                            "waiting-time", qmp_number(waiter->since_ns / NS_PER_MS)));
    }
    return list;
}

static void add_dest(json_t *object, const struct baton_info *info)
{
    set(object, "x-baton-missing-pages", info->missing_pages);
    json_object_set_new(object, "x-baton-waiters", waiters_of(info));
    json_object_set_new(object, "x-baton-fault-latency",
                        json_pack("{s:o, s:o, s:o, s:o}", "count", qmp_number(info->faults), "p50",
                                  qmp_number(info->fault_p50_ns / NS_PER_US), "p99",
                                  qmp_number(info->fault_p99_ns / NS_PER_US), "max",
                                  qmp_number(info->fault_max_ns / NS_PER_US)));
}

static void add_qemu_fields(json_t *object, const struct baton_info *info)
{
    json_object_set_new(object, "status", json_string(baton_status_name(info->status)));
    if (info->error[0])
        json_object_set_new(object, "error-desc", qmp_text(info->error));
    if (info->total_ns)
        set(object, "total-time", info->total_ns / NS_PER_MS);
    if (info->status != BATON_STATUS_SETUP && info->status != BATON_STATUS_NONE) {
        if (info->role == BATON_ROLE_SOURCE)
            set(object, "setup-time", info->setup_ns / NS_PER_MS);
        json_object_set_new(object, "ram", ram_of(info));
    }
    if (info->downtime_ns) {
        set(object, "downtime", info->downtime_ns / NS_PER_MS);
        set(object, "x-baton-downtime-us", info->downtime_ns / NS_PER_US);
    }
}

json_t *qmp_run_query_migrate(struct qmp_context *context, json_t *arguments)
{
    struct baton_info *info = malloc(sizeof(*info));
    json_t *object = json_object();

    if (!info) {
        json_decref(object);
        return qmp_fail(context, "Out of memory");
    }
    baton_query(context->server->vm.baton, info);
    if (info->role != BATON_ROLE_NONE) {
        add_qemu_fields(object, info);
        json_object_set_new(
            object, "x-baton-role",
            json_string(info->role == BATON_ROLE_SOURCE ? "source" : "destination"));
        set(object, "x-baton-state-time", info->state_ns / NS_PER_MS);
        set(object, "x-baton-paused-time", info->paused_ns / NS_PER_MS);
        set(object, "x-baton-pauses", info->pauses);
        set(object, "x-baton-epoch", info->epoch);
        if (info->recover_ns)
            set(object, "x-baton-recover-time", info->recover_ns / NS_PER_MS);
        if (info->role == BATON_ROLE_DEST)
            add_dest(object, info);
        if (info->explain[0])
            json_object_set_new(object, "x-baton-explain", qmp_text(info->explain));
    }
    add_addresses(object, info);
    json_object_set_new(object, "x-baton-vm-running", json_boolean(info->vm_running));
    json_object_set_new(object, "x-baton-vm-may-run", json_boolean(info->vm_may_run));
    free(info);
    return object;
}
