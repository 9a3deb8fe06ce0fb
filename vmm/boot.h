/* SPDX-License-Identifier: MIT */
/* What is in RAM, and where the harts begin, when the machine is switched on. See boot.c. */
#ifndef VMM_BOOT_H
#define VMM_BOOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/memory.h"

#define VMM_RAM_BASE 0x80000000u
#define VMM_DEFAULT_FIRMWARE "/usr/lib/riscv64-linux-gnu/opensbi/generic/fw_dynamic.bin"

struct vmm_boot_config {
    uint64_t ram_bytes;
    unsigned cpus;
    const char *kernel;
    const char *initrd;   /* NULL: none */
    const char *append;   /* NULL: none */
    const char *firmware; /* NULL: the default; "none": the kernel is entered in M mode */
};

#define VMM_BOOT_MAX_PIECES 24

/* A run of bytes for guest RAM. `file` owns them, or `made` does; `zero_bytes` of zeros follow. */
struct vmm_boot_piece {
    vmm_gpa at;
    const uint8_t *bytes;
    uint64_t length_bytes;
    uint64_t zero_bytes;
    const char *what; /* for people */
};

struct vmm_boot {
    vmm_gpa entry; /* where all harts begin */
    uint64_t arg1; /* a1: the device tree */
    uint64_t arg2; /* a2: the firmware's information, or 0 */
    struct vmm_boot_piece pieces[VMM_BOOT_MAX_PIECES];
    unsigned piece_count;
    uint8_t *files[3];
    unsigned file_count;
    uint8_t *made; /* device tree and firmware information */
};

/* Reads and checks all files, and finds each a place. On failure nothing is kept. */
int vmm_boot_init(struct vmm_boot *boot, const struct vmm_boot_config *config,
                  struct baton_error *error);
void vmm_boot_fini(struct vmm_boot *boot);

#endif
