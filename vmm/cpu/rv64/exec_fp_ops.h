/* SPDX-License-Identifier: MIT */
/*
 * The F and D instructions of one format, written once: exec_fp.c includes this file with N(name)
 * (adds the format's letter), REAL and WORD (host types), FORMAT, NAN_BITS, GET and PUT (register
 * to bits and back), SQRT and FMA defined.
 */

/* Bits to the host's type and back; every NaN that an operation produces becomes the canonical one.
 */
static inline REAL N(real)(WORD bits)
{
    REAL value;

    memcpy(&value, &bits, sizeof(value));
    return value;
}

static inline WORD N(bits)(REAL value)
{
    WORD bits;

    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

static inline bool N(is_nan)(WORD bits)
{
    return (WORD)(bits << 1) > (WORD)((WORD)FORMAT.exponent_max << FORMAT.fraction_bits << 1);
}

static inline bool N(is_signaling)(WORD bits)
{
    return N(is_nan)(bits) && !(bits >> (FORMAT.fraction_bits - 1) & 1);
}

static inline WORD N(canonical)(WORD bits)
{
    return N(is_nan)(bits) ? (WORD)NAN_BITS : bits;
}

#define N_SIGN ((WORD)1 << (FORMAT.width - 1))

#define N_ARITHMETIC(name, operator, soft)                                                         \
    OP_N(name)                                                                                     \
    {                                                                                              \
        unsigned rm, flags;                                                                        \
        REAL a, b;                                                                                 \
        WORD result;                                                                               \
                                                                                                   \
        FP_ENTER(rm);                                                                              \
        a = N(real)(GET(insn->rs1));                                                               \
        b = N(real)(GET(insn->rs2));                                                               \
        fp_begin(rm);                                                                              \
        FP_PIN(a);                                                                                 \
        FP_PIN(b);                                                                                 \
        a = a operator b;                                                                          \
        FP_PIN(a);                                                                                 \
        flags = fp_end(rm);                                                                        \
        result = N(canonical)(N(bits)(a));                                                         \
        if (unlikely(rm == RM_RMM && (flags & FFLAG_NX)))                                          \
            result = N(soft_binary)(cpu, insn, soft);                                              \
        else                                                                                       \
            cpu->fflags |= (uint8_t)flags;                                                         \
        PUT(insn->rd, result);                                                                     \
        NEXT;                                                                                      \
    }

/* A function of its own, because a handler must not take the address of a local variable. */
static __attribute__((noinline)) WORD N(soft_binary)(struct vmm_cpu *cpu, struct rv64_insn *insn,
                                                     enum fp_soft_op op)
{
    WORD a = GET(insn->rs1), b = GET(insn->rs2);
    unsigned flags = 0;

    if (insn->imm >> 27 == 1) /* fsub */
        b ^= N_SIGN;
    a = (WORD)fp_soft_rmm(&FORMAT, op, a, b, 0, &flags);
    cpu->fflags |= (uint8_t)flags;
    return a;
}

N_ARITHMETIC(add, +, FP_SOFT_ADD)
N_ARITHMETIC(sub, -, FP_SOFT_ADD)
N_ARITHMETIC(mul, *, FP_SOFT_MULTIPLY)
N_ARITHMETIC(div, /, FP_SOFT_DIVIDE)

/* A square root is never halfway between two numbers: RMM is RNE. */
OP_N(sqrt)
{
    unsigned rm, flags;
    REAL a;

    FP_ENTER(rm);
    a = N(real)(GET(insn->rs1));
    fp_begin(rm);
    FP_PIN(a);
    a = SQRT(a);
    FP_PIN(a);
    flags = fp_end(rm);
    cpu->fflags |= (uint8_t)flags;
    PUT(insn->rd, N(canonical)(N(bits)(a)));
    NEXT;
}

static inline bool N(is_inf_times_zero)(WORD a, WORD b)
{
    WORD infinity = (WORD)((WORD)FORMAT.exponent_max << FORMAT.fraction_bits << 1);

    a = (WORD)(a << 1);
    b = (WORD)(b << 1);
    return (a == infinity && b == 0) || (a == 0 && b == infinity);
}

/* (a * b) + c with the signs that the four instructions give to the product and to c. */
static WORD N(fused)(struct vmm_cpu *cpu, struct rv64_insn *insn, unsigned rm, WORD flip_product,
                     WORD flip_addend)
{
    WORD a = GET(insn->rs1) ^ flip_product, b = GET(insn->rs2);
    WORD c = GET((uint32_t)insn->imm >> 27) ^ flip_addend;
    REAL x = N(real)(a), y = N(real)(b), z = N(real)(c);
    unsigned flags;
    WORD result;

    fp_begin(rm);
    FP_PIN(x);
    FP_PIN(y);
    FP_PIN(z);
    x = FMA(x, y, z);
    FP_PIN(x);
    flags = fp_end(rm);
    result = N(canonical)(N(bits)(x));
    if (unlikely(rm == RM_RMM && (flags & FFLAG_NX))) {
        flags = 0;
        result = (WORD)fp_soft_rmm(&FORMAT, FP_SOFT_FMA, a, b, c, &flags);
    }
    /* RISC-V wants invalid here even when the addend is a quiet NaN; hosts differ. */
    if (unlikely(N(is_inf_times_zero)(a, b)))
        flags |= FFLAG_NV;
    cpu->fflags |= (uint8_t)flags;
    return result;
}

#define N_FUSED(name, flip_product, flip_addend)                                                   \
    OP_N(name)                                                                                     \
    {                                                                                              \
        unsigned rm;                                                                               \
                                                                                                   \
        FP_ENTER(rm);                                                                              \
        PUT(insn->rd, N(fused)(cpu, insn, rm, flip_product, flip_addend));                         \
        NEXT;                                                                                      \
    }

N_FUSED(madd, 0, 0)
N_FUSED(msub, 0, N_SIGN)
N_FUSED(nmsub, N_SIGN, 0)
N_FUSED(nmadd, N_SIGN, N_SIGN)

#define N_SIGN_INJECT(name, sign)                                                                  \
    OP_N(name)                                                                                     \
    {                                                                                              \
        FP_ON();                                                                                   \
        WORD a = GET(insn->rs1), b = GET(insn->rs2);                                               \
                                                                                                   \
        PUT(insn->rd, (a & ~N_SIGN) | ((sign)&N_SIGN));                                            \
        NEXT;                                                                                      \
    }

N_SIGN_INJECT(sgnj, b)
N_SIGN_INJECT(sgnjn, ~b)
N_SIGN_INJECT(sgnjx, a ^ b)

/* Order of two numbers that are not NaN; with `zeros_equal` false, -0 comes before +0. */
static bool N(is_less)(WORD a, WORD b, bool zeros_equal)
{
    bool negative_a = a & N_SIGN, negative_b = b & N_SIGN;

    if (zeros_equal && (WORD)((a | b) << 1) == 0)
        return false;
    if (negative_a != negative_b)
        return negative_a;
    return negative_a ? a > b : a < b;
}

static WORD N(pick)(struct vmm_cpu *cpu, WORD a, WORD b, bool maximum)
{
    if (N(is_signaling)(a) || N(is_signaling)(b))
        cpu->fflags |= FFLAG_NV;
    if (N(is_nan)(a))
        return N(canonical)(b);
    if (N(is_nan)(b))
        return a;
    return N(is_less)(a, b, false) != maximum ? a : b;
}

OP_N(min)
{
    FP_ON();
    PUT(insn->rd, N(pick)(cpu, GET(insn->rs1), GET(insn->rs2), false));
    NEXT;
}

OP_N(max)
{
    FP_ON();
    PUT(insn->rd, N(pick)(cpu, GET(insn->rs1), GET(insn->rs2), true));
    NEXT;
}

/* Comparisons: equality is quiet, the others signal for every NaN. */
#define N_COMPARE(name, signals, relation)                                                         \
    OP_N(name)                                                                                     \
    {                                                                                              \
        FP_ON();                                                                                   \
        WORD a = GET(insn->rs1), b = GET(insn->rs2);                                               \
                                                                                                   \
        if (unlikely(N(is_nan)(a) || N(is_nan)(b))) {                                              \
            if ((signals) || N(is_signaling)(a) || N(is_signaling)(b))                             \
                FP_RAISE(FFLAG_NV);                                                                \
            RD = 0;                                                                                \
        } else {                                                                                   \
            RD = (relation);                                                                       \
        }                                                                                          \
        NEXT;                                                                                      \
    }

N_COMPARE(eq, false, a == b || (WORD)((a | b) << 1) == 0)
N_COMPARE(lt, true, N(is_less)(a, b, true))
N_COMPARE(le, true, !N(is_less)(b, a, true))

OP_N(class)
{
    FP_ON();
    WORD a = GET(insn->rs1);
    unsigned exponent = (unsigned)(a >> FORMAT.fraction_bits) & FORMAT.exponent_max;
    bool negative = a & N_SIGN;

    if (N(is_nan)(a))
        RD = N(is_signaling)(a) ? 1u << 8 : 1u << 9;
    else if (exponent == FORMAT.exponent_max)
        RD = negative ? 1u << 0 : 1u << 7;
    else if (exponent)
        RD = negative ? 1u << 1 : 1u << 6;
    else if ((WORD)(a << 1))
        RD = negative ? 1u << 2 : 1u << 5;
    else
        RD = negative ? 1u << 3 : 1u << 4;
    NEXT;
}

OP_N(to_int)
{
    unsigned rm;

    FP_ENTER(rm);
    RD = to_int(cpu, (double)N(real)(GET(insn->rs1)), rm, insn->rs2);
    NEXT;
}

/* rs2 says from what: 0 word, 1 unsigned word, 2 doubleword, 3 unsigned doubleword. */
static WORD N(convert_int)(struct vmm_cpu *cpu, uint64_t value, unsigned rm, unsigned kind)
{
    int64_t as_signed = kind == 0 ? (int32_t)value : (int64_t)value;
    uint64_t as_unsigned = kind == 1 ? (uint32_t)value : value;
    bool is_signed = !(kind & 1);
    unsigned flags;
    REAL real;

    fp_begin(rm);
    INT_PIN(as_signed);
    INT_PIN(as_unsigned);
    if (is_signed)
        real = (REAL)as_signed;
    else if (as_unsigned >> 63) /* halve with a sticky bit: doubling is exact in every mode */
        real = (REAL)(int64_t)(as_unsigned >> 1 | (as_unsigned & 1)) * 2;
    else
        real = (REAL)(int64_t)as_unsigned;
    FP_PIN(real);
    flags = fp_end(rm);
    if (unlikely(rm == RM_RMM && (flags & FFLAG_NX))) {
        bool negative = is_signed && as_signed < 0;
        uint64_t magnitude = negative    ? 0 - (uint64_t)as_signed
                             : is_signed ? (uint64_t)as_signed
                                         : as_unsigned;

        flags = 0;
        real = N(real)((WORD)fp_soft_rmm_from_int(&FORMAT, negative, magnitude, &flags));
    }
    cpu->fflags |= (uint8_t)flags;
    return N(bits)(real);
}

OP_N(from_int)
{
    unsigned rm;

    FP_ENTER(rm);
    PUT(insn->rd, N(convert_int)(cpu, RS1, rm, insn->rs2));
    NEXT;
}

/* By funct5; what depends on more than that is chosen in exec_fp.c. */
static rv64_handler N(handler)(uint32_t raw)
{
    static const rv64_handler fused[4] = {N(op_madd), N(op_msub), N(op_nmsub), N(op_nmadd)};
    static const rv64_handler inject[3] = {N(op_sgnj), N(op_sgnjn), N(op_sgnjx)};
    static const rv64_handler compare[3] = {N(op_le), N(op_lt), N(op_eq)};
    uint32_t f3 = raw >> 12 & 7, rs2 = raw >> 20 & 0x1f;

    if ((raw & 0x7f) != 0x53)
        return fused[raw >> 2 & 3];
    switch (raw >> 27) {
    case 0x00:
        return N(op_add);
    case 0x01:
        return N(op_sub);
    case 0x02:
        return N(op_mul);
    case 0x03:
        return N(op_div);
    case 0x0b:
        return rs2 == 0 ? N(op_sqrt) : NULL;
    case 0x04:
        return f3 < 3 ? inject[f3] : NULL;
    case 0x05:
        return f3 == 0 ? N(op_min) : f3 == 1 ? N(op_max) : NULL;
    case 0x14:
        return f3 < 3 ? compare[f3] : NULL;
    case 0x18:
        return rs2 < 4 ? N(op_to_int) : NULL;
    case 0x1a:
        return rs2 < 4 ? N(op_from_int) : NULL;
    case 0x1c:
        return f3 == 1 && rs2 == 0 ? N(op_class) : NULL;
    default:
        return NULL;
    }
}

#undef N_SIGN
#undef N_ARITHMETIC
#undef N_FUSED
#undef N_SIGN_INJECT
#undef N_COMPARE
