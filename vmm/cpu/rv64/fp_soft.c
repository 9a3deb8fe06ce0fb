/* SPDX-License-Identifier: MIT */
/*
 * Rounding to nearest with ties away from zero (RMM), which no host offers, in integer arithmetic.
 *
 * The host has already done the operation in another mode and found it inexact, so the operands are
 * finite and the result is neither zero nor exact. Here the exact result is computed as a 128-bit
 * significand whose lowest bit is sticky (set if anything nonzero lies below), and rounded once.
 * Every significand is kept with its top bit at TOP, so that there is room for a carry, and at
 * least 20 zero bits below a product of two doubles: when an addend is shifted right by two or
 * more, cancellation cannot reach the sticky bit, and when by less, no bit is lost.
 */
#include "vmm/cpu/rv64/fp.h"

typedef unsigned __int128 u128;

#define TOP 126

/* (-1)^negative * significand * 2^(exponent - TOP); significand is zero or has TOP as its highest
 * bit. */
struct exact {
    bool negative;
    int exponent;
    u128 significand;
};

static u128 shift_right_sticky(u128 value, unsigned count)
{
    if (count == 0)
        return value;
    if (count > TOP + 1)
        return value != 0;
    return value >> count | ((value & (((u128)1 << count) - 1)) != 0);
}

static void normalize(struct exact *x)
{
    if (!x->significand)
        return;
    while (x->significand >> (TOP + 1)) {
        x->significand = shift_right_sticky(x->significand, 1);
        x->exponent++;
    }
    while (!(x->significand >> TOP)) {
        x->significand <<= 1;
        x->exponent--;
    }
}

static struct exact unpack(const struct fp_format *format, uint64_t bits)
{
    unsigned biased = (unsigned)(bits >> format->fraction_bits) & format->exponent_max;
    uint64_t fraction = bits & (RV64_BIT(format->fraction_bits) - 1);
    int bias = (int)(format->exponent_max >> 1);
    struct exact x;

    x.negative = bits >> (format->width - 1) & 1;
    if (biased)
        fraction |= RV64_BIT(format->fraction_bits);
    x.exponent = (biased ? (int)biased : 1) - bias + (TOP - (int)format->fraction_bits);
    x.significand = fraction;
    normalize(&x);
    return x;
}

static struct exact add(struct exact a, struct exact b)
{
    struct exact large = a, small = b;

    if (!a.significand || !b.significand)
        return a.significand ? a : b;
    if (b.exponent > a.exponent || (b.exponent == a.exponent && b.significand > a.significand)) {
        large = b;
        small = a;
    }
    small.significand =
        shift_right_sticky(small.significand, (unsigned)(large.exponent - small.exponent));
    if (large.negative == small.negative)
        large.significand += small.significand;
    else
        large.significand -= small.significand;
    normalize(&large);
    return large;
}

static struct exact multiply(struct exact a, struct exact b)
{
    /* 63 significant bits of room each; a double has 53 */
    u128 product = (u128)(uint64_t)(a.significand >> 64) * (uint64_t)(b.significand >> 64);
    struct exact x = {a.negative != b.negative, a.exponent + b.exponent, product};

    /* each factor was 2^62 times a number in [1, 2): the product is 2^124 times one in [1, 4) */
    x.exponent += TOP - 124;
    normalize(&x);
    return x;
}

static struct exact divide(struct exact a, struct exact b)
{
    u128 dividend = a.significand;
    uint64_t divisor = (uint64_t)(b.significand >> (TOP - 53)); /* 54 bits hold every double */
    struct exact x = {a.negative != b.negative, a.exponent - b.exponent, dividend / divisor};

    x.significand <<= 1;
    x.significand |= dividend % divisor != 0;
    /* 2^126 / 2^53 is 2^73; one more for the sticky bit */
    x.exponent += TOP - 74;
    normalize(&x);
    return x;
}

static uint64_t round_rmm(const struct fp_format *format, struct exact x, unsigned *flags)
{
    int bias = (int)(format->exponent_max >> 1);
    int biased = x.exponent + bias;
    unsigned drop = TOP - format->fraction_bits;
    uint64_t sign = (uint64_t)x.negative << (format->width - 1);
    u128 half = (u128)1 << (drop - 1);
    bool tiny = false;
    uint64_t kept, bits;

    if (biased < 1) {
        /* Tiny after rounding: would it reach the smallest normal number with an unlimited
         * exponent? */
        tiny = biased < 0 || !((x.significand + half) >> (TOP + 1));
        x.significand = shift_right_sticky(x.significand, (unsigned)(1 - biased));
        biased = 0;
    }
    kept = (uint64_t)((x.significand + half) >> drop);
    if (x.significand & (((u128)1 << drop) - 1))
        *flags |= FFLAG_NX | (tiny ? FFLAG_UF : 0u);
    /* The implicit bit of `kept`, if there, adds one to the exponent; so does a carry out of
     * rounding. */
    bits = biased ? ((uint64_t)(unsigned)(biased - 1) << format->fraction_bits) + kept : kept;
    if (biased > (int)format->exponent_max ||
        bits >> format->fraction_bits >= format->exponent_max) {
        *flags |= FFLAG_OF | FFLAG_NX;
        bits = (uint64_t)format->exponent_max << format->fraction_bits;
    }
    return sign | bits;
}

uint64_t fp_soft_rmm(const struct fp_format *format, enum fp_soft_op op, uint64_t a, uint64_t b,
                     uint64_t c, unsigned *flags)
{
    struct exact x = unpack(format, a), y = unpack(format, b);

    switch (op) {
    case FP_SOFT_ADD:
        x = add(x, y);
        break;
    case FP_SOFT_MULTIPLY:
        x = multiply(x, y);
        break;
    case FP_SOFT_DIVIDE:
        x = divide(x, y);
        break;
    default:
        x = add(multiply(x, y), unpack(format, c));
    }
    return round_rmm(format, x, flags);
}

uint64_t fp_soft_rmm_from_int(const struct fp_format *format, bool negative, uint64_t magnitude,
                              unsigned *flags)
{
    struct exact x = {negative, TOP, magnitude};

    normalize(&x);
    return round_rmm(format, x, flags);
}

uint32_t fp_soft_rmm_narrow(uint64_t a, unsigned *flags)
{
    return (uint32_t)round_rmm(&fp_single, unpack(&fp_double, a), flags);
}
