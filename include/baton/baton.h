/* SPDX-License-Identifier: MIT */
/*
 * libbaton: live migration that survives a broken link. Everything that an embedding VMM sees.
 *
 * A VMM makes one `struct baton` for its VM, tells it about the RAM and the devices, and hands it a
 * table of operations (start and stop the CPUs, and so on). From then on the object is both ends:
 * it sends the VM away (baton_migrate) or receives one (baton_incoming).
 *
 * Threads. Every function here may be called from any thread, except from inside a host operation,
 * unless its comment says otherwise. The library makes threads of its own; the context in which it
 * calls an operation is stated with the operation. Control functions (baton_migrate, baton_stop,
 * ...) are short: what takes time is done in the background, and is reported by events and by
 * baton_query().
 *
 * Who may run the VM. The library decides; the VMM obeys. The CPUs are started and stopped only by
 * the operations `vm_start` and `vm_stop`; an operator's `cont` and `stop` come in through
 * baton_cont() and baton_stop(). So there is one place that sees to it that two hosts never run the
 * same VM.
 *
 * Terms: "block" is an index into the RAM blocks in the order given to baton_new(); an offset is in
 * bytes from the start of its block; a page is of the block's own page size unless a name says
 * otherwise.
 */
#ifndef BATON_BATON_H
#define BATON_BATON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "baton/error.h"

struct baton;

/* ---- The VM: what the host supplies ---- */

#define BATON_MAX_RAM_BLOCKS 16
#define BATON_BLOCK_NAME_BYTES 256 /* with the terminator: the wire has one length byte */

/* A piece of guest RAM. The memory belongs to the host and must outlive the baton object. */
struct baton_ram_block {
    const char *name;      /* 1 to 255 bytes; equal on both sides; copied */
    uint8_t *host;         /* aligned to page_bytes */
    uint64_t length_bytes; /* a multiple of page_bytes */
    uint64_t page_bytes;   /* of the memory behind it: 4096, or up to 2 MiB (hugetlb): whole pages
                              travel */
    bool shared; /* a shared mapping (memfd): its pages are given back by punching holes */
};

/* Bytes that a device saves. Grows as needed; put functions cannot fail (out of memory aborts).
 * Big-endian. */
struct baton_save;
BATON_API void baton_save_u8(struct baton_save *save, uint8_t value);
BATON_API void baton_save_u16(struct baton_save *save, uint16_t value);
BATON_API void baton_save_u32(struct baton_save *save, uint32_t value);
BATON_API void baton_save_u64(struct baton_save *save, uint64_t value);
BATON_API void baton_save_bytes(struct baton_save *save, const void *bytes, size_t length_bytes);

/*
 * Bytes that a device loads: a peer's, so nothing in them is to be trusted. Reading past the end
 * gives zeros and makes baton_load_ok() false, so that a load function reads all its fields, then
 * asks once.
 */
struct baton_load;
BATON_API uint8_t baton_load_u8(struct baton_load *load);
BATON_API uint16_t baton_load_u16(struct baton_load *load);
BATON_API uint32_t baton_load_u32(struct baton_load *load);
BATON_API uint64_t baton_load_u64(struct baton_load *load);
BATON_API void baton_load_bytes(struct baton_load *load, void *bytes, size_t length_bytes);
BATON_API size_t baton_load_left(const struct baton_load *load); /* bytes not yet read */
BATON_API bool baton_load_ok(const struct baton_load *load);

/*
 * A device (or CPU): one section of the stream. `save` and `load` are called while the CPUs rest,
 * from the library's thread. `load` gets the version that the sender wrote, never above `version`;
 * it refuses what it cannot bear with a sentence, and a section that it leaves partly unread is
 * refused by the library.
 */
struct baton_device {
    const char *name;  /* the section's idstr, 1 to 255 bytes; copied */
    uint32_t instance; /* instance id: harts of one name differ in it */
    uint32_t version;
    void *opaque;
    void (*save)(void *opaque, struct baton_save *save);
    int (*load)(void *opaque, struct baton_load *load, uint32_t version, struct baton_error *error);
    /* Called on the source when a recovery has rebuilt the link, before RESUME is sent; may be
     * NULL. */
    int (*resume_prepare)(void *opaque, struct baton_error *error);
};

enum baton_status { /* QMP MigrationStatus; the string forms are in baton_status_name() */
                    BATON_STATUS_NONE,
                    BATON_STATUS_SETUP,
                    BATON_STATUS_ACTIVE,
                    BATON_STATUS_DEVICE,
                    BATON_STATUS_POSTCOPY_DEVICE,
                    BATON_STATUS_POSTCOPY_ACTIVE,
                    BATON_STATUS_POSTCOPY_PAUSED,
                    BATON_STATUS_POSTCOPY_RECOVER_SETUP,
                    BATON_STATUS_POSTCOPY_RECOVER,
                    BATON_STATUS_COMPLETED,
                    BATON_STATUS_FAILED,
                    BATON_STATUS_CANCELLING,
                    BATON_STATUS_CANCELLED,
                    BATON_STATUS_COUNT
};
BATON_API const char *baton_status_name(enum baton_status status);

enum baton_role { BATON_ROLE_NONE, BATON_ROLE_SOURCE, BATON_ROLE_DEST };

enum baton_event_type {
    BATON_EVENT_STATUS, /* `status` was entered, `previous` left, `reason` says why */
    BATON_EVENT_PASS,   /* precopy pass number `pass` begins */
    BATON_EVENT_TRACE   /* `reason` is a line for the trace log */
};

struct baton_event {
    enum baton_event_type type;
    enum baton_role role;
    enum baton_status status, previous;
    uint64_t pass;
    const char *reason; /* never NULL; valid during the call only */
};

/*
 * The host's operations. All are called from the library's own threads, never from inside a call of
 * the host into the library. They must not call back into the library, except for the baton_ram_*
 * functions. Fields that do not apply may be NULL where it says so. `size` is sizeof(struct
 * baton_host_ops): the struct grows at its end.
 */
struct baton_host_ops {
    size_t size;

    /*
     * Stops the CPUs and the devices: on return none of them executes or touches guest RAM, and
     * guest time stands. A CPU that waits for a page (baton_ram_ensure) counts as stopped; it must
     * park before its next instruction when the page comes. Must not wait for such a CPU. Already
     * stopped: nothing happens.
     */
    void (*vm_stop)(void *host);
    void (*vm_start)(void *host); /* the reverse; already running: nothing happens */

    /*
     * Returns only when every CPU and device has let go of "this page is dirty already" knowledge
     * that it had when the call was made and has finished the stores that relied on it. Called
     * between clearing the dirty log and reading pages, with CPUs running or stopped.
     */
    void (*dirty_barrier)(void *host);

    /* All devices and CPUs back to their state at power-on; RAM is the library's concern. CPUs
     * rest. */
    void (*reset)(void *host);

    /* Progress and traces, for the monitor. Called in order, one at a time. Must be quick. May be
     * NULL. */
    void (*event)(void *host, const struct baton_event *event);
};

/* How missing pages of an incoming VM are caught. */
enum baton_faults {
    BATON_FAULTS_AUTO,        /* userfaultfd where this process may use it, else software */
    BATON_FAULTS_USERFAULTFD, /* the kernel stops whoever touches a page that is not there */
    /* Nobody is stopped: all of the host's threads must call baton_ram_ensure() before they touch
       guest RAM. Needs no privilege. */
    BATON_FAULTS_SOFTWARE,
    BATON_FAULTS_COUNT
};
BATON_API const char *baton_faults_name(enum baton_faults faults);

struct baton_config {
    const char *
        machine; /* machine type name, sent in the stream and compared at the destination; copied */
    const struct baton_ram_block *blocks; /* copied */
    unsigned block_count;
    const struct baton_device
        *devices; /* copied; order is the order of the sections in the stream */
    unsigned device_count;
    const struct baton_host_ops *ops;
    void *host;
    /*
     * How many CPUs, device threads and monitors may wait for pages: valid `waiter` values of
     * baton_ram_ensure() are 0 to waiter_count - 1; by convention CPUs come first. waiter_names[i]
     * is shown to people ("cpu 0"); copied.
     */
    unsigned waiter_count;
    const char *const *waiter_names;
    /* Whether the VM runs when made (the host has started it, or will right away). False with
     * --paused and with an incoming VM. */
    bool running;
    /* A VM that comes in stays stopped until baton_cont(), whatever the source says (--paused with
     * --incoming). */
    bool keep_stopped;
    enum baton_faults faults;
};

BATON_API int baton_new(const struct baton_config *config, struct baton **out,
                        struct baton_error *error);
/* Ends all threads of the library. The caller has stopped the CPUs. What a migration has not moved
 * is lost. NULL is fine. */
BATON_API void baton_free(struct baton *baton);

/* ---- Guest RAM, called by CPUs and devices ---- */

/*
 * Makes sure that the page at `offset` of `block` is there, waiting for it as long as it takes (a
 * broken link included) if it is not. To be called before memory is touched for the first time
 * since the VM was received; a CPU does it where it fills its TLB, so that hits cost nothing.
 * Returns at once (an atomic load) when no postcopy migration comes in. Holding a lock while
 * calling this is a bug: use baton_ram_is_present() and park the request.
 */
BATON_API void baton_ram_ensure(struct baton *baton, unsigned waiter, unsigned block,
                                uint64_t offset);

/* Whether all of [offset, offset + length_bytes) is there. Never waits. */
BATON_API bool baton_ram_is_present(struct baton *baton, unsigned block, uint64_t offset,
                                    uint64_t length_bytes);

/*
 * Says that a page will be, or has been, written. A CPU marks before its store, where it makes a
 * TLB entry writable, and drops the entry in `dirty_barrier`; a device marks after its store. Any
 * thread, lock-free.
 */
BATON_API void baton_ram_mark_dirty(struct baton *baton, unsigned block, uint64_t offset,
                                    uint64_t length_bytes);

/* ---- Control: what an operator orders ---- */

/*
 * Each of these returns 0 when the order was accepted and -errno with a sentence when it was
 * refused: in the wrong state (-EBUSY, -EPERM), for a bad argument (-EINVAL), or because carrying
 * it out could make two hosts run the VM.
 */

/* Source. `resume`: continue a paused postcopy migration over a new link to `uri` (which may be
 * another address). */
BATON_API int baton_migrate(struct baton *baton, const char *uri, bool resume,
                            struct baton_error *error);
/* Destination: listen at `uri` and wait for a VM. tcp:HOST:PORT (port 0: any free one, see
 * baton_query) or unix:PATH. */
BATON_API int baton_incoming(struct baton *baton, const char *uri, struct baton_error *error);
/* Destination, paused: listen at `uri` as well for the source to come back. */
BATON_API int baton_recover(struct baton *baton, const char *uri, struct baton_error *error);
BATON_API int baton_start_postcopy(struct baton *baton, struct baton_error *error); /* source */
BATON_API int
baton_pause(struct baton *baton,
            struct baton_error *error); /* either, in postcopy: break the link on purpose */
BATON_API int baton_cancel(struct baton *baton,
                           struct baton_error *error); /* before the point of no return */
BATON_API int baton_stop(struct baton *baton, struct baton_error *error);
/*
 * The CPUs rest because the guest itself asked for something that needs it (a reset, say), not
 * because anybody wants the VM stopped: should it move meanwhile, it runs where it arrives. The
 * host goes on with baton_cont(). If `vm_stop` is called meanwhile, the VM is being handed over:
 * from its return on the host leaves RAM and devices alone.
 */
BATON_API int baton_halt(struct baton *baton, struct baton_error *error);
BATON_API int baton_cont(struct baton *baton, struct baton_error *error);
/* Whether the process may end without losing a VM that only it can save: 0, or -EBUSY with the
 * reason. */
BATON_API int baton_may_quit(struct baton *baton, struct baton_error *error);

enum baton_capability {
    BATON_CAPABILITY_POSTCOPY_RAM,
    BATON_CAPABILITY_X_POSTCOPY_FAST, /* switch to postcopy at once, without a precopy pass */
    BATON_CAPABILITY_RETURN_PATH,     /* accepted for QEMU's sake; Baton always opens it */
    BATON_CAPABILITY_EVENTS, /* MIGRATION events in the monitor; the engine does not look at it */
    BATON_CAPABILITY_COUNT
};
BATON_API const char *baton_capability_name(enum baton_capability capability); /* QEMU's spelling */
BATON_API int baton_set_capability(struct baton *baton, enum baton_capability capability, bool on,
                                   struct baton_error *error);
BATON_API bool baton_get_capability(struct baton *baton, enum baton_capability capability);

enum baton_parameter {
    BATON_PARAMETER_MAX_BANDWIDTH,          /* bytes per second in precopy; 0: no limit */
    BATON_PARAMETER_MAX_POSTCOPY_BANDWIDTH, /* bytes per second in postcopy; 0: no limit */
    BATON_PARAMETER_DOWNTIME_LIMIT,         /* milliseconds */
    BATON_PARAMETER_COUNT
};
BATON_API const char *baton_parameter_name(enum baton_parameter parameter); /* QEMU's spelling */
BATON_API int baton_set_parameter(struct baton *baton, enum baton_parameter parameter,
                                  uint64_t value, struct baton_error *error);
BATON_API uint64_t baton_get_parameter(struct baton *baton, enum baton_parameter parameter);

/* ---- What is going on ---- */

#define BATON_MAX_WAITERS 16
#define BATON_MAX_ADDRESSES 8
#define BATON_URI_BYTES 256

struct baton_waiter_info {
    char name[32];
    char block[BATON_BLOCK_NAME_BYTES];
    uint64_t offset;
    uint64_t since_ns; /* how long it has waited */
};

/* All times are durations in nanoseconds; all counts are since the migration began and survive
 * pauses. */
struct baton_info {
    enum baton_role role; /* of the last migration of this object; NONE before the first */
    enum baton_status status;
    char error[BATON_ERROR_TEXT_BYTES]; /* why it failed or paused; empty if nothing is wrong */
    char explain[BATON_ERROR_TEXT_BYTES *
                 2]; /* paused: cause, what is missing, who may do what now; else empty */
    bool vm_may_run; /* whether baton_cont() would be accepted */
    bool vm_running;

    uint64_t total_ns; /* begin to now, or to the end */
    uint64_t setup_ns; /* begin to the first page */
    uint64_t
        downtime_ns; /* stop at the source until run at the destination; known to the source only */
    uint64_t paused_ns;  /* part of total_ns spent in postcopy-paused and recovering */
    uint64_t state_ns;   /* since `status` was entered */
    uint64_t recover_ns; /* the last recovery: order given until active again */
    unsigned pauses;     /* how often it was paused */
    uint64_t epoch;      /* number of the newest link */

    uint64_t ram_total_bytes, ram_remaining_bytes;
    uint64_t transferred_bytes; /* on the wire, by this side */
    uint64_t precopy_bytes, downtime_bytes, postcopy_bytes;
    uint64_t normal_pages, zero_pages; /* sent (source) or loaded (destination) */
    uint64_t requested_pages;          /* page requests received (source) or sent (destination) */
    uint64_t dirty_sync_count;
    uint64_t bandwidth_bytes_per_s; /* over the last second or so */
    uint64_t page_bytes;            /* 4096: the unit of the page counts above */

    uint64_t missing_pages; /* destination in postcopy: not yet received */
    uint64_t faults;        /* destination: page faults served */
    uint64_t fault_p50_ns, fault_p99_ns, fault_max_ns;

    unsigned waiter_count; /* who waits for a page now */
    struct baton_waiter_info waiters[BATON_MAX_WAITERS];

    unsigned address_count; /* where this side listens, with real port numbers, as URIs */
    char addresses[BATON_MAX_ADDRESSES][BATON_URI_BYTES];
};
BATON_API void baton_query(struct baton *baton, struct baton_info *info);

/*
 * A map of the memory that arrives. The block is cut into `cells` parts of the same size, give or
 * take a page, and out_percent[i] says how many percent of part i are here, rounded down: 100 only
 * if all of it is. For people to look at: the answer may be old when it is given. Any thread; waits
 * for nobody. -EBUSY where no VM comes in, -EINVAL for a block that is not, or no cells.
 */
BATON_API int baton_received_map(struct baton *baton, unsigned block, unsigned cells,
                                 uint8_t *out_percent, struct baton_error *error);

/*
 * The device sections that would be sent, as the bytes of a QEMU stream, for comparing two stopped
 * VMs. The caller frees *bytes. Refused while the CPUs run.
 */
BATON_API int baton_save_devices(struct baton *baton, uint8_t **bytes, size_t *length_bytes,
                                 struct baton_error *error);

#endif
