/* SPDX-License-Identifier: MIT */
/* What Baton takes for granted of userfaultfd over private anonymous memory. */
#include "harness.h"

#include <fcntl.h>
#include <sys/wait.h>

static void a_thread_that_faults_waits_until_the_page_is_copied(void **state)
{
    struct uffd uffd = open_or_skip();
    uint8_t *memory = map_bytes(2 * PAGE);
    struct toucher toucher;
    struct uffd_event event;

    watch(&uffd, memory, 2 * PAGE);
    touch(&toucher, memory + PAGE + 5, false);
    assert_true(next_event(&uffd, &event, MUST_COME_MS));
    assert_ptr_equal(event.host, memory + PAGE);
    assert_false(event.write);
    sleep_ms(MUST_NOT_COME_MS);
    assert_false(atomic_load(&toucher.done));
    assert_int_equal(place(&uffd, memory + PAGE, 0x42), 0); /* the copy wakes it by itself */
    pthread_join(toucher.thread, NULL);
    assert_int_equal(toucher.saw, 0x42);
    uffd_close(&uffd);
    munmap(memory, 2 * PAGE);
}

static void a_write_fault_is_told_and_the_write_comes_after_the_page(void **state)
{
    struct uffd uffd = open_or_skip();
    uint8_t *memory = map_bytes(PAGE);
    struct toucher toucher;
    struct uffd_event event;

    watch(&uffd, memory, PAGE);
    touch(&toucher, memory, true);
    assert_true(next_event(&uffd, &event, MUST_COME_MS));
    assert_true(event.write);
    assert_int_equal(place(&uffd, memory, 0x42), 0);
    pthread_join(toucher.thread, NULL);
    assert_int_equal(memory[0], 0x77);
    assert_int_equal(memory[1], 0x42);
    uffd_close(&uffd);
    munmap(memory, PAGE);
}

static void one_copy_wakes_everybody_who_waits_for_the_page(void **state)
{
    struct uffd uffd = open_or_skip();
    uint8_t *memory = map_bytes(PAGE);
    struct toucher touchers[4];
    struct uffd_event event;

    watch(&uffd, memory, PAGE);
    for (unsigned i = 0; i < 4; i++)
        touch(&touchers[i], memory + i, false);
    for (unsigned i = 0; i < 4; i++) /* each of them is an event of its own */
        assert_true(next_event(&uffd, &event, MUST_COME_MS));
    assert_int_equal(place(&uffd, memory, 0x42), 0);
    for (unsigned i = 0; i < 4; i++)
        pthread_join(touchers[i].thread, NULL);
    uffd_close(&uffd);
    munmap(memory, PAGE);
}

static void a_copy_onto_a_page_that_is_there_says_exist_and_changes_nothing(void **state)
{
    struct uffd uffd = open_or_skip();
    uint8_t *memory = map_bytes(PAGE);

    memory[7] = 9;
    watch(&uffd, memory, PAGE);
    assert_int_equal(place(&uffd, memory, 0x42), -EEXIST);
    assert_int_equal(memory[7], 9);
    assert_int_equal(memory[8], 0);
    uffd_close(&uffd);
    munmap(memory, PAGE);
}

static void a_hole_that_was_read_before_registration_counts_as_there(void **state)
{
    struct uffd uffd = open_or_skip();
    uint8_t *memory = map_bytes(2 * PAGE);
    struct uffd_event event;

    assert_int_equal(madvise(memory, 2 * PAGE, MADV_NOHUGEPAGE), 0);
    assert_int_equal(baton_guest_load_u8(memory), 0);
    watch(&uffd, memory, 2 * PAGE);
    memory[0] = 1; /* the first write to it is no missing page either: it does not hang */
    assert_false(next_event(&uffd, &event, 0));
    assert_true(was_present(&uffd, memory));
    assert_false(was_present(&uffd, memory + PAGE)); /* while its untouched neighbour is missing */
    uffd_close(&uffd);
    munmap(memory, 2 * PAGE);
}

static void a_discard_of_registered_memory_makes_it_missing_again(void **state)
{
    struct uffd uffd = open_or_skip();
    uint8_t *memory = map_bytes(3 * PAGE);

    memset(memory, 1, 3 * PAGE);
    watch(&uffd, memory, 3 * PAGE);
    discard(memory + PAGE, PAGE);
    assert_true(was_present(&uffd, memory));
    assert_false(was_present(&uffd, memory + PAGE));
    assert_true(was_present(&uffd, memory + 2 * PAGE));
    discard(memory + PAGE, PAGE); /* also one that was placed */
    assert_false(was_present(&uffd, memory + PAGE));
    uffd_close(&uffd);
    munmap(memory, 3 * PAGE);
}

/* Why it is never closed while a page is missing. */
static void closing_turns_holes_into_zeros_without_a_word(void **state)
{
    struct uffd uffd = open_or_skip();
    uint8_t *memory = map_bytes(2 * PAGE);
    struct toucher toucher;
    struct uffd_event event;

    watch(&uffd, memory, 2 * PAGE);
    touch(&toucher, memory, false);
    assert_true(next_event(&uffd, &event, MUST_COME_MS));
    uffd_close(&uffd);
    pthread_join(toucher.thread, NULL); /* who waited is let go with zeros... */
    assert_int_equal(toucher.saw, 0);
    assert_int_equal(memory[PAGE], 0); /* ...and so is who comes later */
    munmap(memory, 2 * PAGE);
}

static void unregistering_wakes_who_waits_and_turns_holes_into_zeros(void **state)
{
    struct uffd uffd = open_or_skip();
    uint8_t *memory = map_bytes(PAGE);
    struct toucher toucher;
    struct uffd_event event;

    watch(&uffd, memory, PAGE);
    touch(&toucher, memory, false);
    assert_true(next_event(&uffd, &event, MUST_COME_MS));
    assert_int_equal(uffd_unregister(&uffd, memory, PAGE, NULL), 0);
    pthread_join(toucher.thread, NULL);
    assert_int_equal(toucher.saw, 0);
    uffd_close(&uffd);
    munmap(memory, PAGE);
}

static void an_event_that_was_read_comes_again_only_after_a_wake(void **state)
{
    struct uffd uffd = open_or_skip();
    uint8_t *memory = map_bytes(PAGE);
    struct toucher toucher;
    struct uffd_event event;

    watch(&uffd, memory, PAGE);
    touch(&toucher, memory, false);
    assert_true(next_event(&uffd, &event, MUST_COME_MS));
    assert_false(next_event(&uffd, &event, MUST_NOT_COME_MS));
    assert_int_equal(uffd_wake(&uffd, memory, PAGE), 0);
    assert_true(next_event(&uffd, &event, MUST_COME_MS));
    assert_false(atomic_load(&toucher.done));
    assert_int_equal(place(&uffd, memory, 1), 0);
    pthread_join(toucher.thread, NULL);
    uffd_close(&uffd);
    munmap(memory, PAGE);
}

/* A system call of a thread, given memory that may be missing. */
struct caller {
    pthread_t thread;
    uint8_t *memory;
    int fd;
    bool reads;
    ssize_t rc;
    int code;
    _Atomic bool done;
};

static void *run_caller(void *opaque)
{
    struct caller *self = opaque;

    self->rc = self->reads ? read(self->fd, self->memory, 8) : write(self->fd, self->memory, 8);
    self->code = errno;
    atomic_store(&self->done, true);
    return NULL;
}

static void a_system_call_given_a_missing_page(bool reads)
{
    struct uffd uffd = open_or_skip();
    uint8_t *memory = map_bytes(PAGE);
    struct caller caller = {.memory = memory, .reads = reads};
    struct uffd_event event;
    int pipes[2];

    watch(&uffd, memory, PAGE);
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(write(pipes[1], "12345678", 8), 8);
    caller.fd = pipes[reads ? 0 : 1];
    assert_int_equal(pthread_create(&caller.thread, NULL, run_caller, &caller), 0);
    if (uffd.user_mode_only) {
        pthread_join(caller.thread, NULL);
        assert_int_equal(caller.rc, -1);
        assert_int_equal(caller.code, EFAULT);
    } else {
        assert_true(next_event(&uffd, &event, MUST_COME_MS));
        assert_ptr_equal(event.host, memory);
        sleep_ms(MUST_NOT_COME_MS);
        assert_false(atomic_load(&caller.done));
        assert_int_equal(place(&uffd, memory, 0x42), 0);
        pthread_join(caller.thread, NULL);
        assert_int_equal(caller.rc, 8);
        assert_int_equal(memory[0], reads ? '1' : 0x42);
        assert_int_equal(memory[8], 0x42);
    }
    close(pipes[0]);
    close(pipes[1]);
    uffd_close(&uffd);
    munmap(memory, PAGE);
}

static void read_into_a_missing_page_waits_for_it(void **state)
{
    a_system_call_given_a_missing_page(true);
}

static void write_from_a_missing_page_waits_for_it(void **state)
{
    a_system_call_given_a_missing_page(false);
}

static void a_page_appears_whole_or_not_at_all(void **state)
{
    struct uffd uffd = open_or_skip();
    uint8_t *memory = map_bytes(PAGE);

    watch(&uffd, memory, PAGE);
    for (int i = 0; i < 100; i++) {
        struct toucher touchers[2];

        discard(memory, PAGE);
        touch(&touchers[0], memory, false);
        touch(&touchers[1], memory + PAGE - 1, false);
        assert_int_equal(place(&uffd, memory, 0x42), 0);
        for (unsigned j = 0; j < 2; j++) {
            pthread_join(touchers[j].thread, NULL);
            assert_int_equal(touchers[j].saw, 0x42);
        }
    }
    uffd_close(&uffd);
    munmap(memory, PAGE);
}

static void memory_kept_out_of_forks_is_not_in_the_child(void **state)
{
    uint8_t *memory = map_bytes(PAGE);
    unsigned char there;
    int status;
    pid_t child;

    memory[0] = 1;
    assert_int_equal(madvise(memory, PAGE, MADV_DONTFORK), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(mincore(memory, PAGE, &there) == -1 && errno == ENOMEM ? 0 : 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    munmap(memory, PAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_thread_that_faults_waits_until_the_page_is_copied),
        cmocka_unit_test(a_write_fault_is_told_and_the_write_comes_after_the_page),
        cmocka_unit_test(one_copy_wakes_everybody_who_waits_for_the_page),
        cmocka_unit_test(a_copy_onto_a_page_that_is_there_says_exist_and_changes_nothing),
        cmocka_unit_test(a_hole_that_was_read_before_registration_counts_as_there),
        cmocka_unit_test(a_discard_of_registered_memory_makes_it_missing_again),
        cmocka_unit_test(closing_turns_holes_into_zeros_without_a_word),
        cmocka_unit_test(unregistering_wakes_who_waits_and_turns_holes_into_zeros),
        cmocka_unit_test(an_event_that_was_read_comes_again_only_after_a_wake),
        cmocka_unit_test(read_into_a_missing_page_waits_for_it),
        cmocka_unit_test(write_from_a_missing_page_waits_for_it),
        cmocka_unit_test(a_page_appears_whole_or_not_at_all),
        cmocka_unit_test(memory_kept_out_of_forks_is_not_in_the_child),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
