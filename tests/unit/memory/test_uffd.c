/* SPDX-License-Identifier: MIT */
/* Our wrapper: partial fills, loud faults, events; and a whole small postcopy with threads that
 * race for pages. */
#include "harness.h"

#include <poll.h>
#include <sys/syscall.h>

#define PAGES 64

struct rig {
    struct ram_table table;
    struct uffd uffd;
    uint8_t *host, *from;
};

static int set_up(void **state)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    struct baton_error error = {0};

    assert_non_null(rig);
    *state = rig;
    make_table(&rig->table, PAGES);
    rig->host = rig->table.blocks[0].host;
    rig->from = map_pages(PAGES);
    for (uint64_t i = 0; i < PAGES * PAGE; i++)
        rig->from[i] = (uint8_t)(i / PAGE + 1);
    rig->uffd.fd = -1;
    if (uffd_open(&rig->uffd, &error))
        print_message("%s\n", error.text);
    return 0;
}

static int tear_down(void **state)
{
    struct rig *rig = *state;

    uffd_close(&rig->uffd);
    drop_table(&rig->table);
    munmap(rig->from, PAGES * PAGE);
    free(rig);
    return 0;
}

/* The rig with all its memory registered; skips the test where userfaultfd is refused. */
static struct rig *ready(void **state)
{
    struct rig *rig = *state;
    struct baton_error error = {0};

    if (rig->uffd.fd < 0)
        skip();
    must(uffd_register(&rig->uffd, rig->host, PAGES * PAGE, &error), &error);
    return rig;
}

static void a_copy_that_meets_a_page_says_where(void **state)
{
    struct rig *rig = ready(state);
    uint64_t done;

    assert_int_equal(uffd_copy(&rig->uffd, rig->host + 5 * PAGE, rig->from, PAGE, &done), 0);
    assert_int_equal(done, PAGE);
    assert_int_equal(uffd_copy(&rig->uffd, rig->host, rig->from, 8 * PAGE, &done), -EEXIST);
    assert_int_equal(done, 5 * PAGE);
    assert_int_equal(rig->host[4 * PAGE], 5);
    assert_int_equal(rig->host[5 * PAGE], 1); /* not overwritten */
    assert_int_equal(uffd_copy(&rig->uffd, rig->host + 5 * PAGE, rig->from, PAGE, &done), -EEXIST);
    assert_int_equal(done, 0);
    assert_int_equal(uffd_copy(&rig->uffd, rig->host + 6 * PAGE, rig->from, 58 * PAGE, &done), 0);
    assert_int_equal(done, 58 * PAGE);
}

static void zeros_are_placed_likewise(void **state)
{
    struct rig *rig = ready(state);
    uint64_t done;

    assert_int_equal(uffd_zero(&rig->uffd, rig->host + 3 * PAGE, PAGE, &done), 0);
    assert_int_equal(uffd_zero(&rig->uffd, rig->host, PAGES * PAGE, &done), -EEXIST);
    assert_int_equal(done, 3 * PAGE);
    assert_true(baton_guest_is_zero(rig->host, 4 * PAGE));
    rig->host[0] = 1; /* a page of zeros can be written to without a fault that we would see */
}

static void memory_that_is_not_registered_is_refused(void **state)
{
    struct rig *rig = ready(state);
    struct baton_error error = {0};
    uint8_t *other = map_pages(1);
    uint64_t done;

    assert_int_equal(uffd_copy(&rig->uffd, other, rig->from, PAGE, &done), -ENOENT);
    assert_int_equal(uffd_copy(&rig->uffd, rig->host + 1, rig->from, PAGE, &done), -EINVAL);
    assert_int_equal(uffd_register(&rig->uffd, other + 1, PAGE, &error), -EINVAL);
    assert_non_null(strstr(error.text, "private anonymous"));
    must(uffd_unregister(&rig->uffd, rig->host, PAGES * PAGE, &error), &error);
    assert_int_equal(uffd_copy(&rig->uffd, rig->host, rig->from, PAGE, &done), -ENOENT);
    munmap(other, PAGE);
}

struct toucher {
    pthread_t thread;
    uint8_t *host;
    uint64_t first_page, step;
    _Atomic uint32_t id;
    uint64_t wrong;
};

static void *run_toucher(void *opaque)
{
    struct toucher *self = opaque;

    atomic_store(&self->id, (uint32_t)syscall(SYS_gettid));
    for (uint64_t i = 0, page = self->first_page; i < PAGES;
         i++, page = (page + self->step) % PAGES)
        if (baton_guest_load_u64(self->host + page * PAGE) != 0x0101010101010101ull * (page + 1))
            self->wrong++;
    return NULL;
}

static void an_event_names_the_page_and_the_thread(void **state)
{
    struct rig *rig = ready(state);
    struct toucher toucher = {.host = rig->host, .first_page = 9, .step = 1};
    struct pollfd poll_fd = {.fd = rig->uffd.fd, .events = POLLIN};
    struct uffd_event events[4];
    uint64_t done;

    assert_int_equal(uffd_read(&rig->uffd, events, 4), 0); /* does not block */
    assert_int_equal(uffd_copy(&rig->uffd, rig->host, rig->from, 9 * PAGE, &done), 0);
    assert_int_equal(pthread_create(&toucher.thread, NULL, run_toucher, &toucher), 0);
    assert_int_equal(poll(&poll_fd, 1, 5000), 1);
    assert_int_equal(uffd_read(&rig->uffd, events, 4), 1);
    assert_ptr_equal(events[0].host, rig->host + 9 * PAGE);
    assert_false(events[0].write);
    if (rig->uffd.thread_ids)
        assert_int_equal(events[0].thread, atomic_load(&toucher.id));
    /* Woken without a page, it faults again and is reported again: what a recovery relies on. */
    assert_int_equal(uffd_wake(&rig->uffd, rig->host + 9 * PAGE, PAGE), 0);
    assert_int_equal(poll(&poll_fd, 1, 5000), 1);
    assert_int_equal(uffd_read(&rig->uffd, events, 4), 1);
    assert_ptr_equal(events[0].host, rig->host + 9 * PAGE);
    assert_int_equal(
        uffd_copy(&rig->uffd, rig->host + 9 * PAGE, rig->from + 9 * PAGE, 55 * PAGE, &done), 0);
    pthread_join(toucher.thread, NULL);
    assert_int_equal(toucher.wrong, 0);
}

/* Two placers go for the same pages while three threads read all of them: each page is placed by
 * one, and all see it whole. */
struct placer {
    pthread_t thread;
    struct rig *rig;
    uint64_t placed, refused;
};

static void *run_placer(void *opaque)
{
    struct placer *self = opaque;

    for (uint64_t page = 0; page < PAGES; page++) {
        uint64_t done;
        int rc = uffd_copy(&self->rig->uffd, self->rig->host + page * PAGE,
                           self->rig->from + page * PAGE, PAGE, &done);

        self->placed += rc == 0;
        self->refused += rc == -EEXIST;
    }
    return NULL;
}

static void racing_placers_and_readers_agree(void **state)
{
    struct rig *rig = ready(state);
    struct baton_error error = {0};

    for (int round = 0; round < 100; round++) {
        struct toucher touchers[3];
        struct placer placers[2];

        must(ram_discard(&rig->table, 0, 0, PAGES * PAGE, &error), &error);
        for (unsigned i = 0; i < 3; i++) {
            touchers[i] =
                (struct toucher){.host = rig->host, .first_page = i * 20, .step = 2 * i + 1};
            assert_int_equal(pthread_create(&touchers[i].thread, NULL, run_toucher, &touchers[i]),
                             0);
        }
        for (unsigned i = 0; i < 2; i++) {
            placers[i] = (struct placer){.rig = rig};
            assert_int_equal(pthread_create(&placers[i].thread, NULL, run_placer, &placers[i]), 0);
        }
        for (unsigned i = 0; i < 2; i++)
            pthread_join(placers[i].thread, NULL);
        for (unsigned i = 0; i < 3; i++) {
            pthread_join(touchers[i].thread, NULL);
            assert_int_equal(touchers[i].wrong, 0);
        }
        assert_int_equal(placers[0].placed + placers[1].placed, PAGES);
        assert_int_equal(placers[0].refused + placers[1].refused, PAGES);
    }
}

int main(void)
{
#define UFFD_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        UFFD_TEST(a_copy_that_meets_a_page_says_where),
        UFFD_TEST(zeros_are_placed_likewise),
        UFFD_TEST(memory_that_is_not_registered_is_refused),
        UFFD_TEST(an_event_names_the_page_and_the_thread),
        UFFD_TEST(racing_placers_and_readers_agree),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
