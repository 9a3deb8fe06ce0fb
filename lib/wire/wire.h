/* SPDX-License-Identifier: MIT */
/*
 * The wire: bytes <-> messages of QEMU's migration stream (version 3) as Baton speaks it, and
 * Baton's own messages inside it. docs/wire.md shows every byte.
 *
 * PURE: no system call, no heap, no printf. Nothing here owns I/O: encoders write into a caller's
 * buffer, decoders read from a caller's buffer and say how many bytes they used or want. A peer's
 * bytes are never trusted: every length is checked before it is waited for, and what is wrong
 * yields WIRE_BAD with a sentence that names what, where in the stream, what was found and what was
 * expected.
 *
 * The source -> destination stream ("forward") is a sequence of elements. wire_decode_element()
 * decodes one at a time; after WIRE_RAM_START, _PART or _END the caller decodes records with
 * wire_decode_ram_record() until WIRE_RAM_EOS (which includes the section's footer), then elements
 * again:
 *
 *     element ... RAM_PART  record(PAGE) <page_bytes data>  record(ZERO)  record(EOS)  element ...
 *
 * Bytes that follow a message outside of it (page data, the blob of PACKAGED, the text of
 * VMDESCRIPTION, a received bitmap) are taken by the caller, exactly as many as the message says.
 */
#ifndef WIRE_WIRE_H
#define WIRE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "baton/baton.h"

/* ---- Constants ---- */

#define WIRE_MAGIC 0x5145564du /* "QEVM" */
#define WIRE_VERSION 3u
#define WIRE_TARGET_PAGE_BYTES 4096u
#define WIRE_MAX_BLOCKS BATON_MAX_RAM_BLOCKS
#define WIRE_NAME_BYTES 256 /* a name on the wire has 1 to 255 bytes; here with a terminator */
#define WIRE_ID_BYTES 16    /* sessions, process nonces, uuids */
#define WIRE_MAX_DISCARD_RANGES 12
#define WIRE_RAM_SECTION_VERSION 4u

#define WIRE_PING_HELLO 0xba704e01u    /* PING value that asks "are you a Baton?" */
#define WIRE_PING_DEVICES_LOADED 0x42u /* QEMU 11.1 leaves postcopy-device on this PONG */
#define WIRE_PROTOCOL_VERSION 1u       /* of Baton's own messages */
#define WIRE_BITMAP_END 0x0123456789abcdefull
#define WIRE_OWN_SECTION_PREFIX "baton/" /* added and stripped here: callers never see it */

/* Limits. A peer that exceeds one is refused before any byte of the excess is waited for. */
#define WIRE_MAX_RETURN_PAYLOAD_BYTES 512u
#define WIRE_MAX_BODY_BYTES (1u << 20)           /* one device section */
#define WIRE_MAX_BLOB_BYTES (16u << 20)          /* content of PACKAGED */
#define WIRE_MAX_VMDESCRIPTION_BYTES (16u << 20) /* skipped by the reader */
/* No decoder asks for more than this at once; a reader's buffer of this size always suffices. */
#define WIRE_MAX_ELEMENT_BYTES (WIRE_MAX_BODY_BYTES + 1024u)
#define WIRE_MAX_RETURN_BYTES (4u + WIRE_MAX_RETURN_PAYLOAD_BYTES + 8u)
/* No encoded control message but SECTION_FULL is longer. */
#define WIRE_MAX_CONTROL_BYTES 640u
/* A page or zero-page header with a name, at its longest. */
#define WIRE_MAX_PAGE_HEADER_BYTES (8u + WIRE_NAME_BYTES + 1u)
/* SECTION_FULL around a body: header with the longest name, body length, footer. */
#define WIRE_SECTION_OVERHEAD_BYTES 300u

/* ---- Results and errors ---- */

enum wire_result {
    WIRE_DONE, /* a message was decoded; *used bytes belong to it */
    WIRE_MORE, /* come again with at least *used bytes, counted from `bytes`; nothing was consumed
                */
    WIRE_BAD,  /* the peer is wrong: see the error. The decoder is not to be used again */
    WIRE_END   /* wire_blob_next() only: nothing is left */
};

/* Filled on BAD only. Whoever does not want the sentence passes NULL. */
struct wire_error {
    char text[200];
};

/* ---- Big-endian primitives ---- */

/* Writes into a buffer. What does not fit sets `overflow` and is dropped, so one check at the end
 * does. */
struct wire_put {
    uint8_t *bytes;
    size_t size, used;
    bool overflow;
};
void wire_put_init(struct wire_put *put, uint8_t *bytes, size_t size);
void wire_put_u8(struct wire_put *put, uint8_t value);
void wire_put_be16(struct wire_put *put, uint16_t value);
void wire_put_be32(struct wire_put *put, uint32_t value);
void wire_put_be64(struct wire_put *put, uint64_t value);
void wire_put_bytes(struct wire_put *put, const void *bytes, size_t length_bytes);
/* One length byte and the string without its terminator; a string longer than 255 bytes is an
 * overflow. */
void wire_put_cstr(struct wire_put *put, const char *string);

/*
 * Reads from a buffer. Past the end it gives zeros and sets `truncated`; `wanted` is then where the
 * first read that failed would have ended.
 */
struct wire_get {
    const uint8_t *bytes;
    size_t size, at;
    bool truncated;
    size_t wanted;
};
void wire_get_init(struct wire_get *get, const uint8_t *bytes, size_t size);
uint8_t wire_get_u8(struct wire_get *get);
uint16_t wire_get_be16(struct wire_get *get);
uint32_t wire_get_be32(struct wire_get *get);
uint64_t wire_get_be64(struct wire_get *get);
void wire_get_bytes(struct wire_get *get, void *bytes, size_t length_bytes);
/*
 * A counted string into `string` (WIRE_NAME_BYTES), always terminated. False if it holds a NUL
 * byte, which no name may; a truncated one gives "" and true.
 */
bool wire_get_cstr(struct wire_get *get, char *string);
size_t wire_get_left(const struct wire_get *get);

/* ---- RAM blocks: this side's own table, the only one that is believed ---- */

struct wire_block {
    const char *name; /* borrowed */
    uint64_t used_bytes;
    uint64_t page_bytes;
};

struct wire_blocks {
    struct wire_block block[WIRE_MAX_BLOCKS];
    unsigned count;
};

#define WIRE_NO_BLOCK (~0u)

unsigned wire_blocks_find(const struct wire_blocks *blocks,
                          const char *name); /* or WIRE_NO_BLOCK */
uint64_t wire_blocks_total_bytes(const struct wire_blocks *blocks);
uint64_t
wire_blocks_page_summary(const struct wire_blocks *blocks); /* OR of page sizes, for ADVISE */

/* ---- Messages ---- */

enum wire_type {
    /* source -> destination: elements */
    WIRE_HEADER,
    WIRE_CONFIGURATION,
    WIRE_RAM_START, /* the body follows as records */
    WIRE_RAM_PART,
    WIRE_RAM_END,
    WIRE_SECTION_FULL,
    WIRE_EOF,
    WIRE_VMDESCRIPTION, /* the text follows */
    /* source -> destination: commands */
    WIRE_OPEN_RETURN_PATH,
    WIRE_PING,
    WIRE_ADVISE,
    WIRE_LISTEN,
    WIRE_RUN,
    WIRE_RAM_DISCARD,
    WIRE_PACKAGED, /* the blob follows */
    WIRE_RESUME,
    WIRE_RECV_BITMAP_REQUEST,
    WIRE_SWITCHOVER_START,
    /* source -> destination: Baton's own commands */
    WIRE_HELLO_SOURCE,
    WIRE_BARRIER,
    WIRE_VOID,
    WIRE_BYE,
    /* destination -> source: return path */
    WIRE_SHUT,
    WIRE_PONG,
    WIRE_REQ_PAGES,
    WIRE_RECV_BITMAP, /* the bitmap and its end mark follow */
    WIRE_RESUME_ACK,
    WIRE_SWITCHOVER_ACK,
    /* destination -> source: Baton's own */
    WIRE_HELLO_DEST,
    WIRE_HELLO_ACK,
    WIRE_READY,
    WIRE_FAULT,
    WIRE_COMPLETE,
    WIRE_BARRIER_ACK,
    WIRE_TYPE_COUNT
};

/* What a destination says about a session. */
enum wire_dest_state {
    WIRE_DEST_FRESH,       /* nothing here yet */
    WIRE_DEST_LOADING,     /* before READY */
    WIRE_DEST_NOT_STARTED, /* READY was given, RUN has not come */
    WIRE_DEST_RUNNING,
    WIRE_DEST_COMPLETE,
    WIRE_DEST_NEVER,   /* RUN is void for this session, for ever: the source may run */
    WIRE_DEST_UNKNOWN, /* this process does not know the session */
    WIRE_DEST_STATE_COUNT
};

enum wire_intent {
    WIRE_INTENT_NEW,     /* a new migration */
    WIRE_INTENT_RECOVER, /* go on after a cut */
    WIRE_INTENT_RECLAIM, /* ask for the VM back */
    WIRE_INTENT_COUNT
};

enum wire_verdict {
    WIRE_VERDICT_OK,
    WIRE_VERDICT_STALE_EPOCH,
    WIRE_VERDICT_UNKNOWN_SESSION,
    WIRE_VERDICT_BUSY,
    WIRE_VERDICT_WRONG_PROCESS,
    WIRE_VERDICT_REFUSED, /* the reason says why */
    WIRE_VERDICT_COUNT
};

struct wire_range {
    uint64_t start, length; /* bytes */
};

struct wire_configuration {
    char machine[WIRE_NAME_BYTES];
    bool has_uuid;
    uint8_t uuid[WIRE_ID_BYTES];
};

struct wire_full {
    uint32_t section_id;
    char name[WIRE_NAME_BYTES]; /* without Baton's prefix */
    bool own;                   /* a Baton device section: prefix and body length are on the wire */
    uint32_t instance, version;
    const uint8_t *body; /* into the caller's buffer */
    size_t body_bytes;
};

struct wire_discard {
    char block[WIRE_NAME_BYTES];
    unsigned index; /* decoded: of `block` in the table; not looked at when encoding */
    unsigned range_count;
    struct wire_range range[WIRE_MAX_DISCARD_RANGES];
};

struct wire_req_pages {
    bool named; /* encoding: send the name. Decoding: whether it was sent; block and index are right
                   either way */
    char block[WIRE_NAME_BYTES];
    unsigned index; /* decoded only */
    uint64_t start;
    uint32_t length;
};

struct wire_block_ref {
    char block[WIRE_NAME_BYTES];
    unsigned index; /* decoded only */
};

struct wire_recv_bitmap {
    char block[WIRE_NAME_BYTES];
    unsigned index;        /* decoded only */
    uint64_t bitmap_bytes; /* decoded: checked against the table. The end mark follows the bitmap */
};

struct wire_hello_source {
    uint16_t version;
    uint64_t features;
    uint8_t session[WIRE_ID_BYTES];
    uint8_t nonce[WIRE_ID_BYTES]; /* of the source's process */
    uint64_t epoch;
    uint8_t intent;                /* enum wire_intent */
    uint8_t voided[WIRE_ID_BYTES]; /* an earlier session whose RUN will never come; zero: none */
    uint8_t dest_nonce[WIRE_ID_BYTES]; /* the process that is expected; zero: any */
};

struct wire_hello_dest {
    uint16_t version;
    uint64_t features;
    uint8_t session[WIRE_ID_BYTES]; /* zero: none */
    uint8_t nonce[WIRE_ID_BYTES];   /* of the destination's process */
    uint64_t epoch;                 /* newest seen */
    uint8_t state;                  /* enum wire_dest_state */
};

struct wire_hello_ack {
    uint64_t epoch;
    uint8_t state;   /* enum wire_dest_state; binding */
    uint8_t verdict; /* enum wire_verdict */
    char reason[WIRE_NAME_BYTES];
};

struct wire_message {
    enum wire_type type;
    union {
        struct wire_configuration configuration;
        struct {
            uint32_t section_id;
        } ram; /* RAM_START, RAM_PART, RAM_END: the header only */
        struct wire_full full;
        uint32_t length; /* PACKAGED, VMDESCRIPTION: of what follows */
        uint32_t value;  /* PING, PONG, RESUME_ACK; SHUT: 0 is success */
        struct {
            bool sizes; /* false: the empty form, postcopy-ram is off at the source */
            uint64_t page_summary, target_page_bytes;
        } advise;
        struct wire_discard discard;
        struct wire_block_ref block; /* RECV_BITMAP_REQUEST */
        struct wire_req_pages req_pages;
        struct wire_recv_bitmap recv_bitmap;
        struct wire_hello_source hello_source;
        struct wire_hello_dest hello_dest;
        struct wire_hello_ack hello_ack;
        struct {
            uint32_t channel;
            uint64_t number;
        } barrier; /* BARRIER, BARRIER_ACK */
        struct {
            uint8_t session[WIRE_ID_BYTES];
        } voided; /* VOID */
        struct {
            uint64_t epoch;
        } bye;
        struct {
            uint8_t nonce[WIRE_ID_BYTES];
            uint64_t epoch;
        } ready;
        struct {
            uint16_t code;
            char text[WIRE_NAME_BYTES]; /* decoded: only what prints */
        } fault;
        struct {
            uint64_t epoch, pages;
        } complete;
    } u;
};

const char *wire_type_name(enum wire_type type); /* "RAM_DISCARD"; "?" for a bad number */
bool wire_type_is_return(enum wire_type type);   /* travels destination -> source */
/* Element byte, command number or return-path type. WIRE_REQ_PAGES: of the named form. */
uint32_t wire_type_code(enum wire_type type);

/*
 * Bytes of a message of either direction; 0 if it does not fit or cannot be expressed (a name that
 * is empty or too long, a discard without ranges, ...). PACKAGED, VMDESCRIPTION and RECV_BITMAP
 * give the part before the bytes that follow; RECV_BITMAP includes the be64 size, so that the
 * bitmap and wire_put_be64(WIRE_BITMAP_END) complete it.
 */
size_t wire_encode(const struct wire_message *message, uint8_t *out, size_t size);

/* ---- Decoding the forward stream ---- */

enum wire_stream {
    WIRE_STREAM_NEW,      /* begins with a header */
    WIRE_STREAM_RECOVERY, /* begins with an element */
    WIRE_STREAM_EITHER    /* the first byte tells; the first message does as well */
};

/* Records of a ram section, of one channel. Section ids and the block list are learnt; the table is
 * not. */
struct wire_ram_state {
    const struct wire_blocks *blocks;
    uint64_t offset;   /* bytes of this connection so far, with those that the caller takes */
    bool postcopy_ram; /* this side's capability */
    bool advised;      /* ADVISE with sizes has come: part of the rule for page sizes in the list */
    bool started;      /* START has come: section_id is known */
    bool listed;       /* and its block list was checked */
    bool in_body;      /* between a section's header and its EOS */
    bool in_start;     /* that section is START */
    uint32_t section_id;
    unsigned last_block; /* for CONTINUE, or WIRE_NO_BLOCK */
};

struct wire_decoder {
    enum wire_stream stream;
    enum wire_position {
        WIRE_AT_BEGIN,
        WIRE_AT_CONFIGURATION,
        WIRE_AT_ELEMENT,
        WIRE_AT_BLOB,   /* inside PACKAGED */
        WIRE_AT_TRAILER /* after EOF: VMDESCRIPTION and commands only */
    } position;
    bool headed; /* this connection began with a header: only then may the ram section start */
    struct wire_ram_state ram;
};

/* For a new connection of a destination that knows nothing yet. `blocks` is borrowed. */
void wire_decoder_init(struct wire_decoder *decoder, enum wire_stream stream,
                       const struct wire_blocks *blocks, bool postcopy_ram);
/*
 * For a further connection of the same migration: the section id and the block list stay, "same
 * block as before" and the offset do not. If a header turns up (EITHER), all is forgotten, as for a
 * new migration.
 */
void wire_decoder_reconnect(struct wire_decoder *decoder, enum wire_stream stream);

/* Never called while decoder->ram.in_body: then it is the turn of
 * wire_decode_ram_record(&decoder->ram). */
enum wire_result wire_decode_element(struct wire_decoder *decoder, const uint8_t *bytes,
                                     size_t available, size_t *used, struct wire_message *out,
                                     struct wire_error *error);

enum wire_ram_kind {
    WIRE_RAM_BLOCK_LIST, /* checked: equal to the own table */
    WIRE_RAM_PAGE,       /* WIRE_TARGET_PAGE_BYTES of data follow */
    WIRE_RAM_ZERO,
    WIRE_RAM_EOS /* with the footer: the section is over */
};

struct wire_ram_record {
    enum wire_ram_kind kind;
    unsigned block;  /* PAGE, ZERO: index into the table */
    uint64_t offset; /* PAGE, ZERO: bytes from the start of the block; checked */
};

enum wire_result wire_decode_ram_record(struct wire_ram_state *state, const uint8_t *bytes,
                                        size_t available, size_t *used, struct wire_ram_record *out,
                                        struct wire_error *error);

/* ---- Writing ram sections ---- */

/* The sender's half of CONTINUE, one per channel and connection; zero-initialised it is NOT valid.
 */
struct wire_ram_writer {
    const struct wire_blocks *blocks;
    uint32_t section_id;
    unsigned last_block; /* WIRE_NO_BLOCK: the next page is named */
};
void wire_ram_writer_init(struct wire_ram_writer *writer, const struct wire_blocks *blocks,
                          uint32_t section_id);
/* The next page carries its block's name: at the start of postcopy, after a recovery, when in
 * doubt. */
void wire_ram_writer_forget(struct wire_ram_writer *writer);
/* All of START: header, block list, EOS, footer. `advised`: ADVISE with sizes was sent. */
void wire_put_ram_start(struct wire_put *put, const struct wire_ram_writer *writer, bool advised);
void wire_put_ram_part(struct wire_put *put,
                       const struct wire_ram_writer *writer);                      /* header only */
void wire_put_ram_end(struct wire_put *put, const struct wire_ram_writer *writer); /* header only */
void wire_put_ram_eos(struct wire_put *put, const struct wire_ram_writer *writer); /* EOS, footer */
/* The header; WIRE_TARGET_PAGE_BYTES of data must follow. */
void wire_put_page_header(struct wire_put *put, struct wire_ram_writer *writer, unsigned block,
                          uint64_t offset);
void wire_put_zero_page(struct wire_put *put, struct wire_ram_writer *writer, unsigned block,
                        uint64_t offset);

/* ---- Return path ---- */

struct wire_return_decoder { /* one per connection: "same block as before" ends with it */
    const struct wire_blocks *blocks;
    uint64_t offset;
    unsigned last_block;
};
void wire_return_decoder_init(struct wire_return_decoder *decoder,
                              const struct wire_blocks *blocks);
enum wire_result wire_decode_return(struct wire_return_decoder *decoder, const uint8_t *bytes,
                                    size_t available, size_t *used, struct wire_message *out,
                                    struct wire_error *error);

struct wire_request_writer { /* one per connection */
    const struct wire_blocks *blocks;
    unsigned last_block;
};
void wire_request_writer_init(struct wire_request_writer *writer, const struct wire_blocks *blocks);
/* A page request, with the block's name where it differs from the request before. 0: does not fit.
 */
size_t wire_encode_page_request(struct wire_request_writer *writer, unsigned block, uint64_t start,
                                uint32_t length, uint8_t *out, size_t size);

/* ---- Received bitmaps ---- */

uint64_t wire_bitmap_bytes(uint64_t pages); /* on the wire, a multiple of 8, without the end mark */
/*
 * Packs `pages` bits (bit i of words[i / 64]) into wire_bitmap_bytes(pages) bytes; padding becomes
 * 0. A large map may be done in pieces, all but the last a multiple of 64 pages.
 */
void wire_bitmap_pack(const uint64_t *words, uint64_t pages, uint8_t *out);
/* The reverse; padding is ignored and comes out as 0. */
void wire_bitmap_unpack(const uint8_t *bytes, uint64_t pages, uint64_t *words);
/* The 8 bytes after the bitmap. */
enum wire_result wire_bitmap_check_end(const uint8_t bytes[8], struct wire_error *error);

/* ---- The blob of PACKAGED ---- */

struct wire_blob {
    struct wire_decoder decoder;
    const uint8_t *bytes; /* borrowed, and pointed into by the bodies of sections */
    size_t size, at;
};
void wire_blob_init(struct wire_blob *blob, const uint8_t *bytes, size_t size);
/* DONE, BAD (a blob that ends inside an element is bad), or END. */
enum wire_result wire_blob_next(struct wire_blob *blob, struct wire_message *out,
                                struct wire_error *error);

/* ---- Sections whose layout is QEMU's ---- */

#define WIRE_TIMER_NAME "timer"
#define WIRE_TIMER_VERSION 2u
#define WIRE_TIMER_BODY_BYTES 24u
#define WIRE_GLOBALSTATE_NAME "globalstate"
#define WIRE_GLOBALSTATE_VERSION 1u
#define WIRE_GLOBALSTATE_BODY_BYTES 104u
#define WIRE_RUNSTATE_BYTES 32

struct wire_timer {
    uint64_t ticks_offset;
    int64_t clock_offset_ns;
};
void wire_timer_encode(const struct wire_timer *timer, uint8_t body[WIRE_TIMER_BODY_BYTES]);
void wire_timer_decode(const uint8_t body[WIRE_TIMER_BODY_BYTES], struct wire_timer *timer);

struct wire_globalstate {
    char runstate[WIRE_RUNSTATE_BYTES]; /* "running", "paused", ... */
    bool has_suspended;                 /* the layout of 8.2 and later; false: QEMU 7.2's */
    bool suspended;
};
void wire_globalstate_encode(const struct wire_globalstate *state,
                             uint8_t body[WIRE_GLOBALSTATE_BODY_BYTES]);
enum wire_result wire_globalstate_decode(const uint8_t body[WIRE_GLOBALSTATE_BODY_BYTES],
                                         struct wire_globalstate *state, struct wire_error *error);

#endif
