/* SPDX-License-Identifier: MIT */
/*
 * The first bytes of a new migration: magic and version, then CONFIGURATION.
 *
 * CONFIGURATION has no length and no footer. It ends where no further subsection begins, and that
 * shows only in the byte behind it: so one more byte is asked for and not taken. This cannot stall,
 * since no sender pauses there. Each known subsection may come once, which bounds the whole.
 *
 * The machine name is handed up; whether it fits is not decided here. Capabilities that change the
 * stream's format (x-ignore-shared, mapped-ram) are not supported, so naming one is an error here.
 */
#include <string.h>

#include "wire/internal.h"

enum wire_result wire_header_decode(struct wire_get *get, uint64_t offset, struct wire_message *out,
                                    struct wire_error *error)
{
    uint32_t magic = wire_get_be32(get), version;

    if (!get->truncated && magic != WIRE_MAGIC)
        return wire_bad_u64(error, offset, "not a migration stream", magic,
                            "0x5145564d (\"QEVM\")");
    version = wire_get_be32(get);
    if (get->truncated)
        return WIRE_MORE;
    if (version != WIRE_VERSION)
        return wire_bad_u64(error, offset + 4, "unknown stream version", version, "3");
    out->type = WIRE_HEADER;
    return WIRE_DONE;
}

/* The part of a subsection that comes after its name and version. `seen` has a bit for each kind.
 */
static enum wire_result subsection_decode(struct wire_get *get, uint64_t offset, const char *name,
                                          struct wire_configuration *out, unsigned *seen,
                                          struct wire_error *error)
{
    enum { UUID = 1, PAGE_BITS = 2, CAPABILITIES = 4 };
    unsigned kind = 0;

    if (strcmp(name, "configuration/uuid") == 0) {
        kind = UUID;
        out->has_uuid = true;
        wire_get_bytes(get, out->uuid, sizeof(out->uuid));
    } else if (strcmp(name, "configuration/target-page-bits") == 0) {
        uint32_t bits = wire_get_be32(get);

        kind = PAGE_BITS;
        if (!get->truncated && bits != 12)
            return wire_bad_u64(error, offset, "the source's pages have another size", bits,
                                "12 bits");
    } else if (strcmp(name, "configuration/capabilities") == 0) {
        char capability[WIRE_NAME_BYTES];

        kind = CAPABILITIES;
        if (wire_get_be32(get)) {
            wire_get_cstr(get, capability);
            if (!get->truncated)
                return wire_bad_name(error, offset, "the source has a capability on", capability,
                                     "none that changes the stream: turn it off at the source");
        }
    } else {
        return wire_bad_name(error, offset, "unknown configuration subsection", name,
                             "uuid, capabilities or target-page-bits");
    }
    if (get->truncated)
        return WIRE_MORE;
    if (*seen & kind)
        return wire_bad_name(error, offset, "a configuration subsection came twice", name, "one");
    *seen |= kind;
    return WIRE_DONE;
}

enum wire_result wire_configuration_decode(struct wire_get *get, uint64_t offset,
                                           struct wire_configuration *out, struct wire_error *error)
{
    static const char prefix[] = "configuration/";
    uint8_t element = wire_get_u8(get);
    uint32_t length;
    unsigned seen = 0;

    if (!get->truncated && element != WIRE_ELEMENT_CONFIGURATION)
        return wire_bad_u64(error, offset, "the header is not followed by a configuration", element,
                            "element 7 (CONFIGURATION)");
    length = wire_get_be32(get);
    if (get->truncated)
        return WIRE_MORE;
    if (!length || length >= WIRE_NAME_BYTES)
        return wire_bad_u64(error, offset + 1, "impossible length of the machine name", length,
                            "1 to 255");
    memset(out, 0, sizeof(*out));
    wire_get_bytes(get, out->machine, length);
    if (get->truncated)
        return WIRE_MORE;
    if (memchr(out->machine, '\0', length))
        return wire_bad(error, offset + 5, "the machine name holds a zero byte", "text");

    for (;;) {
        struct wire_get ahead = *get;
        uint8_t next = wire_get_u8(&ahead);
        char name[WIRE_NAME_BYTES];
        enum wire_result result;
        uint32_t version;

        if (!ahead.truncated && next != WIRE_ELEMENT_SUBSECTION)
            return WIRE_DONE;
        wire_get_cstr(&ahead, name);
        if (ahead.truncated)
            return wire_want(get, ahead.wanted);
        if (strncmp(name, prefix, sizeof(prefix) - 1) != 0)
            return WIRE_DONE;
        version = wire_get_be32(&ahead);
        if (!ahead.truncated && version != 1)
            return wire_bad_u64(error, offset + get->at,
                                "unknown version of a configuration "
                                "subsection",
                                version, "1");
        result = subsection_decode(&ahead, offset + get->at, name, out, &seen, error);
        *get = ahead;
        if (result != WIRE_DONE)
            return result;
    }
}

bool wire_configuration_encode(struct wire_put *put, const struct wire_configuration *in)
{
    if (!wire_is_name(in->machine))
        return false;
    wire_put_u8(put, WIRE_ELEMENT_CONFIGURATION);
    wire_put_be32(put, (uint32_t)strlen(in->machine));
    wire_put_bytes(put, in->machine, strlen(in->machine));
    if (in->has_uuid) {
        wire_put_u8(put, WIRE_ELEMENT_SUBSECTION);
        wire_put_cstr(put, "configuration/uuid");
        wire_put_be32(put, 1);
        wire_put_bytes(put, in->uuid, sizeof(in->uuid));
    }
    return true;
}
