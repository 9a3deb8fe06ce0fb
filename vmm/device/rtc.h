/* SPDX-License-Identifier: MIT */
/* The goldfish real-time clock: the time of day. See rtc.c. */
#ifndef VMM_DEVICE_RTC_H
#define VMM_DEVICE_RTC_H

#include "vmm/clock.h"
#include "vmm/device/irq.h"
#include "vmm/memory.h"

#define VMM_RTC_BASE 0x101000u
#define VMM_RTC_BYTES 0x1000u
#define VMM_RTC_IRQ 11u

struct vmm_rtc;

extern const struct vmm_mmio_ops vmm_rtc_mmio;

/* `clock` is borrowed; before it is first started. */
int vmm_rtc_new(struct vmm_clock *clock, const struct vmm_irq *irq, struct vmm_rtc **out,
                struct baton_error *error);
void vmm_rtc_free(struct vmm_rtc *rtc); /* after the clock's thread has ended */
void vmm_rtc_reset(struct vmm_rtc *rtc);
void vmm_rtc_redrive(struct vmm_rtc *rtc);
void vmm_rtc_section(struct vmm_rtc *rtc, struct baton_device *out);

#endif
