/* SPDX-License-Identifier: MIT */
/*
 * What the floating-point files share: the two formats as bits, and running one host operation in a
 * given rounding mode while watching its exception flags.
 */
#ifndef RV64_FP_H
#define RV64_FP_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/cpu/rv64/bits.h"

/* A binary format: 32 or 64 bits wide. */
struct fp_format {
    unsigned width, fraction_bits, exponent_max; /* exponent_max: all ones, for infinity and NaN */
};

static const struct fp_format fp_single = {32, 23, 0xff};
static const struct fp_format fp_double = {64, 52, 0x7ff};

#define FP_NAN_S 0x7fc00000u
#define FP_NAN_D 0x7ff8000000000000u

/* Operations that fp_soft.c can do in rounding mode RMM, which hosts do not have. */
enum fp_soft_op { FP_SOFT_ADD, FP_SOFT_MULTIPLY, FP_SOFT_DIVIDE, FP_SOFT_FMA };

/* All operands finite, the result inexact. `c` only for FMA (a * b + c). Adds to *flags. */
uint64_t fp_soft_rmm(const struct fp_format *format, enum fp_soft_op op, uint64_t a, uint64_t b,
                     uint64_t c, unsigned *flags);
uint64_t fp_soft_rmm_from_int(const struct fp_format *format, bool negative, uint64_t magnitude,
                              unsigned *flags);
uint32_t fp_soft_rmm_narrow(uint64_t a, unsigned *flags); /* double to single, finite */

/*
 * Bracket one host operation. Its operands and its result must pass through FP_PIN, or the compiler
 * may move it out of the bracket, as it does not know that the operation depends on the modes.
 */
#if defined(__SSE2__)
#include <xmmintrin.h>

#define FP_PIN(value) __asm__ volatile("" : "+x"(value) : : "memory")

static inline void fp_begin(unsigned rm)
{
    /* By rounding mode; RMM runs as RNE first. All exceptions are masked, denormals are kept. */
    static const uint16_t control[5] = {0x1f80, 0x7f80, 0x3f80, 0x5f80, 0x1f80};

    _mm_setcsr(control[rm]);
}

static inline unsigned fp_end(unsigned rm)
{
    unsigned host = _mm_getcsr();

    if (rm != RM_RNE && rm != RM_RMM)
        _mm_setcsr(0x1f80); /* the rest of the program rounds to nearest */
    return (host & 1) << 4 | (host & 4) << 1 | (host & 8) >> 1 | (host & 16) >> 3 |
           (host & 32) >> 5;
}

#else
#include <fenv.h>

#define FP_PIN(value) __asm__ volatile("" : "+m"(value) : : "memory")

static inline void fp_begin(unsigned rm)
{
    static const int modes[5] = {FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD, FE_TONEAREST};

    feclearexcept(FE_ALL_EXCEPT);
    if (rm != RM_RNE && rm != RM_RMM)
        fesetround(modes[rm]);
}

static inline unsigned fp_end(unsigned rm)
{
    int host = fetestexcept(FE_ALL_EXCEPT);

    if (rm != RM_RNE && rm != RM_RMM)
        fesetround(FE_TONEAREST);
    return (host & FE_INVALID ? FFLAG_NV : 0u) | (host & FE_DIVBYZERO ? FFLAG_DZ : 0u) |
           (host & FE_OVERFLOW ? FFLAG_OF : 0u) | (host & FE_UNDERFLOW ? FFLAG_UF : 0u) |
           (host & FE_INEXACT ? FFLAG_NX : 0u);
}
#endif

#endif
