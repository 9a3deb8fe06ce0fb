/* SPDX-License-Identifier: MIT */
/*
 * A monitor without a VM, for tests of the command line: serves QMP at argv[1] and does what the
 * lines on stdin say.
 *
 *   enter source|dest STATUS   the library enters a status
 *   numbers                    plausible numbers, a waiter, an address
 *   explain TEXT  error TEXT   what is said about a pause or a failure
 *   refuse TEXT   accept       orders are refused, or accepted again
 *   order                      prints the last order
 *   end                        stops the server in good order, and ends
 *
 * Each line but the last is answered with a line.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fake.h"

static uint64_t entered_ns;

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static const char *enter(const char *role, const char *name)
{
    for (int i = 0; i < BATON_STATUS_COUNT; i++)
        if (strcmp(name, baton_status_name((enum baton_status)i)) == 0) {
            entered_ns = now_ns();
            fake_enter(strcmp(role, "dest") == 0 ? BATON_ROLE_DEST : BATON_ROLE_SOURCE,
                       (enum baton_status)i);
            return "ok";
        }
    return "no such status";
}

static void numbers(void)
{
    static struct baton_info info;

    fake_get_info(&info);
    info.total_ns = 30100000000;
    info.setup_ns = 3000000;
    info.downtime_ns = 45600000;
    info.paused_ns = 12300000000;
    info.recover_ns = 120000000;
    info.pauses = 2;
    info.epoch = 3;
    info.ram_total_bytes = 512u << 20;
    info.ram_remaining_bytes = 100u << 20;
    info.transferred_bytes = 420u << 20;
    info.precopy_bytes = 400u << 20;
    info.downtime_bytes = 1u << 20;
    info.postcopy_bytes = 19u << 20;
    info.normal_pages = 100000;
    info.zero_pages = 5000;
    info.requested_pages = 17;
    info.dirty_sync_count = 4;
    info.bandwidth_bytes_per_s = 110u << 20;
    info.page_bytes = 4096;
    info.missing_pages = 1234;
    info.faults = 17;
    info.fault_p50_ns = 120000;
    info.fault_p99_ns = 800000;
    info.fault_max_ns = 3100000;
    info.waiter_count = 1;
    strcpy(info.waiters[0].name, "cpu 0");
    strcpy(info.waiters[0].block, "mach-virt.ram");
    info.waiters[0].offset = 0x1234000;
    info.waiters[0].since_ns = 3200000000;
    info.address_count = 1;
    strcpy(info.addresses[0], "tcp:0.0.0.0:4444");
    fake_set_info(&info);
}

static const char *explain(const char *text, bool is_error)
{
    static struct baton_info info;

    fake_get_info(&info);
    snprintf(is_error ? info.error : info.explain,
             is_error ? sizeof(info.error) : sizeof(info.explain), "%s", text);
    fake_set_info(&info);
    return "ok";
}

static const char *obey(char *line)
{
    static char refusal[400], order[300];
    char role[16], status[40];

    if (sscanf(line, "enter %15s %39s", role, status) == 2)
        return enter(role, status);
    if (strcmp(line, "numbers") == 0) {
        numbers();
        return "ok";
    }
    if (strncmp(line, "explain ", 8) == 0)
        return explain(line + 8, false);
    if (strncmp(line, "error ", 6) == 0)
        return explain(line + 6, true);
    if (strncmp(line, "refuse ", 7) == 0) {
        snprintf(refusal, sizeof(refusal), "%s", line + 7);
        fake_refuse(refusal);
        return "ok";
    }
    if (strcmp(line, "accept") == 0) {
        fake_refuse(NULL);
        return "ok";
    }
    if (strcmp(line, "order") == 0) {
        fake_last_order(order, sizeof(order));
        return order;
    }
    return "what?";
}

/* The fake library keeps no clock; the time in a state is set before each look at it. */
static void set_state_time(void)
{
    static struct baton_info info;

    fake_get_info(&info);
    info.state_ns = now_ns() - entered_ns;
    fake_set_info(&info);
}

int main(int argc, char **argv)
{
    struct baton_error error = {0};
    struct qmp_server *server;
    char line[400];

    fake_reset();
    if (argc != 2 || qmp_server_start(fake_machine(), argv[1], &server, &error) < 0) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    puts("ready");
    fflush(stdout);
    while (fgets(line, sizeof(line), stdin)) {
        line[strcspn(line, "\n")] = 0;
        if (strcmp(line, "end") == 0)
            break;
        puts(obey(line));
        set_state_time();
        fflush(stdout);
    }
    qmp_server_stop(server);
    return 0;
}
