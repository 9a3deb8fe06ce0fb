/* SPDX-License-Identifier: MIT */
/*
 * A walker over a flattened device tree.
 *
 * The tree comes from a VMM that may be under test, so no offset or length in it is believed:
 * everything is read through a cursor that knows the end of its block, and a cursor that ran over
 * its end makes the parse fail as a whole. It looks at three things only: the root's cell sizes,
 * nodes "memory" below the root, and nodes "cpu@..." below "cpus".
 */
#include "fdt.h"

#include <stddef.h>

#define FDT_MAGIC 0xd00dfeed
#define FDT_MAX_BYTES (1 << 20)
#define FDT_MAX_DEPTH 16

enum { BEGIN_NODE = 1, END_NODE = 2, PROP = 3, NOP = 4, END = 9 };

struct cursor {
    const uint8_t *at, *end;
    bool overrun;
};

struct walk {
    struct cursor structure;
    const char *strings;
    uint32_t strings_bytes;
    uint32_t address_cells, size_cells;
    unsigned depth;          /* 1: inside the root */
    bool in_memory, in_cpus; /* of the node at depth 2 */
    uint64_t inside;
    struct bare_fdt *result;
};

static uint32_t be32(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static uint32_t take_u32(struct cursor *cursor)
{
    uint32_t value;

    if (cursor->end - cursor->at < 4) {
        cursor->overrun = true;
        return 0;
    }
    value = be32(cursor->at);
    cursor->at += 4;
    return value;
}

/* Cells of 32 bits, most significant first; more than two do not fit and fail. */
static uint64_t take_cells(struct cursor *cursor, uint32_t cells)
{
    uint64_t value = 0;

    if (cells > 2)
        cursor->overrun = true;
    while (cells-- && !cursor->overrun)
        value = value << 32 | take_u32(cursor);
    return value;
}

/* Takes `bytes` and the padding behind them. */
static const uint8_t *take_bytes(struct cursor *cursor, uint64_t bytes)
{
    const uint8_t *start = cursor->at;

    bytes = (bytes + 3) & ~(uint64_t)3;
    if ((uint64_t)(cursor->end - cursor->at) < bytes) {
        cursor->overrun = true;
        return NULL;
    }
    cursor->at += bytes;
    return start;
}

static const char *take_name(struct cursor *cursor)
{
    uint64_t length = 0;

    while (cursor->at + length < cursor->end && cursor->at[length])
        length++;
    return (const char *)take_bytes(cursor, length + 1);
}

static bool starts_with(const char *text, const char *start)
{
    while (*start)
        if (*text++ != *start++)
            return false;
    return true;
}

static bool is_named(const struct walk *walk, uint32_t name_offset, const char *name)
{
    size_t i = 0;

    do {
        if (name_offset >= walk->strings_bytes || i >= walk->strings_bytes - name_offset ||
            walk->strings[name_offset + i] != name[i])
            return false;
    } while (name[i++]);
    return true;
}

static void node(struct walk *walk, const char *name)
{
    if (walk->depth == 2) {
        walk->in_memory = starts_with(name, "memory@") ||
                          (starts_with(name, "memory") && name[sizeof("memory") - 1] == 0);
        walk->in_cpus = starts_with(name, "cpus") && name[sizeof("cpus") - 1] == 0;
    } else if (walk->depth == 3 && walk->in_cpus && starts_with(name, "cpu@")) {
        walk->result->harts++;
    }
}

static void property(struct walk *walk, uint32_t name_offset, const uint8_t *value, uint32_t length)
{
    struct cursor cells = {.at = value, .end = value + length};

    if (walk->depth == 1 && is_named(walk, name_offset, "#address-cells")) {
        walk->address_cells = take_u32(&cells);
    } else if (walk->depth == 1 && is_named(walk, name_offset, "#size-cells")) {
        walk->size_cells = take_u32(&cells);
    } else if (walk->depth == 2 && walk->in_memory && is_named(walk, name_offset, "reg")) {
        while (cells.at < cells.end && !cells.overrun) {
            uint64_t base = take_cells(&cells, walk->address_cells);
            uint64_t bytes = take_cells(&cells, walk->size_cells);

            if (walk->address_cells == 0 && walk->size_cells == 0)
                return;
            if (!cells.overrun && walk->inside >= base && walk->inside - base < bytes &&
                bytes <= UINT64_MAX - base) {
                walk->result->ram_base = base;
                walk->result->ram_bytes = bytes;
            }
        }
    }
}

static bool walk_structure(struct walk *walk)
{
    struct cursor *cursor = &walk->structure;

    while (!cursor->overrun) {
        switch (take_u32(cursor)) {
        case BEGIN_NODE: {
            const char *name = take_name(cursor);

            if (!name || ++walk->depth > FDT_MAX_DEPTH)
                return false;
            node(walk, name);
            break;
        }
        case END_NODE:
            if (walk->depth-- == 0)
                return false;
            break;
        case PROP: {
            uint32_t length = take_u32(cursor), name_offset = take_u32(cursor);
            const uint8_t *value = take_bytes(cursor, length);

            if (!value)
                return false;
            property(walk, name_offset, value, length);
            break;
        }
        case NOP:
            break;
        case END:
            return !cursor->overrun && walk->depth == 0;
        default:
            return false;
        }
    }
    return false;
}

bool bare_fdt_parse(const uint8_t *fdt, uint64_t inside, struct bare_fdt *result)
{
    uint32_t total = be32(fdt + 4), structure = be32(fdt + 8), strings = be32(fdt + 12);
    uint32_t strings_bytes = be32(fdt + 32), structure_bytes = be32(fdt + 36);
    struct walk walk = {.address_cells = 2, .size_cells = 2, .inside = inside, .result = result};

    *result = (struct bare_fdt){.total_bytes = total};
    if (be32(fdt) != FDT_MAGIC || total < 40 || total > FDT_MAX_BYTES)
        return false;
    if (structure > total || structure_bytes > total - structure || strings > total ||
        strings_bytes > total - strings)
        return false;
    walk.structure =
        (struct cursor){.at = fdt + structure, .end = fdt + structure + structure_bytes};
    walk.strings = (const char *)fdt + strings;
    walk.strings_bytes = strings_bytes;
    return walk_structure(&walk) && result->ram_bytes && result->harts;
}
