/* SPDX-License-Identifier: MIT */
/*
 * Guest memory: the only way in which bytes of guest RAM are read or written.
 *
 * CPUs write guest RAM while the migration reads it, without locks: that is the nature of live
 * migration, and the dirty log makes up for it. To the C language such an access is a data race
 * unless it is atomic, so every access goes through these functions: relaxed atomics, which cost
 * nothing on 64-bit hosts and let thread sanitizers watch everything else. An aligned access of 1,
 * 2, 4 or 8 bytes is single-copy atomic, as the guest architectures demand; a misaligned one is
 * done byte by byte, which they allow.
 *
 * None of these functions knows whether a page is there: see baton_ram_ensure() in baton/baton.h.
 */
#ifndef BATON_GUEST_H
#define BATON_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define BATON_GUEST_ACCESSORS(bits)                                                                \
    static inline uint##bits##_t baton_guest_load_u##bits(const uint8_t *host)                     \
    {                                                                                              \
        uint##bits##_t value = 0;                                                                  \
                                                                                                   \
        if (((uintptr_t)host & (sizeof(value) - 1)) == 0)                                          \
            return __atomic_load_n((const uint##bits##_t *)(const void *)host, __ATOMIC_RELAXED);  \
        for (size_t i = 0; i < sizeof(value); i++)                                                 \
            value |= (uint##bits##_t)((uint##bits##_t)__atomic_load_n(host + i, __ATOMIC_RELAXED)  \
                                      << (8 * i));                                                 \
        return value;                                                                              \
    }                                                                                              \
    static inline void baton_guest_store_u##bits(uint8_t *host, uint##bits##_t value)              \
    {                                                                                              \
        if (((uintptr_t)host & (sizeof(value) - 1)) == 0) {                                        \
            __atomic_store_n((uint##bits##_t *)(void *)host, value, __ATOMIC_RELAXED);             \
            return;                                                                                \
        }                                                                                          \
        for (size_t i = 0; i < sizeof(value); i++)                                                 \
            __atomic_store_n(host + i, (uint8_t)(value >> (8 * i)), __ATOMIC_RELAXED);             \
    }

BATON_GUEST_ACCESSORS(8)
BATON_GUEST_ACCESSORS(16)
BATON_GUEST_ACCESSORS(32)
BATON_GUEST_ACCESSORS(64)
#undef BATON_GUEST_ACCESSORS

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "Baton runs on little-endian hosts only");

/* Copies guest bytes out to private memory. No alignment is asked for; 8-byte aligned guests are
 * fastest. */
static inline void baton_guest_read(void *to, const uint8_t *guest, size_t length_bytes)
{
    uint8_t *out = to;

    for (; length_bytes && ((uintptr_t)guest & 7); length_bytes--)
        *out++ = baton_guest_load_u8(guest++);
    for (; length_bytes >= 8; length_bytes -= 8, out += 8, guest += 8) {
        uint64_t word = __atomic_load_n((const uint64_t *)(const void *)guest, __ATOMIC_RELAXED);

        memcpy(out, &word, 8);
    }
    for (; length_bytes; length_bytes--)
        *out++ = baton_guest_load_u8(guest++);
}

/* Copies private bytes into guest memory. The caller marks the pages dirty afterwards
 * (baton_ram_mark_dirty). */
static inline void baton_guest_write(uint8_t *guest, const void *from, size_t length_bytes)
{
    const uint8_t *in = from;

    for (; length_bytes && ((uintptr_t)guest & 7); length_bytes--)
        baton_guest_store_u8(guest++, *in++);
    for (; length_bytes >= 8; length_bytes -= 8, in += 8, guest += 8) {
        uint64_t word;

        memcpy(&word, in, 8);
        __atomic_store_n((uint64_t *)(void *)guest, word, __ATOMIC_RELAXED);
    }
    for (; length_bytes; length_bytes--)
        baton_guest_store_u8(guest++, *in++);
}

/* Whether `length_bytes` (a multiple of 8, at an 8-byte aligned address) are all zero at the time
 * of reading. */
static inline bool baton_guest_is_zero(const uint8_t *guest, size_t length_bytes)
{
    for (size_t i = 0; i < length_bytes; i += 8)
        if (__atomic_load_n((const uint64_t *)(const void *)(guest + i), __ATOMIC_RELAXED))
            return false;
    return true;
}

#endif
