/* SPDX-License-Identifier: MIT */
/*
 * Big-endian reading from a buffer that may end anywhere.
 *
 * A decoder reads all its fields and asks once whether they were there: past the end every read
 * gives zeros and leaves `at` alone. `wanted` keeps the end of the first read that failed, which is
 * how many bytes a further attempt needs at least. Everything after a failed read fails as well, so
 * that a field is never taken from a wrong place.
 */
#include <string.h>

#include "wire/internal.h"

void wire_get_init(struct wire_get *get, const uint8_t *bytes, size_t size)
{
    *get = (struct wire_get){.bytes = bytes, .size = size};
}

size_t wire_get_left(const struct wire_get *get)
{
    return get->size - get->at;
}

/* The next bytes, or NULL. */
static const uint8_t *take(struct wire_get *get, size_t length_bytes)
{
    const uint8_t *bytes;

    if (get->truncated)
        return NULL;
    if (length_bytes > wire_get_left(get)) {
        get->truncated = true;
        get->wanted = get->at + length_bytes;
        return NULL;
    }
    bytes = get->bytes + get->at;
    get->at += length_bytes;
    return bytes;
}

void wire_get_bytes(struct wire_get *get, void *bytes, size_t length_bytes)
{
    const uint8_t *from;

    if (!length_bytes)
        return;
    from = take(get, length_bytes);
    if (from)
        memcpy(bytes, from, length_bytes);
    else
        memset(bytes, 0, length_bytes);
}

static uint64_t get_number(struct wire_get *get, size_t length_bytes)
{
    const uint8_t *from = take(get, length_bytes);
    uint64_t value = 0;

    for (size_t i = 0; from && i < length_bytes; i++)
        value = value << 8 | from[i];
    return value;
}

uint8_t wire_get_u8(struct wire_get *get)
{
    return (uint8_t)get_number(get, 1);
}

uint16_t wire_get_be16(struct wire_get *get)
{
    return (uint16_t)get_number(get, 2);
}

uint32_t wire_get_be32(struct wire_get *get)
{
    return (uint32_t)get_number(get, 4);
}

uint64_t wire_get_be64(struct wire_get *get)
{
    return get_number(get, 8);
}

bool wire_get_cstr(struct wire_get *get, char *string)
{
    size_t length = wire_get_u8(get);

    memset(string, 0, WIRE_NAME_BYTES);
    wire_get_bytes(get, string, length);
    return get->truncated || !memchr(string, '\0', length);
}
