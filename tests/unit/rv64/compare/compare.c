/* SPDX-License-Identifier: MIT */
/*
 * Bare metal: does every arithmetic instruction on many inputs in every rounding mode, and prints
 * one checksum of results and flags per instruction and mode. Two machines that print the same
 * agree on all of them; run.sh compares Baton with QEMU.
 *
 * Inputs are all pairs of special values (limits, ties, denormals, infinities, NaNs, singles that
 * are not boxed) and then random ones, half of which have few significant bits, since ties are rare
 * otherwise.
 */
typedef unsigned long u64;
typedef unsigned int u32;

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define RANDOM_ROUNDS 5000
#define SIGN (1ul << 63)
#define BOX 0xffffffff00000000ul

#define PASTE_(a, b) a##b
#define PASTE(a, b) PASTE_(a, b)

/* out[0]: a3 and fa3 mixed (one of them stays zero); out[1]: flags */
#define OP(text, inputs, kind)                                                                     \
    static void PASTE(op_, __LINE__)(const u64 *in, u64 *out)                                      \
    {                                                                                              \
        __asm__ volatile("fld fa0, 0(%0)\n fld fa1, 8(%0)\n fld fa2, 16(%0)\n"                     \
                         "ld a0, 0(%0)\n ld a1, 8(%0)\n li a3, 0\n fmv.d.x fa3, zero\n"            \
                         "fsflags zero\n" text "\n"                                                \
                         "fmv.x.d a0, fa3\n xor a3, a3, a0\n sd a3, 0(%1)\n"                       \
                         "frflags a3\n sd a3, 8(%1)"                                               \
                         :                                                                         \
                         : "r"(in), "r"(out)                                                       \
                         : "a0", "a1", "a3", "fa0", "fa1", "fa2", "fa3", "memory");                \
    }
#include "ops.def"
#undef OP

static const struct operation {
    const char *text;
    void (*run)(const u64 *in, u64 *out);
    int inputs;
    char kind;
} operations[] = {
#define OP(text, inputs, kind) {text, PASTE(op_, __LINE__), inputs, kind},
#include "ops.def"
#undef OP
};

static const u64 doubles[] = {
    0,
    1,
    2,
    3,
    5,
    0x000fffffffffffff,
    0x0010000000000000,
    0x0010000000000001,
    0x001fffffffffffff,
    0x3690000000000000, /* half the smallest single */
    0x36a0000000000000,
    0x380fffffe0000000, /* around the smallest normal single */
    0x380fffffffffffff,
    0x3810000000000000,
    0x3c9fffffffffffff, /* around half a unit of 1 */
    0x3ca0000000000000,
    0x3ca0000000000001,
    0x3fdfffffffffffff,
    0x3fe0000000000000,
    0x3fefffffffffffff,
    0x3ff0000000000000,
    0x3ff0000000000001,
    0x3ff0000010000000, /* ties as singles */
    0x3ff0000030000000,
    0x3ff8000000000000,
    0x4000000000000000,
    0x4004000000000000,
    0x4008000000000000,
    0x400c000000000000,
    0x41dfffffffc00000, /* around the limits of integers */
    0x41dfffffffe00000,
    0x41e0000000000000,
    0x41efffffffe00000,
    0x41effffffff00000,
    0x41f0000000000000,
    0x4340000000000001,
    0x43dfffffffffffff,
    0x43e0000000000000,
    0x43efffffffffffff,
    0x43f0000000000000,
    0x47efffffe0000000, /* around the largest single */
    0x47efffffefffffff,
    0x47effffff0000000,
    0x7fe0000000000000,
    0x7fefffffffffffff,
    0x7ff0000000000000,
    0x7ff0000000000001,
    0x7ff8000000000000,
    0x7ff8000000012345,
};

static const u32 singles[] = {
    0,          1,          2,          3,          5,          0x007fffff, 0x00800000, 0x00800001,
    0x00ffffff, 0x19800000, 0x1a000000, 0x337fffff, 0x33800000, 0x33800001, 0x3f000000, 0x3f7fffff,
    0x3f800000, 0x3f800001, 0x3f800003, 0x3fc00000, 0x40000000, 0x40200000, 0x40400000, 0x40600000,
    0x4effffff, 0x4f000000, 0x4f7fffff, 0x4f800000, 0x5effffff, 0x5f000000, 0x5f7fffff, 0x5f800000,
    0x7f000000, 0x7f7fffff, 0x7f800000, 0x7f800001, 0x7fc00000, 0x7fc12345,
};

static const u64 integers[] = {
    0,
    1,
    2,
    3,
    5,
    7,
    0x1000001,
    0x1000003,
    0x7fffffff,
    0x80000000,
    0xffffffff,
    0x100000000,
    0x20000000000001,
    0x20000000000003,
    0x7fffffbfffffffff,
    0x7fffffc000000000,
    0x7ffffffffffffbff,
    0x7ffffffffffffc00,
    0x7fffffffffffffff,
    0x8000000000000000,
};

static u64 values[160], value_count, seed, sum;

static void put_char(char c)
{
    *(volatile unsigned char *)0x10000000 = (unsigned char)c;
}

static void put_text(const char *text)
{
    while (*text)
        put_char(*text++);
}

static void put_hex(u64 value)
{
    for (int shift = 60; shift >= 0; shift -= 4)
        put_char("0123456789abcdef"[value >> shift & 15]);
}

static u64 next_random(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static void choose_values(char kind)
{
    value_count = 0;
    for (u64 i = 0; kind == 'd' && i < COUNT(doubles); i++) {
        values[value_count++] = doubles[i];
        values[value_count++] = doubles[i] | SIGN;
    }
    for (u64 i = 0; kind == 's' && i < COUNT(singles); i++) {
        values[value_count++] = BOX | singles[i];
        values[value_count++] = BOX | singles[i] | SIGN >> 32;
    }
    for (u64 i = 0; i < COUNT(integers); i++) { /* for the formats: odd doubles, unboxed singles */
        values[value_count++] = integers[i];
        values[value_count++] = 0 - integers[i];
    }
}

/* Exponents near 1 mostly, so that sums and products meet. */
static u64 random_value(char kind)
{
    u64 bits = next_random(), exponent = next_random();

    if (kind == 'i')
        return bits >> (exponent & 63);
    if (exponent % 8 == 0)
        return values[bits % value_count];
    if (kind == 's') {
        exponent = exponent % 5 ? 100 + exponent % 56 : exponent % 256;
        return BOX | (bits & 0x807fffff) | exponent << 23;
    }
    exponent = exponent % 5 ? 1000 + exponent % 48 : exponent % 2048;
    if (next_random() % 2)
        bits &= ~0x1ffffffful;
    return (bits & 0x800fffffffffffff) | exponent << 52;
}

static void run(const struct operation *operation, const u64 *in)
{
    u64 out[2];

    operation->run(in, out);
    sum = (sum ^ out[0]) * 0x100000001b3;
    sum = (sum ^ out[1]) * 0x100000001b3;
}

static void run_all(const struct operation *operation)
{
    u64 second = operation->inputs > 1 ? value_count : 1;
    u64 in[3];

    for (u64 i = 0; i < value_count; i++) {
        for (u64 j = 0; j < second; j++) {
            in[0] = values[i];
            in[1] = values[j];
            in[2] = values[(i * 7 + j * 13) % value_count];
            run(operation, in);
        }
    }
    for (int i = 0; i < RANDOM_ROUNDS; i++) {
        for (int j = 0; j < 3; j++)
            in[j] = random_value(operation->kind);
        run(operation, in);
    }
}

__attribute__((noreturn)) void compare_main(void)
{
    for (u64 i = 0; i < COUNT(operations); i++) {
        choose_values(operations[i].kind);
        put_text(operations[i].text);
        put_char(':');
        for (u64 mode = 0; mode < 5; mode++) {
            __asm__ volatile("fsrm %0" : : "r"(mode));
            sum = 0xcbf29ce484222325;
            seed = 0x123456789abcdef + i;
            run_all(&operations[i]);
            put_char(' ');
            put_hex(sum);
        }
        put_char('\n');
    }
    *(volatile u32 *)0x100000 = 0x5555; /* power off */
    for (;;)
        ;
}

char compare_stack[65536] __attribute__((aligned(16)));

__asm__(".section .text.start, \"ax\"\n"
        ".globl _start\n"
        "_start: csrr t0, mhartid\n"
        "1: bnez t0, 1b\n"
        "la sp, compare_stack + 65536\n"
        "li t0, 0x6000\n" /* floating point on */
        "csrs mstatus, t0\n"
        "call compare_main\n");
