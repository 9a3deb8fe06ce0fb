/* SPDX-License-Identifier: MIT */
/* What every device's section must stand: loading what was saved, being cut anywhere, and a byte
 * that makes no sense. */
#ifndef SECTION_H
#define SECTION_H

#include "fake_baton.h"

/* Loads the bytes and saves again: the same bytes. */
void section_check_round_trip(const struct baton_device *device, const uint8_t *bytes,
                              size_t length_bytes);
/* Every shorter section is refused with a sentence. */
void section_check_cuts(const struct baton_device *device, const uint8_t *bytes,
                        size_t length_bytes);
/* With this byte in place of another the section is refused with a sentence, and nothing changes.
 */
void section_check_refused(const struct baton_device *device, const uint8_t *bytes,
                           size_t length_bytes, size_t at, uint8_t value);
/* Random bytes never crash; what is accepted can be saved. */
void section_check_noise(const struct baton_device *device, size_t length_bytes);

#endif
