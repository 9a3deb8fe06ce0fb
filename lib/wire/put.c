/* SPDX-License-Identifier: MIT */
/*
 * Big-endian writing into a caller's buffer.
 *
 * A message is put piece by piece without a check after each: a piece that does not fit is dropped
 * whole, and so is everything after it, since `overflow` stays set. So `used` never passes `size`,
 * and whoever finds no overflow at the end has all of it.
 */
#include <string.h>

#include "wire/internal.h"

void wire_put_init(struct wire_put *put, uint8_t *bytes, size_t size)
{
    *put = (struct wire_put){.bytes = bytes, .size = size};
}

void wire_put_bytes(struct wire_put *put, const void *bytes, size_t length_bytes)
{
    if (put->overflow || length_bytes > put->size - put->used) {
        put->overflow = true;
        return;
    }
    if (length_bytes)
        memcpy(put->bytes + put->used, bytes, length_bytes);
    put->used += length_bytes;
}

static void put_number(struct wire_put *put, uint64_t value, size_t length_bytes)
{
    uint8_t bytes[8];

    for (size_t i = 0; i < length_bytes; i++)
        bytes[i] = (uint8_t)(value >> (8 * (length_bytes - 1 - i)));
    wire_put_bytes(put, bytes, length_bytes);
}

void wire_put_u8(struct wire_put *put, uint8_t value)
{
    put_number(put, value, 1);
}

void wire_put_be16(struct wire_put *put, uint16_t value)
{
    put_number(put, value, 2);
}

void wire_put_be32(struct wire_put *put, uint32_t value)
{
    put_number(put, value, 4);
}

void wire_put_be64(struct wire_put *put, uint64_t value)
{
    put_number(put, value, 8);
}

void wire_put_cstr(struct wire_put *put, const char *string)
{
    size_t length = strnlen(string, WIRE_NAME_BYTES);

    if (length >= WIRE_NAME_BYTES) {
        put->overflow = true;
        return;
    }
    wire_put_u8(put, (uint8_t)length);
    wire_put_bytes(put, string, length);
}
