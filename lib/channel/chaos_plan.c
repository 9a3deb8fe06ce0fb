/* SPDX-License-Identifier: MIT */
/*
 * The plan of a chaos channel: its grammar, and what of it applies to which connection.
 *
 * Problem: people rehearse failures by putting a prefix before the URI they would use anyway. A
 * mistyped option that were silently ignored would make a rehearsal that rehearses nothing. Data:
 * the option table below; the plan is plain numbers. Invariant: a plan read from a URI does
 * something, each option was given once, and options that need another have it. Failure: -EINVAL
 * with the list of what may be written.
 */
#include "channel/chaos.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "chaos:"
#define GRAMMAR                                                                                    \
    "write chaos:OPTION=NUMBER,...:URI with cut-out-byte, cut-in-byte, cut-out-message, "          \
    "tear-bytes, delay-ms, rate-bytes and times"

/* Far above anything useful, and no sum or product of them can overflow. */
#define NUMBER_LIMIT 1000000000000000ull
#define DELAY_LIMIT_MS 3600000ull

static const struct option {
    const char *name;
    size_t field;
    uint64_t least, most;
} options[] = {
    {"cut-out-byte", offsetof(struct channel_chaos_plan, cut_out_byte), 0, NUMBER_LIMIT},
    {"cut-in-byte", offsetof(struct channel_chaos_plan, cut_in_byte), 0, NUMBER_LIMIT},
    {"cut-out-message", offsetof(struct channel_chaos_plan, cut_out_message), 1, NUMBER_LIMIT},
    {"tear-bytes", offsetof(struct channel_chaos_plan, tear_bytes), 0, NUMBER_LIMIT},
    {"delay-ms", offsetof(struct channel_chaos_plan, delay_ms), 1, DELAY_LIMIT_MS},
    {"rate-bytes", offsetof(struct channel_chaos_plan, rate_bytes), 1, NUMBER_LIMIT},
    {"times", offsetof(struct channel_chaos_plan, times), 1, NUMBER_LIMIT},
};
#define OPTION_COUNT (sizeof(options) / sizeof(options[0]))

void channel_chaos_plan_init(struct channel_chaos_plan *plan)
{
    *plan = (struct channel_chaos_plan){
        .cut_out_byte = CHANNEL_CHAOS_NEVER,
        .cut_in_byte = CHANNEL_CHAOS_NEVER,
        .tear_bytes = CHANNEL_CHAOS_NEVER,
        .times = CHANNEL_CHAOS_NEVER,
    };
}

static bool plan_cuts(const struct channel_chaos_plan *plan)
{
    return plan->cut_out_byte != CHANNEL_CHAOS_NEVER || plan->cut_in_byte != CHANNEL_CHAOS_NEVER ||
           plan->cut_out_message != 0;
}

/* Reads a number that ends at `end`. */
static bool parse_number(const char *text, const char *end, uint64_t most, uint64_t *value)
{
    uint64_t sum = 0;

    if (text == end)
        return false;
    for (; text < end; text++) {
        if (*text < '0' || *text > '9')
            return false;
        sum = sum * 10 + (uint64_t)(*text - '0');
        if (sum > most)
            return false;
    }
    *value = sum;
    return true;
}

static int parse_option(const char *text, const char *end, struct channel_chaos_plan *plan,
                        unsigned *given, struct baton_error *error)
{
    const char *equals = memchr(text, '=', (size_t)(end - text));
    size_t name_bytes = equals ? (size_t)(equals - text) : 0;
    uint64_t value;

    for (size_t i = 0; equals && i < OPTION_COUNT; i++) {
        const struct option *option = &options[i];

        if (strlen(option->name) != name_bytes || memcmp(option->name, text, name_bytes) != 0)
            continue;
        if (*given & 1u << i)
            return baton_error_set(error, EINVAL,
                                   "the chaos option %s is given twice; keep one of them",
                                   option->name);
        if (!parse_number(equals + 1, end, option->most, &value) || value < option->least)
            return baton_error_set(
                error, EINVAL,
                "'%.*s' is not a value for the chaos option %s; write a number from "
                "%llu to %llu",
                (int)(end - equals - 1), equals + 1, option->name,
                (unsigned long long)option->least, (unsigned long long)option->most);
        *given |= 1u << i;
        memcpy((char *)plan + option->field, &value, sizeof(value));
        return 0;
    }
    return baton_error_set(error, EINVAL, "'%.*s' is not a chaos option; " GRAMMAR,
                           (int)(end - text), text);
}

int channel_chaos_parse(const char *uri, struct channel_chaos_plan *plan, const char **inner,
                        struct baton_error *error)
{
    const char *text, *end;
    unsigned given = 0;

    channel_chaos_plan_init(plan);
    *inner = uri;
    if (strncmp(uri, PREFIX, strlen(PREFIX)) != 0)
        return 0;
    text = uri + strlen(PREFIX);
    end = strchr(text, ':');
    if (!end || end == text)
        return baton_error_set(error, EINVAL, "'%s' has no options or no URI behind them; " GRAMMAR,
                               uri);
    while (text < end) {
        const char *comma = memchr(text, ',', (size_t)(end - text));
        const char *option_end = comma ? comma : end;

        if (parse_option(text, option_end, plan, &given, error))
            return -EINVAL;
        text = option_end + (comma ? 1 : 0);
    }
    if (text[-1] == ',')
        return baton_error_set(error, EINVAL,
                               "in '%s' a chaos option is missing after the last comma", uri);
    if (strncmp(end + 1, PREFIX, strlen(PREFIX)) == 0)
        return baton_error_set(
            error, EINVAL, "'%s' has a second chaos prefix; put all options into the first", uri);
    if (plan->tear_bytes != CHANNEL_CHAOS_NEVER && plan->cut_out_message == 0)
        return baton_error_set(error, EINVAL,
                               "the chaos option tear-bytes says where to cut a message, and needs "
                               "cut-out-message=N to say which");
    if (plan->times != CHANNEL_CHAOS_NEVER && !plan_cuts(plan))
        return baton_error_set(error, EINVAL,
                               "the chaos option times says how many connections to cut, and needs "
                               "cut-out-byte, cut-in-byte or cut-out-message to say where");
    *inner = end + 1;
    return 0;
}

bool channel_chaos_plan_for(struct channel_chaos_plan *plan, uint64_t connection)
{
    if (connection >= plan->times) {
        plan->cut_out_byte = CHANNEL_CHAOS_NEVER;
        plan->cut_in_byte = CHANNEL_CHAOS_NEVER;
        plan->cut_out_message = 0;
        plan->tear_bytes = CHANNEL_CHAOS_NEVER;
    }
    return plan_cuts(plan) || plan->delay_ms || plan->rate_bytes;
}
