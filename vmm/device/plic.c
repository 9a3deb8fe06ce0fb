/* SPDX-License-Identifier: MIT */
/*
 * The platform-level interrupt controller (PLIC) of the `virt` machine.
 *
 * Registers: priority of each source at 0 (32 bits each), pending bits at 0x1000, enable bits of
 * each context at 0x2000 + 0x80 * context, and at 0x200000 + 0x1000 * context its threshold and, 4
 * further on, claim/complete. A hart has two contexts: 2 * hart for M mode, 2 * hart + 1 for S
 * mode.
 *
 * Inputs are levels. A source becomes pending when its input is high and no claim of it is out; a
 * claim takes it; completing gives it back, and it is pending again at once if the input is still
 * high. An input that falls before it is claimed withdraws its interrupt.
 *
 * Data: everything under `lock`. What the harts are told is derived: a context's output is on when
 * a pending, enabled source has a priority above the threshold. `output` is what was last told, so
 * that harts are bothered by changes only.
 */
#include "vmm/device/plic.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "vmm/cpu/thread.h"

#define PENDING_OFFSET 0x1000u
#define ENABLE_OFFSET 0x2000u
#define ENABLE_STRIDE 0x80u
#define CONTEXT_OFFSET 0x200000u
#define CONTEXT_STRIDE 0x1000u

#define WORDS (VMM_PLIC_SOURCES / 32)
#define MAX_CONTEXTS (2 * VMM_MAX_CPUS)
#define MAX_PRIORITY 7u

struct vmm_plic {
    pthread_mutex_t lock; /* after the devices', before the harts' */
    struct vmm_hart_irqs irqs;
    unsigned contexts;
    uint8_t priority[VMM_PLIC_SOURCES];
    uint32_t level[WORDS];
    uint32_t pending[WORDS];
    uint32_t claimed[WORDS];
    uint32_t enable[MAX_CONTEXTS][WORDS];
    uint8_t threshold[MAX_CONTEXTS];
    bool output[MAX_CONTEXTS];
};

/* The source that the context would claim now, or 0: the highest priority, the lowest number among
 * equals. */
static unsigned best_source(const struct vmm_plic *plic, unsigned context)
{
    unsigned best = 0;
    unsigned best_priority = 0;

    for (unsigned word = 0; word < WORDS; word++) {
        uint32_t ready = plic->pending[word] & plic->enable[context][word];

        for (; ready; ready &= ready - 1) {
            unsigned source = word * 32 + (unsigned)__builtin_ctz(ready);

            if (plic->priority[source] > best_priority) {
                best = source;
                best_priority = plic->priority[source];
            }
        }
    }
    return best;
}

static unsigned context_line(unsigned context)
{
    return context & 1 ? VMM_MIP_SEIP : VMM_MIP_MEIP;
}

/* Under the lock, after any change: tells the harts what has changed for them. */
static void update(struct vmm_plic *plic)
{
    for (unsigned context = 0; context < plic->contexts; context++) {
        unsigned source = best_source(plic, context);
        bool output = plic->priority[source] > plic->threshold[context];

        if (output == plic->output[context])
            continue;
        plic->output[context] = output;
        vmm_hart_irqs_set(&plic->irqs, context / 2, context_line(context), output);
    }
}

void vmm_plic_set(void *opaque, unsigned source, bool level)
{
    struct vmm_plic *plic = opaque;
    unsigned word = source / 32;
    uint32_t bit = 1u << source % 32;

    pthread_mutex_lock(&plic->lock);
    if (level != !!(plic->level[word] & bit)) {
        plic->level[word] ^= bit;
        if (!level)
            plic->pending[word] &= ~bit;
        else if (!(plic->claimed[word] & bit))
            plic->pending[word] |= bit;
        update(plic);
    }
    pthread_mutex_unlock(&plic->lock);
}

static unsigned claim(struct vmm_plic *plic, unsigned context)
{
    unsigned source = best_source(plic, context);

    /* The threshold masks the interrupt, not the claim. */
    if (source) {
        plic->pending[source / 32] &= ~(1u << source % 32);
        plic->claimed[source / 32] |= 1u << source % 32;
        update(plic);
    }
    return source;
}

static void complete(struct vmm_plic *plic, uint64_t source)
{
    unsigned word = (unsigned)(source / 32);
    uint32_t bit = 1u << source % 32;

    if (source >= VMM_PLIC_SOURCES || !(plic->claimed[word] & bit))
        return;
    plic->claimed[word] &= ~bit;
    plic->pending[word] |= plic->level[word] & bit;
    update(plic);
}

static uint64_t plic_read(void *opaque, uint64_t offset, unsigned size)
{
    struct vmm_plic *plic = opaque;
    uint64_t value = 0;

    if (size != 4)
        return 0;
    pthread_mutex_lock(&plic->lock);
    if (offset >= CONTEXT_OFFSET) {
        uint64_t context = (offset - CONTEXT_OFFSET) / CONTEXT_STRIDE;
        uint64_t reg = (offset - CONTEXT_OFFSET) % CONTEXT_STRIDE;

        if (context < plic->contexts && reg == 0)
            value = plic->threshold[context];
        else if (context < plic->contexts && reg == 4)
            value = claim(plic, (unsigned)context);
    } else if (offset >= ENABLE_OFFSET) {
        uint64_t context = (offset - ENABLE_OFFSET) / ENABLE_STRIDE;
        uint64_t word = (offset - ENABLE_OFFSET) % ENABLE_STRIDE / 4;

        if (context < plic->contexts && word < WORDS)
            value = plic->enable[context][word];
    } else if (offset >= PENDING_OFFSET) {
        if ((offset - PENDING_OFFSET) / 4 < WORDS)
            value = plic->pending[(offset - PENDING_OFFSET) / 4];
    } else if (offset / 4 < VMM_PLIC_SOURCES) {
        value = plic->priority[offset / 4];
    }
    pthread_mutex_unlock(&plic->lock);
    return value;
}

static void plic_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct vmm_plic *plic = opaque;

    if (size != 4)
        return;
    pthread_mutex_lock(&plic->lock);
    if (offset >= CONTEXT_OFFSET) {
        uint64_t context = (offset - CONTEXT_OFFSET) / CONTEXT_STRIDE;
        uint64_t reg = (offset - CONTEXT_OFFSET) % CONTEXT_STRIDE;

        if (context < plic->contexts && reg == 0)
            plic->threshold[context] = value & MAX_PRIORITY;
        else if (context < plic->contexts && reg == 4)
            complete(plic, value);
    } else if (offset >= ENABLE_OFFSET) {
        uint64_t context = (offset - ENABLE_OFFSET) / ENABLE_STRIDE;
        uint64_t word = (offset - ENABLE_OFFSET) % ENABLE_STRIDE / 4;

        if (context < plic->contexts && word < WORDS) /* source 0 does not exist */
            plic->enable[context][word] = (uint32_t)value & (word ? UINT32_MAX : ~1u);
    } else if (offset >= 4 && offset / 4 < VMM_PLIC_SOURCES) {
        plic->priority[offset / 4] = value & MAX_PRIORITY;
    }
    update(plic);
    pthread_mutex_unlock(&plic->lock);
}

const struct vmm_mmio_ops vmm_plic_mmio = {plic_read, plic_write};

/* Under the lock. */
static void redrive(struct vmm_plic *plic)
{
    update(plic);
    for (unsigned context = 0; context < plic->contexts; context++)
        vmm_hart_irqs_set(&plic->irqs, context / 2, context_line(context), plic->output[context]);
}

void vmm_plic_redrive(struct vmm_plic *plic)
{
    pthread_mutex_lock(&plic->lock);
    redrive(plic);
    pthread_mutex_unlock(&plic->lock);
}

void vmm_plic_reset(struct vmm_plic *plic)
{
    pthread_mutex_lock(&plic->lock);
    for (unsigned word = 0; word < WORDS; word++) {
        plic->claimed[word] = 0;
        plic->pending[word] = plic->level[word]; /* inputs are the devices', who reset themselves */
    }
    for (unsigned source = 0; source < VMM_PLIC_SOURCES; source++)
        plic->priority[source] = 0;
    for (unsigned context = 0; context < plic->contexts; context++) {
        plic->threshold[context] = 0;
        for (unsigned word = 0; word < WORDS; word++)
            plic->enable[context][word] = 0;
    }
    redrive(plic);
    pthread_mutex_unlock(&plic->lock);
}

static void plic_save(void *opaque, struct baton_save *save)
{
    struct vmm_plic *plic = opaque;

    pthread_mutex_lock(&plic->lock);
    baton_save_u32(save, plic->contexts);
    baton_save_bytes(save, plic->priority, sizeof(plic->priority));
    for (unsigned word = 0; word < WORDS; word++) {
        baton_save_u32(save, plic->level[word]);
        baton_save_u32(save, plic->pending[word]);
        baton_save_u32(save, plic->claimed[word]);
    }
    for (unsigned context = 0; context < plic->contexts; context++) {
        baton_save_u8(save, plic->threshold[context]);
        for (unsigned word = 0; word < WORDS; word++)
            baton_save_u32(save, plic->enable[context][word]);
    }
    pthread_mutex_unlock(&plic->lock);
}

static int check(const struct vmm_plic *loaded, struct baton_error *error)
{
    if (loaded->priority[0])
        return baton_error_set(error, EINVAL, "the PLIC's source 0 has a priority");
    for (unsigned source = 1; source < VMM_PLIC_SOURCES; source++)
        if (loaded->priority[source] > MAX_PRIORITY)
            return baton_error_set(error, EINVAL, "the PLIC's source %u has priority %u, above %u",
                                   source, loaded->priority[source], MAX_PRIORITY);
    if ((loaded->level[0] | loaded->pending[0] | loaded->claimed[0]) & 1)
        return baton_error_set(error, EINVAL, "the PLIC's source 0 is in use");
    for (unsigned word = 0; word < WORDS; word++)
        if (loaded->pending[word] & loaded->claimed[word])
            return baton_error_set(error, EINVAL,
                                   "a source of the PLIC is pending and claimed at once");
    for (unsigned context = 0; context < loaded->contexts; context++)
        if (loaded->threshold[context] > MAX_PRIORITY || loaded->enable[context][0] & 1)
            return baton_error_set(error, EINVAL,
                                   "the PLIC's context %u has threshold %u and enables %#x",
                                   context, loaded->threshold[context], loaded->enable[context][0]);
    return 0;
}

static int plic_load(void *opaque, struct baton_load *load, uint32_t version,
                     struct baton_error *error)
{
    struct vmm_plic *plic = opaque;
    struct vmm_plic loaded = {.contexts = plic->contexts};
    uint32_t contexts = baton_load_u32(load);
    int code;

    if (!baton_load_ok(load) || contexts != plic->contexts)
        return baton_error_set(error, EINVAL,
                               "the PLIC's state is for %u contexts but this VM has %u; start it "
                               "with the source's --cpus",
                               contexts, plic->contexts);
    baton_load_bytes(load, loaded.priority, sizeof(loaded.priority));
    for (unsigned word = 0; word < WORDS; word++) {
        loaded.level[word] = baton_load_u32(load);
        loaded.pending[word] = baton_load_u32(load);
        loaded.claimed[word] = baton_load_u32(load);
    }
    for (unsigned context = 0; context < contexts; context++) {
        loaded.threshold[context] = baton_load_u8(load);
        for (unsigned word = 0; word < WORDS; word++)
            loaded.enable[context][word] = baton_load_u32(load);
    }
    if (!baton_load_ok(load))
        return baton_error_set(error, EINVAL, "the PLIC's state is cut short");
    code = check(&loaded, error);
    if (code)
        return code;
    pthread_mutex_lock(&plic->lock);
    for (unsigned source = 0; source < VMM_PLIC_SOURCES; source++)
        plic->priority[source] = loaded.priority[source];
    for (unsigned word = 0; word < WORDS; word++) {
        plic->level[word] = loaded.level[word];
        plic->pending[word] = loaded.pending[word];
        plic->claimed[word] = loaded.claimed[word];
        for (unsigned context = 0; context < contexts; context++)
            plic->enable[context][word] = loaded.enable[context][word];
    }
    for (unsigned context = 0; context < contexts; context++)
        plic->threshold[context] = loaded.threshold[context];
    redrive(plic);
    pthread_mutex_unlock(&plic->lock);
    return 0;
}

void vmm_plic_section(struct vmm_plic *plic, struct baton_device *out)
{
    *out = (struct baton_device){
        .name = "plic", .version = 1, .opaque = plic, .save = plic_save, .load = plic_load};
}

int vmm_plic_new(unsigned harts, const struct vmm_hart_irqs *irqs, struct vmm_plic **out,
                 struct baton_error *error)
{
    struct vmm_plic *plic = calloc(1, sizeof(*plic));

    if (!plic)
        return baton_error_set(error, ENOMEM, "cannot make the PLIC: out of memory");
    pthread_mutex_init(&plic->lock, NULL);
    plic->irqs = *irqs;
    plic->contexts = 2 * harts;
    *out = plic;
    return 0;
}

void vmm_plic_free(struct vmm_plic *plic)
{
    if (!plic)
        return;
    pthread_mutex_destroy(&plic->lock);
    free(plic);
}
