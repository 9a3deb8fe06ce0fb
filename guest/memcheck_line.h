/* SPDX-License-Identifier: MIT */
/*
 * Builds one line of output without a C library. What does not fit is cut; the line end always
 * fits.
 */
#ifndef MEMCHECK_LINE_H
#define MEMCHECK_LINE_H

#include <stddef.h>
#include <stdint.h>

struct mc_line {
    size_t length;
    char text[200];
};

void mc_platform_write(const char *text, size_t length_bytes);

static inline void mc_line_char(struct mc_line *line, char c)
{
    if (line->length < sizeof(line->text) - 2)
        line->text[line->length++] = c;
}

static inline void mc_line_str(struct mc_line *line, const char *s)
{
    while (*s)
        mc_line_char(line, *s++);
}

static inline void mc_line_begin(struct mc_line *line)
{
    line->length = 0;
    mc_line_str(line, "memcheck: ");
}

/* Writes it out. */
static inline void mc_line_end(struct mc_line *line)
{
    line->text[line->length++] = '\n'; /* mc_line_char() leaves room */
    mc_platform_write(line->text, line->length);
}

static inline void mc_line_u64(struct mc_line *line, const char *name, uint64_t value)
{
    char digits[20];
    unsigned n = 0;

    mc_line_str(line, name);
    do {
        digits[n++] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    while (n)
        mc_line_char(line, digits[--n]);
}

static inline void mc_line_hex(struct mc_line *line, const char *name, uint64_t value)
{
    unsigned shift = 60;

    mc_line_str(line, name);
    mc_line_str(line, "0x");
    while (shift && !(value >> shift))
        shift -= 4;
    for (;; shift -= 4) {
        mc_line_char(line, "0123456789abcdef"[(value >> shift) & 15]);
        if (!shift)
            return;
    }
}

#endif
