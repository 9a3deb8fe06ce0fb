/* SPDX-License-Identifier: MIT */
/* A bounded text builder; the contract is in text.h. Pure: nothing but memory. */
#include "base/text.h"

#include <assert.h>
#include <string.h>

void text_init(struct text *text, char *buffer, size_t size)
{
    assert(size >= 1);
    text->buffer = buffer;
    text->size = size;
    text->length = 0;
    buffer[0] = '\0';
}

static void put(struct text *text, char c)
{
    if (text->length + 1 < text->size) {
        text->buffer[text->length++] = c;
        text->buffer[text->length] = '\0';
    }
}

void text_str(struct text *text, const char *s)
{
    while (*s)
        put(text, *s++);
}

void text_bytes(struct text *text, const char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++)
        put(text, bytes[i] >= 0x20 && bytes[i] < 0x7f ? bytes[i] : '?');
}

void text_u64(struct text *text, uint64_t value)
{
    char digits[20];
    size_t n = 0;

    do {
        digits[n++] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    while (n)
        put(text, digits[--n]);
}

void text_hex(struct text *text, uint64_t value)
{
    char digits[16];
    size_t n = 0;

    do {
        digits[n++] = "0123456789abcdef"[value & 15];
        value >>= 4;
    } while (value);
    text_str(text, "0x");
    while (n)
        put(text, digits[--n]);
}
