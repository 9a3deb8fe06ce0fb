/* SPDX-License-Identifier: MIT */
/*
 * The destination's reader: the loading thread.
 *
 * Elements become events, and the reader goes on when they have taken effect; pages it loads
 * itself, if the engine has allowed this link to (link->load). Any connection gets a reader, so
 * until its hello was accepted everything here is a stranger's: it may make us read a few hundred
 * bytes and answer who we are, no more.
 *
 * Precopy: the newest copy wins and is written into RAM. Postcopy: each page is placed once,
 * atomically, by userfaultfd, and becomes received only after that; a page that is there already is
 * a fault, not a nuisance, because the guest may have written to it since.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "baton/guest.h"
#include "runtime/link.h"

struct loader {
    struct link *link;
    struct baton *baton;
    struct link_input input;
    struct wire_decoder decoder;
    bool has_header;
    bool one_way; /* nobody can be answered; the operator named what is read */
    /* A page larger than a record is put together here, then loaded whole. */
    struct {
        uint8_t *bytes; /* as large as the largest page; NULL: all are of one record */
        bool begun;
        unsigned block;
        uint64_t page;
        uint64_t have[RAM_MAX_PAGE_BYTES / RAM_PAGE_BYTES / 64]; /* records that have come */
        uint64_t count;
    } assembly;
    bool fits; /* header and configuration are those of this machine */
    char misfit[ENGINE_REASON_BYTES];
};

/* An event whose processing is waited for. */
static void post(struct loader *loader, struct engine_event *event)
{
    event->link = loader->link->id;
    loop_post(loader->baton, event, NULL, NULL);
}

/* The bytes make no sense, or cannot be taken: the source can still be told why. */
static bool bad(struct loader *loader, const char *text)
{
    link_lost(loader->link, text, true);
    return false;
}

static bool bad_page(struct loader *loader, const char *what, unsigned block, uint64_t page,
                     const char *why)
{
    char sentence[ENGINE_REASON_BYTES];
    struct text text;

    text_init(&text, sentence, sizeof(sentence));
    text_str(&text, what);
    text_str(&text, " page ");
    text_u64(&text, page);
    text_str(&text, " of block ");
    text_str(&text, loader->baton->ram.blocks[block].name);
    text_str(&text, ": ");
    text_str(&text, why);
    return bad(loader, sentence);
}

/* ---- Pages ---- */

/* The page is ours to load, or was. */
static bool begin_page(struct loader *loader, unsigned block, uint64_t page)
{
    struct baton *baton = loader->baton;

    switch (loader->link->load) {
    case LOAD_NOTHING:
        return bad_page(loader, "refused", block, page, "no page was expected yet");
    case LOAD_PRECOPY:
        /* On registered memory a write would wait for a page that nobody sends. */
        if (atomic_load(&baton->guarded))
            return bad_page(loader, "refused", block, page,
                            "a page after the discards, before postcopy");
        return true;
    case LOAD_POSTCOPY:
        break;
    }
    switch (pageset_place_begin(&baton->pages, loader->link->load_epoch, block, page)) {
    case PAGESET_WON:
        return true;
    case PAGESET_STALE:
        return bad_page(loader, "cannot place", block, page,
                        "the link is no longer the current one");
    default:
        return bad_page(loader, "refused", block, page,
                        "it was received already, and the guest may have written to it since");
    }
}

/* `bytes` NULL: zeros. */
static bool load_precopy(struct loader *loader, unsigned block, uint64_t page, const uint8_t *bytes)
{
    struct baton *baton = loader->baton;

    if (pageset_receive(&baton->pages, loader->link->load_epoch, block, page) != PAGESET_WON)
        return bad_page(loader, "cannot load", block, page,
                        "the link is no longer the current one");
    if (bytes)
        baton_guest_write(page_host(baton, block, page), bytes, page_bytes(baton, block));
    else
        ram_touch_zero(&baton->ram, block, page * page_bytes(baton, block),
                       page_bytes(baton, block));
    return true;
}

/* After begin_page(): makes the page present, and then received. */
static bool finish_page(struct loader *loader, unsigned block, uint64_t page, const uint8_t *bytes)
{
    struct baton *baton = loader->baton;
    int result;

    if (loader->link->load == LOAD_PRECOPY)
        return load_precopy(loader, block, page, bytes);
    result = fault_place(baton, block, page, bytes);
    if (result < 0) {
        pageset_place_abort(&baton->pages, block, page);
        return bad_page(loader, "cannot place", block, page, strerror(-result));
    }
    pageset_place_end(&baton->pages, block, page);
    fault_placed(baton);
    return true;
}

/* The link ends in the middle of a page: it has not come. */
static void abort_page(struct loader *loader)
{
    if (loader->assembly.begun && loader->link->load == LOAD_POSTCOPY)
        pageset_place_abort(&loader->baton->pages, loader->assembly.block, loader->assembly.page);
    free(loader->assembly.bytes);
}

static bool begin_assembly(struct loader *loader, unsigned block, uint64_t page)
{
    if (!begin_page(loader, block, page))
        return false;
    if (!loader->assembly.bytes)
        loader->assembly.bytes = malloc(RAM_MAX_PAGE_BYTES);
    loader->assembly.begun = true;
    loader->assembly.block = block;
    loader->assembly.page = page;
    loader->assembly.count = 0;
    memset(loader->assembly.have, 0, sizeof(loader->assembly.have));
    return loader->assembly.bytes ||
           bad_page(loader, "cannot load", block, page, "no memory for it");
}

/* One record of a larger page: they come together, in any order, each once. */
static bool assemble(struct loader *loader, unsigned block, uint64_t offset, const uint8_t *bytes)
{
    uint64_t page = offset / page_bytes(loader->baton, block);
    uint64_t record = offset % page_bytes(loader->baton, block) / RAM_PAGE_BYTES;
    uint64_t bit = UINT64_C(1) << record % 64;
    uint8_t *at;

    if (!loader->assembly.begun && !begin_assembly(loader, block, page))
        return false;
    if (block != loader->assembly.block || page != loader->assembly.page)
        return bad_page(loader, "refused", block, page, "the page before it is not whole yet");
    if (loader->assembly.have[record / 64] & bit)
        return bad_page(loader, "refused", block, page, "a part of it came twice");
    loader->assembly.have[record / 64] |= bit;
    at = loader->assembly.bytes + record * RAM_PAGE_BYTES;
    if (bytes)
        memcpy(at, bytes, RAM_PAGE_BYTES);
    else
        memset(at, 0, RAM_PAGE_BYTES);
    if (++loader->assembly.count < page_records(loader->baton, block))
        return true;
    loader->assembly.begun = false;
    return finish_page(loader, block, page, loader->assembly.bytes);
}

static bool load_page(struct loader *loader, const struct wire_ram_record *record)
{
    const uint8_t *bytes = NULL;
    _Atomic uint64_t *count = &loader->baton->stats.zero_pages;
    bool ok;

    if (record->kind == WIRE_RAM_PAGE) {
        if (!input_need(&loader->input, RAM_PAGE_BYTES))
            return false;
        bytes = input_at(&loader->input);
        count = &loader->baton->stats.normal_pages;
    }
    if (page_records(loader->baton, record->block) > 1) {
        ok = assemble(loader, record->block, record->offset, bytes);
    } else {
        uint64_t page = record->offset / RAM_PAGE_BYTES;

        ok = begin_page(loader, record->block, page) &&
             finish_page(loader, record->block, page, bytes);
    }
    if (bytes)
        input_used(&loader->input, RAM_PAGE_BYTES);
    if (ok)
        atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
    return ok;
}

/* The block list of START was checked against our own: the engine may let pages in now. */
static void post_ram_start(struct loader *loader)
{
    struct engine_event event = {.type = ENGINE_EVENT_RAM_START};

    loader->link->ram_learnt = loader->decoder.ram;
    post(loader, &event);
}

static bool next_record(struct loader *loader)
{
    struct wire_ram_record record;
    struct wire_error error;
    size_t used = 0;

    switch (wire_decode_ram_record(&loader->decoder.ram, input_at(&loader->input),
                                   input_available(&loader->input), &used, &record, &error)) {
    case WIRE_DONE:
        break;
    case WIRE_MORE:
        return input_need(&loader->input, used);
    default:
        return bad(loader, error.text);
    }
    input_used(&loader->input, used);
    switch (record.kind) {
    case WIRE_RAM_BLOCK_LIST:
        post_ram_start(loader);
        return true;
    case WIRE_RAM_EOS:
        return true;
    default:
        return load_page(loader, &record);
    }
}

/* ---- Elements ---- */

static void check_machine(struct loader *loader, const struct wire_configuration *configuration)
{
    struct text text;

    loader->fits = strcmp(configuration->machine, loader->baton->machine) == 0;
    if (loader->fits)
        return;
    text_init(&text, loader->misfit, sizeof(loader->misfit));
    text_str(&text, "the machine is \"");
    text_bytes(&text, configuration->machine, strlen(configuration->machine));
    text_str(&text, "\" at the source and \"");
    text_str(&text, loader->baton->machine);
    text_str(&text, "\" here; start the destination with the source's options");
}

static bool take_hello(struct loader *loader, const struct wire_hello_source *hello)
{
    struct engine_event event = {
        .type = ENGINE_EVENT_HELLO_SOURCE,
        .ok = loader->fits,
        .has_header = loader->has_header,
        .reason = loader->misfit[0] ? loader->misfit : NULL,
    };

    event.hello.epoch = hello->epoch;
    event.hello.intent = hello->intent;
    memcpy(event.hello.session, hello->session, ENGINE_ID_BYTES);
    memcpy(event.hello.nonce, hello->nonce, ENGINE_ID_BYTES);
    memcpy(event.hello.expected_nonce, hello->dest_nonce, ENGINE_ID_BYTES);
    memcpy(event.hello.voids_session, hello->voided, ENGINE_ID_BYTES);
    post(loader, &event);
    return true;
}

static bool take_advise(struct loader *loader)
{
    static const char off[] =
        "the capability postcopy-ram is on at the source and off here: set it on "
        "both sides";
    struct engine_event event = {.type = ENGINE_EVENT_ADVISE};
    struct baton_error error;

    event.ok = atomic_load(&loader->baton->capabilities[BATON_CAPABILITY_POSTCOPY_RAM]);
    if (!event.ok) {
        event.reason = off;
    } else if (fault_probe(loader->baton, &error) < 0) {
        event.ok = false;
        event.reason = error.text;
    }
    post(loader, &event);
    return true;
}

static bool take_discard(struct loader *loader, const struct wire_discard *discard)
{
    for (unsigned i = 0; i < discard->range_count; i++) {
        uint64_t whole = page_bytes(loader->baton, discard->index);

        if ((discard->range[i].start | discard->range[i].length) % whole)
            return bad(loader, "a discard of a part of a page");
    }
    for (unsigned i = 0; i < discard->range_count; i++) {
        struct engine_event event = {
            .type = ENGINE_EVENT_DISCARD,
            .block = discard->index,
            .first_page = discard->range[i].start / page_bytes(loader->baton, discard->index),
            .page_count = discard->range[i].length / page_bytes(loader->baton, discard->index),
        };

        post(loader, &event);
    }
    return true;
}

static bool take_package(struct loader *loader, size_t length_bytes)
{
    struct engine_event event = {.type = ENGINE_EVENT_PACKAGE};

    if (loader->link->load == LOAD_NOTHING)
        return bad(loader, "a package of device state before any memory");
    if (!input_need(&loader->input, length_bytes))
        return false;
    package_clear(&loader->baton->incoming_package);
    package_add(&loader->baton->incoming_package, input_at(&loader->input), length_bytes);
    input_used(&loader->input, length_bytes);
    post(loader, &event);
    return true;
}

/* A device section of a precopy stream: collected until the stream ends, then loaded as one
 * package. */
static bool collect_section(struct loader *loader, const uint8_t *bytes, size_t length_bytes)
{
    struct package *package = &loader->baton->incoming_package;

    if (loader->link->load != LOAD_PRECOPY)
        return bad(loader, "device state where none was expected");
    if (package->used + length_bytes > WIRE_MAX_BLOB_BYTES)
        return bad(loader, "more device state than any machine has");
    package_add(package, bytes, length_bytes);
    return true;
}

static bool post_end(struct loader *loader)
{
    struct engine_event event = {.type = ENGINE_EVENT_STREAM_END};

    /* Without a way back the end of the stream says RUN, so it must be the true one. */
    if (loader->one_way && !input_ended(&loader->input))
        return false;
    if (loader->link->load == LOAD_PRECOPY) {
        event.type = ENGINE_EVENT_PACKAGE;
        event.precopy = true;
    }
    post(loader, &event);
    return true;
}

static bool take_ping(struct loader *loader, uint32_t value)
{
    struct engine_event event = {.type = ENGINE_EVENT_PING, .value = value};

    if (value == WIRE_PING_HELLO)
        event.type = ENGINE_EVENT_PING_HELLO;
    post(loader, &event);
    return true;
}

/*
 * Pages follow on this link, if the engine agreed: with the sections of the session's first link,
 * which the loop noted here when it adopted this one. (Not at the hello: then an older link may
 * still be coming to rest.)
 */
static void learn_sections(struct loader *loader)
{
    const struct wire_ram_state *learnt = &loader->link->ram_learnt;

    if (loader->link->load != LOAD_POSTCOPY || loader->has_header)
        return;
    loader->decoder.ram.started = learnt->started;
    loader->decoder.ram.listed = learnt->listed;
    loader->decoder.ram.section_id = learnt->section_id;
}

/* Elements that are an event and little else. */
static bool take_simple(struct loader *loader, const struct wire_message *message)
{
    struct engine_event event = {0};

    switch (message->type) {
    case WIRE_BARRIER:
        event.type = ENGINE_EVENT_BARRIER;
        event.value = message->u.barrier.number;
        break;
    case WIRE_RUN:
        event.type = ENGINE_EVENT_RUN;
        break;
    case WIRE_RESUME:
        event.type = ENGINE_EVENT_RESUME_REQUEST;
        break;
    case WIRE_RECV_BITMAP_REQUEST:
        event.type = ENGINE_EVENT_BITMAP_REQUEST;
        event.block = message->u.block.index;
        break;
    case WIRE_VOID:
        event.type = ENGINE_EVENT_VOID;
        memcpy(event.hello.session, message->u.voided.session, ENGINE_ID_BYTES);
        break;
    case WIRE_BYE:
        event.type = ENGINE_EVENT_BYE;
        break;
    default:
        return bad(loader, "the source sent an element that this build does not use");
    }
    post(loader, &event);
    if (message->type == WIRE_RESUME)
        learn_sections(loader);
    return true;
}

static bool handle(struct loader *loader, const struct wire_message *message, const uint8_t *bytes,
                   size_t length_bytes)
{
    switch (message->type) {
    case WIRE_HEADER:
        loader->has_header = true;
        return true;
    case WIRE_CONFIGURATION:
        check_machine(loader, &message->u.configuration);
        return loader->fits || !loader->one_way || bad(loader, loader->misfit);
    case WIRE_OPEN_RETURN_PATH:
    case WIRE_SWITCHOVER_START:
    case WIRE_RAM_START: /* what counts is its block list, a record */
    case WIRE_RAM_PART:
    case WIRE_RAM_END:
        return true;
    case WIRE_HELLO_SOURCE:
        return take_hello(loader, &message->u.hello_source);
    case WIRE_PING:
        return take_ping(loader, message->u.value);
    case WIRE_ADVISE:
        return take_advise(loader);
    case WIRE_RAM_DISCARD:
        return take_discard(loader, &message->u.discard);
    case WIRE_PACKAGED:
        return take_package(loader, message->u.length);
    case WIRE_SECTION_FULL:
        return collect_section(loader, bytes, length_bytes);
    case WIRE_EOF:
        return post_end(loader);
    default:
        return take_simple(loader, message);
    }
}

static bool next_element(struct loader *loader)
{
    struct wire_message message;
    struct wire_error error;
    const uint8_t *bytes;
    size_t used = 0;
    bool ok;

    switch (wire_decode_element(&loader->decoder, input_at(&loader->input),
                                input_available(&loader->input), &used, &message, &error)) {
    case WIRE_DONE:
        break;
    case WIRE_MORE:
        return input_need(&loader->input, used);
    default:
        return bad(loader, error.text);
    }
    bytes = input_at(&loader->input);
    /* `bytes` stay where they are until the next read, which only take_package() makes, after its
     * last use of them. */
    input_used(&loader->input, used);
    ok = handle(loader, &message, bytes, used);
    return ok;
}

void *dest_reader_main(void *opaque)
{
    struct loader loader = {.link = opaque};
    struct engine_event one_way = {.type = ENGINE_EVENT_ONE_WAY};
    bool ok = true;

    loader.baton = loader.link->baton;
    loader.one_way = channel_is_one_way(loader.link->channel);
    input_init(&loader.input, loader.link);
    wire_decoder_init(&loader.decoder, loader.one_way ? WIRE_STREAM_NEW : WIRE_STREAM_EITHER,
                      &loader.baton->wire_blocks,
                      atomic_load(&loader.baton->capabilities[BATON_CAPABILITY_POSTCOPY_RAM]));
    if (loader.one_way)
        post(&loader, &one_way);
    while (ok)
        ok = loader.decoder.ram.in_body ? next_record(&loader) : next_element(&loader);
    abort_page(&loader);
    input_fini(&loader.input);
    link_thread_rests(loader.link);
    return NULL;
}
