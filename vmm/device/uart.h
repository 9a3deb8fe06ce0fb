/* SPDX-License-Identifier: MIT */
/* A 16550A serial port. See uart.c. */
#ifndef VMM_DEVICE_UART_H
#define VMM_DEVICE_UART_H

#include "vmm/device/irq.h"
#include "vmm/memory.h"

#define VMM_UART_BASE 0x10000000u
#define VMM_UART_BYTES 0x100u
#define VMM_UART_IRQ 10u
#define VMM_UART_CLOCK_HZ 3686400u

/* What hangs on the wire. Both are called under the port's lock and must be quick. */
struct vmm_uart_wire {
    void (*put)(void *opaque, uint8_t byte);
    size_t (*take)(void *opaque, uint8_t *bytes, size_t size); /* input, as much as there is */
    void *opaque;
};

struct vmm_uart;

extern const struct vmm_mmio_ops vmm_uart_mmio;

int vmm_uart_new(const struct vmm_irq *irq, const struct vmm_uart_wire *wire, struct vmm_uart **out,
                 struct baton_error *error);
void vmm_uart_free(struct vmm_uart *uart);
void vmm_uart_reset(struct vmm_uart *uart);
void vmm_uart_redrive(struct vmm_uart *uart);
void vmm_uart_section(struct vmm_uart *uart, struct baton_device *out);
/* Any thread: there is input to take. A paused port, as it is made, takes it when it goes on. */
void vmm_uart_input(struct vmm_uart *uart);
void vmm_uart_pause(struct vmm_uart *uart, bool paused);

#endif
