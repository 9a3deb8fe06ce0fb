/* SPDX-License-Identifier: MIT */
/*
 * The fault thread: it hears from the kernel who waits for which page, and asks the source for it.
 *
 * It works for one link at a time, between fault_work() and fault_halt(). When it halts, faults
 * queue up in the kernel, as many as there are threads that can fault, and nothing is dropped.
 * `requested` remembers what was asked for: asked once a link, and again on the next one for all
 * that has not come, because an answer may have died with the old link. A request is a hint, so
 * losing one can only cost time.
 *
 * A fault on a page that is received already is the echo of a race (the page was placed between the
 * fault and our reading of it): its thread is woken.
 *
 * userfaultfd is closed by fault_end() only, when every page is here or the VM will never run here:
 * closed earlier, the kernel would hand out zeros.
 */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "baton/guest.h"
#include "runtime/link.h"

#define EVENTS_AT_ONCE 16

static bool is_working(struct fault_server *faults)
{
    bool working;

    pthread_mutex_lock(&faults->lock);
    working = faults->working;
    pthread_mutex_unlock(&faults->lock);
    return working;
}

/* A full ring empties as soon as the writer writes; a link that dies ends the wait. */
static void request(struct fault_server *faults, unsigned block, uint64_t page)
{
    while (is_working(faults) && !link_request(faults->link, block, page))
        poll(NULL, 0, 1);
}

void fault_wanted(struct baton *baton, unsigned block, uint64_t page)
{
    struct fault_server *faults = &baton->faults;
    uint64_t bit = UINT64_C(1) << page % 64;

    atomic_fetch_add_explicit(&baton->stats.faults, 1, memory_order_relaxed);
    if (faults->requested[block][page / 64] & bit)
        return;
    faults->requested[block][page / 64] |= bit;
    request(faults, block, page);
}

static void serve_fault(struct baton *baton, const struct uffd_event *event)
{
    uint64_t offset, page;
    unsigned block;

    if (!ram_find_host(&baton->ram, event->host, &block, &offset))
        return;
    page = offset / page_bytes(baton, block);
    if (pageset_is_received(&baton->pages, block, page))
        uffd_wake(&baton->faults.uffd, page_host(baton, block, page), page_bytes(baton, block));
    else
        fault_wanted(baton, block, page);
}

/* After a recovery: what was asked for and has not come is asked for again. */
static void ask_again(struct baton *baton)
{
    struct fault_server *faults = &baton->faults;

    for (unsigned b = 0; b < baton->pages.block_count; b++) {
        for (size_t i = 0; i < pageset_words(baton->pages.blocks[b].pages); i++) {
            uint64_t word = faults->requested[b][i];

            for (; word; word &= word - 1) {
                uint64_t page = i * 64 + (uint64_t)__builtin_ctzll(word);

                if (pageset_is_received(&baton->pages, b, page))
                    faults->requested[b][i] &= ~(UINT64_C(1) << page % 64);
                else
                    request(faults, b, page);
            }
        }
    }
}

/* Halts until there is work. False: the thread is to end. */
static bool wait_for_work(struct baton *baton)
{
    struct fault_server *faults = &baton->faults;
    bool again, go_on;

    pthread_mutex_lock(&faults->lock);
    while (!faults->working && !faults->end) {
        if (!faults->resting) {
            struct link *told = faults->tell_rest ? faults->link : NULL;

            faults->resting = true;
            faults->link = NULL;
            faults->tell_rest = false;
            if (told) { /* the last word to a link: it may be gone right after */
                pthread_mutex_unlock(&faults->lock);
                link_thread_rests(told);
                pthread_mutex_lock(&faults->lock);
                continue;
            }
        }
        pthread_cond_wait(&faults->changed, &faults->lock);
    }
    go_on = !faults->end;
    again = faults->ask_again;
    faults->ask_again = false;
    faults->resting = false;
    pthread_mutex_unlock(&faults->lock);
    if (go_on && again)
        ask_again(baton);
    return go_on;
}

static void *fault_main(void *opaque)
{
    struct baton *baton = opaque;
    struct fault_server *faults = &baton->faults;
    struct uffd_event events[EVENTS_AT_ONCE];

    while (wait_for_work(baton)) {
        struct pollfd polled[2] = {{.fd = faults->uffd.fd, .events = POLLIN},
                                   {.fd = faults->wake_fd, .events = POLLIN}};
        uint64_t wakes;
        int count;

        poll(polled, 2, -1);
        if (polled[1].revents && read(faults->wake_fd, &wakes, sizeof(wakes)) < 0 &&
            errno != EAGAIN)
            abort(); /* an eventfd of our own cannot fail otherwise */
        if (!is_working(faults))
            continue;
        if (faults->software) {
            fault_soft_serve(baton);
            continue;
        }
        count = uffd_read(&faults->uffd, events, EVENTS_AT_ONCE);
        for (int i = 0; i < count; i++)
            serve_fault(baton, &events[i]);
    }
    return NULL;
}

static void wake(struct fault_server *faults)
{
    uint64_t one = 1;

    pthread_cond_broadcast(&faults->changed);
    if (write(faults->wake_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
        abort(); /* as above */
}

void fault_work(struct baton *baton, struct link *link)
{
    struct fault_server *faults = &baton->faults;

    if (!faults->made)
        return;
    pthread_mutex_lock(&faults->lock);
    faults->link = link;
    faults->working = true;
    faults->ask_again = true;
    wake(faults);
    pthread_mutex_unlock(&faults->lock);
}

bool fault_halt(struct baton *baton, struct link *link)
{
    struct fault_server *faults = &baton->faults;
    bool halts;

    if (!faults->made)
        return false;
    pthread_mutex_lock(&faults->lock);
    halts = faults->working && faults->link == link;
    if (halts) {
        link_add_active(link);
        faults->working = false;
        faults->resting = false;
        faults->tell_rest = true;
        wake(faults);
    }
    pthread_mutex_unlock(&faults->lock);
    return halts;
}

/* Opens userfaultfd, or finds that it is not to be used. */
static int open_uffd(struct baton *baton, struct uffd *uffd, bool *software,
                     struct baton_error *error)
{
    int result = 0;

    uffd->fd = -1;
    *software = baton->faults_wanted == BATON_FAULTS_SOFTWARE;
    if (!*software)
        result = uffd_open(uffd, error);
    if (result == 0 && !*software && uffd->user_mode_only &&
        baton->faults_wanted == BATON_FAULTS_AUTO) {
        /* System calls given a missing page would fail in this mode; everybody asks first anyway.
         */
        uffd_close(uffd);
        *software = true;
    } else if (result < 0 && baton->faults_wanted == BATON_FAULTS_AUTO) {
        *software = true;
        result = 0;
    }
    return result;
}

int fault_probe(struct baton *baton, struct baton_error *error)
{
    struct uffd uffd;
    bool software;
    int result = open_uffd(baton, &uffd, &software, error);

    if (result == 0 && !software)
        uffd_close(&uffd);
    return result;
}

int fault_place(struct baton *baton, unsigned block, uint64_t page, const uint8_t *bytes)
{
    struct fault_server *faults = &baton->faults;
    uint8_t *host = page_host(baton, block, page);
    uint64_t length_bytes = page_bytes(baton, block), done = 0;

    if (!atomic_load(&baton->guarded))
        return -ENOENT;
    if (!faults->software)
        return bytes ? uffd_copy(&faults->uffd, host, bytes, length_bytes, &done)
                     : uffd_zero(&faults->uffd, host, length_bytes, &done);
    /* Nobody looks at the page before it is received; discarded, it is zero already. */
    if (bytes)
        baton_guest_write(host, bytes, length_bytes);
    return 0;
}

void fault_placed(struct baton *baton)
{
    if (baton->faults.software)
        fault_soft_arrived(baton);
}

void fault_wait(struct baton *baton, unsigned block, uint64_t page)
{
    const uint8_t *host = page_host(baton, block, page);

    if (baton->faults.software) {
        fault_soft_wait(baton, block, page);
        return;
    }
    /*
     * The kernel stops us at the load until the page has been placed, and lets us go just before
     * it is known to be received. That rest is waited for too: a caller that came back at once
     * would find the page missing still, and each of its tries would count as a wait of no time.
     */
    do {
        (void)baton_guest_load_u8(host);
        sched_yield();
    } while (!baton_ram_is_present(baton, block, page * page_bytes(baton, block), 1));
}

static void free_server(struct baton *baton)
{
    struct fault_server *faults = &baton->faults;

    for (unsigned b = 0; b < BATON_MAX_RAM_BLOCKS; b++) {
        free(faults->requested[b]);
        faults->requested[b] = NULL;
    }
    if (faults->wake_fd >= 0)
        close(faults->wake_fd);
    faults->wake_fd = -1;
    if (!faults->software)
        uffd_close(&faults->uffd);
    faults->made = false;
}

static int register_blocks(struct baton *baton, struct baton_error *error)
{
    struct fault_server *faults = &baton->faults;

    for (unsigned b = 0; b < baton->ram.count; b++) {
        const struct ram_block *block = &baton->ram.blocks[b];
        int result = faults->software
                         ? 0
                         : uffd_register(&faults->uffd, block->host, block->length_bytes, error);

        if (result < 0)
            return result;
        faults->requested[b] =
            calloc(pageset_words(baton->pages.blocks[b].pages), sizeof(uint64_t));
        if (!faults->requested[b])
            return baton_error_set(error, ENOMEM, "no memory for the list of requested pages");
    }
    return 0;
}

int fault_register(struct baton *baton, struct baton_error *error)
{
    struct fault_server *faults = &baton->faults;
    int result = open_uffd(baton, &faults->uffd, &faults->software, error);

    if (result < 0)
        return result;
    faults->wish_head = faults->wish_count = 0;
    faults->working = faults->resting = faults->end = faults->ask_again = false;
    faults->tell_rest = false;
    faults->link = NULL;
    faults->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (faults->wake_fd < 0)
        result = baton_error_set(error, errno, "cannot make an eventfd: %s", strerror(errno));
    if (result == 0)
        result = register_blocks(baton, error);
    if (result == 0 && pthread_create(&faults->thread, NULL, fault_main, baton))
        result = baton_error_set(error, EAGAIN, "no thread to be had for page faults");
    if (result < 0) {
        free_server(baton);
        return result;
    }
    faults->made = true;
    return 0;
}

void fault_end(struct baton *baton)
{
    struct fault_server *faults = &baton->faults;

    if (!faults->made)
        return;
    pthread_mutex_lock(&faults->lock);
    faults->working = false;
    faults->end = true;
    wake(faults);
    pthread_mutex_unlock(&faults->lock);
    pthread_join(faults->thread, NULL);
    atomic_store(&baton->guarded, false);
    fault_placed(baton); /* nothing is missing any more */
    free_server(baton);
}
