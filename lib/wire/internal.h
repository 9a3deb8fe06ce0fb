/* SPDX-License-Identifier: MIT */
/* What the files of the wire layer share among themselves. */
#ifndef WIRE_INTERNAL_H
#define WIRE_INTERNAL_H

#include "wire/wire.h"

/* ---- Element bytes and record flags ---- */

enum {
    WIRE_ELEMENT_EOF = 0x00,
    WIRE_ELEMENT_START = 0x01,
    WIRE_ELEMENT_PART = 0x02,
    WIRE_ELEMENT_END = 0x03,
    WIRE_ELEMENT_FULL = 0x04,
    WIRE_ELEMENT_SUBSECTION = 0x05,
    WIRE_ELEMENT_VMDESCRIPTION = 0x06,
    WIRE_ELEMENT_CONFIGURATION = 0x07,
    WIRE_ELEMENT_COMMAND = 0x08,
    WIRE_ELEMENT_FOOTER = 0x7e
};

enum {
    WIRE_FLAG_ZERO = 0x002,
    WIRE_FLAG_MEM_SIZE = 0x004,
    WIRE_FLAG_PAGE = 0x008,
    WIRE_FLAG_EOS = 0x010,
    WIRE_FLAG_CONTINUE = 0x020,
    WIRE_FLAG_XBZRLE = 0x040,
    WIRE_FLAG_COMPRESS = 0x100,
    WIRE_FLAG_MULTIFD_FLUSH = 0x200
};

/* Second form of a page request: the block of the request before. */
#define WIRE_REQ_PAGES_SAME_BLOCK 4u

/* ---- type.c: one row a message type ---- */

enum wire_class { WIRE_CLASS_ELEMENT, WIRE_CLASS_COMMAND, WIRE_CLASS_RETURN };

struct wire_type_info {
    const char *name;
    enum wire_class class;
    uint32_t code;
    uint16_t min_bytes, max_bytes; /* of the counted payload; commands and return path */
};
const struct wire_type_info *wire_type_info(enum wire_type type);
/* The type with that class and code, or WIRE_TYPE_COUNT. */
enum wire_type wire_type_find(enum wire_class class, uint32_t code);

/* ---- error.c: all give WIRE_BAD ---- */

enum wire_result wire_bad(struct wire_error *error, uint64_t offset, const char *what,
                          const char *expected);
enum wire_result wire_bad_u64(struct wire_error *error, uint64_t offset, const char *what,
                              uint64_t found, const char *expected);
enum wire_result wire_bad_u64s(struct wire_error *error, uint64_t offset, const char *what,
                               uint64_t found, uint64_t expected);
enum wire_result wire_bad_name(struct wire_error *error, uint64_t offset, const char *what,
                               const char *found, const char *expected);

/* ---- blocks.c ---- */

/* Looks `name` up for a message; BAD with a sentence if there is no such block. */
enum wire_result wire_blocks_resolve(const struct wire_blocks *blocks, const char *name,
                                     uint64_t offset, unsigned *index, struct wire_error *error);
/* [start, start + length) is not empty, made of whole pages of the block, and inside it. */
enum wire_result wire_blocks_check_range(const struct wire_blocks *blocks, unsigned index,
                                         uint64_t start, uint64_t length, uint64_t offset,
                                         struct wire_error *error);

/*
 * The decoders below read from `get`, which begins at stream offset `offset`, and leave `get->at`
 * behind what they took. MORE: get->wanted says how much is needed.
 */

/* Asks for bytes up to `wanted`, counted from the beginning of `get`. */
static inline enum wire_result wire_want(struct wire_get *get, size_t wanted)
{
    get->wanted = wanted;
    return WIRE_MORE;
}

/* header.c */
enum wire_result wire_header_decode(struct wire_get *get, uint64_t offset, struct wire_message *out,
                                    struct wire_error *error);
enum wire_result wire_configuration_decode(struct wire_get *get, uint64_t offset,
                                           struct wire_configuration *out,
                                           struct wire_error *error);
bool wire_configuration_encode(struct wire_put *put, const struct wire_configuration *in);

/* section.c: everything after the element byte */
enum wire_result wire_full_decode(struct wire_get *get, uint64_t offset, struct wire_full *out,
                                  struct wire_error *error);
bool wire_full_encode(struct wire_put *put, const struct wire_full *in);
enum wire_result wire_footer_decode(struct wire_get *get, uint64_t offset, uint32_t section_id,
                                    struct wire_error *error);
void wire_footer_encode(struct wire_put *put, uint32_t section_id);
void wire_ram_start_header_encode(struct wire_put *put, uint32_t section_id);

/* command.c */
enum wire_result wire_command_decode(struct wire_decoder *decoder, struct wire_get *get,
                                     struct wire_message *out, struct wire_error *error);
bool wire_command_payload_encode(struct wire_put *put, const struct wire_message *in);

/* return_path.c */
bool wire_return_payload_encode(struct wire_put *put, const struct wire_message *in);

/* hello.c: the payloads of Baton's own messages; `get` holds exactly the payload. */
bool wire_is_own(enum wire_type type);
bool wire_own_payload_encode(struct wire_put *put, const struct wire_message *in);
enum wire_result wire_own_payload_decode(struct wire_get *get, uint64_t offset,
                                         struct wire_message *out, struct wire_error *error);

/* element.c: code and length around a payload of the given class. */
bool wire_is_name(const char *string); /* 1 to 255 bytes and terminated within WIRE_NAME_BYTES */

#endif
