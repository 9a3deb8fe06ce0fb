/* SPDX-License-Identifier: MIT */
/* The `test` device of the `virt` machine, through which a guest ends or resets itself. See
 * syscon.c. */
#ifndef VMM_DEVICE_SYSCON_H
#define VMM_DEVICE_SYSCON_H

#include "vmm/memory.h"

#define VMM_SYSCON_BASE 0x100000u
#define VMM_SYSCON_BYTES 0x1000u
#define VMM_SYSCON_POWEROFF 0x5555u
#define VMM_SYSCON_REBOOT 0x7777u
#define VMM_SYSCON_FAIL 0x3333u

enum vmm_syscon_order { VMM_SYSCON_NOTHING, VMM_SYSCON_DO_POWEROFF, VMM_SYSCON_DO_RESET };

struct vmm_syscon;

extern const struct vmm_mmio_ops vmm_syscon_mmio;

/* `notify` is called, from a hart's thread, when the guest has given an order. */
int vmm_syscon_new(void (*notify)(void *opaque), void *opaque, struct vmm_syscon **out,
                   struct baton_error *error);
void vmm_syscon_free(struct vmm_syscon *syscon);
void vmm_syscon_reset(struct vmm_syscon *syscon);
void vmm_syscon_section(struct vmm_syscon *syscon, struct baton_device *out);
/* What the guest has ordered, and with which exit code (0 unless it says that it failed). */
enum vmm_syscon_order vmm_syscon_order(struct vmm_syscon *syscon, unsigned *exit_code);

#endif
