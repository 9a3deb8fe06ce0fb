/* SPDX-License-Identifier: MIT */
/*
 * The guest-physical address space: RAM and memory-mapped devices.
 *
 * Guest-physical addresses are vmm_gpa, host addresses are pointers; only this module turns one
 * into the other. RAM bytes are touched only through baton/guest.h. The layout is fixed before the
 * first CPU runs, so lookups take no lock.
 */
#ifndef VMM_MEMORY_H
#define VMM_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "baton/baton.h"

typedef uint64_t vmm_gpa;

/* A device's registers. size is 1, 2, 4 or 8. Called from CPU threads; a device locks itself and
 * never waits for a page. */
struct vmm_mmio_ops {
    uint64_t (*read)(void *opaque, uint64_t offset, unsigned size);
    void (*write)(void *opaque, uint64_t offset, unsigned size, uint64_t value);
};

struct vmm_mmio {
    const char *name;
    vmm_gpa base;
    uint64_t length_bytes;
    const struct vmm_mmio_ops *ops;
    void *opaque;
};

#define VMM_MAX_MMIO 16

struct vmm_memory {
    uint8_t *ram; /* host address of the one RAM block (block 0 of the baton object) */
    vmm_gpa ram_base;
    uint64_t ram_bytes;
    struct vmm_mmio mmio[VMM_MAX_MMIO];
    unsigned mmio_count;
    struct baton *baton; /* NULL in tests of the CPU alone: every page present, nothing tracked */
};

/* What guest RAM is made of. */
enum vmm_backend { VMM_BACKEND_ANON, VMM_BACKEND_MEMFD, VMM_BACKEND_HUGETLB, VMM_BACKEND_COUNT };
#define VMM_HUGE_PAGE_BYTES (2ull << 20)
const char *vmm_backend_name(enum vmm_backend backend);
uint64_t vmm_backend_page_bytes(enum vmm_backend backend);
int vmm_memory_init_backend(struct vmm_memory *memory, enum vmm_backend backend, vmm_gpa ram_base,
                            uint64_t ram_bytes, struct baton_error *error);

/* Maps private anonymous memory with transparent huge pages asked for, kept out of forks. 0 or
 * -errno with a sentence. */
int vmm_memory_init(struct vmm_memory *memory, vmm_gpa ram_base, uint64_t ram_bytes,
                    struct baton_error *error);
void vmm_memory_fini(struct vmm_memory *memory);
void vmm_memory_add_mmio(struct vmm_memory *memory, const char *name, vmm_gpa base,
                         uint64_t length_bytes, const struct vmm_mmio_ops *ops, void *opaque);

/* Host address of [gpa, gpa + length_bytes) if all of it is RAM, else NULL. */
static inline uint8_t *vmm_memory_ram(const struct vmm_memory *memory, vmm_gpa gpa,
                                      uint64_t length_bytes)
{
    uint64_t offset = gpa - memory->ram_base;

    if (offset >= memory->ram_bytes || length_bytes > memory->ram_bytes - offset)
        return NULL;
    return memory->ram + offset;
}

/* Device access; false: nothing answers there, or not at this size (the CPU raises an access
 * fault). */
bool vmm_memory_mmio_read(const struct vmm_memory *memory, vmm_gpa gpa, unsigned size,
                          uint64_t *value);
bool vmm_memory_mmio_write(const struct vmm_memory *memory, vmm_gpa gpa, unsigned size,
                           uint64_t value);

#endif
