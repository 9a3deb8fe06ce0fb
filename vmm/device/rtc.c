/* SPDX-License-Identifier: MIT */
/*
 * The goldfish real-time clock: nanoseconds since 1970 in two 32-bit halves, and an alarm.
 *
 * The time of day is the host's plus offset_ns, which the guest changes by setting the clock. It
 * goes on while the VM is stopped: that is what a clock with a battery is for. Two hosts' clocks
 * differ, so the highest value that the guest has read travels along as last_ns, and the clock
 * never shows less than that: setting it is the only way back.
 *
 * The alarm is due when the time of day reaches alarm_ns. The machine's clock, which stands while
 * the VM is stopped, calls us when that may be so; we look again, and arm anew if not. Starting the
 * VM comes through redrive, which arms anew as well.
 *
 * Data: all under `lock`, before the clock's and the PLIC's.
 */
#include "vmm/device/rtc.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

enum {
    REG_TIME_LOW = 0x00,
    REG_TIME_HIGH = 0x04,
    REG_ALARM_LOW = 0x08,
    REG_ALARM_HIGH = 0x0c,
    REG_IRQ_ENABLED = 0x10,
    REG_CLEAR_ALARM = 0x14,
    REG_ALARM_STATUS = 0x18,
    REG_CLEAR_INTERRUPT = 0x1c
};

struct vmm_rtc {
    pthread_mutex_t lock;
    struct vmm_clock *clock;
    struct vmm_irq irq;
    struct vmm_timer timer;
    uint64_t offset_ns; /* to the host's time, modulo 2^64 */
    uint64_t last_ns;   /* highest value shown since the clock was set */
    uint32_t time_high; /* latched by reading the low half */
    uint64_t alarm_ns;
    bool alarm_armed;
    bool irq_enabled;
    bool irq_pending;
};

static uint64_t host_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t now_ns(const struct vmm_rtc *rtc)
{
    uint64_t now = host_ns() + rtc->offset_ns;

    return now > rtc->last_ns ? now : rtc->last_ns;
}

static void set_time(struct vmm_rtc *rtc, uint64_t ns)
{
    rtc->offset_ns = ns - host_ns();
    rtc->last_ns = ns;
}

/* Under the lock: looks whether the alarm is due, sees to it that somebody looks again, and drives
 * the wire. */
static void update(struct vmm_rtc *rtc)
{
    uint64_t deadline = VMM_CLOCK_NEVER;
    uint64_t now = now_ns(rtc);

    if (rtc->alarm_armed && now >= rtc->alarm_ns) {
        rtc->alarm_armed = false;
        rtc->irq_pending = true;
    }
    if (rtc->alarm_armed)
        deadline = vmm_clock_ticks(rtc->clock) + (rtc->alarm_ns - now) / VMM_CLOCK_TICK_NS + 1;
    vmm_timer_arm(&rtc->timer, deadline);
    vmm_irq_set(&rtc->irq, rtc->irq_pending && rtc->irq_enabled);
}

void vmm_rtc_redrive(struct vmm_rtc *rtc)
{
    pthread_mutex_lock(&rtc->lock);
    update(rtc);
    pthread_mutex_unlock(&rtc->lock);
}

static void timer_fired(void *opaque)
{
    vmm_rtc_redrive(opaque);
}

static uint64_t rtc_read(void *opaque, uint64_t offset, unsigned size)
{
    struct vmm_rtc *rtc = opaque;
    uint32_t value = 0;

    pthread_mutex_lock(&rtc->lock);
    switch (offset) {
    case REG_TIME_LOW:
        rtc->last_ns = now_ns(rtc);
        rtc->time_high = (uint32_t)(rtc->last_ns >> 32);
        value = (uint32_t)rtc->last_ns;
        break;
    case REG_TIME_HIGH:
        value = rtc->time_high;
        break;
    case REG_ALARM_LOW:
        value = (uint32_t)rtc->alarm_ns;
        break;
    case REG_ALARM_HIGH:
        value = (uint32_t)(rtc->alarm_ns >> 32);
        break;
    case REG_IRQ_ENABLED:
        value = rtc->irq_enabled;
        break;
    case REG_ALARM_STATUS:
        value = rtc->alarm_armed;
        break;
    }
    pthread_mutex_unlock(&rtc->lock);
    return value;
}

static void rtc_write(void *opaque, uint64_t offset, unsigned size, uint64_t wide)
{
    struct vmm_rtc *rtc = opaque;
    uint32_t value = (uint32_t)wide;

    pthread_mutex_lock(&rtc->lock);
    switch (offset) {
    case REG_TIME_LOW:
        set_time(rtc, (now_ns(rtc) & ~(uint64_t)UINT32_MAX) | value);
        break;
    case REG_TIME_HIGH:
        set_time(rtc, (uint64_t)value << 32 | (uint32_t)now_ns(rtc));
        break;
    case REG_ALARM_LOW: /* arms; the guest has written the high half before */
        rtc->alarm_ns = (rtc->alarm_ns & ~(uint64_t)UINT32_MAX) | value;
        rtc->alarm_armed = true;
        break;
    case REG_ALARM_HIGH:
        rtc->alarm_ns = (uint64_t)value << 32 | (uint32_t)rtc->alarm_ns;
        break;
    case REG_IRQ_ENABLED:
        rtc->irq_enabled = value & 1;
        break;
    case REG_CLEAR_ALARM:
        rtc->alarm_armed = false;
        break;
    case REG_CLEAR_INTERRUPT:
        rtc->irq_pending = false;
        break;
    }
    update(rtc);
    pthread_mutex_unlock(&rtc->lock);
}

const struct vmm_mmio_ops vmm_rtc_mmio = {rtc_read, rtc_write};

void vmm_rtc_reset(struct vmm_rtc *rtc)
{
    pthread_mutex_lock(&rtc->lock);
    rtc->alarm_ns = 0;
    rtc->time_high = 0;
    rtc->alarm_armed = rtc->irq_enabled = rtc->irq_pending = false;
    update(rtc);
    pthread_mutex_unlock(&rtc->lock);
}

static void rtc_save(void *opaque, struct baton_save *save)
{
    struct vmm_rtc *rtc = opaque;

    pthread_mutex_lock(&rtc->lock);
    baton_save_u64(save, rtc->offset_ns);
    baton_save_u64(save, rtc->last_ns);
    baton_save_u32(save, rtc->time_high);
    baton_save_u64(save, rtc->alarm_ns);
    baton_save_u8(save, rtc->alarm_armed);
    baton_save_u8(save, rtc->irq_enabled);
    baton_save_u8(save, rtc->irq_pending);
    pthread_mutex_unlock(&rtc->lock);
}

static int rtc_load(void *opaque, struct baton_load *load, uint32_t version,
                    struct baton_error *error)
{
    struct vmm_rtc *rtc = opaque;
    uint64_t offset_ns = baton_load_u64(load);
    uint64_t last_ns = baton_load_u64(load);
    uint32_t time_high = baton_load_u32(load);
    uint64_t alarm_ns = baton_load_u64(load);
    uint8_t armed = baton_load_u8(load);
    uint8_t enabled = baton_load_u8(load);
    uint8_t pending = baton_load_u8(load);

    if (!baton_load_ok(load))
        return baton_error_set(error, EINVAL, "the real-time clock's state is cut short");
    if (armed > 1 || enabled > 1 || pending > 1)
        return baton_error_set(error, EINVAL,
                               "the real-time clock's flags %u, %u and %u must be 0 or 1", armed,
                               enabled, pending);
    pthread_mutex_lock(&rtc->lock);
    rtc->offset_ns = offset_ns;
    rtc->last_ns = last_ns;
    rtc->time_high = time_high;
    rtc->alarm_ns = alarm_ns;
    rtc->alarm_armed = armed;
    rtc->irq_enabled = enabled;
    rtc->irq_pending = pending;
    /* Not update(): an alarm that is due is raised when the VM starts, so that saving again gives
     * the same bytes. */
    vmm_irq_set(&rtc->irq, rtc->irq_pending && rtc->irq_enabled);
    pthread_mutex_unlock(&rtc->lock);
    return 0;
}

void vmm_rtc_section(struct vmm_rtc *rtc, struct baton_device *out)
{
    *out = (struct baton_device){
        .name = "rtc", .version = 1, .opaque = rtc, .save = rtc_save, .load = rtc_load};
}

int vmm_rtc_new(struct vmm_clock *clock, const struct vmm_irq *irq, struct vmm_rtc **out,
                struct baton_error *error)
{
    struct vmm_rtc *rtc = calloc(1, sizeof(*rtc));

    if (!rtc)
        return baton_error_set(error, ENOMEM, "cannot make the real-time clock: out of memory");
    pthread_mutex_init(&rtc->lock, NULL);
    rtc->clock = clock;
    rtc->irq = *irq;
    vmm_clock_add_timer(clock, &rtc->timer, timer_fired, rtc);
    *out = rtc;
    return 0;
}

void vmm_rtc_free(struct vmm_rtc *rtc)
{
    if (!rtc)
        return;
    pthread_mutex_destroy(&rtc->lock);
    free(rtc);
}
