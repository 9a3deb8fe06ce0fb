/* SPDX-License-Identifier: MIT */
/*
 * Writing the ram section. The writer remembers the block of its last page, so that only the first
 * of a run carries the name; it forgets at the start of postcopy and with each connection, since a
 * receiver may have forgotten as well. A page header that overflowed has not been sent: it changes
 * nothing.
 */
#include <assert.h>

#include "wire/internal.h"

void wire_ram_writer_init(struct wire_ram_writer *writer, const struct wire_blocks *blocks,
                          uint32_t section_id)
{
    *writer = (struct wire_ram_writer){
        .blocks = blocks, .section_id = section_id, .last_block = WIRE_NO_BLOCK};
}

void wire_ram_writer_forget(struct wire_ram_writer *writer)
{
    writer->last_block = WIRE_NO_BLOCK;
}

void wire_put_ram_start(struct wire_put *put, const struct wire_ram_writer *writer, bool advised)
{
    const struct wire_blocks *blocks = writer->blocks;

    wire_ram_start_header_encode(put, writer->section_id);
    wire_put_be64(put, wire_blocks_total_bytes(blocks) | WIRE_FLAG_MEM_SIZE);
    for (unsigned i = 0; i < blocks->count; i++) {
        wire_put_cstr(put, blocks->block[i].name);
        wire_put_be64(put, blocks->block[i].used_bytes);
        if (advised && blocks->block[i].page_bytes != WIRE_TARGET_PAGE_BYTES)
            wire_put_be64(put, blocks->block[i].page_bytes);
    }
    wire_put_ram_eos(put, writer);
}

void wire_put_ram_part(struct wire_put *put, const struct wire_ram_writer *writer)
{
    wire_put_u8(put, WIRE_ELEMENT_PART);
    wire_put_be32(put, writer->section_id);
}

void wire_put_ram_end(struct wire_put *put, const struct wire_ram_writer *writer)
{
    wire_put_u8(put, WIRE_ELEMENT_END);
    wire_put_be32(put, writer->section_id);
}

void wire_put_ram_eos(struct wire_put *put, const struct wire_ram_writer *writer)
{
    wire_put_be64(put, WIRE_FLAG_EOS);
    wire_footer_encode(put, writer->section_id);
}

/* All of a page or zero-page record but the data of a page; nothing of it if it does not fit. */
static void put_record(struct wire_put *put, struct wire_ram_writer *writer, unsigned block,
                       uint64_t offset, uint64_t flag)
{
    bool same = block == writer->last_block;
    size_t used = put->used;

    assert(block < writer->blocks->count);
    assert(offset % WIRE_TARGET_PAGE_BYTES == 0);
    wire_put_be64(put, offset | flag | (same ? WIRE_FLAG_CONTINUE : 0));
    if (!same)
        wire_put_cstr(put, writer->blocks->block[block].name);
    if (flag == WIRE_FLAG_ZERO)
        wire_put_u8(put, 0);
    if (put->overflow)
        put->used = used;
    else
        writer->last_block = block;
}

void wire_put_page_header(struct wire_put *put, struct wire_ram_writer *writer, unsigned block,
                          uint64_t offset)
{
    put_record(put, writer, block, offset, WIRE_FLAG_PAGE);
}

void wire_put_zero_page(struct wire_put *put, struct wire_ram_writer *writer, unsigned block,
                        uint64_t offset)
{
    put_record(put, writer, block, offset, WIRE_FLAG_ZERO);
}
