/* SPDX-License-Identifier: MIT */
/*
 * The `test` device: one register. 0x5555 powers off, 0x7777 resets, 0x3333 with a code in the
 * upper half powers off and reports failure; anything else is ignored.
 *
 * The order is latched and part of the saved state: between the guest's write and the machine's
 * carrying it out the VM may move to another host, and then it is that host's to carry out. The
 * first order counts until the next reset.
 */
#include "vmm/device/syscon.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

struct vmm_syscon {
    pthread_mutex_t lock;
    void (*notify)(void *opaque);
    void *opaque;
    enum vmm_syscon_order order;
    unsigned exit_code;
};

static uint64_t syscon_read(void *opaque, uint64_t offset, unsigned size)
{
    return 0;
}

static void syscon_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct vmm_syscon *syscon = opaque;
    enum vmm_syscon_order order = VMM_SYSCON_NOTHING;
    bool given = false;

    if (offset != 0)
        return;
    switch (value & 0xffff) {
    case VMM_SYSCON_POWEROFF:
    case VMM_SYSCON_FAIL:
        order = VMM_SYSCON_DO_POWEROFF;
        break;
    case VMM_SYSCON_REBOOT:
        order = VMM_SYSCON_DO_RESET;
        break;
    }
    pthread_mutex_lock(&syscon->lock);
    if (order != VMM_SYSCON_NOTHING && syscon->order == VMM_SYSCON_NOTHING) {
        syscon->order = order;
        syscon->exit_code = (value & 0xffff) == VMM_SYSCON_FAIL ? value >> 16 & 0xffff : 0;
        given = true;
    }
    pthread_mutex_unlock(&syscon->lock);
    if (given)
        syscon->notify(syscon->opaque);
}

const struct vmm_mmio_ops vmm_syscon_mmio = {syscon_read, syscon_write};

enum vmm_syscon_order vmm_syscon_order(struct vmm_syscon *syscon, unsigned *exit_code)
{
    enum vmm_syscon_order order;

    pthread_mutex_lock(&syscon->lock);
    order = syscon->order;
    *exit_code = syscon->exit_code;
    pthread_mutex_unlock(&syscon->lock);
    return order;
}

void vmm_syscon_reset(struct vmm_syscon *syscon)
{
    pthread_mutex_lock(&syscon->lock);
    syscon->order = VMM_SYSCON_NOTHING;
    syscon->exit_code = 0;
    pthread_mutex_unlock(&syscon->lock);
}

static void syscon_save(void *opaque, struct baton_save *save)
{
    struct vmm_syscon *syscon = opaque;

    pthread_mutex_lock(&syscon->lock);
    baton_save_u8(save, (uint8_t)syscon->order);
    baton_save_u16(save, (uint16_t)syscon->exit_code);
    pthread_mutex_unlock(&syscon->lock);
}

static int syscon_load(void *opaque, struct baton_load *load, uint32_t version,
                       struct baton_error *error)
{
    struct vmm_syscon *syscon = opaque;
    uint8_t order = baton_load_u8(load);
    uint16_t exit_code = baton_load_u16(load);

    if (!baton_load_ok(load))
        return baton_error_set(error, EINVAL, "the syscon's state is cut short");
    if (order > VMM_SYSCON_DO_RESET || (exit_code && order != VMM_SYSCON_DO_POWEROFF))
        return baton_error_set(error, EINVAL,
                               "the syscon's order %u with exit code %u makes no sense", order,
                               exit_code);
    pthread_mutex_lock(&syscon->lock);
    syscon->order = (enum vmm_syscon_order)order;
    syscon->exit_code = exit_code;
    pthread_mutex_unlock(&syscon->lock);
    return 0;
}

void vmm_syscon_section(struct vmm_syscon *syscon, struct baton_device *out)
{
    *out = (struct baton_device){
        .name = "syscon", .version = 1, .opaque = syscon, .save = syscon_save, .load = syscon_load};
}

int vmm_syscon_new(void (*notify)(void *opaque), void *opaque, struct vmm_syscon **out,
                   struct baton_error *error)
{
    struct vmm_syscon *syscon = calloc(1, sizeof(*syscon));

    if (!syscon)
        return baton_error_set(error, ENOMEM, "cannot make the syscon: out of memory");
    pthread_mutex_init(&syscon->lock, NULL);
    syscon->notify = notify;
    syscon->opaque = opaque;
    *out = syscon;
    return 0;
}

void vmm_syscon_free(struct vmm_syscon *syscon)
{
    if (!syscon)
        return;
    pthread_mutex_destroy(&syscon->lock);
    free(syscon);
}
