/* SPDX-License-Identifier: MIT */
/*
 * Two VMs of our own in one process, for tests of the library: RAM, one "CPU" thread each that
 * reads, checks and rewrites pages as a guest would, and one device. The CPU's truth travels in the
 * device state, so the destination's CPU knows what it must find.
 */
#ifndef RUNTIME_PAIR_H
#define RUNTIME_PAIR_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "baton/baton.h"

#define PAIR_PAGES 2048u
#define PAIR_PAGE_BYTES 4096u

struct vm {
    const char *name;
    struct baton *baton;
    uint8_t *ram;
    pthread_t cpu;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool run, running, waiting, end;
    uint64_t steps;                  /* CPU work done; travels */
    uint64_t seed;                   /* travels */
    uint32_t generation[PAIR_PAGES]; /* what each page must hold; travels */
    _Atomic uint64_t wrong;
    _Atomic unsigned barrier; /* the CPU has seen barrier number ... */
    _Atomic unsigned barrier_wanted;
    uint64_t own_dirty[PAIR_PAGES / 64]; /* the CPU's "dirty already" knowledge */
    _Atomic unsigned starts;
    enum baton_status seen[256];
    _Atomic unsigned seen_count;
};

/* Fills the RAM of a VM that runs; an incoming one stays empty. */
void vm_init(struct vm *vm, const char *name, bool incoming);
void vm_fini(struct vm *vm);
bool vm_wait_status(struct vm *vm, enum baton_status status, unsigned limit_ms);
/* The CPU makes so many more steps; false if not within the limit. */
bool vm_wait_steps(struct vm *vm, uint64_t steps, unsigned limit_ms);
/* Stops the VM and checks every page. Returns the number of wrong ones, past and present. */
uint64_t vm_verify(struct vm *vm);

#endif
