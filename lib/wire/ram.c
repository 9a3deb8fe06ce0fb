/* SPDX-License-Identifier: MIT */
/*
 * Records of the ram section: block list, pages, zero pages, end.
 *
 * A record is a 64-bit word, an offset with flags in its low 12 bits, and what the flags call for.
 * The state is that of one channel: "same block as before" (CONTINUE) means the last record on this
 * channel, over the borders of sections, and is unknown on a new connection. Only blocks of the own
 * table, and offsets inside them, ever come out.
 *
 * The block list has no count: it ends when its lengths add up to the announced total. It must name
 * each own block once with its own length, so it cannot be longer than the table. Whether an entry
 * has a page size cannot be seen in the bytes; both sides conclude it from what they know
 * (postcopy-ram on, ADVISE sent, pages of the block larger than usual).
 */
#include <assert.h>

#include "wire/internal.h"

#define FLAG_MASK ((uint64_t)WIRE_TARGET_PAGE_BYTES - 1)

static enum wire_result list_entry_decode(const struct wire_ram_state *state, struct wire_get *get,
                                          unsigned *index, struct wire_error *error)
{
    uint64_t offset = state->offset + get->at, length;
    const struct wire_block *block;
    char name[WIRE_NAME_BYTES];
    enum wire_result result;

    if (!wire_get_cstr(get, name))
        return wire_bad(error, offset, "a block name holds a zero byte", "text");
    if (get->truncated)
        return WIRE_MORE;
    result = wire_blocks_resolve(state->blocks, name, offset, index, error);
    if (result != WIRE_DONE)
        return result;
    block = &state->blocks->block[*index];
    length = wire_get_be64(get);
    if (!get->truncated && length != block->used_bytes)
        return wire_bad_u64s(error, offset, "a RAM block has another length at the source", length,
                             block->used_bytes);
    if (state->postcopy_ram && state->advised && block->page_bytes != WIRE_TARGET_PAGE_BYTES) {
        uint64_t page_bytes = wire_get_be64(get);

        if (!get->truncated && page_bytes != block->page_bytes)
            return wire_bad_u64s(error, offset,
                                 "a RAM block has pages of another size at the source", page_bytes,
                                 block->page_bytes);
    }
    return get->truncated ? WIRE_MORE : WIRE_DONE;
}

static enum wire_result list_decode(const struct wire_ram_state *state, struct wire_get *get,
                                    uint64_t total, struct wire_error *error)
{
    uint64_t expected = wire_blocks_total_bytes(state->blocks), sum = 0;
    bool seen[WIRE_MAX_BLOCKS] = {false};

    if (!state->in_start || state->listed)
        return wire_bad(error, state->offset, "a second block list", "one, in the section's start");
    if (total != expected)
        return wire_bad_u64s(error, state->offset, "the source's VM has another amount of RAM",
                             total, expected);
    while (sum < total) {
        uint64_t offset = state->offset + get->at;
        unsigned index = 0;
        enum wire_result result = list_entry_decode(state, get, &index, error);

        if (result != WIRE_DONE)
            return result;
        if (seen[index])
            return wire_bad_name(error, offset, "a block is listed twice",
                                 state->blocks->block[index].name, "each block once");
        seen[index] = true;
        sum += state->blocks->block[index].used_bytes;
    }
    return WIRE_DONE;
}

static enum wire_result page_decode(const struct wire_ram_state *state, struct wire_get *get,
                                    uint64_t flags, struct wire_ram_record *out,
                                    struct wire_error *error)
{
    const struct wire_block *block;
    enum wire_result result;

    if (!state->listed)
        return wire_bad(error, state->offset, "a page before the list of blocks", "the list");
    if (flags & WIRE_FLAG_CONTINUE) {
        if (state->last_block == WIRE_NO_BLOCK)
            return wire_bad(error, state->offset, "a page refers to the block of a page before it",
                            "the first page on a connection to name its block");
        out->block = state->last_block;
    } else {
        char name[WIRE_NAME_BYTES];

        if (!wire_get_cstr(get, name))
            return wire_bad(error, state->offset + 8, "a block name holds a zero byte", "text");
        if (get->truncated)
            return WIRE_MORE;
        result = wire_blocks_resolve(state->blocks, name, state->offset + 8, &out->block, error);
        if (result != WIRE_DONE)
            return result;
    }
    block = &state->blocks->block[out->block];
    if (out->offset >= block->used_bytes ||
        block->used_bytes - out->offset < WIRE_TARGET_PAGE_BYTES)
        return wire_bad_u64(error, state->offset, "a page lies behind the end of its block",
                            out->offset, "an offset inside the block");
    out->kind = WIRE_RAM_PAGE;
    if (flags & WIRE_FLAG_ZERO) {
        uint8_t fill = wire_get_u8(get);

        if (get->truncated)
            return WIRE_MORE;
        if (fill != 0)
            return wire_bad_u64(error, state->offset + get->at - 1,
                                "a zero page is filled with something else", fill, "0");
        out->kind = WIRE_RAM_ZERO;
    }
    return WIRE_DONE;
}

static enum wire_result flags_refuse(const struct wire_ram_state *state, uint64_t flags,
                                     struct wire_error *error)
{
    static const char off[] = "plain pages: turn that capability off at the source";

    if (flags & WIRE_FLAG_MULTIFD_FLUSH)
        return wire_bad_u64(error, state->offset, "the source uses multifd", flags, off);
    if (flags & WIRE_FLAG_XBZRLE)
        return wire_bad_u64(error, state->offset, "the source uses xbzrle", flags, off);
    if (flags & WIRE_FLAG_COMPRESS)
        return wire_bad_u64(error, state->offset, "the source uses compress", flags, off);
    return wire_bad_u64(error, state->offset, "unknown flags of a ram record", flags,
                        "a page, a zero page or the end of the section");
}

static enum wire_result record_decode(const struct wire_ram_state *state, struct wire_get *get,
                                      struct wire_ram_record *out, struct wire_error *error)
{
    uint64_t word = wire_get_be64(get), flags = word & FLAG_MASK;

    if (get->truncated)
        return WIRE_MORE;
    out->offset = word & ~FLAG_MASK;
    switch (flags) {
    case WIRE_FLAG_PAGE:
    case WIRE_FLAG_PAGE | WIRE_FLAG_CONTINUE:
    case WIRE_FLAG_ZERO:
    case WIRE_FLAG_ZERO | WIRE_FLAG_CONTINUE:
        return page_decode(state, get, flags, out, error);
    case WIRE_FLAG_MEM_SIZE:
        out->kind = WIRE_RAM_BLOCK_LIST;
        return list_decode(state, get, out->offset, error);
    case WIRE_FLAG_EOS:
        out->kind = WIRE_RAM_EOS;
        if (out->offset)
            return wire_bad_u64(error, state->offset, "the end of a ram section has an offset",
                                out->offset, "0");
        if (!state->listed)
            return wire_bad(error, state->offset, "the ram section starts without its block list",
                            "the list");
        return wire_footer_decode(get, state->offset, state->section_id, error);
    default:
        return flags_refuse(state, flags, error);
    }
}

enum wire_result wire_decode_ram_record(struct wire_ram_state *state, const uint8_t *bytes,
                                        size_t available, size_t *used, struct wire_ram_record *out,
                                        struct wire_error *error)
{
    enum wire_result result;
    struct wire_get get;

    assert(state->in_body);
    *out = (struct wire_ram_record){.block = WIRE_NO_BLOCK};
    wire_get_init(&get, bytes, available);
    result = record_decode(state, &get, out, error);
    if (result != WIRE_DONE) {
        *used = result == WIRE_MORE ? get.wanted : 0;
        return result;
    }
    *used = get.at;
    state->offset += get.at;
    switch (out->kind) {
    case WIRE_RAM_BLOCK_LIST:
        out->offset = 0;
        state->listed = true;
        break;
    case WIRE_RAM_PAGE:
        state->offset += WIRE_TARGET_PAGE_BYTES; /* which the caller takes */
        state->last_block = out->block;
        break;
    case WIRE_RAM_ZERO:
        state->last_block = out->block;
        break;
    case WIRE_RAM_EOS:
        state->in_body = state->in_start = false;
        break;
    }
    return WIRE_DONE;
}
