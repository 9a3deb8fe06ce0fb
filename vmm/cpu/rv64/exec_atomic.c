/* SPDX-License-Identifier: MIT */
/*
 * The A extension. Harts are host threads on shared memory, so an AMO is the host's atomic
 * operation on the same bytes, always sequentially consistent (stronger than any aq/rl combination
 * asks for).
 *
 * LR remembers where it read and what; SC succeeds if a compare-and-swap finds the same value
 * there. A location that was changed and changed back in between makes SC succeed where hardware
 * would fail; the value is the one that LR saw, which is what software builds on. Atomics work in
 * RAM only and trap when misaligned. An SC that must fail by its reservation does so without
 * touching memory, but its address is translated first, as a store's: it may trap.
 */
#include "vmm/cpu/rv64/exec.h"

#define U32(host) ((uint32_t *)(void *)(host))
#define U64(host) ((uint64_t *)(void *)(host))

OP(lr_w)
{
    uint8_t *host = rv64_atomic_place(cpu, insn, RS1, 4, RV64_READ);

    if (!host)
        return NULL;
    cpu->reserved = host;
    cpu->reserved_bytes = 4;
    cpu->reserved_value = __atomic_load_n(U32(host), __ATOMIC_SEQ_CST);
    RD = rv64_sext32(cpu->reserved_value);
    NEXT;
}

OP(lr_d)
{
    uint8_t *host = rv64_atomic_place(cpu, insn, RS1, 8, RV64_READ);

    if (!host)
        return NULL;
    cpu->reserved = host;
    cpu->reserved_bytes = 8;
    cpu->reserved_value = __atomic_load_n(U64(host), __ATOMIC_SEQ_CST);
    RD = cpu->reserved_value;
    NEXT;
}

/* Whether the store took place. The reservation is gone either way. */
static bool store_conditional(struct vmm_cpu *cpu, uint8_t *host, unsigned bytes, uint64_t value)
{
    bool reserved = cpu->reserved == host && cpu->reserved_bytes == bytes;
    uint64_t expected = cpu->reserved_value;
    uint32_t expected_word = (uint32_t)expected;

    cpu->reserved = NULL;
    if (!reserved)
        return false;
    if (bytes == 4)
        return __atomic_compare_exchange_n(U32(host), &expected_word, (uint32_t)value, false,
                                           __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    return __atomic_compare_exchange_n(U64(host), &expected, value, false, __ATOMIC_SEQ_CST,
                                       __ATOMIC_SEQ_CST);
}

#define STORE_CONDITIONAL(name, bytes)                                                             \
    OP(name)                                                                                       \
    {                                                                                              \
        uint8_t *host = rv64_atomic_place(cpu, insn, RS1, bytes, RV64_WRITE);                      \
                                                                                                   \
        if (!host)                                                                                 \
            return NULL;                                                                           \
        RD = !store_conditional(cpu, host, bytes, RS2);                                            \
        NEXT;                                                                                      \
    }

STORE_CONDITIONAL(sc_w, 4)
STORE_CONDITIONAL(sc_d, 8)

enum amo_pick { MIN_SIGNED, MAX_SIGNED, MIN_UNSIGNED, MAX_UNSIGNED };

static bool keeps_old(enum amo_pick pick, int64_t old_signed, int64_t value_signed)
{
    uint64_t old = (uint64_t)old_signed, value = (uint64_t)value_signed;

    switch (pick) {
    case MIN_SIGNED:
        return old_signed <= value_signed;
    case MAX_SIGNED:
        return old_signed >= value_signed;
    case MIN_UNSIGNED:
        return old <= value;
    default:
        return old >= value;
    }
}

static uint64_t pick_32(uint8_t *host, uint64_t value, enum amo_pick pick)
{
    uint32_t old = __atomic_load_n(U32(host), __ATOMIC_SEQ_CST);
    uint32_t new;

    /* Sign extension keeps the order of unsigned words as well. */
    do {
        new = keeps_old(pick, (int32_t)old, (int32_t)value) ? old : (uint32_t)value;
    } while (!__atomic_compare_exchange_n(U32(host), &old, new, false, __ATOMIC_SEQ_CST,
                                          __ATOMIC_SEQ_CST));
    return old;
}

static uint64_t pick_64(uint8_t *host, uint64_t value, enum amo_pick pick)
{
    uint64_t old = __atomic_load_n(U64(host), __ATOMIC_SEQ_CST);
    uint64_t new;

    do {
        new = keeps_old(pick, (int64_t)old, (int64_t)value) ? old : value;
    } while (!__atomic_compare_exchange_n(U64(host), &old, new, false, __ATOMIC_SEQ_CST,
                                          __ATOMIC_SEQ_CST));
    return old;
}

#define AMO(name, word, dword)                                                                     \
    OP(name##_w)                                                                                   \
    {                                                                                              \
        uint8_t *host = rv64_atomic_place(cpu, insn, RS1, 4, RV64_WRITE);                          \
        uint64_t value = RS2;                                                                      \
                                                                                                   \
        if (!host)                                                                                 \
            return NULL;                                                                           \
        RD = rv64_sext32(word);                                                                    \
        NEXT;                                                                                      \
    }                                                                                              \
    OP(name##_d)                                                                                   \
    {                                                                                              \
        uint8_t *host = rv64_atomic_place(cpu, insn, RS1, 8, RV64_WRITE);                          \
        uint64_t value = RS2;                                                                      \
                                                                                                   \
        if (!host)                                                                                 \
            return NULL;                                                                           \
        RD = (dword);                                                                              \
        NEXT;                                                                                      \
    }

#define AMO_FETCH(name, function)                                                                  \
    AMO(name, function(U32(host), (uint32_t)value, __ATOMIC_SEQ_CST),                              \
        function(U64(host), value, __ATOMIC_SEQ_CST))
#define AMO_PICK(name, pick) AMO(name, pick_32(host, value, pick), pick_64(host, value, pick))

AMO_FETCH(amoswap, __atomic_exchange_n)
AMO_FETCH(amoadd, __atomic_fetch_add)
AMO_FETCH(amoxor, __atomic_fetch_xor)
AMO_FETCH(amoand, __atomic_fetch_and)
AMO_FETCH(amoor, __atomic_fetch_or)
AMO_PICK(amomin, MIN_SIGNED)
AMO_PICK(amomax, MAX_SIGNED)
AMO_PICK(amominu, MIN_UNSIGNED)
AMO_PICK(amomaxu, MAX_UNSIGNED)

rv64_handler rv64_atomic_handler(uint32_t raw)
{
    static const struct {
        rv64_handler word, dword;
    } handlers[32] = {
        [0x00] = {op_amoadd_w, op_amoadd_d},   [0x01] = {op_amoswap_w, op_amoswap_d},
        [0x02] = {op_lr_w, op_lr_d},           [0x03] = {op_sc_w, op_sc_d},
        [0x04] = {op_amoxor_w, op_amoxor_d},   [0x08] = {op_amoor_w, op_amoor_d},
        [0x0c] = {op_amoand_w, op_amoand_d},   [0x10] = {op_amomin_w, op_amomin_d},
        [0x14] = {op_amomax_w, op_amomax_d},   [0x18] = {op_amominu_w, op_amominu_d},
        [0x1c] = {op_amomaxu_w, op_amomaxu_d},
    };
    uint32_t funct5 = raw >> 27, f3 = raw >> 12 & 7;

    if (funct5 == 2 && (raw >> 20 & 0x1f))
        return NULL;
    return f3 == 2 ? handlers[funct5].word : f3 == 3 ? handlers[funct5].dword : NULL;
}
