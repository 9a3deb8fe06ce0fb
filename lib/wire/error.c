/* SPDX-License-Identifier: MIT */
/*
 * Sentences about a peer that sends what it must not. All have one shape, so that they can be
 * compared with a dump of the stream: what is wrong, what was found, at which byte, and what was
 * expected. Names come from the peer and may hold anything; the text builder shows only what
 * prints, and cuts.
 */
#include "base/text.h"
#include "wire/internal.h"

static void begin(struct text *text, struct wire_error *error, const char *what)
{
    text_init(text, error->text, sizeof(error->text));
    text_str(text, what);
}

static enum wire_result finish(struct text *text, uint64_t offset, const char *expected)
{
    text_str(text, " at byte ");
    text_u64(text, offset);
    text_str(text, "; expected ");
    text_str(text, expected);
    return WIRE_BAD;
}

/* Both bases: lengths are read in decimal, magic numbers and flags in hexadecimal. */
static void number(struct text *text, uint64_t value)
{
    text_u64(text, value);
    if (value > 9) {
        text_str(text, " (");
        text_hex(text, value);
        text_str(text, ")");
    }
}

enum wire_result wire_bad(struct wire_error *error, uint64_t offset, const char *what,
                          const char *expected)
{
    struct text text;

    if (!error)
        return WIRE_BAD;
    begin(&text, error, what);
    return finish(&text, offset, expected);
}

enum wire_result wire_bad_u64(struct wire_error *error, uint64_t offset, const char *what,
                              uint64_t found, const char *expected)
{
    struct text text;

    if (!error)
        return WIRE_BAD;
    begin(&text, error, what);
    text_str(&text, ": found ");
    number(&text, found);
    return finish(&text, offset, expected);
}

enum wire_result wire_bad_u64s(struct wire_error *error, uint64_t offset, const char *what,
                               uint64_t found, uint64_t expected)
{
    struct text text;

    if (!error)
        return WIRE_BAD;
    begin(&text, error, what);
    text_str(&text, ": found ");
    number(&text, found);
    finish(&text, offset, "");
    number(&text, expected);
    return WIRE_BAD;
}

enum wire_result wire_bad_name(struct wire_error *error, uint64_t offset, const char *what,
                               const char *found, const char *expected)
{
    /* Long names are cut here, or they would push the rest of the sentence out. */
    enum { SHOWN_BYTES = 40 };
    struct text text;
    size_t length = 0;

    if (!error)
        return WIRE_BAD;
    while (length < SHOWN_BYTES && found[length])
        length++;
    begin(&text, error, what);
    text_str(&text, ": found \"");
    text_bytes(&text, found, length);
    text_str(&text, length == SHOWN_BYTES ? "...\"" : "\"");
    return finish(&text, offset, expected);
}
