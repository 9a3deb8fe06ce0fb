/* SPDX-License-Identifier: MIT */
/*
 * Cuts a stream of bytes into JSON texts. The theory of operation is in frame.c.
 */
#ifndef MONITOR_FRAME_H
#define MONITOR_FRAME_H

#include <stdbool.h>
#include <stddef.h>

#define QMP_FRAME_MAX_BYTES (1024u * 1024u)
#define QMP_FRAME_MAX_DEPTH 64u
#define QMP_FRAME_MAX_LINE_BYTES 4096u

enum qmp_frame_result {
    QMP_FRAME_MORE,      /* all bytes were taken, no text is complete */
    QMP_FRAME_TEXT,      /* `text` holds one, until the next push */
    QMP_FRAME_BROKEN,    /* no JSON text can go on like this */
    QMP_FRAME_TOO_LARGE, /* the rest of the line is skipped, here and in the next */
    QMP_FRAME_TOO_DEEP
};

struct qmp_frame {
    char *text; /* not terminated */
    size_t length_bytes, capacity_bytes;
    unsigned depth;
    bool in_string, escaped, scalar, skipping, fresh;
};

void qmp_frame_init(struct qmp_frame *frame);
void qmp_frame_fini(struct qmp_frame *frame);

/* Takes bytes up to the first result and says in *used how many. To be called again with the rest.
 */
enum qmp_frame_result qmp_frame_push(struct qmp_frame *frame, const char *bytes,
                                     size_t length_bytes, size_t *used);

/* The same for lines: a text is what stands before a newline, perhaps nothing. */
enum qmp_frame_result qmp_frame_push_line(struct qmp_frame *frame, const char *bytes,
                                          size_t length_bytes, size_t *used);

#endif
