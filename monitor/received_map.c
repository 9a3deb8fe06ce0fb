/* SPDX-License-Identifier: MIT */
/*
 * x-baton-received-map: how much of each part of guest RAM has arrived, for who wants to draw it.
 *
 * The library counts; this file only carries the numbers. The length of the answer is bounded here,
 * since a client may ask for any number of cells.
 */
#include <stdlib.h>

#include "monitor/internal.h"

#define DEFAULT_CELLS 256u
#define MAX_CELLS 4096u

static uint64_t number_of(json_t *arguments, const char *name, uint64_t otherwise)
{
    json_t *value = json_object_get(arguments, name);

    return value ? (uint64_t)json_integer_value(value) : otherwise;
}

json_t *qmp_run_received_map(struct qmp_context *context, json_t *arguments)
{
    uint64_t cells = number_of(arguments, "cells", DEFAULT_CELLS);
    uint64_t block = number_of(arguments, "block", 0);
    uint8_t percent[MAX_CELLS];
    json_t *list;
    int result;

    if (!cells || cells > MAX_CELLS)
        return qmp_fail(context, "Parameter 'cells' expects a number from 1 to %u", MAX_CELLS);
    if (block >= BATON_MAX_RAM_BLOCKS)
        return qmp_fail(context, "Parameter 'block' expects a number below %u",
                        BATON_MAX_RAM_BLOCKS);
    result = baton_received_map(context->server->vm.baton, (unsigned)block, (unsigned)cells,
                                percent, &context->error);
    if (result < 0)
        return qmp_done(context, result);
    list = json_array();
    for (uint64_t i = 0; i < cells; i++)
        json_array_append_new(list, json_integer(percent[i]));
    return json_pack("{s:I, s:o}", "block", (json_int_t)block, "cells", list);
}
