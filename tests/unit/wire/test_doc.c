/* SPDX-License-Identifier: MIT */
/* docs/wire.md has a row for every message, with the number and the length that the code has. */
#include "support.h"

#include <stdio.h>
#include <string.h>

#include "wire/internal.h"

static char doc[1 << 17];

static int load(void **state)
{
    FILE *file = fopen(WIRE_DOC, "r");
    size_t size;

    if (!file)
        return -1;
    size = fread(doc, 1, sizeof(doc) - 1, file);
    fclose(file);
    return size > 0 && size < sizeof(doc) - 1 ? 0 : -1;
}

static void expect(const char *text)
{
    if (!strstr(doc, text))
        fail_msg("docs/wire.md does not say \"%s\"", text);
}

static void test_every_message(void **state)
{
    for (unsigned i = 0; i < WIRE_TYPE_COUNT; i++) {
        const struct wire_type_info *info = wire_type_info((enum wire_type)i);
        char row[128];

        if (info->class == WIRE_CLASS_ELEMENT)
            snprintf(row, sizeof(row), "| `%s` | 0x%x |", info->name, info->code);
        else if (info->min_bytes == info->max_bytes)
            snprintf(row, sizeof(row), "| `%s` | 0x%x | %u |", info->name, info->code,
                     info->min_bytes);
        else
            snprintf(row, sizeof(row), "| `%s` | 0x%x | %u to %u |", info->name, info->code,
                     info->min_bytes, info->max_bytes);
        expect(row);
    }
}

static void test_numbers(void **state)
{
    char text[64];

    snprintf(text, sizeof(text), "0x%x", WIRE_PING_HELLO);
    expect(text);
    snprintf(text, sizeof(text), "0x%016llx", WIRE_BITMAP_END);
    expect(text);
    snprintf(text, sizeof(text), "protocol version (%u)", WIRE_PROTOCOL_VERSION);
    expect(text);
    snprintf(text, sizeof(text), "at most %u bytes of payload", WIRE_MAX_RETURN_PAYLOAD_BYTES);
    expect(text);
    snprintf(text, sizeof(text), "at most %u ranges", WIRE_MAX_DISCARD_RANGES);
    expect(text);
    expect("| " WIRE_OWN_SECTION_PREFIX);
}

static void test_enumerations(void **state)
{
    static const struct {
        unsigned value;
        const char *name;
    } rows[] = {
        {WIRE_DEST_FRESH, "fresh"},
        {WIRE_DEST_LOADING, "loading"},
        {WIRE_DEST_NOT_STARTED, "not started"},
        {WIRE_DEST_RUNNING, "running"},
        {WIRE_DEST_COMPLETE, "complete"},
        {WIRE_DEST_NEVER, "never"},
        {WIRE_DEST_UNKNOWN, "unknown session"},
        {WIRE_INTENT_NEW, "new migration"},
        {WIRE_INTENT_RECOVER, "recover"},
        {WIRE_INTENT_RECLAIM, "reclaim"},
        {WIRE_VERDICT_OK, "ok"},
        {WIRE_VERDICT_STALE_EPOCH, "stale epoch"},
        {WIRE_VERDICT_UNKNOWN_SESSION, "unknown session"},
        {WIRE_VERDICT_BUSY, "busy"},
        {WIRE_VERDICT_WRONG_PROCESS, "wrong process"},
        {WIRE_VERDICT_REFUSED, "refused"},
    };

    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char row[64];

        snprintf(row, sizeof(row), "| %u | %s |", rows[i].value, rows[i].name);
        expect(row);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_message),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_enumerations),
    };

    return cmocka_run_group_tests(tests, load, NULL);
}
