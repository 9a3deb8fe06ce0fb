/* SPDX-License-Identifier: MIT */
/*
 * The core-local interruptor (CLINT) of the `virt` machine.
 *
 * Registers: msip (32 bits a hart) at 0, mtimecmp (64 bits a hart) at 0x4000, mtime at 0xbff8. A
 * hart's software interrupt is bit 0 of its msip; its timer interrupt is on while mtime >=
 * mtimecmp.
 *
 * Data: msip and mtimecmp, under `lock`; mtimecmp is atomic besides, because a hart that falls
 * asleep reads its own deadline under a lock that comes after this one. mtime is the machine's
 * clock. The timer level is derived and never saved: timer_level[] is what the hart was last told.
 *
 * A deadline is noticed by whoever comes first: the clock's timer thread, or the sleeping hart
 * itself. Both end in update_timer(), which compares again under the lock, so a late or double call
 * does no harm.
 *
 * Loading brings guest time along: the section holds mtime, and the clock is set from it while the
 * VM is stopped.
 */
#include "vmm/device/clint.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "vmm/cpu/thread.h"

#define MSIP_OFFSET 0x0u
#define MTIMECMP_OFFSET 0x4000u
#define MTIME_OFFSET 0xbff8u

struct clint_timer {
    struct vmm_clint *clint;
    unsigned hart;
    struct vmm_timer timer;
};

struct vmm_clint {
    pthread_mutex_t lock; /* before the clock's and the harts' */
    struct vmm_clock *clock;
    struct vmm_hart_irqs irqs;
    unsigned harts;
    bool msip[VMM_MAX_CPUS];
    atomic_uint_fast64_t mtimecmp[VMM_MAX_CPUS];
    bool timer_level[VMM_MAX_CPUS];
    struct clint_timer timers[VMM_MAX_CPUS];
};

/* Under the lock: tells the hart whether its timer has run out, and arms the next call if not. */
static void update_timer(struct vmm_clint *clint, unsigned hart)
{
    uint64_t deadline = atomic_load(&clint->mtimecmp[hart]);
    bool level = vmm_clock_ticks(clint->clock) >= deadline;

    if (level != clint->timer_level[hart]) {
        clint->timer_level[hart] = level;
        vmm_hart_irqs_set(&clint->irqs, hart, VMM_MIP_MTIP, level);
    }
    vmm_timer_arm(&clint->timers[hart].timer, level ? VMM_CLOCK_NEVER : deadline);
}

uint64_t vmm_clint_deadline(struct vmm_clint *clint, unsigned hart)
{
    return atomic_load(&clint->mtimecmp[hart]);
}

void vmm_clint_expire(struct vmm_clint *clint, unsigned hart)
{
    pthread_mutex_lock(&clint->lock);
    update_timer(clint, hart);
    pthread_mutex_unlock(&clint->lock);
}

static void timer_fired(void *opaque)
{
    struct clint_timer *timer = opaque;

    vmm_clint_expire(timer->clint, timer->hart);
}

/* A 64-bit register accessed whole or by halves. */
static uint64_t read_part(uint64_t value, uint64_t offset, unsigned size)
{
    if (size == 8 && !(offset & 7))
        return value;
    if (size == 4)
        return (uint32_t)(value >> (offset & 4 ? 32 : 0));
    return 0;
}

static uint64_t write_part(uint64_t old, uint64_t offset, unsigned size, uint64_t value)
{
    if (size == 8 && !(offset & 7))
        return value;
    if (size == 4 && (offset & 4))
        return (old & UINT32_MAX) | value << 32;
    if (size == 4)
        return (old & ~(uint64_t)UINT32_MAX) | (uint32_t)value;
    return old;
}

static uint64_t clint_read(void *opaque, uint64_t offset, unsigned size)
{
    struct vmm_clint *clint = opaque;
    uint64_t value = 0;

    if (offset >= MTIME_OFFSET && offset < MTIME_OFFSET + 8)
        return read_part(vmm_clock_ticks(clint->clock), offset, size);
    if (offset >= MTIMECMP_OFFSET) {
        uint64_t hart = (offset - MTIMECMP_OFFSET) / 8;

        return hart < clint->harts ? read_part(vmm_clint_deadline(clint, hart), offset, size) : 0;
    }
    if (offset / 4 < clint->harts && size == 4) {
        pthread_mutex_lock(&clint->lock);
        value = clint->msip[offset / 4];
        pthread_mutex_unlock(&clint->lock);
    }
    return value;
}

static void write_msip(struct vmm_clint *clint, unsigned hart, bool level)
{
    if (level == clint->msip[hart])
        return;
    clint->msip[hart] = level;
    vmm_hart_irqs_set(&clint->irqs, hart, VMM_MIP_MSIP, level);
}

static void clint_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct vmm_clint *clint = opaque;

    pthread_mutex_lock(&clint->lock);
    if (offset >= MTIME_OFFSET && offset < MTIME_OFFSET + 8) {
        uint64_t ticks = write_part(vmm_clock_ticks(clint->clock), offset, size, value);

        vmm_clock_set(clint->clock, ticks & VMM_CLOCK_MAX_TICKS);
        for (unsigned hart = 0; hart < clint->harts; hart++)
            update_timer(clint, hart);
    } else if (offset >= MTIMECMP_OFFSET) {
        uint64_t hart = (offset - MTIMECMP_OFFSET) / 8;

        if (hart < clint->harts) {
            atomic_store(&clint->mtimecmp[hart],
                         write_part(vmm_clint_deadline(clint, hart), offset, size, value));
            update_timer(clint, hart);
        }
    } else if (offset / 4 < clint->harts && size == 4) {
        write_msip(clint, offset / 4, value & 1);
    }
    pthread_mutex_unlock(&clint->lock);
}

const struct vmm_mmio_ops vmm_clint_mmio = {clint_read, clint_write};

/* Under the lock. */
static void redrive(struct vmm_clint *clint)
{
    for (unsigned hart = 0; hart < clint->harts; hart++) {
        vmm_hart_irqs_set(&clint->irqs, hart, VMM_MIP_MSIP, clint->msip[hart]);
        update_timer(clint, hart);
        vmm_hart_irqs_set(&clint->irqs, hart, VMM_MIP_MTIP, clint->timer_level[hart]);
    }
}

void vmm_clint_redrive(struct vmm_clint *clint)
{
    pthread_mutex_lock(&clint->lock);
    redrive(clint);
    pthread_mutex_unlock(&clint->lock);
}

void vmm_clint_reset(struct vmm_clint *clint)
{
    pthread_mutex_lock(&clint->lock);
    for (unsigned hart = 0; hart < clint->harts; hart++) {
        clint->msip[hart] = false;
        atomic_store(&clint->mtimecmp[hart], VMM_CLOCK_NEVER);
    }
    redrive(clint);
    pthread_mutex_unlock(&clint->lock);
}

static void clint_save(void *opaque, struct baton_save *save)
{
    struct vmm_clint *clint = opaque;

    pthread_mutex_lock(&clint->lock);
    baton_save_u64(save, vmm_clock_ticks(clint->clock));
    baton_save_u32(save, clint->harts);
    for (unsigned hart = 0; hart < clint->harts; hart++) {
        baton_save_u8(save, clint->msip[hart]);
        baton_save_u64(save, atomic_load(&clint->mtimecmp[hart]));
    }
    pthread_mutex_unlock(&clint->lock);
}

static int clint_load(void *opaque, struct baton_load *load, uint32_t version,
                      struct baton_error *error)
{
    struct vmm_clint *clint = opaque;
    uint64_t ticks = baton_load_u64(load);
    uint32_t harts = baton_load_u32(load);
    uint8_t msip[VMM_MAX_CPUS] = {0};
    uint64_t mtimecmp[VMM_MAX_CPUS] = {0};

    if (!baton_load_ok(load))
        return baton_error_set(error, EINVAL, "the CLINT's state is cut short");
    if (harts != clint->harts)
        return baton_error_set(error, EINVAL,
                               "the CLINT's state is for %u CPUs but this VM has %u; start it with "
                               "the source's --cpus",
                               harts, clint->harts);
    if (ticks > VMM_CLOCK_MAX_TICKS)
        return baton_error_set(error, EINVAL, "the CLINT's time %#llx is out of range",
                               (unsigned long long)ticks);
    for (unsigned hart = 0; hart < harts; hart++) {
        msip[hart] = baton_load_u8(load);
        mtimecmp[hart] = baton_load_u64(load);
        if (msip[hart] > 1)
            return baton_error_set(error, EINVAL,
                                   "the CLINT's software interrupt of CPU %u is %u; it can only be "
                                   "0 or 1",
                                   hart, msip[hart]);
    }
    if (!baton_load_ok(load))
        return baton_error_set(error, EINVAL, "the CLINT's state is cut short");
    pthread_mutex_lock(&clint->lock);
    vmm_clock_set(clint->clock, ticks);
    for (unsigned hart = 0; hart < harts; hart++) {
        clint->msip[hart] = msip[hart];
        atomic_store(&clint->mtimecmp[hart], mtimecmp[hart]);
    }
    redrive(clint);
    pthread_mutex_unlock(&clint->lock);
    return 0;
}

void vmm_clint_section(struct vmm_clint *clint, struct baton_device *out)
{
    *out = (struct baton_device){
        .name = "clint", .version = 1, .opaque = clint, .save = clint_save, .load = clint_load};
}

int vmm_clint_new(struct vmm_clock *clock, unsigned harts, const struct vmm_hart_irqs *irqs,
                  struct vmm_clint **out, struct baton_error *error)
{
    struct vmm_clint *clint = calloc(1, sizeof(*clint));

    if (!clint)
        return baton_error_set(error, ENOMEM, "cannot make the CLINT: out of memory");
    pthread_mutex_init(&clint->lock, NULL);
    clint->clock = clock;
    clint->irqs = *irqs;
    clint->harts = harts;
    for (unsigned hart = 0; hart < harts; hart++) {
        struct clint_timer *timer = &clint->timers[hart];

        timer->clint = clint;
        timer->hart = hart;
        atomic_store(&clint->mtimecmp[hart], VMM_CLOCK_NEVER);
        vmm_clock_add_timer(clock, &timer->timer, timer_fired, timer);
    }
    *out = clint;
    return 0;
}

void vmm_clint_free(struct vmm_clint *clint)
{
    if (!clint)
        return;
    pthread_mutex_destroy(&clint->lock);
    free(clint);
}
