/* SPDX-License-Identifier: MIT */
/*
 * One row for each type of message: its name, the number that stands for it on the wire, and
 * between which bounds its counted payload may be. The bounds are checked before the payload is
 * waited for; docs/wire.md has the same numbers, and a test compares the two.
 */
#include <assert.h>

#include "wire/internal.h"

#define ELEMENT(name, code) [WIRE_##name] = {#name, WIRE_CLASS_ELEMENT, code, 0, 0}
#define COMMAND(name, code, min, max) [WIRE_##name] = {#name, WIRE_CLASS_COMMAND, code, min, max}
#define RETURN(name, code, min, max) [WIRE_##name] = {#name, WIRE_CLASS_RETURN, code, min, max}

enum {
    NAME_MIN = 2, /* a length byte and one character */
    NAME_MAX = WIRE_NAME_BYTES,
    DISCARD_FIXED = 2, /* version and the zero after the name */
    RANGE = 16,
    REQUEST = 12 /* start and length */
};

static const struct wire_type_info types[WIRE_TYPE_COUNT] = {
    ELEMENT(HEADER, WIRE_MAGIC),
    ELEMENT(CONFIGURATION, WIRE_ELEMENT_CONFIGURATION),
    ELEMENT(RAM_START, WIRE_ELEMENT_START),
    ELEMENT(RAM_PART, WIRE_ELEMENT_PART),
    ELEMENT(RAM_END, WIRE_ELEMENT_END),
    ELEMENT(SECTION_FULL, WIRE_ELEMENT_FULL),
    ELEMENT(EOF, WIRE_ELEMENT_EOF),
    ELEMENT(VMDESCRIPTION, WIRE_ELEMENT_VMDESCRIPTION),
    COMMAND(OPEN_RETURN_PATH, 1, 0, 0),
    COMMAND(PING, 2, 4, 4),
    COMMAND(ADVISE, 3, 0, 16),
    COMMAND(LISTEN, 4, 0, 0),
    COMMAND(RUN, 5, 0, 0),
    COMMAND(RAM_DISCARD, 6, DISCARD_FIXED + NAME_MIN + RANGE,
            DISCARD_FIXED + NAME_MAX + WIRE_MAX_DISCARD_RANGES * RANGE),
    COMMAND(PACKAGED, 7, 4, 4),
    COMMAND(RESUME, 9, 0, 0),
    COMMAND(RECV_BITMAP_REQUEST, 10, NAME_MIN, NAME_MAX),
    COMMAND(SWITCHOVER_START, 11, 0, 0),
    COMMAND(HELLO_SOURCE, 0x0ba1, 83, 511),
    COMMAND(BARRIER, 0x0ba2, 12, 12),
    COMMAND(VOID, 0x0ba3, 16, 16),
    COMMAND(BYE, 0x0ba4, 8, 8),
    RETURN(SHUT, 1, 4, 4),
    RETURN(PONG, 2, 4, 4),
    RETURN(REQ_PAGES, 3, REQUEST + NAME_MIN, REQUEST + NAME_MAX),
    RETURN(RECV_BITMAP, 5, NAME_MIN, NAME_MAX),
    RETURN(RESUME_ACK, 6, 4, 4),
    RETURN(SWITCHOVER_ACK, 7, 0, 0),
    RETURN(HELLO_DEST, 0xba01, 51, 511),
    RETURN(HELLO_ACK, 0xba02, 11, 266),
    RETURN(READY, 0xba03, 24, 24),
    RETURN(FAULT, 0xba04, 3, 258),
    RETURN(COMPLETE, 0xba05, 16, 16),
    RETURN(BARRIER_ACK, 0xba06, 12, 12),
};

const struct wire_type_info *wire_type_info(enum wire_type type)
{
    assert((unsigned)type < WIRE_TYPE_COUNT);
    return &types[type];
}

enum wire_type wire_type_find(enum wire_class class, uint32_t code)
{
    for (unsigned i = 0; i < WIRE_TYPE_COUNT; i++)
        if (types[i].class == class && types[i].code == code)
            return (enum wire_type)i;
    return WIRE_TYPE_COUNT;
}

const char *wire_type_name(enum wire_type type)
{
    return (unsigned)type < WIRE_TYPE_COUNT ? types[type].name : "?";
}

bool wire_type_is_return(enum wire_type type)
{
    return wire_type_info(type)->class == WIRE_CLASS_RETURN;
}

uint32_t wire_type_code(enum wire_type type)
{
    return wire_type_info(type)->code;
}
