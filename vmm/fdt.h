/* SPDX-License-Identifier: MIT */
/* The device tree that tells the guest what the machine has. See fdt.c. */
#ifndef VMM_FDT_H
#define VMM_FDT_H

#include <stddef.h>
#include <stdint.h>

#include "baton/error.h"
#include "vmm/memory.h"

#define VMM_FDT_SEED_BYTES 32

struct vmm_fdt_config {
    unsigned cpus;
    vmm_gpa ram_base;
    uint64_t ram_bytes;
    const char *bootargs;       /* NULL: none */
    vmm_gpa initrd, initrd_end; /* equal: none */
    uint8_t seed[VMM_FDT_SEED_BYTES];
};

/* Writes a finished tree into `buffer`; its length is in its header. */
int vmm_fdt_build(const struct vmm_fdt_config *config, void *buffer, size_t size,
                  struct baton_error *error);

#endif
