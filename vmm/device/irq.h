/* SPDX-License-Identifier: MIT */
/*
 * Interrupt wires. A wire is told its level whenever the level may have changed; telling it twice
 * does nothing. A device may hold its own lock while it drives a wire: locks nest device, then
 * PLIC, then hart.
 */
#ifndef VMM_DEVICE_IRQ_H
#define VMM_DEVICE_IRQ_H

#include <stdbool.h>

/* From a device to one input of the interrupt controller. */
struct vmm_irq {
    void (*set)(void *opaque, unsigned line, bool level);
    void *opaque;
    unsigned line;
};

/* From the CLINT and the PLIC to the harts. `line` is a bit number of mip. */
struct vmm_hart_irqs {
    void (*set)(void *opaque, unsigned hart, unsigned line, bool level);
    void *opaque;
};

enum { VMM_MIP_MSIP = 3, VMM_MIP_MTIP = 7, VMM_MIP_SEIP = 9, VMM_MIP_MEIP = 11 };

static inline void vmm_irq_set(const struct vmm_irq *irq, bool level)
{
    irq->set(irq->opaque, irq->line, level);
}

static inline void vmm_hart_irqs_set(const struct vmm_hart_irqs *irqs, unsigned hart, unsigned line,
                                     bool level)
{
    irqs->set(irqs->opaque, hart, line, level);
}

#endif
