/* SPDX-License-Identifier: MIT */
/*
 * Errors with a sentence. See baton/error.h for the contract; this file only formats. It is apart
 * from base/text.c because the pure libraries must not pull in the printf family.
 */
#include "baton/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int baton_error_set(struct baton_error *error, int code, const char *format, ...)
{
    va_list args;

    if (error) {
        error->code = code;
        va_start(args, format);
        vsnprintf(error->text, sizeof(error->text), format, args);
        va_end(args);
    }
    return -code;
}

int baton_error_prefix(struct baton_error *error, const char *format, ...)
{
    char old[BATON_ERROR_TEXT_BYTES];
    size_t used;
    va_list args;

    if (!error)
        return -EIO;
    memcpy(old, error->text, sizeof(old));
    va_start(args, format);
    vsnprintf(error->text, sizeof(error->text), format, args);
    va_end(args);
    used = strlen(error->text);
    snprintf(error->text + used, sizeof(error->text) - used, ": %.*s",
             (int)(sizeof(error->text) - 3), old);
    return error->code ? -error->code : -EIO;
}
