/* SPDX-License-Identifier: MIT */
/* The platform-level interrupt controller: devices' interrupts, handed to harts by priority. See
 * plic.c. */
#ifndef VMM_DEVICE_PLIC_H
#define VMM_DEVICE_PLIC_H

#include "vmm/device/irq.h"
#include "vmm/memory.h"

#define VMM_PLIC_BASE 0xc000000u
#define VMM_PLIC_BYTES 0x600000u
#define VMM_PLIC_SOURCES 96u /* with source 0, which does not exist */

struct vmm_plic;

extern const struct vmm_mmio_ops vmm_plic_mmio;

int vmm_plic_new(unsigned harts, const struct vmm_hart_irqs *irqs, struct vmm_plic **out,
                 struct baton_error *error);
void vmm_plic_free(struct vmm_plic *plic);
void vmm_plic_reset(struct vmm_plic *plic);
void vmm_plic_redrive(struct vmm_plic *plic); /* tells the harts all levels again */
void vmm_plic_section(struct vmm_plic *plic, struct baton_device *out);
void vmm_plic_set(void *opaque, unsigned source, bool level); /* as struct vmm_irq's `set` */

#endif
