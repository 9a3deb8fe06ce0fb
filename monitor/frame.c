/* SPDX-License-Identifier: MIT */
/*
 * Cuts a stream of bytes into JSON texts.
 *
 * Problem: QMP has no frames. A command ends where its braces balance, several may share a line,
 * one may span many, and a client may send rubbish. The parser behind this wants one whole text.
 *
 * Data: the bytes of the text under way, and how deep in brackets and whether in a string its end
 * is. The buffer grows with what has really arrived, never with what a client promises, and stops
 * at QMP_FRAME_MAX_BYTES.
 *
 * Invariants: length_bytes <= capacity_bytes <= QMP_FRAME_MAX_BYTES; depth <= QMP_FRAME_MAX_DEPTH,
 * so that the parser's recursion is bounded too. Only brackets are counted here: whether they match
 * is the parser's to say.
 *
 * Failure: a text that is too large or too deep is reported once, and everything up to the next
 * line feed is skipped, for a client's commands are lines in practice. A line feed inside a string
 * is no JSON: the text is dropped there. The byte 0xff, which is in no UTF-8 text, drops what is
 * under way, so that a client can start afresh.
 *
 * Who may change it: the thread that reads the client's socket.
 */
#include "monitor/frame.h"

#include <stdlib.h>

#define FIRST_CAPACITY_BYTES 512u

void qmp_frame_init(struct qmp_frame *frame)
{
    *frame = (struct qmp_frame){.fresh = true};
}

void qmp_frame_fini(struct qmp_frame *frame)
{
    free(frame->text);
    *frame = (struct qmp_frame){.fresh = true};
}

static void start_over(struct qmp_frame *frame)
{
    frame->length_bytes = 0;
    frame->depth = 0;
    frame->in_string = frame->escaped = frame->scalar = false;
    frame->fresh = false;
}

static bool append(struct qmp_frame *frame, char byte)
{
    if (frame->length_bytes == frame->capacity_bytes) {
        size_t capacity =
            frame->capacity_bytes ? frame->capacity_bytes * 2 : (size_t)FIRST_CAPACITY_BYTES;
        char *text;

        if (capacity > QMP_FRAME_MAX_BYTES)
            return false;
        text = realloc(frame->text, capacity);
        if (!text)
            return false;
        frame->text = text;
        frame->capacity_bytes = capacity;
    }
    frame->text[frame->length_bytes++] = byte;
    return true;
}

static bool is_space(char byte)
{
    return byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n';
}

static bool is_open(char byte)
{
    return byte == '{' || byte == '[';
}

static bool is_close(char byte)
{
    return byte == '}' || byte == ']';
}

/* Within a string, its closing quote included. */
static enum qmp_frame_result string_byte(struct qmp_frame *frame, char byte)
{
    if (byte == '\n') {
        frame->fresh = true;
        return QMP_FRAME_BROKEN;
    }
    if (!append(frame, byte))
        return QMP_FRAME_TOO_LARGE;
    if (frame->escaped) {
        frame->escaped = false;
    } else if (byte == '\\') {
        frame->escaped = true;
    } else if (byte == '"') {
        frame->in_string = false;
        if (frame->depth == 0)
            return QMP_FRAME_TEXT;
    }
    return QMP_FRAME_MORE;
}

static enum qmp_frame_result plain_byte(struct qmp_frame *frame, char byte)
{
    if (frame->depth == 0 && is_space(byte))
        return QMP_FRAME_MORE;
    if (frame->depth == 0 && is_close(byte)) {
        frame->fresh = true;
        return QMP_FRAME_BROKEN;
    }
    if (!append(frame, byte))
        return QMP_FRAME_TOO_LARGE;
    if (byte == '"') {
        frame->in_string = true;
    } else if (is_open(byte)) {
        if (frame->depth == QMP_FRAME_MAX_DEPTH)
            return QMP_FRAME_TOO_DEEP;
        frame->depth++;
    } else if (is_close(byte)) {
        if (--frame->depth == 0)
            return QMP_FRAME_TEXT;
    } else if (frame->depth == 0) {
        frame->scalar = true;
    }
    return QMP_FRAME_MORE;
}

enum qmp_frame_result qmp_frame_push(struct qmp_frame *frame, const char *bytes,
                                     size_t length_bytes, size_t *used)
{
    if (frame->fresh)
        start_over(frame);
    for (size_t i = 0; i < length_bytes; i++) {
        char byte = bytes[i];
        enum qmp_frame_result result;

        *used = i + 1;
        if (frame->skipping) {
            frame->skipping = byte != '\n';
            continue;
        }
        if ((unsigned char)byte == 0xff) {
            bool under_way = frame->length_bytes > 0;

            start_over(frame);
            if (under_way)
                return QMP_FRAME_BROKEN;
            continue;
        }
        /* A bare word ends before a space or whatever cannot be part of it; that byte is looked at
         * again. */
        if (frame->scalar && (is_space(byte) || is_open(byte) || is_close(byte) || byte == '"')) {
            *used = i;
            frame->fresh = true;
            return QMP_FRAME_TEXT;
        }
        result = frame->in_string ? string_byte(frame, byte) : plain_byte(frame, byte);
        if (result == QMP_FRAME_TOO_LARGE || result == QMP_FRAME_TOO_DEEP)
            frame->skipping = byte != '\n';
        if (result != QMP_FRAME_MORE) {
            frame->fresh = true;
            return result;
        }
    }
    *used = length_bytes;
    return QMP_FRAME_MORE;
}

enum qmp_frame_result qmp_frame_push_line(struct qmp_frame *frame, const char *bytes,
                                          size_t length_bytes, size_t *used)
{
    if (frame->fresh)
        start_over(frame);
    for (size_t i = 0; i < length_bytes; i++) {
        *used = i + 1;
        if (frame->skipping) {
            frame->skipping = bytes[i] != '\n';
            continue;
        }
        if (bytes[i] == '\n') {
            frame->fresh = true;
            return QMP_FRAME_TEXT;
        }
        if (frame->length_bytes == QMP_FRAME_MAX_LINE_BYTES || !append(frame, bytes[i])) {
            frame->skipping = frame->fresh = true;
            return QMP_FRAME_TOO_LARGE;
        }
    }
    *used = length_bytes;
    return QMP_FRAME_MORE;
}
