/* SPDX-License-Identifier: MIT */
/*
 * Transparent huge pages against missing pages: the kernel likes to fill 2 MiB at once, holes
 * included. What must come first (watching, then discarding) follows from these tests.
 */
#include "harness.h"

#define HUGE_BYTES (2u * 1024 * 1024)

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

/* 2 MiB of memory that may be huge, aligned so that it can be. */
static uint8_t *map_huge(void)
{
    uint8_t *memory = map_bytes(3 * HUGE_BYTES);
    uint8_t *aligned =
        (uint8_t *)(((uintptr_t)memory + HUGE_BYTES - 1) & ~((uintptr_t)HUGE_BYTES - 1));

    if (madvise(aligned, HUGE_BYTES, MADV_HUGEPAGE)) {
        print_message("no transparent huge pages on this host: %s\n", strerror(errno));
        skip();
    }
    return aligned; /* what lies around it stays mapped until the test ends */
}

/* Kilobytes of huge pages in the mapping that begins at `memory`. */
static unsigned long huge_kib(const uint8_t *memory)
{
    FILE *maps = fopen("/proc/self/smaps", "r");
    unsigned long start, end, kib = 0;
    bool inside = false;
    char line[512];

    assert_non_null(maps);
    while (fgets(line, sizeof(line), maps)) {
        if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
            inside = start <= (uintptr_t)memory && (uintptr_t)memory < end;
        else if (inside && sscanf(line, "AnonHugePages: %lu", &kib) == 1)
            break;
    }
    fclose(maps);
    return kib;
}

static void need_huge(const uint8_t *memory)
{
    if (huge_kib(memory) == 0) {
        print_message("the kernel gave no huge page now\n");
        skip();
    }
}

static void a_discard_within_a_huge_page_leaves_holes_that_are_missing(void **state)
{
    struct uffd uffd = open_or_skip();
    uint8_t *memory = map_huge();
    struct toucher toucher;
    struct uffd_event event;

    memset(memory, 1, HUGE_BYTES);
    need_huge(memory);
    watch(&uffd, memory, HUGE_BYTES);
    discard(memory + 7 * PAGE, 2 * PAGE);
    assert_true(was_present(&uffd, memory + 6 * PAGE));
    assert_true(was_present(&uffd, memory + 9 * PAGE));
    assert_false(was_present(&uffd, memory + 7 * PAGE));
    touch(&toucher, memory + 8 * PAGE, false);
    assert_true(next_event(&uffd, &event, MUST_COME_MS));
    assert_ptr_equal(event.host, memory + 8 * PAGE);
    assert_int_equal(place(&uffd, memory + 8 * PAGE, 0x42), 0);
    pthread_join(toucher.thread, NULL);
    assert_int_equal(toucher.saw, 0x42);
    assert_int_equal(memory[6 * PAGE], 1);
    uffd_close(&uffd);
}

static void a_fault_in_an_empty_huge_range_is_of_one_page_once_registered(void **state)
{
    struct uffd uffd = open_or_skip();
    uint8_t *memory = map_huge();

    watch(&uffd, memory, HUGE_BYTES);
    assert_int_equal(place(&uffd, memory + 3 * PAGE, 0x42), 0);
    assert_int_equal(memory[3 * PAGE], 0x42);
    assert_false(was_present(&uffd, memory + 2 * PAGE));
    assert_false(was_present(&uffd, memory + 4 * PAGE));
    uffd_close(&uffd);
}

/* Why each page that is not received must be discarded by name: touching one page of zeros may map
 * 512. */
static void a_read_in_an_empty_huge_range_may_make_all_of_it_present(void **state)
{
    struct uffd uffd = open_or_skip();
    uint8_t *memory = map_huge();
    unsigned present = 0;

    assert_int_equal(baton_guest_load_u8(memory + 5 * PAGE), 0);
    watch(&uffd, memory, HUGE_BYTES);
    assert_true(was_present(&uffd, memory + 5 * PAGE));
    /* Whichever the kernel did, a discard makes a hole, and of exactly what was named. */
    discard(memory + 100 * PAGE, PAGE);
    assert_false(was_present(&uffd, memory + 100 * PAGE));
    assert_true(was_present(&uffd, memory + 5 * PAGE));
    for (unsigned page = 101; page < 512; page++)
        present += was_present(&uffd, memory + page * PAGE);
    print_message("one read made %s present\n",
                  present == 411 ? "all 512 pages" : "its page alone");
    assert_true(present == 411 || present == 0);
    uffd_close(&uffd);
}

/* Why userfaultfd is registered before the first discard: the same filling that khugepaged does on
 * its own, forced. */
static void collapsing_fills_holes_with_zeros_unless_they_are_watched(void **state)
{
    struct uffd uffd = open_or_skip();
    uint8_t *memory = map_huge();

    memset(memory, 1, HUGE_BYTES);
    discard(memory + 7 * PAGE, PAGE);
    if (madvise(memory, HUGE_BYTES, MADV_COLLAPSE)) {
        print_message("this kernel does not collapse on demand: %s\n", strerror(errno));
        skip();
    }
    watch(&uffd, memory, HUGE_BYTES);
    assert_true(was_present(
        &uffd, memory + 7 * PAGE)); /* the hole is gone: zeros, which no peer has sent */
    assert_int_equal(memory[7 * PAGE], 0);

    discard(memory + 7 * PAGE, PAGE);
    assert_int_not_equal(madvise(memory, HUGE_BYTES, MADV_COLLAPSE), 0);
    assert_false(was_present(&uffd, memory + 7 * PAGE));
    uffd_close(&uffd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_discard_within_a_huge_page_leaves_holes_that_are_missing),
        cmocka_unit_test(a_fault_in_an_empty_huge_range_is_of_one_page_once_registered),
        cmocka_unit_test(a_read_in_an_empty_huge_range_may_make_all_of_it_present),
        cmocka_unit_test(collapsing_fills_holes_with_zeros_unless_they_are_watched),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
