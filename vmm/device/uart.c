/* SPDX-License-Identifier: MIT */
/*
 * A 16550A serial port.
 *
 * Sending takes no time: a byte written to THR is handed to the wire at once, so THR and the
 * transmitter are always empty. The "THR empty" interrupt comes when a byte has been handed on or
 * when it is enabled, and goes when IIR reports it, as in the real part. Nothing that was sent is
 * ever in the saved state: output belongs to the host where the guest wrote it.
 *
 * Receiving pulls: whenever there is room in the FIFO the port takes bytes from the wire, so what
 * the guest does not read stays with the sender (and on this host). The receive time-out, which on
 * the real part tells of bytes below the trigger level after four idle character times, comes at
 * once.
 *
 * Data: everything under `lock`, which nests outside the wire's and the PLIC's. While `paused` (the
 * VM is stopped, and perhaps being saved) nothing is taken from the wire.
 */
#include "vmm/device/uart.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#define FIFO_BYTES 16u

enum { REG_DATA, REG_IER, REG_IIR_FCR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCR };

enum { IER_RDI = 0x01, IER_THRI = 0x02, IER_RLSI = 0x04, IER_MSI = 0x08, IER_ALL = 0x0f };
enum {
    IIR_MSI = 0x00,
    IIR_NONE = 0x01,
    IIR_THRI = 0x02,
    IIR_RDI = 0x04,
    IIR_RLSI = 0x06,
    IIR_TIMEOUT = 0x0c,
    IIR_FIFO = 0xc0
};
enum { FCR_ENABLE = 0x01, FCR_CLEAR_RX = 0x02, FCR_KEPT = 0xc9 };
enum { LCR_DLAB = 0x80 };
enum { MCR_LOOP = 0x10, MCR_ALL = 0x1f };
enum { LSR_DR = 0x01, LSR_OE = 0x02, LSR_EMPTY = 0x60 };
enum { MSR_DELTAS = 0x0f, MSR_CTS = 0x10, MSR_DSR = 0x20, MSR_RI = 0x40, MSR_DCD = 0x80 };

struct vmm_uart {
    pthread_mutex_t lock;
    struct vmm_irq irq;
    struct vmm_uart_wire wire;
    bool paused;

    uint8_t ier, fcr, lcr, mcr, scr, dll, dlm;
    uint8_t msr;        /* status and deltas */
    bool overrun;       /* LSR_OE */
    bool thr_interrupt; /* THR has become empty and IIR has not said so yet */
    uint8_t fifo[FIFO_BYTES];
    uint8_t fifo_count;
};

static unsigned capacity(const struct vmm_uart *uart)
{
    return uart->fcr & FCR_ENABLE ? FIFO_BYTES : 1;
}

static unsigned trigger(const struct vmm_uart *uart)
{
    static const uint8_t levels[] = {1, 4, 8, 14};

    return uart->fcr & FCR_ENABLE ? levels[uart->fcr >> 6] : 1;
}

/* The interrupt of the highest priority that is on. */
static uint8_t identify(const struct vmm_uart *uart)
{
    if ((uart->ier & IER_RLSI) && uart->overrun)
        return IIR_RLSI;
    if ((uart->ier & IER_RDI) && uart->fifo_count)
        return uart->fifo_count >= trigger(uart) ? IIR_RDI : IIR_TIMEOUT;
    if ((uart->ier & IER_THRI) && uart->thr_interrupt)
        return IIR_THRI;
    if ((uart->ier & IER_MSI) && (uart->msr & MSR_DELTAS))
        return IIR_MSI;
    return IIR_NONE;
}

static void update(struct vmm_uart *uart)
{
    vmm_irq_set(&uart->irq, identify(uart) != IIR_NONE);
}

static void pull(struct vmm_uart *uart)
{
    unsigned room = capacity(uart) - uart->fifo_count;

    if (uart->paused || (uart->mcr & MCR_LOOP) || !room)
        return;
    uart->fifo_count +=
        (uint8_t)uart->wire.take(uart->wire.opaque, uart->fifo + uart->fifo_count, room);
}

static void transmit(struct vmm_uart *uart, uint8_t byte)
{
    if (!(uart->mcr & MCR_LOOP))
        uart->wire.put(uart->wire.opaque, byte);
    else if (uart->fifo_count < capacity(uart))
        uart->fifo[uart->fifo_count++] = byte;
    else
        uart->overrun = true;
    uart->thr_interrupt = true;
}

static uint8_t receive(struct vmm_uart *uart)
{
    uint8_t byte = 0;

    if (uart->fifo_count) {
        byte = uart->fifo[0];
        uart->fifo_count--;
        for (unsigned i = 0; i < uart->fifo_count; i++)
            uart->fifo[i] = uart->fifo[i + 1];
    }
    pull(uart);
    return byte;
}

/* The modem inputs: a peer that is always ready, or in loopback our own outputs. */
static void update_modem(struct vmm_uart *uart)
{
    uint8_t status = MSR_CTS | MSR_DSR | MSR_DCD;
    uint8_t changed;

    if (uart->mcr & MCR_LOOP)
        status = (uint8_t)((uart->mcr & 0x02 ? MSR_CTS : 0) | (uart->mcr & 0x01 ? MSR_DSR : 0) |
                           (uart->mcr & 0x04 ? MSR_RI : 0) | (uart->mcr & 0x08 ? MSR_DCD : 0));
    changed = (uint8_t)((status ^ uart->msr) & ~MSR_DELTAS);
    if (status & MSR_RI) /* of the ring indicator only the end is told */
        changed &= (uint8_t)~MSR_RI;
    uart->msr = (uint8_t)(status | (uart->msr & MSR_DELTAS) | changed >> 4);
}

static void write_fcr(struct vmm_uart *uart, uint8_t value)
{
    bool toggled = (uart->fcr ^ value) & FCR_ENABLE;

    if (toggled || (value & FCR_CLEAR_RX))
        uart->fifo_count = 0;
    /* Without the enable bit the others are not programmed. */
    uart->fcr = value & FCR_ENABLE ? value & FCR_KEPT : 0;
    pull(uart);
}

static uint64_t uart_read(void *opaque, uint64_t offset, unsigned size)
{
    struct vmm_uart *uart = opaque;
    uint8_t value = 0;

    pthread_mutex_lock(&uart->lock);
    switch (offset) {
    case REG_DATA:
        value = uart->lcr & LCR_DLAB ? uart->dll : receive(uart);
        break;
    case REG_IER:
        value = uart->lcr & LCR_DLAB ? uart->dlm : uart->ier;
        break;
    case REG_IIR_FCR:
        value = identify(uart);
        if (value == IIR_THRI)
            uart->thr_interrupt = false;
        if (uart->fcr & FCR_ENABLE)
            value |= IIR_FIFO;
        break;
    case REG_LCR:
        value = uart->lcr;
        break;
    case REG_MCR:
        value = uart->mcr;
        break;
    case REG_LSR:
        value =
            (uint8_t)(LSR_EMPTY | (uart->fifo_count ? LSR_DR : 0) | (uart->overrun ? LSR_OE : 0));
        uart->overrun = false;
        break;
    case REG_MSR:
        value = uart->msr;
        uart->msr &= (uint8_t)~MSR_DELTAS;
        break;
    case REG_SCR:
        value = uart->scr;
        break;
    }
    update(uart);
    pthread_mutex_unlock(&uart->lock);
    return value;
}

static void write_ier(struct vmm_uart *uart, uint8_t value)
{
    if (!(uart->ier & IER_THRI) && (value & IER_THRI))
        uart->thr_interrupt = true; /* THR is empty: enabling the interrupt raises it */
    uart->ier = value & IER_ALL;
}

static void uart_write(void *opaque, uint64_t offset, unsigned size, uint64_t wide)
{
    struct vmm_uart *uart = opaque;
    uint8_t value = (uint8_t)wide;

    pthread_mutex_lock(&uart->lock);
    switch (offset) {
    case REG_DATA:
        if (uart->lcr & LCR_DLAB)
            uart->dll = value;
        else
            transmit(uart, value);
        break;
    case REG_IER:
        if (uart->lcr & LCR_DLAB)
            uart->dlm = value;
        else
            write_ier(uart, value);
        break;
    case REG_IIR_FCR:
        write_fcr(uart, value);
        break;
    case REG_LCR:
        uart->lcr = value;
        break;
    case REG_MCR:
        uart->mcr = value & MCR_ALL;
        update_modem(uart);
        pull(uart);
        break;
    case REG_SCR:
        uart->scr = value;
        break;
    }
    update(uart);
    pthread_mutex_unlock(&uart->lock);
}

const struct vmm_mmio_ops vmm_uart_mmio = {uart_read, uart_write};

void vmm_uart_input(struct vmm_uart *uart)
{
    pthread_mutex_lock(&uart->lock);
    pull(uart);
    update(uart);
    pthread_mutex_unlock(&uart->lock);
}

void vmm_uart_pause(struct vmm_uart *uart, bool paused)
{
    pthread_mutex_lock(&uart->lock);
    uart->paused = paused;
    pull(uart);
    update(uart);
    pthread_mutex_unlock(&uart->lock);
}

void vmm_uart_redrive(struct vmm_uart *uart)
{
    pthread_mutex_lock(&uart->lock);
    update(uart);
    pthread_mutex_unlock(&uart->lock);
}

void vmm_uart_reset(struct vmm_uart *uart)
{
    pthread_mutex_lock(&uart->lock);
    uart->ier = uart->fcr = uart->lcr = uart->scr = uart->dlm = 0;
    uart->mcr = 0x08; /* OUT2 */
    uart->dll = 0x0c; /* 9600 baud on a PC */
    uart->overrun = uart->thr_interrupt = false;
    uart->fifo_count = 0;
    uart->msr = 0;
    update_modem(uart);
    uart->msr &= (uint8_t)~MSR_DELTAS;
    update(uart);
    pthread_mutex_unlock(&uart->lock);
}

static void uart_save(void *opaque, struct baton_save *save)
{
    struct vmm_uart *uart = opaque;

    pthread_mutex_lock(&uart->lock);
    baton_save_u8(save, uart->ier);
    baton_save_u8(save, uart->fcr);
    baton_save_u8(save, uart->lcr);
    baton_save_u8(save, uart->mcr);
    baton_save_u8(save, uart->msr);
    baton_save_u8(save, uart->scr);
    baton_save_u8(save, uart->dll);
    baton_save_u8(save, uart->dlm);
    baton_save_u8(save, uart->overrun);
    baton_save_u8(save, uart->thr_interrupt);
    baton_save_u8(save, uart->fifo_count);
    baton_save_bytes(save, uart->fifo, uart->fifo_count);
    pthread_mutex_unlock(&uart->lock);
}

static int check(const struct vmm_uart *loaded, struct baton_error *error)
{
    if (loaded->ier & ~IER_ALL)
        return baton_error_set(error, EINVAL, "the serial port's IER %#x has unknown bits",
                               loaded->ier);
    if (loaded->mcr & ~MCR_ALL)
        return baton_error_set(error, EINVAL, "the serial port's MCR %#x has unknown bits",
                               loaded->mcr);
    if ((loaded->fcr & ~FCR_KEPT) || (loaded->fcr && !(loaded->fcr & FCR_ENABLE)))
        return baton_error_set(error, EINVAL, "the serial port's FCR %#x makes no sense",
                               loaded->fcr);
    if (loaded->fifo_count > capacity(loaded))
        return baton_error_set(error, EINVAL,
                               "the serial port holds %u received bytes; there is room for %u",
                               loaded->fifo_count, capacity(loaded));
    return 0;
}

static int uart_load(void *opaque, struct baton_load *load, uint32_t version,
                     struct baton_error *error)
{
    struct vmm_uart *uart = opaque;
    struct vmm_uart loaded = {0};
    uint8_t flags[2];
    int code;

    loaded.ier = baton_load_u8(load);
    loaded.fcr = baton_load_u8(load);
    loaded.lcr = baton_load_u8(load);
    loaded.mcr = baton_load_u8(load);
    loaded.msr = baton_load_u8(load);
    loaded.scr = baton_load_u8(load);
    loaded.dll = baton_load_u8(load);
    loaded.dlm = baton_load_u8(load);
    flags[0] = baton_load_u8(load);
    flags[1] = baton_load_u8(load);
    loaded.fifo_count = baton_load_u8(load);
    if (!baton_load_ok(load) || loaded.fifo_count > baton_load_left(load))
        return baton_error_set(error, EINVAL, "the serial port's state is cut short");
    if (flags[0] > 1 || flags[1] > 1)
        return baton_error_set(error, EINVAL, "the serial port's flags %u and %u must be 0 or 1",
                               flags[0], flags[1]);
    code = check(&loaded, error);
    if (code)
        return code;
    baton_load_bytes(load, loaded.fifo, loaded.fifo_count);
    pthread_mutex_lock(&uart->lock);
    uart->ier = loaded.ier;
    uart->fcr = loaded.fcr;
    uart->lcr = loaded.lcr;
    uart->mcr = loaded.mcr;
    uart->msr = loaded.msr;
    uart->scr = loaded.scr;
    uart->dll = loaded.dll;
    uart->dlm = loaded.dlm;
    uart->overrun = flags[0];
    uart->thr_interrupt = flags[1];
    uart->fifo_count = loaded.fifo_count;
    for (unsigned i = 0; i < loaded.fifo_count; i++)
        uart->fifo[i] = loaded.fifo[i];
    update(uart);
    pthread_mutex_unlock(&uart->lock);
    return 0;
}

void vmm_uart_section(struct vmm_uart *uart, struct baton_device *out)
{
    *out = (struct baton_device){
        .name = "uart", .version = 1, .opaque = uart, .save = uart_save, .load = uart_load};
}

int vmm_uart_new(const struct vmm_irq *irq, const struct vmm_uart_wire *wire, struct vmm_uart **out,
                 struct baton_error *error)
{
    struct vmm_uart *uart = calloc(1, sizeof(*uart));

    if (!uart)
        return baton_error_set(error, ENOMEM, "cannot make the serial port: out of memory");
    pthread_mutex_init(&uart->lock, NULL);
    uart->irq = *irq;
    uart->wire = *wire;
    uart->paused = true;
    vmm_uart_reset(uart);
    *out = uart;
    return 0;
}

void vmm_uart_free(struct vmm_uart *uart)
{
    if (!uart)
        return;
    pthread_mutex_destroy(&uart->lock);
    free(uart);
}
