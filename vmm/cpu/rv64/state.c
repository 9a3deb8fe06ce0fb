/* SPDX-License-Identifier: MIT */
/*
 * The hart as bytes: reset, save and load.
 *
 * A section of version 1 is, big-endian: x1 to x31, f0 to f31, pc, the 64-bit registers of `fields`
 * in that order, sixteen pmpaddr, sixteen bytes of pmpcfg, privilege, fflags, frm (a byte each).
 * Counters are saved as what the guest would read. Input lines are not saved: the devices drive
 * them again. A reservation does not survive, as no SC may succeed across a move.
 *
 * Loading trusts nothing. All values are read into a fresh image, checked against what the hart
 * could have held, and only then taken over; so a refused section leaves the hart as it was. What
 * is derived (TLBs, decoded code, modes) is made anew.
 */
#include <errno.h>
#include <string.h>

#include "vmm/cpu/rv64/rv64.h"

static const size_t fields[] = {
    offsetof(struct vmm_cpu, mstatus),    offsetof(struct vmm_cpu, mip_soft),
    offsetof(struct vmm_cpu, mie),        offsetof(struct vmm_cpu, medeleg),
    offsetof(struct vmm_cpu, mideleg),    offsetof(struct vmm_cpu, mtvec),
    offsetof(struct vmm_cpu, mscratch),   offsetof(struct vmm_cpu, mepc),
    offsetof(struct vmm_cpu, mcause),     offsetof(struct vmm_cpu, mtval),
    offsetof(struct vmm_cpu, mcounteren), offsetof(struct vmm_cpu, menvcfg),
    offsetof(struct vmm_cpu, stvec),      offsetof(struct vmm_cpu, sscratch),
    offsetof(struct vmm_cpu, sepc),       offsetof(struct vmm_cpu, scause),
    offsetof(struct vmm_cpu, stval),      offsetof(struct vmm_cpu, satp),
    offsetof(struct vmm_cpu, scounteren), offsetof(struct vmm_cpu, senvcfg),
};
#define FIELD_COUNT (sizeof(fields) / sizeof(fields[0]))

/* The architectural state, as it travels. */
struct image {
    uint64_t x[32], f[32], pc, fields[FIELD_COUNT], cycle, instret, pmpaddr[RV64_PMP_ENTRIES];
    uint8_t pmpcfg[RV64_PMP_ENTRIES], priv, fflags, frm;
};

static uint64_t *field_of(struct vmm_cpu *cpu, size_t index)
{
    return (uint64_t *)(void *)((uint8_t *)cpu + fields[index]);
}

/* After any change from outside: nothing that was derived from the old state may be used again. */
static void forget_derived(struct vmm_cpu *cpu)
{
    cpu->reserved = NULL;
    cpu->current = NULL;
    cpu->block = NULL;
    rv64_code_flush(cpu);
    rv64_tlb_flush(cpu);
    rv64_mode_update(cpu);
    __atomic_fetch_or(&cpu->exit_request, RV64_REQUEST_IRQ, __ATOMIC_RELEASE);
}

void rv64_reset(struct vmm_cpu *cpu, vmm_gpa entry, uint64_t arg1, uint64_t arg2)
{
    memset(cpu->x, 0, sizeof(cpu->x));
    memset(cpu->f, 0, sizeof(cpu->f));
    memset(cpu->pmpcfg, 0, sizeof(cpu->pmpcfg));
    memset(cpu->pmpaddr, 0, sizeof(cpu->pmpaddr));
    for (size_t i = 0; i < FIELD_COUNT; i++)
        __atomic_store_n(field_of(cpu, i), 0, __ATOMIC_RELAXED);
    cpu->fflags = cpu->frm = 0;
    cpu->instret = cpu->cycle_offset = cpu->instret_offset = 0;
    cpu->priv = RV64_PRIV_M;
    cpu->pc = entry;
    cpu->x[10] = cpu->index;
    cpu->x[11] = arg1;
    cpu->x[12] = arg2;
    forget_derived(cpu);
}

void rv64_save(struct vmm_cpu *cpu, struct baton_save *save)
{
    for (unsigned i = 1; i < 32; i++)
        baton_save_u64(save, cpu->x[i]);
    for (unsigned i = 0; i < 32; i++)
        baton_save_u64(save, cpu->f[i]);
    baton_save_u64(save, cpu->pc);
    for (size_t i = 0; i < FIELD_COUNT; i++)
        baton_save_u64(save, *field_of(cpu, i));
    baton_save_u64(save, cpu->instret + cpu->cycle_offset);
    baton_save_u64(save, cpu->instret + cpu->instret_offset);
    for (unsigned i = 0; i < RV64_PMP_ENTRIES; i++)
        baton_save_u64(save, cpu->pmpaddr[i]);
    baton_save_bytes(save, cpu->pmpcfg, sizeof(cpu->pmpcfg));
    baton_save_u8(save, cpu->priv);
    baton_save_u8(save, cpu->fflags);
    baton_save_u8(save, cpu->frm);
}

static void read_image(struct image *image, struct baton_load *load)
{
    image->x[0] = 0;
    for (unsigned i = 1; i < 32; i++)
        image->x[i] = baton_load_u64(load);
    for (unsigned i = 0; i < 32; i++)
        image->f[i] = baton_load_u64(load);
    image->pc = baton_load_u64(load);
    for (size_t i = 0; i < FIELD_COUNT; i++)
        image->fields[i] = baton_load_u64(load);
    image->cycle = baton_load_u64(load);
    image->instret = baton_load_u64(load);
    for (unsigned i = 0; i < RV64_PMP_ENTRIES; i++)
        image->pmpaddr[i] = baton_load_u64(load);
    baton_load_bytes(load, image->pmpcfg, sizeof(image->pmpcfg));
    image->priv = baton_load_u8(load);
    image->fflags = baton_load_u8(load);
    image->frm = baton_load_u8(load);
}

/* Which bits a register can have, for those that cannot have all. */
static const struct {
    const char *name;
    size_t offset;
    uint64_t possible;
} limits[] = {
    {"mstatus", offsetof(struct vmm_cpu, mstatus), MSTATUS_WRITABLE},
    {"mip", offsetof(struct vmm_cpu, mip_soft), IRQ_S_MASK},
    {"mie", offsetof(struct vmm_cpu, mie), IRQ_S_MASK | IRQ_M_MASK},
    {"medeleg", offsetof(struct vmm_cpu, medeleg), MEDELEG_WRITABLE},
    {"mideleg", offsetof(struct vmm_cpu, mideleg), IRQ_S_MASK},
    {"mtvec", offsetof(struct vmm_cpu, mtvec), ~(uint64_t)2},
    {"stvec", offsetof(struct vmm_cpu, stvec), ~(uint64_t)2},
    {"mepc", offsetof(struct vmm_cpu, mepc), ~(uint64_t)1},
    {"sepc", offsetof(struct vmm_cpu, sepc), ~(uint64_t)1},
    {"mcounteren", offsetof(struct vmm_cpu, mcounteren), UINT32_MAX},
    {"scounteren", offsetof(struct vmm_cpu, scounteren), UINT32_MAX},
    {"menvcfg", offsetof(struct vmm_cpu, menvcfg), ENVCFG_FIOM},
    {"senvcfg", offsetof(struct vmm_cpu, senvcfg), ENVCFG_FIOM},
    {"satp", offsetof(struct vmm_cpu, satp), (uint64_t)SATP_SV39 << SATP_MODE_SHIFT | SATP_PPN},
};

static uint64_t image_field(const struct image *image, size_t offset)
{
    for (size_t i = 0; i < FIELD_COUNT; i++)
        if (fields[i] == offset)
            return image->fields[i];
    return 0;
}

static int refuse(const struct vmm_cpu *cpu, struct baton_error *error, const char *what,
                  uint64_t value)
{
    return baton_error_set(error, EINVAL,
                           "The state of CPU %u cannot be loaded: %s is 0x%llx, which this CPU can "
                           "never hold; check that the sender is a Baton of this version",
                           cpu->index, what, (unsigned long long)value);
}

static int check_image(const struct vmm_cpu *cpu, const struct image *image,
                       struct baton_error *error)
{
    uint64_t mstatus = image_field(image, offsetof(struct vmm_cpu, mstatus));

    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        uint64_t value = image_field(image, limits[i].offset);

        if (value & ~limits[i].possible)
            return refuse(cpu, error, limits[i].name, value);
    }
    if ((mstatus & MSTATUS_MPP) == (uint64_t)2 << MSTATUS_MPP_SHIFT)
        return refuse(cpu, error, "mstatus", mstatus);
    if (image->pc & 1)
        return refuse(cpu, error, "pc", image->pc);
    if (image->priv != RV64_PRIV_U && image->priv != RV64_PRIV_S && image->priv != RV64_PRIV_M)
        return refuse(cpu, error, "the privilege level", image->priv);
    if (image->fflags > 0x1f || image->frm > 7)
        return refuse(cpu, error, "fcsr", (uint64_t)image->frm << 5 | image->fflags);
    for (unsigned i = 0; i < RV64_PMP_ENTRIES; i++) {
        uint8_t cfg = image->pmpcfg[i];

        if ((cfg & 0x60) || (cfg & (PMP_R | PMP_W)) == PMP_W || (cfg & PMP_A) == PMP_NA4)
            return refuse(cpu, error, "pmpcfg", cfg);
        if (image->pmpaddr[i] >> 54)
            return refuse(cpu, error, "pmpaddr", image->pmpaddr[i]);
    }
    return 0;
}

int rv64_load(struct vmm_cpu *cpu, struct baton_load *load, uint32_t version,
              struct baton_error *error)
{
    struct image image;
    int result;

    if (version != 1)
        return baton_error_set(error, EINVAL,
                               "The state of CPU %u has version %u and only version 1 is known; "
                               "use the same Baton on both hosts",
                               cpu->index, version);
    read_image(&image, load);
    if (!baton_load_ok(load))
        return baton_error_set(error, EINVAL,
                               "The state of CPU %u ends too early; check that the sender is a "
                               "Baton of this version",
                               cpu->index);
    result = check_image(cpu, &image, error);
    if (result)
        return result;
    memcpy(cpu->x, image.x, sizeof(image.x));
    memcpy(cpu->f, image.f, sizeof(image.f));
    cpu->pc = image.pc;
    for (size_t i = 0; i < FIELD_COUNT; i++)
        __atomic_store_n(field_of(cpu, i), image.fields[i], __ATOMIC_RELAXED);
    cpu->instret = 0;
    cpu->cycle_offset = image.cycle;
    cpu->instret_offset = image.instret;
    memcpy(cpu->pmpaddr, image.pmpaddr, sizeof(image.pmpaddr));
    memcpy(cpu->pmpcfg, image.pmpcfg, sizeof(image.pmpcfg));
    cpu->priv = image.priv;
    cpu->fflags = image.fflags;
    cpu->frm = image.frm;
    forget_derived(cpu);
    return 0;
}
