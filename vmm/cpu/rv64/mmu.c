/* SPDX-License-Identifier: MIT */
/*
 * Address translation (bare and Sv39), the software TLBs, and the seam to migration: the only file
 * that asks whether a page of guest RAM is here and that says when one is going to be written.
 *
 * Before any byte of RAM is read or written, also of a page table or of code, its page is ensured.
 * A TLB entry is made only after that, so a hit costs nothing. A store goes through a write entry;
 * the page is marked dirty before the entry is made, and drop_dirty takes all of them away. Pages
 * never go missing while a CPU can hold an entry: they do so only in a VM that is loaded anew, and
 * loading flushes.
 *
 * Waiting. An instruction that meets a missing page is given up first (rv64_settle: nothing of it
 * has happened), then waited for, then begun again from the loop in cpu.c, whatever has become of
 * the CPU in between: it may even have been loaded. So a wait, like a trap, makes every function
 * here return false. The order of a walk follows from it: all pages are ensured before the accessed
 * and dirty bits are written.
 *
 * A fault of a page table entry is decided under the mode of the access (data_priv, which MPRV
 * changes, or priv for fetches).
 */
#include "vmm/cpu/rv64/rv64.h"

struct place {
    vmm_gpa gpa;
    uint8_t *host; /* NULL: not RAM */
};

static bool page_fault(struct vmm_cpu *cpu, uint64_t va, enum rv64_access access)
{
    static const uint8_t causes[] = {[RV64_READ] = CAUSE_LOAD_PAGE,
                                     [RV64_WRITE] = CAUSE_STORE_PAGE,
                                     [RV64_FETCH] = CAUSE_FETCH_PAGE};

    (void)rv64_trap(cpu, causes[access], va);
    return false;
}

static bool access_fault(struct vmm_cpu *cpu, uint64_t va, enum rv64_access access)
{
    static const uint8_t causes[] = {[RV64_READ] = CAUSE_LOAD_ACCESS,
                                     [RV64_WRITE] = CAUSE_STORE_ACCESS,
                                     [RV64_FETCH] = CAUSE_FETCH_ACCESS};

    (void)rv64_trap(cpu, causes[access], va);
    return false;
}

/* False: the page of RAM at gpa was missing, and has been waited for. */
static bool ensure_page(struct vmm_cpu *cpu, vmm_gpa gpa)
{
    struct vmm_memory *memory = cpu->memory;
    uint64_t offset = (gpa - memory->ram_base) & RV64_PAGE_MASK;

    if (!memory->baton || baton_ram_is_present(memory->baton, 0, offset, RV64_PAGE_BYTES))
        return true;
    rv64_settle(cpu);
    cpu->patch = NULL;
    cpu->host.wait_begin(cpu->host.opaque, cpu->index);
    baton_ram_ensure(memory->baton, cpu->index, 0, offset);
    if (cpu->host.wait_end(cpu->host.opaque, cpu->index))
        cpu->leave = RV64_LEAVE_KICKED;
    return false;
}

static void mark_dirty(struct vmm_cpu *cpu, vmm_gpa gpa)
{
    struct vmm_memory *memory = cpu->memory;

    if (memory->baton)
        baton_ram_mark_dirty(memory->baton, 0, (gpa - memory->ram_base) & RV64_PAGE_MASK,
                             RV64_PAGE_BYTES);
}

static bool permitted(const struct vmm_cpu *cpu, uint64_t pte, unsigned priv,
                      enum rv64_access access)
{
    if (priv == RV64_PRIV_U && !(pte & PTE_U))
        return false;
    if (priv == RV64_PRIV_S && (pte & PTE_U) &&
        (access == RV64_FETCH || !(cpu->mstatus & MSTATUS_SUM)))
        return false;
    switch (access) {
    case RV64_READ:
        return (pte & PTE_R) || ((cpu->mstatus & MSTATUS_MXR) && (pte & PTE_X));
    case RV64_WRITE:
        return pte & PTE_W;
    default:
        return pte & PTE_X;
    }
}

/* The leaf entry for an address, as found in memory: where it is, what it says, and at which level.
 */
struct leaf {
    vmm_gpa gpa;
    uint8_t *host;
    uint64_t pte;
    unsigned level;
};

static bool find_leaf(struct vmm_cpu *cpu, uint64_t va, enum rv64_access access, struct leaf *leaf)
{
    vmm_gpa table = (cpu->satp & SATP_PPN) << 12;

    if ((uint64_t)((int64_t)(va << 25) >> 25) != va)
        return page_fault(cpu, va, access);
    for (int level = 2; level >= 0; level--) {
        vmm_gpa gpa = table + (va >> (12 + 9 * level) & 511) * 8;
        uint8_t *host = vmm_memory_ram(cpu->memory, gpa, 8);
        uint64_t pte;

        if (!host || !rv64_pmp_allows(cpu, gpa, RV64_PRIV_S, RV64_READ))
            return access_fault(cpu, va, access);
        if (!ensure_page(cpu, gpa))
            return false;
        pte = baton_guest_load_u64(host);
        if (!(pte & PTE_V) || (pte & PTE_RESERVED) || (pte & (PTE_R | PTE_W)) == PTE_W)
            return page_fault(cpu, va, access);
        if (pte & (PTE_R | PTE_X)) {
            *leaf = (struct leaf){gpa, host, pte, (unsigned)level};
            return true;
        }
        if (pte & (PTE_A | PTE_D | PTE_U))
            return page_fault(cpu, va, access);
        table = (pte >> PTE_PPN_SHIFT & SATP_PPN) << 12;
    }
    return page_fault(cpu, va, access);
}

/* Whether the accessed and dirty bits are as the access wants them; if not, they are set unless the
 * entry has changed. */
static bool mark_used(struct vmm_cpu *cpu, const struct leaf *leaf, enum rv64_access access)
{
    uint64_t old = leaf->pte;
    uint64_t new = old | PTE_A | (access == RV64_WRITE ? PTE_D : 0);

    if (new == old)
        return true;
    mark_dirty(cpu, leaf->gpa);
    return __atomic_compare_exchange_n((uint64_t *)(void *)leaf->host, &old, new, false,
                                       __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

enum effect {
    PROBE, /* traps and waits are carried out, the page table is left alone */
    USE
};

/* Finds where `va` is in physical memory, and sees to it that RAM there is present. */
static bool translate(struct vmm_cpu *cpu, uint64_t va, enum rv64_access access, enum effect effect,
                      struct place *place, bool *large)
{
    unsigned priv = access == RV64_FETCH ? cpu->priv : cpu->data_priv;
    bool paged = priv != RV64_PRIV_M && cpu->satp >> SATP_MODE_SHIFT == SATP_SV39;
    struct leaf leaf = {0};

    do {
        place->gpa = va;
        if (paged) {
            uint64_t ppn, low;

            if (!find_leaf(cpu, va, access, &leaf))
                return false;
            ppn = leaf.pte >> PTE_PPN_SHIFT & SATP_PPN;
            low = RV64_BIT(9 * leaf.level) - 1;
            if (!permitted(cpu, leaf.pte, priv, access) || (ppn & low))
                return page_fault(cpu, va, access);
            place->gpa = (ppn | (va >> 12 & low)) << 12 | (va & ~RV64_PAGE_MASK);
        }
        place->host = vmm_memory_ram(cpu->memory, place->gpa, 1);
        if (!rv64_pmp_allows(cpu, place->gpa, priv, access))
            return access_fault(cpu, va, access);
        if (place->host && !ensure_page(cpu, place->gpa))
            return false;
    } while (paged && effect == USE && !mark_used(cpu, &leaf, access));
    *large = leaf.level > 0;
    return true;
}

static struct rv64_tlb_entry *slot(struct rv64_tlb_entry *entries, uint64_t va)
{
    return &entries[(va >> 12) % RV64_TLB_ENTRIES];
}

static void note_fill(struct rv64_tlb *tlb, uint64_t va, bool large)
{
    tlb->used = true;
    if (large)
        tlb->large[va >> 63] = true;
}

/* Translates a data access inside one page and fills the TLB from it, if it is to RAM. */
static bool data_place(struct vmm_cpu *cpu, uint64_t va, enum rv64_access access,
                       struct place *place)
{
    struct rv64_tlb_entry *read = slot(cpu->data->read, va);
    struct rv64_tlb_entry *write = slot(cpu->data->write, va);
    struct rv64_tlb_entry *entry = access == RV64_WRITE ? write : read;
    bool large;

    if (entry->tag == (va & RV64_PAGE_MASK)) {
        place->host = (uint8_t *)(va + entry->addend); /* misaligned: did not look like a hit */
        return true;
    }
    if (!translate(cpu, va, access, USE, place, &large))
        return false;
    if (!place->host)
        return true;
    note_fill(cpu->data, va, large);
    *read = (struct rv64_tlb_entry){va & RV64_PAGE_MASK, (uintptr_t)place->host - va};
    if (access == RV64_WRITE) {
        mark_dirty(cpu, place->gpa);
        *write = *read;
    }
    return true;
}

static uint64_t load_bytes(const uint8_t *host, unsigned bytes)
{
    switch (bytes) {
    case 1:
        return baton_guest_load_u8(host);
    case 2:
        return baton_guest_load_u16(host);
    case 4:
        return baton_guest_load_u32(host);
    default:
        return baton_guest_load_u64(host);
    }
}

static void store_bytes(uint8_t *host, unsigned bytes, uint64_t value)
{
    switch (bytes) {
    case 1:
        baton_guest_store_u8(host, (uint8_t)value);
        break;
    case 2:
        baton_guest_store_u16(host, (uint16_t)value);
        break;
    case 4:
        baton_guest_store_u32(host, (uint32_t)value);
        break;
    default:
        baton_guest_store_u64(host, value);
    }
}

/* An access that crosses into the next page: both are tried before either is used. */
static bool two_places(struct vmm_cpu *cpu, uint64_t va, unsigned bytes, enum rv64_access access,
                       struct place places[2])
{
    uint64_t second = (va + bytes - 1) & RV64_PAGE_MASK;
    bool large;

    if (!translate(cpu, va, access, PROBE, &places[0], &large) ||
        !translate(cpu, second, access, PROBE, &places[1], &large))
        return false;
    if (!places[0].host || !places[1].host)
        return access_fault(cpu, places[0].host ? second : va, access);
    return data_place(cpu, va, access, &places[0]) && data_place(cpu, second, access, &places[1]);
}

static bool crosses(uint64_t va, unsigned bytes)
{
    return (va & ~RV64_PAGE_MASK) + bytes > RV64_PAGE_BYTES;
}

bool rv64_load_slow(struct vmm_cpu *cpu, struct rv64_insn *insn, uint64_t va, unsigned bytes)
{
    struct place places[2] = {0};

    cpu->current = insn;
    if (crosses(va, bytes)) {
        unsigned first = RV64_PAGE_BYTES - (unsigned)(va & ~RV64_PAGE_MASK);

        if (!two_places(cpu, va, bytes, RV64_READ, places))
            return false;
        cpu->loaded = 0;
        for (unsigned i = 0; i < bytes; i++) {
            const uint8_t *host = i < first ? places[0].host + i : places[1].host + (i - first);

            cpu->loaded |= (uint64_t)baton_guest_load_u8(host) << (8 * i);
        }
    } else {
        if (!data_place(cpu, va, RV64_READ, &places[0]))
            return false;
        if (places[0].host)
            cpu->loaded = load_bytes(places[0].host, bytes);
        else if (places[0].gpa % bytes ||
                 !vmm_memory_mmio_read(cpu->memory, places[0].gpa, bytes, &cpu->loaded))
            return access_fault(cpu, va, RV64_READ);
    }
    cpu->current = NULL;
    return true;
}

bool rv64_store_slow(struct vmm_cpu *cpu, struct rv64_insn *insn, uint64_t va, unsigned bytes,
                     uint64_t value)
{
    struct place places[2] = {0};

    cpu->current = insn;
    if (crosses(va, bytes)) {
        unsigned first = RV64_PAGE_BYTES - (unsigned)(va & ~RV64_PAGE_MASK);

        if (!two_places(cpu, va, bytes, RV64_WRITE, places))
            return false;
        for (unsigned i = 0; i < bytes; i++) {
            uint8_t *host = i < first ? places[0].host + i : places[1].host + (i - first);

            baton_guest_store_u8(host, (uint8_t)(value >> (8 * i)));
        }
    } else {
        if (!data_place(cpu, va, RV64_WRITE, &places[0]))
            return false;
        if (bytes < 8)
            value &= RV64_BIT(8 * bytes) - 1;
        if (places[0].host)
            store_bytes(places[0].host, bytes, value);
        else if (places[0].gpa % bytes ||
                 !vmm_memory_mmio_write(cpu->memory, places[0].gpa, bytes, value))
            return access_fault(cpu, va, RV64_WRITE);
    }
    cpu->current = NULL;
    return true;
}

uint8_t *rv64_atomic_place(struct vmm_cpu *cpu, struct rv64_insn *insn, uint64_t va, unsigned bytes,
                           enum rv64_access access)
{
    struct place place;

    cpu->current = insn;
    if (va % bytes) {
        (void)rv64_trap(cpu, access == RV64_READ ? CAUSE_LOAD_MISALIGNED : CAUSE_STORE_MISALIGNED,
                        va);
        return NULL;
    }
    if (!data_place(cpu, va, access, &place))
        return NULL;
    if (!place.host) {
        (void)access_fault(cpu, va, access);
        return NULL;
    }
    cpu->current = NULL;
    return place.host;
}

bool rv64_fetch_page(struct vmm_cpu *cpu, uint64_t va, uint64_t *page)
{
    struct rv64_tlb_entry *entry = slot(cpu->fetch->fetch, va);
    struct place place;
    bool large;

    if (likely(entry->tag == (va & RV64_PAGE_MASK))) {
        *page = entry->addend;
        return true;
    }
    if (!translate(cpu, va, RV64_FETCH, USE, &place, &large))
        return false;
    if (!place.host)
        return access_fault(cpu, va, RV64_FETCH);
    note_fill(cpu->fetch, va, large);
    *page = place.gpa & RV64_PAGE_MASK;
    *entry = (struct rv64_tlb_entry){va & RV64_PAGE_MASK, *page};
    return true;
}

static enum rv64_mode mode_of(const struct vmm_cpu *cpu, unsigned priv, bool data)
{
    if (priv == RV64_PRIV_M)
        return RV64_MODE_M;
    if (priv == RV64_PRIV_U)
        return RV64_MODE_U;
    return data && (cpu->mstatus & MSTATUS_SUM) ? RV64_MODE_S_SUM : RV64_MODE_S;
}

void rv64_mode_update(struct vmm_cpu *cpu)
{
    cpu->data_priv = (cpu->mstatus & MSTATUS_MPRV)
                         ? (uint8_t)((cpu->mstatus & MSTATUS_MPP) >> MSTATUS_MPP_SHIFT)
                         : cpu->priv;
    cpu->data = &cpu->tlb[mode_of(cpu, cpu->data_priv, true)];
    cpu->fetch = &cpu->tlb[mode_of(cpu, cpu->priv, false)];
}

static void drop_all(struct rv64_tlb_entry *entries)
{
    for (unsigned i = 0; i < RV64_TLB_ENTRIES; i++)
        entries[i].tag = RV64_TLB_NONE;
}

/* Everything, M mode too: that one changes with PMP only, and is filled again quickly. */
void rv64_tlb_flush(struct vmm_cpu *cpu)
{
    for (unsigned mode = 0; mode < RV64_MODE_COUNT; mode++) {
        struct rv64_tlb *tlb = &cpu->tlb[mode];

        if (!tlb->used)
            continue;
        drop_all(tlb->read);
        drop_all(tlb->write);
        drop_all(tlb->fetch);
        tlb->used = tlb->large[0] = tlb->large[1] = false;
    }
}

/* Drops what came from a superpage near `va`: its entries are 4 KiB each, but one fence is meant
 * for all of them. */
static void drop_gigabyte(struct rv64_tlb_entry *entries, uint64_t va)
{
    for (unsigned i = 0; i < RV64_TLB_ENTRIES; i++)
        if ((entries[i].tag ^ va) >> 30 == 0)
            entries[i].tag = RV64_TLB_NONE;
}

void rv64_tlb_flush_page(struct vmm_cpu *cpu, uint64_t va)
{
    for (unsigned mode = 0; mode < RV64_MODE_M; mode++) {
        struct rv64_tlb *tlb = &cpu->tlb[mode];

        if (tlb->large[va >> 63]) {
            drop_gigabyte(tlb->read, va);
            drop_gigabyte(tlb->write, va);
            drop_gigabyte(tlb->fetch, va);
        } else {
            slot(tlb->read, va)->tag = RV64_TLB_NONE;
            slot(tlb->write, va)->tag = RV64_TLB_NONE;
            slot(tlb->fetch, va)->tag = RV64_TLB_NONE;
        }
    }
}

void rv64_tlb_drop_dirty(struct vmm_cpu *cpu)
{
    for (unsigned mode = 0; mode < RV64_MODE_COUNT; mode++)
        drop_all(cpu->tlb[mode].write);
}
