/* SPDX-License-Identifier: MIT */
/* The checks of section.h. Each copies the bytes to the heap at their exact length, so that
 * sanitizers see a read past the end. */
#include "section.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

void section_check_round_trip(const struct baton_device *device, const uint8_t *bytes,
                              size_t length_bytes)
{
    struct baton_error error = {0};
    uint8_t *again;
    size_t again_bytes;

    assert_int_equal(fake_load(device, bytes, length_bytes, &error), 0);
    fake_save(device, &again, &again_bytes);
    assert_int_equal(again_bytes, length_bytes);
    assert_memory_equal(again, bytes, length_bytes);
    free(again);
}

void section_check_cuts(const struct baton_device *device, const uint8_t *bytes,
                        size_t length_bytes)
{
    for (size_t cut = 0; cut < length_bytes; cut++) {
        struct baton_error error = {0};
        uint8_t *copy = malloc(cut ? cut : 1);

        memcpy(copy, bytes, cut);
        assert_true(fake_load(device, copy, cut, &error) < 0);
        assert_true(error.text[0] != '\0');
        free(copy);
    }
}

void section_check_refused(const struct baton_device *device, const uint8_t *bytes,
                           size_t length_bytes, size_t at, uint8_t value)
{
    struct baton_error error = {0};
    uint8_t *copy = malloc(length_bytes);
    uint8_t *before, *after;
    size_t before_bytes, after_bytes;

    assert_true(at < length_bytes);
    memcpy(copy, bytes, length_bytes);
    copy[at] = value;
    fake_save(device, &before, &before_bytes);
    assert_true(fake_load(device, copy, length_bytes, &error) < 0);
    assert_true(error.text[0] != '\0');
    fake_save(device, &after, &after_bytes);
    assert_int_equal(after_bytes, before_bytes);
    assert_memory_equal(after, before, before_bytes);
    free(before);
    free(after);
    free(copy);
}

void section_check_noise(const struct baton_device *device, size_t length_bytes)
{
    uint32_t random = 1;

    for (int round = 0; round < 2000; round++) {
        uint8_t *copy = malloc(length_bytes);
        uint8_t *saved;
        size_t saved_bytes;

        for (size_t i = 0; i < length_bytes; i++) {
            random = random * 1664525u + 1013904223u;
            copy[i] = (uint8_t)(random >> 24) & (random & 0x10000 ? 0xff : 1);
        }
        fake_load(device, copy, length_bytes, NULL);
        fake_save(device, &saved, &saved_bytes);
        free(saved);
        free(copy);
    }
}
