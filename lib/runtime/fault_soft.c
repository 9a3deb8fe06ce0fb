/* SPDX-License-Identifier: MIT */
/*
 * Missing pages without userfaultfd.
 *
 * A CPU whose TLB is ours never touches a page without having asked whether it is there, and
 * devices ask as well (baton_ram_ensure). So nobody has to be stopped by the kernel: who finds a
 * page missing puts a wish into a ring, wakes the fault thread, and sleeps until the page is
 * received. The fault thread does with a wish what it does with a fault; so halting, asking again
 * after a recovery, and everything else are the same for both kinds.
 *
 * Sleeping. A sleeper raises `sleepers` before it looks at the page for the last time, and the
 * loading thread looks at `sleepers` after the page became received; both are sequentially
 * consistent, so one of the two sees the other. Without sleepers a page costs the loading thread
 * one atomic load.
 *
 * The ring has a place for each waiter of the host, and a waiter has one wish at a time, so it
 * cannot be full.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "runtime/link.h"

static void wish(struct baton *baton, unsigned block, uint64_t page)
{
    struct fault_server *faults = &baton->faults;
    uint64_t one = 1;

    if (faults->wish_count < BATON_MAX_WAITERS) {
        unsigned at = (faults->wish_head + faults->wish_count++) % BATON_MAX_WAITERS;

        faults->wishes[at].block = block;
        faults->wishes[at].page = page;
    }
    if (write(faults->wake_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
        abort(); /* an eventfd of our own cannot fail otherwise */
}

void fault_soft_wait(struct baton *baton, unsigned block, uint64_t page)
{
    struct fault_server *faults = &baton->faults;

    pthread_mutex_lock(&faults->lock);
    atomic_fetch_add(&faults->sleepers, 1);
    if (atomic_load(&baton->guarded) && !pageset_is_received(&baton->pages, block, page))
        wish(baton, block, page);
    while (atomic_load(&baton->guarded) && !pageset_is_received(&baton->pages, block, page))
        pthread_cond_wait(&faults->arrived, &faults->lock);
    atomic_fetch_sub(&faults->sleepers, 1);
    pthread_mutex_unlock(&faults->lock);
}

void fault_soft_arrived(struct baton *baton)
{
    struct fault_server *faults = &baton->faults;

    atomic_thread_fence(memory_order_seq_cst);
    if (!atomic_load(&faults->sleepers))
        return;
    pthread_mutex_lock(&faults->lock);
    pthread_cond_broadcast(&faults->arrived);
    pthread_mutex_unlock(&faults->lock);
}

void fault_soft_serve(struct baton *baton)
{
    struct fault_server *faults = &baton->faults;

    for (;;) {
        unsigned block;
        uint64_t page;
        bool any;

        pthread_mutex_lock(&faults->lock);
        any = faults->working && faults->wish_count;
        if (any) {
            block = faults->wishes[faults->wish_head].block;
            page = faults->wishes[faults->wish_head].page;
            faults->wish_head = (faults->wish_head + 1) % BATON_MAX_WAITERS;
            faults->wish_count--;
        }
        pthread_mutex_unlock(&faults->lock);
        if (!any)
            return;
        if (!pageset_is_received(&baton->pages, block, page))
            fault_wanted(baton, block, page);
    }
}
