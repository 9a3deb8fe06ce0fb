/* SPDX-License-Identifier: MIT */
/*
 * Decoded code: finding the block for a pc, and making it when there is none.
 *
 * Blocks are keyed by guest-physical address and hold nothing that depends on the virtual one, so
 * changes of translation leave them alone: pc is translated through the fetch TLB first. They live
 * in an arena, found through a direct-mapped table; a block that loses its place in the table stays
 * in the arena, since links may lead to it, until the arena is full. Then everything is forgotten
 * at once.
 *
 * FENCE.I. Forgetting all code at each one would cost far more than it is worth: guests do it for
 * every page of code that they map. Instead the hart's generation grows, and a block of an older
 * generation is compared, byte by byte, with the memory that it came from before it runs again.
 * Links lead only to blocks of the current generation.
 *
 * An instruction across two pages makes a block of its own, chosen by its bits rather than by its
 * address, because the two pages may be put together differently each time. It is never linked from
 * and never linked to.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/cpu/rv64/exec.h"

#define TABLE_ENTRIES 32768u
#define ARENA_BYTES ((size_t)16 << 20)
#define STRADDLE_ENTRIES 64u
#define MAX_CODE_BYTES (4 * RV64_BLOCK_MAX)
#define MAX_BLOCK_BYTES                                                                            \
    (sizeof(struct rv64_block) + (RV64_BLOCK_MAX + 2) * sizeof(struct rv64_insn) + MAX_CODE_BYTES)

struct table_entry {
    vmm_gpa gpa;
    struct rv64_block *block; /* NULL: none */
};

struct straddle {
    uint32_t raw;
    uint8_t code[4];
    /* a struct rv64_block of one instruction, its end and the links */
    uint64_t space[(sizeof(struct rv64_block) + 3 * sizeof(struct rv64_insn)) / 8];
};

struct rv64_code {
    struct table_entry table[TABLE_ENTRIES];
    struct straddle straddles[STRADDLE_ENTRIES];
    size_t arena_used;
    uint8_t arena[];
};

_Static_assert(offsetof(struct rv64_code, arena) % 8 == 0, "blocks are aligned");
_Static_assert(MAX_CODE_BYTES / 2 <= UINT8_MAX, "an instruction's distance fits");

int rv64_code_init(struct vmm_cpu *cpu, struct baton_error *error)
{
    cpu->code = calloc(1, sizeof(*cpu->code) + ARENA_BYTES); /* untouched parts stay virtual */
    if (!cpu->code)
        return baton_error_set(error, ENOMEM,
                               "Cannot get memory for the decoded code of CPU %u; use fewer CPUs",
                               cpu->index);
    return 0;
}

void rv64_code_fini(struct vmm_cpu *cpu)
{
    free(cpu->code);
    cpu->code = NULL;
}

void rv64_code_flush(struct vmm_cpu *cpu)
{
    memset(cpu->code->table, 0, sizeof(cpu->code->table));
    cpu->code->arena_used = 0;
    cpu->patch = NULL;
    cpu->generation = 1;
}

void rv64_code_fence_i(struct vmm_cpu *cpu)
{
    if (++cpu->generation == 0)
        rv64_code_flush(cpu);
}

static uint32_t table_index(vmm_gpa gpa)
{
    uint64_t half = gpa >> 1;

    return (uint32_t)(half ^ half >> 15) % TABLE_ENTRIES;
}

static bool unchanged(const struct rv64_block *block, const uint8_t *host)
{
    for (unsigned i = 0; i < block->code_bytes; i += 2) {
        uint16_t now = baton_guest_load_u16(host + i);

        if (memcmp(&now, block->code + i, 2) != 0)
            return false;
    }
    return true;
}

static void set_end(struct rv64_insn *insn, unsigned half)
{
    *insn = (struct rv64_insn){.run = rv64_run_end, .half = (uint8_t)half};
}

/*
 * Decodes from `host`, `left` bytes before the end of the page, into a block at `block`. Returns
 * false if not even one instruction ends within the page.
 */
static bool decode_block(struct rv64_block *block, const uint8_t *host, unsigned left)
{
    uint8_t code[MAX_CODE_BYTES];
    unsigned offset = 0, count = 0;
    bool end = false;

    while (!end && count < RV64_BLOCK_MAX && left - offset >= 2) {
        struct rv64_insn *insn = &block->insns[count];
        uint32_t raw = baton_guest_load_u16(host + offset);
        unsigned bytes = (raw & 3) == 3 ? 4 : 2;

        if (bytes > left - offset)
            break;
        if (bytes == 4)
            raw |= (uint32_t)baton_guest_load_u16(host + offset + 2) << 16;
        memcpy(code + offset, &raw, bytes);
        end = rv64_decode(raw, bytes, insn);
        insn->half = (uint8_t)(offset / 2);
        offset += bytes;
        count++;
    }
    if (count == 0)
        return false;
    block->count = (uint16_t)count;
    block->code_bytes = (uint16_t)offset;
    block->straddles = false;
    if (!end)
        set_end(&block->insns[count++], offset / 2);
    *(struct rv64_links *)(void *)&block->insns[count++] = (struct rv64_links){NULL, NULL};
    block->code = (uint8_t *)&block->insns[count];
    memcpy(block->code, code, offset);
    return true;
}

static size_t block_bytes(const struct rv64_block *block)
{
    size_t bytes = (size_t)(block->code + block->code_bytes - (const uint8_t *)block);

    return (bytes + 15) & ~(size_t)15;
}

/* The block for the four bytes at pc, the last two of which are in the next page. */
static struct rv64_block *find_straddle(struct vmm_cpu *cpu, const uint8_t *host)
{
    uint32_t raw = baton_guest_load_u16(host);
    struct straddle *straddle;
    struct rv64_block *block;
    uint64_t second;
    unsigned count = 1;

    if (!rv64_fetch_page(cpu, cpu->pc + 2, &second))
        return NULL;
    raw |= (uint32_t)baton_guest_load_u16(vmm_memory_ram(cpu->memory, second, 2)) << 16;
    straddle = &cpu->code->straddles[(raw >> 7 ^ raw >> 20) % STRADDLE_ENTRIES];
    block = (struct rv64_block *)(void *)straddle->space;
    if (straddle->raw == raw)
        return block;
    straddle->raw = raw;
    if (!rv64_decode(raw, 4, &block->insns[0]))
        set_end(&block->insns[count++], 2);
    block->insns[0].half = 0;
    *(struct rv64_links *)(void *)&block->insns[count] = (struct rv64_links){NULL, NULL};
    memcpy(straddle->code, &raw, 4);
    block->code = straddle->code;
    block->code_bytes = 4;
    block->count = 1;
    block->straddles = true;
    return block;
}

/* Finds or makes the block at a guest-physical address in a page that is in the fetch TLB. */
static struct rv64_block *find_at(struct vmm_cpu *cpu, vmm_gpa gpa, struct table_entry *entry)
{
    struct rv64_code *code = cpu->code;
    const uint8_t *host = vmm_memory_ram(cpu->memory, gpa, 2);
    struct rv64_block *block = entry->block;

    if (block && entry->gpa == gpa && unchanged(block, host)) {
        block->generation = cpu->generation;
        return block;
    }
    if (ARENA_BYTES - code->arena_used < MAX_BLOCK_BYTES)
        rv64_code_flush(cpu);
    block = (struct rv64_block *)(void *)(code->arena + code->arena_used);
    if (!decode_block(block, host, RV64_PAGE_BYTES - (unsigned)(gpa & ~RV64_PAGE_MASK)))
        return find_straddle(cpu, host);
    code->arena_used += block_bytes(block);
    block->generation = cpu->generation;
    *entry = (struct table_entry){gpa, block};
    return block;
}

/* Remembers for the block that just ended where its jump went; only within its page, where nothing
 * can come between. */
static void set_link(struct vmm_cpu *cpu, struct rv64_block *block)
{
    bool same_page = ((cpu->pc ^ cpu->block_pc) & RV64_PAGE_MASK) == 0;

    if (same_page && !block->straddles && !cpu->block->straddles)
        *cpu->patch = block;
    cpu->patch = NULL;
}

struct rv64_block *rv64_code_find(struct vmm_cpu *cpu)
{
    uint64_t page;
    vmm_gpa gpa;
    struct table_entry *entry;
    struct rv64_block *block;

    if (!rv64_fetch_page(cpu, cpu->pc, &page))
        return NULL;
    gpa = page | (cpu->pc & ~RV64_PAGE_MASK);
    entry = &cpu->code->table[table_index(gpa)];
    block = entry->block;
    if (unlikely(entry->gpa != gpa || !block || block->generation != cpu->generation)) {
        block = find_at(cpu, gpa, entry);
        if (!block)
            return NULL;
    }
    if (cpu->patch)
        set_link(cpu, block);
    return block;
}
