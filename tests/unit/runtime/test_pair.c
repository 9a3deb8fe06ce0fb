/* SPDX-License-Identifier: MIT */
/*
 * The library moves a VM between two baton objects of one process: real threads, real sockets, real
 * page faults. Each test is named after the failure that it protects from.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pair.h"

#define LIMIT_MS 20000

struct fixture {
    struct vm source, dest;
    char uri[BATON_URI_BYTES];
};

static void ok(int result, const struct baton_error *error)
{
    if (result < 0)
        fail_msg("%s", error->text);
}

static void set_up(struct fixture *f, const char *listen)
{
    struct baton_error error;
    struct baton_info info;

    vm_init(&f->source, "source", false);
    vm_init(&f->dest, "dest", true);
    baton_set_capability(f->source.baton, BATON_CAPABILITY_POSTCOPY_RAM, true, NULL);
    baton_set_capability(f->dest.baton, BATON_CAPABILITY_POSTCOPY_RAM, true, NULL);
    ok(baton_incoming(f->dest.baton, listen, &error), &error);
    baton_query(f->dest.baton, &info);
    assert_int_equal(info.address_count, 1);
    strcpy(f->uri, info.addresses[0]);
}

static void tear_down(struct fixture *f)
{
    vm_fini(&f->source);
    vm_fini(&f->dest);
}

static void check_arrived(struct fixture *f)
{
    assert_true(vm_wait_status(&f->source, BATON_STATUS_COMPLETED, LIMIT_MS));
    assert_true(vm_wait_status(&f->dest, BATON_STATUS_COMPLETED, LIMIT_MS));
    assert_true(vm_wait_steps(&f->dest, 100, LIMIT_MS));
    assert_int_equal(vm_verify(&f->dest), 0);
    assert_int_equal(atomic_load(&f->source.wrong), 0);
}

static void precopy_over(const char *listen)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct baton_error error;

    set_up(f, listen);
    ok(baton_migrate(f->source.baton, f->uri, false, &error), &error);
    check_arrived(f);
    tear_down(f);
    free(f);
}

static void test_precopy_loses_a_page_over_tcp(void **state)
{
    (void)state;
    precopy_over("tcp:127.0.0.1:0");
}

static void test_precopy_loses_a_page_over_unix(void **state)
{
    char listen[64];

    (void)state;
    /* The test runs more than once at a time, with different kinds of faults. */
    snprintf(listen, sizeof(listen), "unix:pair-test-%d.sock", (int)getpid());
    precopy_over(listen);
}

static void start_postcopy(struct fixture *f, uint64_t bandwidth)
{
    struct baton_error error;

    baton_set_parameter(f->source.baton, BATON_PARAMETER_MAX_BANDWIDTH, 20000000, NULL);
    baton_set_parameter(f->source.baton, BATON_PARAMETER_MAX_POSTCOPY_BANDWIDTH, bandwidth, NULL);
    ok(baton_migrate(f->source.baton, f->uri, false, &error), &error);
    ok(baton_start_postcopy(f->source.baton, &error), &error);
}

static void test_postcopy_loses_a_page(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    (void)state;
    set_up(f, "tcp:127.0.0.1:0");
    start_postcopy(f, 0);
    check_arrived(f);
    tear_down(f);
    free(f);
}

/* The RAM is then four pages, and a CPU that runs asks for all of them at once. */
static bool pages_are_huge(void)
{
    const char *backend = getenv("PAIR_BACKEND");

    return backend && strcmp(backend, "hugetlb") == 0;
}

/* A page whose way leads over a socket and three threads takes microseconds: whatever is faster was
 * no wait, but a CPU that asks again and again for a page that has just been placed. */
static void test_a_cpu_spins_on_a_page_that_has_been_placed(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct baton_info info;

    (void)state;
    if (pages_are_huge())
        skip(); /* four pages: too few faults for a median */
    set_up(f, "tcp:127.0.0.1:0");
    start_postcopy(f, 4000000);
    check_arrived(f);
    baton_query(f->dest.baton, &info);
    assert_true(info.faults > 0);
    assert_true(info.fault_p50_ns > 2000);
    assert_true(info.fault_p99_ns >= info.fault_p50_ns);
    assert_true(info.fault_max_ns >= info.fault_p99_ns);
    tear_down(f);
    free(f);
}

static void recover_times(unsigned times, bool at_dest)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct baton_error error;
    struct baton_info info;

    set_up(f, "tcp:127.0.0.1:0");
    if (pages_are_huge()) {
        ok(baton_stop(f->source.baton, &error), &error);
        times = times < 2 ? times : 2;
    }
    start_postcopy(f, 2000000);
    assert_true(vm_wait_status(&f->source, BATON_STATUS_POSTCOPY_ACTIVE, LIMIT_MS));
    for (unsigned i = 0; i < times; i++) {
        assert_true(vm_wait_status(&f->dest, BATON_STATUS_POSTCOPY_ACTIVE, LIMIT_MS));
        ok(baton_pause(at_dest ? f->dest.baton : f->source.baton, &error), &error);
        assert_true(vm_wait_status(&f->source, BATON_STATUS_POSTCOPY_PAUSED, LIMIT_MS));
        assert_true(vm_wait_status(&f->dest, BATON_STATUS_POSTCOPY_PAUSED, LIMIT_MS));
        ok(baton_migrate(f->source.baton, f->uri, true, &error), &error);
        assert_true(vm_wait_status(&f->source, BATON_STATUS_POSTCOPY_ACTIVE, LIMIT_MS));
    }
    baton_set_parameter(f->source.baton, BATON_PARAMETER_MAX_POSTCOPY_BANDWIDTH, 0, NULL);
    if (pages_are_huge())
        ok(baton_cont(f->dest.baton, &error), &error);
    check_arrived(f);
    baton_query(f->source.baton, &info);
    assert_int_equal(info.pauses, times);
    tear_down(f);
    free(f);
}

static void test_a_pause_at_the_source_loses_a_page(void **state)
{
    (void)state;
    recover_times(1, false);
}

static void test_ten_pauses_at_the_destination_lose_a_page(void **state)
{
    (void)state;
    recover_times(10, true);
}

static void test_a_broken_precopy_stops_the_vm_or_the_listener(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct baton_error error;
    char uri[BATON_URI_BYTES + 64];

    (void)state;
    set_up(f, "tcp:127.0.0.1:0");
    snprintf(uri, sizeof(uri), "chaos:cut-out-byte=1000000:%s", f->uri);
    ok(baton_migrate(f->source.baton, uri, false, &error), &error);
    assert_true(vm_wait_status(&f->source, BATON_STATUS_FAILED, LIMIT_MS));
    assert_true(vm_wait_status(&f->dest, BATON_STATUS_FAILED, LIMIT_MS));
    assert_true(vm_wait_steps(&f->source, 100, LIMIT_MS));
    ok(baton_migrate(f->source.baton, f->uri, false, &error), &error);
    check_arrived(f);
    tear_down(f);
    free(f);
}

/* baton_free() hung when the library ended between two looks of its loop. */
static void test_freeing_right_after_an_order_hangs(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 200; i++) {
        struct vm *vm = calloc(1, sizeof(*vm));

        vm_init(vm, "lone", true);
        baton_stop(vm->baton, NULL);
        vm_fini(vm);
        free(vm);
    }
}

/* A second migration must not report the first one's pages. */
static void test_counts_of_a_failed_migration_are_kept(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct baton_error error;
    struct baton_info info;
    char uri[BATON_URI_BYTES + 64];

    (void)state;
    set_up(f, "tcp:127.0.0.1:0");
    baton_stop(f->source.baton, NULL);
    snprintf(uri, sizeof(uri), "chaos:cut-out-byte=4000000:%s", f->uri);
    ok(baton_migrate(f->source.baton, uri, false, &error), &error);
    assert_true(vm_wait_status(&f->source, BATON_STATUS_FAILED, LIMIT_MS));
    assert_true(vm_wait_status(&f->dest, BATON_STATUS_FAILED, LIMIT_MS));
    ok(baton_migrate(f->source.baton, f->uri, false, &error), &error);
    assert_true(vm_wait_status(&f->source, BATON_STATUS_COMPLETED, LIMIT_MS));
    assert_true(vm_wait_status(&f->dest, BATON_STATUS_COMPLETED, LIMIT_MS));
    baton_query(f->source.baton, &info);
    assert_int_equal(info.normal_pages + info.zero_pages, PAIR_PAGES);
    baton_query(f->dest.baton, &info);
    assert_int_equal(info.normal_pages + info.zero_pages, PAIR_PAGES);
    tear_down(f);
    free(f);
}

/* Connections that say nothing, or say half of a migration, must not keep the source out or change
 * what its session knows. */
static void test_strangers_keep_the_source_out(void **state)
{
    static const uint8_t half[] = {
        0x51, 0x45, 0x56, 0x4d, 0,  0,    0,   3,         /* header */
        7,    0,    0,    0,    4,  'p',  'a', 'i',  'r', /* configuration */
        1,    0,    0,    0,    77, 3,    'r', 'a',  'm', 0,    0, 0,
        0,    0,    0,    0,    4,                                    /* START ram, id 77 */
        0,    0,    0,    0,    0,  0x80, 0,   4,                     /* 8 MiB in all */
        3,    'r',  'a',  'm',  0,  0,    0,   0,    0,   0x80, 0, 0, /* block "ram" */
        0,    0,    0,    0,    0,  0,    0,   0x10,                  /* end */
        0x7e, 0,    0,    0,    77,
    };
    struct fixture *f = calloc(1, sizeof(*f));
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct baton_error error;
    int strangers[60];

    (void)state;
    set_up(f, "tcp:127.0.0.1:0");
    to.sin_port = htons((uint16_t)atoi(strrchr(f->uri, ':') + 1));
    if (pages_are_huge())
        ok(baton_stop(f->source.baton, &error), &error);
    start_postcopy(f, 2000000);
    assert_true(vm_wait_status(&f->source, BATON_STATUS_POSTCOPY_ACTIVE, LIMIT_MS));
    assert_true(vm_wait_status(&f->dest, BATON_STATUS_POSTCOPY_ACTIVE, LIMIT_MS));
    ok(baton_pause(f->source.baton, &error), &error);
    assert_true(vm_wait_status(&f->source, BATON_STATUS_POSTCOPY_PAUSED, LIMIT_MS));
    assert_true(vm_wait_status(&f->dest, BATON_STATUS_POSTCOPY_PAUSED, LIMIT_MS));
    for (unsigned i = 0; i < 60; i++) {
        strangers[i] = socket(AF_INET, SOCK_STREAM, 0);
        assert_int_equal(connect(strangers[i], (struct sockaddr *)&to, sizeof(to)), 0);
        if (i % 3 == 0)
            assert_int_equal(send(strangers[i], half, sizeof(half), MSG_NOSIGNAL), sizeof(half));
    }
    ok(baton_migrate(f->source.baton, f->uri, true, &error), &error);
    baton_set_parameter(f->source.baton, BATON_PARAMETER_MAX_POSTCOPY_BANDWIDTH, 0, NULL);
    if (pages_are_huge())
        ok(baton_cont(f->dest.baton, &error), &error);
    check_arrived(f);
    for (unsigned i = 0; i < 60; i++)
        close(strangers[i]);
    tear_down(f);
    free(f);
}

static void test_a_raised_limit_has_no_effect(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct baton_error error;

    (void)state;
    set_up(f, "tcp:127.0.0.1:0");
    baton_set_parameter(f->source.baton, BATON_PARAMETER_MAX_BANDWIDTH, 1, NULL);
    ok(baton_migrate(f->source.baton, f->uri, false, &error), &error);
    assert_true(vm_wait_status(&f->source, BATON_STATUS_ACTIVE, LIMIT_MS));
    assert_true(vm_wait_steps(&f->source, 100, LIMIT_MS));
    baton_set_parameter(f->source.baton, BATON_PARAMETER_MAX_BANDWIDTH, 0, NULL);
    check_arrived(f);
    tear_down(f);
    free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_precopy_loses_a_page_over_tcp),
        cmocka_unit_test(test_precopy_loses_a_page_over_unix),
        cmocka_unit_test(test_postcopy_loses_a_page),
        cmocka_unit_test(test_a_cpu_spins_on_a_page_that_has_been_placed),
        cmocka_unit_test(test_a_pause_at_the_source_loses_a_page),
        cmocka_unit_test(test_ten_pauses_at_the_destination_lose_a_page),
        cmocka_unit_test(test_a_broken_precopy_stops_the_vm_or_the_listener),
        cmocka_unit_test(test_freeing_right_after_an_order_hangs),
        cmocka_unit_test(test_counts_of_a_failed_migration_are_kept),
        cmocka_unit_test(test_strangers_keep_the_source_out),
        cmocka_unit_test(test_a_raised_limit_has_no_effect),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
