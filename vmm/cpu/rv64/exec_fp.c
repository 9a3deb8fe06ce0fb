/* SPDX-License-Identifier: MIT */
/*
 * The F and D extensions on the host's floating-point unit.
 *
 * IEEE 754 leaves little to do: the host computes, in the rounding mode of the instruction, and its
 * exception flags are those of the guest. What differs is done here: NaNs that come out are
 * canonical, a single in a 64-bit register is valid only if boxed in ones, conversions to integers
 * saturate, minimum and maximum prefer numbers, ties away from zero (fp_soft.c).
 *
 * Flags are those of one instruction: cleared before it and read after it, so that floating point
 * elsewhere in the process cannot leak in. Any instruction that may write a register or a flag
 * makes the state dirty (mstatus.FS).
 */
#include <math.h>
#include <string.h>

#include "vmm/cpu/rv64/exec.h"
#include "vmm/cpu/rv64/fp.h"

#define INT_PIN(value) __asm__ volatile("" : "+r"(value) : : "memory")

#define OP_N(name)                                                                                 \
    static struct rv64_block *N(op_##name)(struct vmm_cpu * cpu, struct rv64_insn * insn)

#define FP_ON()                                                                                    \
    if (unlikely(!(cpu->mstatus & MSTATUS_FS)))                                                    \
    return rv64_illegal(cpu, insn)

/* Sets the instruction's rounding mode, from its own bits or from frm; a reserved one is illegal.
 */
#define FP_ENTER(rm)                                                                               \
    do {                                                                                           \
        rm = (unsigned)insn->imm >> 12 & 7;                                                        \
        if (rm == RM_DYN)                                                                          \
            rm = cpu->frm;                                                                         \
        if (unlikely(rm > RM_RMM || !(cpu->mstatus & MSTATUS_FS)))                                 \
            return rv64_illegal(cpu, insn);                                                        \
        cpu->mstatus |= MSTATUS_FS;                                                                \
    } while (0)

#define FP_RAISE(flag)                                                                             \
    do {                                                                                           \
        cpu->fflags |= (flag);                                                                     \
        cpu->mstatus |= MSTATUS_FS;                                                                \
    } while (0)

static inline uint32_t get_s(const struct vmm_cpu *cpu, unsigned index)
{
    uint64_t bits = cpu->f[index];

    return likely(bits >> 32 == UINT32_MAX) ? (uint32_t)bits : FP_NAN_S;
}

static inline void put_s(struct vmm_cpu *cpu, unsigned index, uint32_t bits)
{
    cpu->f[index] = bits | (uint64_t)UINT32_MAX << 32;
    cpu->mstatus |= MSTATUS_FS;
}

static inline void put_d(struct vmm_cpu *cpu, unsigned index, uint64_t bits)
{
    cpu->f[index] = bits;
    cpu->mstatus |= MSTATUS_FS;
}

static double round_to_integral(double value, unsigned rm)
{
    switch (rm) {
    case RM_RTZ:
        return trunc(value);
    case RM_RDN:
        return floor(value);
    case RM_RUP:
        return ceil(value);
    case RM_RMM:
        return round(value);
    default:
        return rint(value);
    }
}

/* kind: 0 word, 1 unsigned word, 2 doubleword, 3 unsigned doubleword. A single is exact as a
 * double. */
static uint64_t to_int(struct vmm_cpu *cpu, double value, unsigned rm, unsigned kind)
{
    /* first number that is too large, last that is too small, what to give for either */
    static const struct {
        double above, below;
        uint64_t maximum, minimum;
    } ranges[4] = {
        {0x1p31, -0x1p31 - 1, INT32_MAX, (uint64_t)INT32_MIN},
        {0x1p32, -1, UINT64_MAX, 0}, /* the word, sign-extended */
        {0x1p63, -0x1.0000000000001p63, INT64_MAX, (uint64_t)INT64_MIN},
        {0x1p64, -1, UINT64_MAX, 0},
    };
    double rounded = round_to_integral(value, rm);

    if (isnan(value) || rounded >= ranges[kind].above) {
        cpu->fflags |= FFLAG_NV;
        return ranges[kind].maximum;
    }
    if (rounded <= ranges[kind].below) {
        cpu->fflags |= FFLAG_NV;
        return ranges[kind].minimum;
    }
    if (rounded != value)
        cpu->fflags |= FFLAG_NX;
    switch (kind) {
    case 0:
    case 2:
        return (uint64_t)(int64_t)rounded;
    case 1:
        return rv64_sext32((uint64_t)(int64_t)rounded);
    default:
        return rounded >= 0x1p63 ? (uint64_t)(int64_t)(rounded - 0x1p63) + RV64_BIT(63)
                                 : (uint64_t)(int64_t)rounded;
    }
}

#define N(name) name##_s
#define REAL float
#define WORD uint32_t
#define FORMAT fp_single
#define NAN_BITS FP_NAN_S
#define GET(index) get_s(cpu, index)
#define PUT(index, bits) put_s(cpu, index, bits)
#define SQRT __builtin_sqrtf
#define FMA fmaf
#include "vmm/cpu/rv64/exec_fp_ops.h"
#undef N
#undef REAL
#undef WORD
#undef FORMAT
#undef NAN_BITS
#undef GET
#undef PUT
#undef SQRT
#undef FMA

#define N(name) name##_d
#define REAL double
#define WORD uint64_t
#define FORMAT fp_double
#define NAN_BITS FP_NAN_D
#define GET(index) (cpu->f[index])
#define PUT(index, bits) put_d(cpu, index, bits)
#define SQRT __builtin_sqrt
#define FMA fma
#include "vmm/cpu/rv64/exec_fp_ops.h"

static uint32_t narrow(struct vmm_cpu *cpu, uint64_t bits, unsigned rm)
{
    double wide = real_d(bits);
    float result;
    unsigned flags;

    fp_begin(rm);
    FP_PIN(wide);
    result = (float)wide;
    FP_PIN(result);
    flags = fp_end(rm);
    if (unlikely(rm == RM_RMM && (flags & FFLAG_NX))) {
        flags = 0;
        result = real_s(fp_soft_rmm_narrow(bits, &flags));
    }
    cpu->fflags |= (uint8_t)flags;
    return canonical_s(bits_s(result));
}

OP(fcvt_s_d)
{
    unsigned rm;

    FP_ENTER(rm);
    put_s(cpu, insn->rd, narrow(cpu, cpu->f[insn->rs1], rm));
    NEXT;
}

OP(fcvt_d_s)
{
    unsigned rm;
    uint32_t bits;

    FP_ENTER(rm);
    bits = get_s(cpu, insn->rs1);
    if (is_signaling_s(bits))
        cpu->fflags |= FFLAG_NV;
    put_d(cpu, insn->rd, canonical_d(bits_d((double)real_s(bits))));
    NEXT;
}

OP(fmv_x_w)
{
    FP_ON();
    RD = rv64_sext32(cpu->f[insn->rs1]);
    NEXT;
}

OP(fmv_x_d)
{
    FP_ON();
    RD = cpu->f[insn->rs1];
    NEXT;
}

OP(fmv_w_x)
{
    FP_ON();
    put_s(cpu, insn->rd, (uint32_t)RS1);
    NEXT;
}

OP(fmv_d_x)
{
    FP_ON();
    put_d(cpu, insn->rd, RS1);
    NEXT;
}

/* Moves and conversions between the formats, which do not follow the pattern of the rest. */
static rv64_handler special_handler(uint32_t raw)
{
    uint32_t funct5 = raw >> 27, fmt = raw >> 25 & 3, rs2 = raw >> 20 & 0x1f;
    bool plain = rs2 == 0 && (raw >> 12 & 7) == 0;

    switch (funct5) {
    case 0x08:
        return fmt == 0 && rs2 == 1 ? op_fcvt_s_d : fmt == 1 && rs2 == 0 ? op_fcvt_d_s : NULL;
    case 0x1c:
        return !plain ? NULL : fmt == 0 ? op_fmv_x_w : op_fmv_x_d;
    case 0x1e:
        return !plain ? NULL : fmt == 0 ? op_fmv_w_x : op_fmv_d_x;
    default:
        return NULL;
    }
}

rv64_handler rv64_fp_handler(uint32_t raw)
{
    uint32_t fmt = raw >> 25 & 3;
    rv64_handler handler = NULL;

    if (fmt > 1)
        return NULL;
    if ((raw & 0x7f) == 0x53)
        handler = special_handler(raw);
    if (handler)
        return handler;
    return fmt == 0 ? handler_s(raw) : handler_d(raw);
}
