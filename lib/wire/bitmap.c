/* SPDX-License-Identifier: MIT */
/*
 * Received bitmaps as they travel: bit i % 8 of byte i / 8 is page i, padded with zeros to a
 * multiple of 8 bytes, whatever the host's byte order. The padding of a peer is not looked at. Then
 * comes an end mark, which tells a bitmap from a stream that has lost its place.
 */
#include <string.h>

#include "wire/internal.h"

uint64_t wire_bitmap_bytes(uint64_t pages)
{
    return (pages / 64 + (pages % 64 != 0)) * 8;
}

/* The bits of the last word that stand for pages. */
static uint64_t word_mask(uint64_t pages_left)
{
    return pages_left >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << pages_left) - 1;
}

void wire_bitmap_pack(const uint64_t *words, uint64_t pages, uint8_t *out)
{
    for (uint64_t page = 0; page < pages; page += 64, out += 8) {
        uint64_t word = words[page / 64] & word_mask(pages - page);

        for (unsigned i = 0; i < 8; i++)
            out[i] = (uint8_t)(word >> (8 * i));
    }
}

void wire_bitmap_unpack(const uint8_t *bytes, uint64_t pages, uint64_t *words)
{
    for (uint64_t page = 0; page < pages; page += 64, bytes += 8) {
        uint64_t word = 0;

        for (unsigned i = 0; i < 8; i++)
            word |= (uint64_t)bytes[i] << (8 * i);
        words[page / 64] = word & word_mask(pages - page);
    }
}

enum wire_result wire_bitmap_check_end(const uint8_t bytes[8], struct wire_error *error)
{
    struct wire_get get;
    uint64_t mark;

    wire_get_init(&get, bytes, 8);
    mark = wire_get_be64(&get);
    if (mark != WIRE_BITMAP_END)
        return wire_bad_u64(error, 0, "a received bitmap does not end with its mark", mark,
                            "0x123456789abcdef (counted from the mark)");
    return WIRE_DONE;
}
