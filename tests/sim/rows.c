/* SPDX-License-Identifier: MIT */
/*
 * Which rows of transitions.def the stories and random runs have used. The engine's look-up is
 * wrapped by the linker and counted. A row with a handler that nothing ever used is either dead or
 * not tested, and fails `sim --rows`, unless it is listed below with the reason why it cannot be.
 */
#include <stdio.h>

#include "engine/internal.h"
#include "engine/table.h"
#include "sim.h"

engine_handler *__real_engine_table_row(enum baton_role role, enum baton_status status,
                                        enum engine_event_type event);
engine_handler *__wrap_engine_table_row(enum baton_role role, enum baton_status status,
                                        enum engine_event_type event);

static unsigned used[2][BATON_STATUS_COUNT][ENGINE_EVENT_COUNT];

engine_handler *__wrap_engine_table_row(enum baton_role role, enum baton_status status,
                                        enum engine_event_type event)
{
    used[role == BATON_ROLE_DEST][status][event]++;
    return __real_engine_table_row(role, status, event);
}

/* The reasons stand for whole states or single rows; ENGINE_EVENT_COUNT: every event of the state.
 */
static const struct {
    bool dest;
    enum baton_status status;
    enum engine_event_type event;
    const char *why;
} justified[] = {
    {true, BATON_STATUS_DEVICE, ENGINE_EVENT_COUNT, "the destination has no such state"},
    {true, BATON_STATUS_CANCELLING, ENGINE_EVENT_COUNT, "the destination has no such state"},
    {true, BATON_STATUS_POSTCOPY_RECOVER_SETUP, ENGINE_EVENT_COUNT,
     "the destination has no such state"},
    {true, BATON_STATUS_NONE, ENGINE_EVENT_COUNT,
     "the role of a destination begins with INCOMING, which leaves this state in the same step"},
};

static bool is_justified(bool dest, unsigned status, unsigned event, engine_handler *row)
{
    /* TIMEOUT comes only when a deadline is set (engine.c), and these states set none. */
    if (event == ENGINE_EVENT_TIMEOUT && row == engine_ignore)
        return true;
    for (size_t i = 0; i < sizeof(justified) / sizeof(*justified); i++)
        if (justified[i].dest == dest && justified[i].status == status &&
            (justified[i].event == event || justified[i].event == ENGINE_EVENT_COUNT))
            return true;
    return false;
}

int sim_report_rows(void)
{
    unsigned rows = 0, reached = 0, excused = 0, missing = 0;

    for (unsigned d = 0; d < 2; d++)
        for (unsigned s = 0; s < BATON_STATUS_COUNT; s++)
            for (unsigned e = 0; e < ENGINE_EVENT_COUNT; e++) {
                engine_handler *row =
                    __real_engine_table_row(d ? BATON_ROLE_DEST : BATON_ROLE_SOURCE,
                                            (enum baton_status)s, (enum engine_event_type)e);

                if (!row || row == engine_impossible)
                    continue;
                rows++;
                if (used[d][s][e]) {
                    reached++;
                } else if (is_justified(d, s, e, row)) {
                    excused++;
                } else {
                    missing++;
                    printf("not reached: %s(%s, %s)\n", d ? "DEST" : "SOURCE",
                           baton_status_name((enum baton_status)s),
                           engine_event_name((enum engine_event_type)e));
                }
            }
    printf("rows: %u that are possible, %u used, %u justified, %u missing\n", rows, reached,
           excused, missing);
    return missing != 0;
}
