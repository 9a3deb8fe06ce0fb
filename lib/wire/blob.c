/* SPDX-License-Identifier: MIT */
/*
 * The content of PACKAGED: a stream of device sections and commands without a header, which has
 * been read into memory as a whole before any of it is looked at. So there is no MORE here: an
 * element that is not all there is an error. Offsets in errors are counted from the beginning of
 * the package.
 */
#include <string.h>

#include "wire/internal.h"

void wire_blob_init(struct wire_blob *blob, const uint8_t *bytes, size_t size)
{
    static const struct wire_blocks none; /* no element of a package names a block */

    *blob = (struct wire_blob){.bytes = bytes, .size = size};
    wire_decoder_init(&blob->decoder, WIRE_STREAM_RECOVERY, &none, false);
    blob->decoder.position = WIRE_AT_BLOB;
}

enum wire_result wire_blob_next(struct wire_blob *blob, struct wire_message *out,
                                struct wire_error *error)
{
    enum wire_result result;
    size_t used;

    if (blob->at == blob->size)
        return WIRE_END;
    result = wire_decode_element(&blob->decoder, blob->bytes + blob->at, blob->size - blob->at,
                                 &used, out, error);
    if (result == WIRE_MORE)
        return wire_bad_u64(error, blob->at, "the package ends inside an element",
                            blob->size - blob->at, "all of the element");
    if (result == WIRE_DONE)
        blob->at += used;
    return result;
}
