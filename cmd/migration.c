/* SPDX-License-Identifier: MIT */
/*
 * Reads query-migrate's answer.
 *
 * Problem: the answer comes from another program, maybe an older or newer one, or QEMU: every field
 * may be missing or be of another type.
 *
 * Invariant: whatever comes in, what goes out is complete: absent numbers are 0 and `status` is
 * never NULL.
 */
#include "cmd/migration.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define RATE_SETTLES_MS 2000u

uint64_t migration_number(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    double number = json_number_value(value);

    if (json_is_integer(value))
        return json_integer_value(value) > 0 ? (uint64_t)json_integer_value(value) : 0;
    return number > 0 && number < 1e18 ? (uint64_t)number : 0;
}

void migration_read(json_t *json, struct migration *out)
{
    const json_t *ram = json_object_get(json, "ram");
    const char *status = json_string_value(json_object_get(json, "status"));
    const char *role = json_string_value(json_object_get(json, "x-baton-role"));
    double mbps = json_number_value(json_object_get(ram, "mbps"));

    *out = (struct migration){
        .json = json,
        .status = status ? status : "none",
        .error_desc = json_string_value(json_object_get(json, "error-desc")),
        .explain = json_string_value(json_object_get(json, "x-baton-explain")),
        .is_baton = json_object_get(json, "x-baton-vm-running") != NULL,
        .total_bytes = migration_number(ram, "total"),
        .remaining_bytes = migration_number(ram, "remaining"),
        .transferred_bytes = migration_number(ram, "transferred"),
        .bytes_per_s = mbps > 0 ? mbps * 1000000.0 / 8.0 : 0,
        .total_ms = migration_number(json, "total-time"),
        .downtime_us = json_object_get(json, "x-baton-downtime-us")
                           ? migration_number(json, "x-baton-downtime-us")
                           : migration_number(json, "downtime") * 1000,
        .has_downtime = json_object_get(json, "downtime") != NULL,
        .state_ms = migration_number(json, "x-baton-state-time"),
        .paused_ms = migration_number(json, "x-baton-paused-time"),
        .pauses = migration_number(json, "x-baton-pauses"),
    };
    if (role)
        out->role = strcmp(role, "source") == 0 ? MIGRATION_ROLE_SOURCE : MIGRATION_ROLE_DEST;
}

bool migration_is(const struct migration *migration, const char *status)
{
    return strcmp(migration->status, status) == 0;
}

bool migration_is_over(const struct migration *migration)
{
    return migration_is(migration, "completed") || migration_is(migration, "failed") ||
           migration_is(migration, "cancelled");
}

bool migration_has_rate(const struct migration *migration)
{
    if (migration->bytes_per_s < 1.0 || migration_is(migration, "postcopy-paused") ||
        strncmp(migration->status, "postcopy-re", 11) == 0)
        return false;
    return !migration->pauses || !migration_is(migration, "postcopy-active") ||
           migration->state_ms >= RATE_SETTLES_MS;
}

const char *migration_why(const struct migration *migration)
{
    return migration->explain ? migration->explain : migration->error_desc;
}

const char *words_bytes(uint64_t bytes, char buffer[WORDS_BYTES])
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = (double)bytes;
    size_t unit = 0;

    while (value >= 1024.0 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        value /= 1024.0;
        unit++;
    }
    snprintf(buffer, WORDS_BYTES, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return buffer;
}

const char *words_us(uint64_t us, char buffer[WORDS_BYTES])
{
    if (us < 1000)
        snprintf(buffer, WORDS_BYTES, "%" PRIu64 " us", us);
    else if (us < 1000000)
        snprintf(buffer, WORDS_BYTES, "%.1f ms", (double)us / 1000.0);
    else if (us < 120 * 1000000ull)
        snprintf(buffer, WORDS_BYTES, "%.1f s", (double)us / 1000000.0);
    else
        snprintf(buffer, WORDS_BYTES, "%" PRIu64 " min %" PRIu64 " s", us / 60000000,
                 us / 1000000 % 60);
    return buffer;
}

const char *words_ms(uint64_t ms, char buffer[WORDS_BYTES])
{
    if (ms < 1000)
        snprintf(buffer, WORDS_BYTES, "%" PRIu64 " ms", ms);
    else if (ms > UINT64_MAX / 1000)
        snprintf(buffer, WORDS_BYTES, "for ever");
    else
        words_us(ms * 1000, buffer);
    return buffer;
}

unsigned words_columns(void)
{
    struct winsize size;

    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
}

/* Columns of the first `bytes` bytes: the later bytes of a UTF-8 character take none. */
static unsigned columns_of(const char *text, size_t bytes)
{
    unsigned columns = 0;

    for (size_t i = 0; i < bytes; i++)
        columns += ((unsigned char)text[i] & 0xc0) != 0x80;
    return columns;
}

void words_wrap(const char *text, unsigned column)
{
    unsigned width = words_columns(), at = column;

    while (*text) {
        size_t bytes = strcspn(text, " \n");
        unsigned columns = columns_of(text, bytes);
        bool broken = text[bytes] == '\n';

        if (at > column && at + 1 + columns > width) {
            printf("\n%*s", (int)column, "");
            at = column;
        } else if (at > column) {
            putchar(' ');
            at++;
        }
        printf("%.*s", (int)bytes, text);
        at += columns;
        text += bytes + (text[bytes] != 0);
        if (broken && *text) {
            printf("\n%*s", (int)column, "");
            at = column;
        }
    }
    putchar('\n');
}
