/* SPDX-License-Identifier: MIT */
/*
 * What the files of the engine share: the table's types, and the few verbs in which every handler
 * is written. A handler changes the state only through engine_set_status() and the fields of its
 * own role, and acts only by engine_emit().
 */
#ifndef ENGINE_INTERNAL_H
#define ENGINE_INTERNAL_H

#include "engine/engine.h"

#define ENGINE_SECOND_NS UINT64_C(1000000000)
/* How long a peer may take to answer while nothing else moves. A link that is silent longer is
 * given up, which loses nothing. */
#define ENGINE_ANSWER_NS (10 * ENGINE_SECOND_NS)
#define ENGINE_LOAD_NS (30 * ENGINE_SECOND_NS)  /* to load the device state and say READY */
#define ENGINE_FINISH_NS (2 * ENGINE_SECOND_NS) /* to write a last message */
#define ENGINE_PING_RUN                                                                            \
    UINT64_C(0xba704e02) /* PING sent right after RUN: its PONG proves that RUN was obeyed */

typedef void engine_handler(struct engine *engine, const struct engine_event *event);

/* ---- engine.c ---- */

/* Appends an action; the caller fills in what the type needs. Never fails: a step emits fewer than
 * ENGINE_MAX_ACTIONS. */
struct engine_action *engine_emit(struct engine *engine, enum engine_action_type type);
struct engine_action *engine_send(struct engine *engine, uint64_t link,
                                  enum engine_message message);
/* The only way in which the status changes. `reason` says why, for the trace and, if it went wrong,
 * for people. */
void engine_set_status(struct engine *engine, enum baton_status status, const char *reason);
/* Remembers what went wrong, as engine->reason. The first cause wins until engine_clear_reason().
 */
void engine_note_reason(struct engine *engine, const char *before, const char *reason);
void engine_clear_reason(struct engine *engine);
/* Kills the current link, if it is not dying yet. What happens then is decided when it rests. */
void engine_quiesce(struct engine *engine, const char *before, const char *reason);
/* Lets the current link write what is queued and end. */
void engine_finish_link(struct engine *engine);
void engine_refuse(struct engine *engine, int code, const char *sentence);
void engine_start_cpus(struct engine *engine);
void engine_stop_cpus(struct engine *engine);
bool engine_id_is_zero(const uint8_t *id);
bool engine_id_equal(const uint8_t *a, const uint8_t *b);

/* Rows that need no handler of their own. */
engine_handler engine_ignore, engine_impossible;
engine_handler source_any_on_unexpected, dest_any_on_unexpected;

/* ---- operator.c ---- */
engine_handler engine_any_on_stop, engine_any_on_halt, engine_any_on_cont;
engine_handler source_any_refuse_migrate, source_any_refuse_resume,
    source_any_refuse_start_postcopy, source_any_refuse_pause, source_any_refuse_cancel;
engine_handler dest_any_refuse_incoming, dest_any_refuse_recover, dest_any_refuse_pause,
    dest_any_refuse_cancel;

/* ---- source_*.c ---- */
engine_handler source_idle_on_migrate, source_setup_on_dialed, source_setup_on_dial_failed,
    source_setup_on_hello_dest, source_setup_on_pong, source_setup_on_hello_ack;
engine_handler source_setup_on_start_postcopy, source_active_on_start_postcopy,
    source_active_on_pass_done;
engine_handler source_active_on_barrier_ack, source_device_on_pass_done, source_device_on_ready,
    source_device_on_run_written, source_any_on_pong;
engine_handler source_postcopy_on_all_sent, source_any_on_complete;
engine_handler source_any_on_link_lost, source_any_on_fault, source_any_on_shut,
    source_any_on_timeout, source_postcopy_on_pause, source_precopy_on_link_rests,
    source_device_on_link_rests, source_postcopy_on_link_rests, source_completed_on_link_rests,
    source_ending_on_timeout;
engine_handler source_paused_on_resume, source_recover_setup_on_dialed,
    source_recover_setup_on_dial_failed, source_recover_setup_on_pause,
    source_recover_on_hello_dest, source_recover_on_pong, source_recover_on_hello_ack,
    source_recover_on_bitmap, source_recover_on_prepared, source_recover_on_resume_ack;
engine_handler source_precopy_on_cancel, source_paused_on_cancel, source_cancelling_on_dialed,
    source_cancelling_on_dial_failed, source_cancelling_on_link_rests;
/* Switchover begins: also called when postcopy is to start at once. */
void source_begin_switchover(struct engine *engine, bool postcopy);
/* RUN, and a PING whose PONG proves that it was obeyed. */
void source_send_run(struct engine *engine);
/* The VM runs here again, as it did before the switchover. */
void source_take_back(struct engine *engine);
void source_complete(struct engine *engine, const char *reason);

/* The CPUs rest, and it is known whether they ran: the status becomes `device`. */
void source_stop_for_switchover(struct engine *engine);
/* The four situations of source_oneway.c. */
engine_handler source_device_on_closed;
bool source_one_way_accept(struct engine *engine, const struct engine_event *event);
void source_one_way_begin(struct engine *engine);
void source_one_way_switch(struct engine *engine);
void source_one_way_end(struct engine *engine);

/* ---- dest_*.c ---- */
engine_handler dest_any_on_one_way;
/* Whether a stream without a way back may bring this. */
bool dest_one_way_takes(const struct engine_event *event);
void dest_one_way_complete(struct engine *engine);
void dest_one_way_failed(struct engine *engine);
engine_handler dest_none_on_incoming, dest_setup_on_cancel, dest_loading_on_cancel,
    dest_paused_on_cancel, dest_completed_on_cancel;
engine_handler dest_any_on_ping_hello, dest_any_on_hello_source, dest_any_on_ping;
engine_handler dest_active_on_advise, dest_active_on_ram_start, dest_any_on_barrier,
    dest_active_on_discard, dest_active_on_faults_ready;
engine_handler dest_active_on_package, dest_device_on_loaded, dest_device_on_run, dest_any_on_void;
engine_handler dest_postcopy_on_stream_end, dest_completed_on_bye, dest_completed_on_link_rests;
engine_handler dest_any_on_link_lost, dest_any_on_timeout, dest_postcopy_on_pause,
    dest_loading_on_link_rests, dest_postcopy_on_link_rests;
engine_handler dest_recover_on_bitmap_request, dest_recover_on_resume_request,
    dest_paused_on_recover, dest_completed_on_recover;
/* The pending link takes over, now that the old one rests. */
void dest_adopt_pending(struct engine *engine);
/* The session ends before RUN: everything back to empty, ready for another try. */
void dest_abandon_session(struct engine *engine, enum baton_status status, const char *reason);
void dest_complete(struct engine *engine);
/* Before READY: tells the source why, and ends the link, which ends the session. */
void dest_give_up_link(struct engine *engine, const char *before, const char *reason);
enum engine_peer_state dest_peer_state(const struct engine *engine);

#endif
