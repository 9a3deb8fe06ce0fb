/* SPDX-License-Identifier: MIT */
/*
 * A bounded text builder for the pure libraries, which may not call the printf family.
 *
 * The text is always terminated and never longer than its buffer: what does not fit is cut. Calls
 * chain by statement, not by return value, because a builder cannot fail.
 */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stddef.h>
#include <stdint.h>

struct text {
    char *buffer; /* borrowed; `size` bytes, size >= 1 */
    size_t size;
    size_t length; /* without the terminator */
};

void text_init(struct text *text, char *buffer, size_t size);
void text_str(struct text *text, const char *s);
/* At most `length` bytes; anything that does not print becomes '?', since the bytes may be a
 * peer's. */
void text_bytes(struct text *text, const char *bytes, size_t length);
void text_u64(struct text *text, uint64_t value);
void text_hex(struct text *text, uint64_t value); /* with 0x */

#endif
