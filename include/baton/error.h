/* SPDX-License-Identifier: MIT */
/*
 * The one error contract (docs/errors.md).
 *
 * A function that can fail returns 0 or a negative errno value, and on failure fills the
 * `struct baton_error` that its caller passed with one sentence for a person: what failed, why, and
 * what to do about it. A caller that does not want the sentence passes NULL. The callee never
 * touches the error on success, so that one struct can serve a series of calls.
 */
#ifndef BATON_ERROR_H
#define BATON_ERROR_H

/* What is the library's to the outside; everything else it hides. */
#if defined(__GNUC__)
#define BATON_API __attribute__((visibility("default")))
#else
#define BATON_API
#endif

#define BATON_ERROR_TEXT_BYTES 512

struct baton_error {
    int code; /* positive errno value; 0 while no error was recorded */
    char text[BATON_ERROR_TEXT_BYTES];
};

/*
 * Records `code` (a positive errno value) and the formatted sentence in `error` (which may be NULL)
 * and returns -code, so that `return baton_error_set(...)` is the whole failure path. A sentence
 * that does not fit is cut, never overflowed.
 */
BATON_API int baton_error_set(struct baton_error *error, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "context: " before the sentence already recorded; returns -error->code (or -EIO without
 * one). */
BATON_API int baton_error_prefix(struct baton_error *error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
