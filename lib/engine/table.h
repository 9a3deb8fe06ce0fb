/* SPDX-License-Identifier: MIT */
/* The transition table, made from transitions.def by table.c. */
#ifndef ENGINE_TABLE_H
#define ENGINE_TABLE_H

#include "engine/internal.h"

/* The row's handler, or NULL if this role does not take this event at all. */
engine_handler *engine_table_row(enum baton_role role, enum baton_status status,
                                 enum engine_event_type event);

#endif
