/* SPDX-License-Identifier: MIT */
/* What the tests of the wire layer share: data files, and a reader that feeds decoders as a caller
 * does. */
#ifndef TESTS_WIRE_SUPPORT_H
#define TESTS_WIRE_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "wire/wire.h"

#define MIB (UINT64_C(1) << 20)

struct bytes {
    uint8_t
        *at; /* from malloc, of exactly `size` bytes: a sanitizer sees every read past the end */
    size_t size;
};
struct bytes bytes_copy(const void *from, size_t size);
struct bytes bytes_file(const char *name); /* from the data folder */
void bytes_free(struct bytes *bytes);

/* A table with the one block that all captures have. */
struct wire_blocks blocks_mem0(uint64_t used_bytes);

/* What a walk over a stream has seen. */
#define WALK_MAX_MESSAGES 128
struct walk {
    enum wire_type messages[WALK_MAX_MESSAGES];
    unsigned message_count;
    unsigned of_type[WIRE_TYPE_COUNT];
    unsigned pages, zeros, eos;
    uint64_t last_offset;    /* of the last page */
    uint8_t page_fill[4096]; /* first byte of the data of each page number; 0 for zero pages */
    size_t blob_at, blob_size;
    size_t at; /* where the walk ended */
    struct wire_message last;
    struct wire_error error;
};

/*
 * Decodes all of a stream that is in memory. DONE: it ended between two messages; MORE: inside one,
 * or inside what follows one.
 */
enum wire_result walk_forward(struct walk *walk, struct wire_decoder *decoder, struct bytes stream);
enum wire_result walk_return(struct walk *walk, struct wire_return_decoder *decoder,
                             struct bytes stream);

/*
 * The same, but each message is offered byte by byte from buffers of exactly that size: every
 * shorter one must give MORE, ask for more than there is and no more than is needed, and leave the
 * decoder as it was.
 */
enum wire_result drip_forward(struct wire_decoder *decoder, struct bytes stream);
enum wire_result drip_return(struct wire_return_decoder *decoder, struct bytes stream);

#endif
