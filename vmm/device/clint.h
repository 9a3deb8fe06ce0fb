/* SPDX-License-Identifier: MIT */
/* The core-local interruptor: software interrupts, timers and the time itself. See clint.c. */
#ifndef VMM_DEVICE_CLINT_H
#define VMM_DEVICE_CLINT_H

#include "vmm/clock.h"
#include "vmm/device/irq.h"
#include "vmm/memory.h"

#define VMM_CLINT_BASE 0x2000000u
#define VMM_CLINT_BYTES 0x10000u

struct vmm_clint;

extern const struct vmm_mmio_ops vmm_clint_mmio;

/* `clock` and `irqs` are borrowed. Before the clock is first started. */
int vmm_clint_new(struct vmm_clock *clock, unsigned harts, const struct vmm_hart_irqs *irqs,
                  struct vmm_clint **out, struct baton_error *error);
void vmm_clint_free(struct vmm_clint *clint); /* after the clock's thread has ended */
void vmm_clint_reset(struct vmm_clint *clint);
void vmm_clint_redrive(struct vmm_clint *clint); /* tells the harts all levels again */
void vmm_clint_section(struct vmm_clint *clint, struct baton_device *out);

/* For hart threads: when a hart's timer is due (any thread, lock-free), and that it was. */
uint64_t vmm_clint_deadline(struct vmm_clint *clint, unsigned hart);
void vmm_clint_expire(struct vmm_clint *clint, unsigned hart);

#endif
