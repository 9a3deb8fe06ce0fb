/* SPDX-License-Identifier: MIT */
/*
 * What the bare-metal guest wants to know from the device tree.
 */
#ifndef BARE_FDT_H
#define BARE_FDT_H

#include <stdbool.h>
#include <stdint.h>

struct bare_fdt {
    uint64_t total_bytes;         /* of the device tree itself */
    uint64_t ram_base, ram_bytes; /* the memory that `inside` lies in */
    unsigned harts;
};

/* False: not a device tree, or not one that says where `inside` lies and how many harts there are.
 */
bool bare_fdt_parse(const uint8_t *fdt, uint64_t inside, struct bare_fdt *result);

#endif
