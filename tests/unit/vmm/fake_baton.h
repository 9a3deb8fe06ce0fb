/* SPDX-License-Identifier: MIT */
/*
 * A library that migrates nothing, so that the machine can be tested alone: the functions of
 * baton/baton.h that the machine calls, and a way for tests to look behind them. vm_stop and
 * vm_start come from a thread of its own, as from the real one.
 */
#ifndef FAKE_BATON_H
#define FAKE_BATON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "baton/baton.h"

struct baton_save {
    uint8_t *bytes;
    size_t length_bytes, room_bytes;
};

struct baton_load {
    const uint8_t *bytes;
    size_t length_bytes, at;
    bool bad;
};

/* What the next calls answer. */
struct fake_baton_plan {
    bool refuse_quit;
    bool vm_may_not_run;
    bool pages_missing; /* ensure waits and is_present says no while set */
};
void fake_baton_plan(const struct fake_baton_plan *plan);
unsigned fake_baton_marks(void); /* calls of baton_ram_mark_dirty so far */

/* The devices and operations of the last object made; NULL before the first. */
const struct baton_device *fake_baton_device(unsigned index);
unsigned fake_baton_device_count(void);
const struct baton_host_ops *fake_baton_ops(void **host);

/* Called at the beginning of baton_free(): what a test started on the object has to end. */
void fake_baton_on_free(void (*hook)(void));

/* One device's section; the caller frees the bytes. */
void fake_save(const struct baton_device *device, uint8_t **bytes, size_t *length_bytes);
/* Loads it; -EBADMSG if the device left something unread. */
int fake_load(const struct baton_device *device, const uint8_t *bytes, size_t length_bytes,
              struct baton_error *error);

#endif
