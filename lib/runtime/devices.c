/* SPDX-License-Identifier: MIT */
/*
 * Device state: sections out of the host's devices, and back into them.
 *
 * Saved: one FULL section a device, in the order in which the host named them, then `globalstate`
 * with the run state, as QEMU does. Loaded: each section must belong to a device of ours, be no
 * newer than it knows, be read to its end, and come once; every device must have come. Whatever is
 * wrong gets a sentence; the caller resets the devices then.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/runtime.h"

struct baton_save {
    struct package package;
};

struct baton_load {
    const uint8_t *bytes;
    size_t left;
    bool truncated;
};

/* ---- For the host's save functions ---- */

void baton_save_bytes(struct baton_save *save, const void *bytes, size_t length_bytes)
{
    package_add(&save->package, bytes, length_bytes);
}

static void save_number(struct baton_save *save, uint64_t value, unsigned bytes)
{
    uint8_t big_endian[8];

    for (unsigned i = 0; i < bytes; i++)
        big_endian[i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
    package_add(&save->package, big_endian, bytes);
}

void baton_save_u8(struct baton_save *save, uint8_t value)
{
    save_number(save, value, 1);
}

void baton_save_u16(struct baton_save *save, uint16_t value)
{
    save_number(save, value, 2);
}

void baton_save_u32(struct baton_save *save, uint32_t value)
{
    save_number(save, value, 4);
}

void baton_save_u64(struct baton_save *save, uint64_t value)
{
    save_number(save, value, 8);
}

/* ---- For the host's load functions ---- */

void baton_load_bytes(struct baton_load *load, void *bytes, size_t length_bytes)
{
    size_t n = length_bytes < load->left ? length_bytes : load->left;

    if (n)
        memcpy(bytes, load->bytes, n);
    memset((uint8_t *)bytes + n, 0, length_bytes - n);
    load->bytes += n;
    load->left -= n;
    if (n < length_bytes)
        load->truncated = true;
}

static uint64_t load_number(struct baton_load *load, unsigned bytes)
{
    uint8_t big_endian[8];
    uint64_t value = 0;

    baton_load_bytes(load, big_endian, bytes);
    for (unsigned i = 0; i < bytes; i++)
        value = value << 8 | big_endian[i];
    return value;
}

uint8_t baton_load_u8(struct baton_load *load)
{
    return (uint8_t)load_number(load, 1);
}

uint16_t baton_load_u16(struct baton_load *load)
{
    return (uint16_t)load_number(load, 2);
}

uint32_t baton_load_u32(struct baton_load *load)
{
    return (uint32_t)load_number(load, 4);
}

uint64_t baton_load_u64(struct baton_load *load)
{
    return load_number(load, 8);
}

size_t baton_load_left(const struct baton_load *load)
{
    return load->left;
}

bool baton_load_ok(const struct baton_load *load)
{
    return !load->truncated;
}

/* ---- Sections ---- */

#define FIRST_SECTION_ID 2u /* 1 is ram */

static void add_section(struct package *out, const struct wire_message *section)
{
    size_t size = section->u.full.body_bytes + WIRE_SECTION_OVERHEAD_BYTES;
    uint8_t *bytes = malloc(size);

    if (!bytes)
        abort(); /* see package_add() */
    package_add(out, bytes, wire_encode(section, bytes, size));
    free(bytes);
}

void devices_save(struct baton *baton, bool vm_was_running, struct package *out)
{
    struct wire_message section = {.type = WIRE_SECTION_FULL};
    struct wire_globalstate state = {.has_suspended = true};
    uint8_t body[WIRE_GLOBALSTATE_BODY_BYTES];

    for (unsigned i = 0; i < baton->device_count; i++) {
        const struct baton_device *device = &baton->devices[i];
        struct baton_save save = {0};

        device->save(device->opaque, &save);
        section.u.full = (struct wire_full){
            .section_id = FIRST_SECTION_ID + i,
            .own = true,
            .instance = device->instance,
            .version = device->version,
            .body = save.package.bytes,
            .body_bytes = save.package.used,
        };
        strcpy(section.u.full.name, device->name);
        add_section(out, &section);
        package_clear(&save.package);
    }
    strcpy(state.runstate, vm_was_running ? "running" : "paused");
    wire_globalstate_encode(&state, body);
    section.u.full = (struct wire_full){
        .section_id = FIRST_SECTION_ID + baton->device_count,
        .version = WIRE_GLOBALSTATE_VERSION,
        .body = body,
        .body_bytes = sizeof(body),
    };
    strcpy(section.u.full.name, WIRE_GLOBALSTATE_NAME);
    add_section(out, &section);
}

static int load_one(const struct baton_device *device, const struct wire_full *section,
                    struct baton_error *error)
{
    struct baton_load load = {.bytes = section->body, .left = section->body_bytes};
    int result;

    if (section->version > device->version)
        return baton_error_set(
            error, ENOTSUP,
            "section %s/%u has version %u, this build knows up to %u: use a newer "
            "build at the destination",
            section->name, section->instance, section->version, device->version);
    result = device->load(device->opaque, &load, section->version, error);
    if (result < 0)
        return baton_error_prefix(error, "section %s/%u", section->name, section->instance);
    if (load.truncated || load.left)
        return baton_error_set(error, EPROTO,
                               "section %s/%u is %s than a version %u of it: the stream is damaged "
                               "or of another build",
                               section->name, section->instance,
                               load.truncated ? "shorter" : "longer", section->version);
    return 0;
}

static int load_section(struct baton *baton, const struct wire_full *section, uint64_t *seen,
                        struct baton_error *error)
{
    for (unsigned i = 0; i < baton->device_count; i++) {
        const struct baton_device *device = &baton->devices[i];

        if (!section->own || strcmp(device->name, section->name) != 0 ||
            device->instance != section->instance)
            continue;
        if (*seen & UINT64_C(1) << i)
            return baton_error_set(error, EPROTO, "section %s/%u comes twice", section->name,
                                   section->instance);
        *seen |= UINT64_C(1) << i;
        return load_one(device, section, error);
    }
    return baton_error_set(error, ENODEV,
                           "the source has a device %s/%u that this machine has not: start the "
                           "destination with the same options as the source",
                           section->name, section->instance);
}

static int load_runstate(const struct wire_full *section, bool *vm_was_running,
                         struct baton_error *error)
{
    struct wire_globalstate state;
    struct wire_error bad;

    if (section->body_bytes != WIRE_GLOBALSTATE_BODY_BYTES ||
        wire_globalstate_decode(section->body, &state, &bad) != WIRE_DONE)
        return baton_error_set(error, EPROTO, "section globalstate cannot be understood");
    *vm_was_running = strcmp(state.runstate, "running") == 0;
    return 0;
}

static int all_loaded(struct baton *baton, uint64_t seen, struct baton_error *error)
{
    for (unsigned i = 0; i < baton->device_count; i++)
        if (!(seen & UINT64_C(1) << i))
            return baton_error_set(error, ENODEV,
                                   "this machine has a device %s/%u that the source has not: start "
                                   "the destination with the same options as the source",
                                   baton->devices[i].name, baton->devices[i].instance);
    return 0;
}

_Static_assert(RUNTIME_MAX_DEVICES <= 64, "`seen` has a bit a device");

int devices_load(struct baton *baton, const uint8_t *bytes, size_t length_bytes,
                 bool *vm_was_running, struct baton_error *error)
{
    struct wire_message message;
    struct wire_error bad;
    struct wire_blob blob;
    uint64_t seen = 0;
    int result = 0;

    *vm_was_running = true; /* as QEMU: without a globalstate section the VM ran */
    wire_blob_init(&blob, bytes, length_bytes);
    while (result == 0) {
        enum wire_result got = wire_blob_next(&blob, &message, &bad);

        if (got == WIRE_END)
            return all_loaded(baton, seen, error);
        if (got != WIRE_DONE)
            return baton_error_set(error, EPROTO, "device state: %s", bad.text);
        if (message.type == WIRE_RUN)
            return baton_error_set(error, EPROTO, "RUN inside the package: the peer is no Baton");
        if (message.type != WIRE_SECTION_FULL)
            continue; /* LISTEN and PING: nothing to load */
        if (!message.u.full.own && strcmp(message.u.full.name, WIRE_GLOBALSTATE_NAME) == 0)
            result = load_runstate(&message.u.full, vm_was_running, error);
        else
            result = load_section(baton, &message.u.full, &seen, error);
    }
    return result;
}

int devices_resume_prepare(struct baton *baton, struct baton_error *error)
{
    for (unsigned i = 0; i < baton->device_count; i++) {
        const struct baton_device *device = &baton->devices[i];
        int result;

        if (!device->resume_prepare)
            continue;
        result = device->resume_prepare(device->opaque, error);
        if (result < 0)
            return baton_error_prefix(error, "device %s/%u", device->name, device->instance);
    }
    return 0;
}
