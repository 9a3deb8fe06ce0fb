/* SPDX-License-Identifier: MIT */
/*
 * The library writes a VM into files, commands and pipes, and reads it from there. Each test is
 * named after the failure that it protects from.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pair.h"

#define LIMIT_MS 20000

struct fixture {
    struct vm source, dest;
    char path[64], to[128], from[128];
};

static struct fixture *set_up(void)
{
    struct fixture *f = calloc(1, sizeof(*f));

    vm_init(&f->source, "source", false);
    vm_init(&f->dest, "dest", true);
    snprintf(f->path, sizeof(f->path), "oneway-%d.sav", (int)getpid());
    snprintf(f->to, sizeof(f->to), "file:%s", f->path);
    snprintf(f->from, sizeof(f->from), "file:%s", f->path);
    return f;
}

static void tear_down(struct fixture *f)
{
    vm_fini(&f->source);
    vm_fini(&f->dest);
    unlink(f->path);
    free(f);
}

static void ok(int result, const struct baton_error *error)
{
    if (result < 0)
        fail_msg("%s", error->text);
}

static void save(struct fixture *f)
{
    struct baton_error error;

    ok(baton_migrate(f->source.baton, f->to, false, &error), &error);
    assert_true(vm_wait_status(&f->source, BATON_STATUS_COMPLETED, LIMIT_MS));
}

static void load(struct vm *dest, const char *from)
{
    struct baton_error error;

    int result;

    /* One that has just completed as a source may have to let go of its link. */
    for (unsigned i = 0; (result = baton_incoming(dest->baton, from, &error)) < 0 && i < 1000; i++)
        usleep(1000);
    ok(result, &error);
    assert_true(vm_wait_status(dest, BATON_STATUS_COMPLETED, LIMIT_MS));
    assert_true(vm_wait_steps(dest, 100, LIMIT_MS));
    assert_int_equal(vm_verify(dest), 0);
}

static void has_error(struct vm *vm, const char *part)
{
    struct baton_info info;

    /* The event comes a moment before the picture. */
    for (unsigned i = 0; i < 1000; i++) {
        baton_query(vm->baton, &info);
        if (info.error[0])
            break;
        usleep(1000);
    }
    if (!strstr(info.error, part))
        fail_msg("\"%s\" says nothing of \"%s\"", info.error, part);
}

static void test_a_saved_vm_loses_a_page(void **state)
{
    struct fixture *f = set_up();

    (void)state;
    save(f);
    load(&f->dest, f->from);
    assert_int_equal(atomic_load(&f->source.wrong), 0);
    tear_down(f);
}

static void test_a_compressed_vm_loses_a_page(void **state)
{
    struct fixture *f = set_up();

    (void)state;
    /* The guest is faster than the command: how long it rests does not matter here. */
    baton_set_parameter(f->source.baton, BATON_PARAMETER_DOWNTIME_LIMIT, 1000000, NULL);
    snprintf(f->to, sizeof(f->to), "exec:gzip -1 > %s", f->path);
    snprintf(f->from, sizeof(f->from), "exec:gzip -dc < %s", f->path);
    save(f);
    load(&f->dest, f->from);
    tear_down(f);
}

/* The stream passes from one to the other as it is made. */
static void over_descriptors(int type)
{
    struct fixture *f = set_up();
    struct baton_error error;
    int fds[2];

    if (type == S_IFIFO)
        assert_int_equal(pipe(fds), 0);
    else
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    snprintf(f->from, sizeof(f->from), "fd:%d", fds[0]);
    snprintf(f->to, sizeof(f->to), "fd:%d", fds[1]);
    ok(baton_incoming(f->dest.baton, f->from, &error), &error);
    save(f);
    assert_true(vm_wait_status(&f->dest, BATON_STATUS_COMPLETED, LIMIT_MS));
    assert_true(vm_wait_steps(&f->dest, 100, LIMIT_MS));
    assert_int_equal(vm_verify(&f->dest), 0);
    tear_down(f);
}

static void test_a_pipe_loses_a_page(void **state)
{
    (void)state;
    over_descriptors(S_IFIFO);
}

static void test_a_socket_that_was_given_loses_a_page(void **state)
{
    (void)state;
    over_descriptors(S_IFSOCK);
}

/* Two of it would be two runners; it can be read back into the same process. */
static void test_a_saved_vm_runs_here_as_well(void **state)
{
    struct fixture *f = set_up();
    struct baton_error error;

    (void)state;
    save(f);
    assert_true(baton_cont(f->source.baton, &error) < 0);
    assert_non_null(strstr(error.text, "two of it"));
    assert_true(baton_migrate(f->source.baton, f->to, false, &error) < 0);
    load(&f->source, f->from);
    tear_down(f);
}

static void fails_and_goes_on(struct fixture *f, const char *to, const char *part)
{
    struct baton_error error;

    ok(baton_migrate(f->source.baton, to, false, &error), &error);
    assert_true(vm_wait_status(&f->source, BATON_STATUS_FAILED, LIMIT_MS));
    has_error(&f->source, part);
    assert_true(vm_wait_steps(&f->source, 100, LIMIT_MS));
}

static void test_a_failure_to_save_costs_the_vm(void **state)
{
    struct fixture *f = set_up();

    (void)state;
    fails_and_goes_on(f, "file:/dev/full", "No space left");
    fails_and_goes_on(f, "file:no/such/folder", "cannot be opened");
    fails_and_goes_on(f, "exec:exit 3", "status 3");
    fails_and_goes_on(f, "exec:cat >/dev/null; exit 4", "status 4");
    fails_and_goes_on(f, "chaos:cut-out-byte=5000000:file:/dev/null", "not written away");
    save(f);
    load(&f->dest, f->from);
    tear_down(f);
}

static void test_a_hanging_command_cannot_be_ended(void **state)
{
    struct fixture *f = set_up();
    struct baton_error error;

    (void)state;
    ok(baton_migrate(f->source.baton, "exec:sleep 100", false, &error), &error);
    assert_true(vm_wait_steps(&f->source, 100, LIMIT_MS));
    ok(baton_cancel(f->source.baton, &error), &error);
    assert_true(vm_wait_status(&f->source, BATON_STATUS_CANCELLED, LIMIT_MS));
    ok(baton_incoming(f->dest.baton, "exec:sleep 100", &error), &error);
    assert_true(vm_wait_status(&f->dest, BATON_STATUS_ACTIVE, LIMIT_MS));
    ok(baton_cancel(f->dest.baton, &error), &error);
    assert_true(vm_wait_status(&f->dest, BATON_STATUS_CANCELLED, LIMIT_MS));
    /* Nothing may hang either when the library ends in the middle. */
    ok(baton_migrate(f->source.baton, "exec:sleep 100", false, &error), &error);
    ok(baton_incoming(f->dest.baton, "exec:sleep 100", &error), &error);
    tear_down(f);
}

static void refuses(struct fixture *f, const char *from, const char *part)
{
    struct baton_error error;

    ok(baton_incoming(f->dest.baton, from, &error), &error);
    assert_true(vm_wait_status(&f->dest, BATON_STATUS_FAILED, LIMIT_MS));
    has_error(&f->dest, part);
    assert_int_equal(atomic_load(&f->dest.starts), 0);
}

static void test_a_damaged_file_is_run(void **state)
{
    struct fixture *f = set_up();
    char command[256];
    struct stat status;

    (void)state;
    save(f);
    assert_int_equal(stat(f->path, &status), 0);
    for (unsigned i = 0; i < 20; i++) {
        long size = i < 10 ? (long)status.st_size * (long)i / 10 : (long)status.st_size + 9 - i;

        snprintf(command, sizeof(command), "exec:head -c %ld %s", size, f->path);
        refuses(f, command, "the stream ends in the middle");
    }
    snprintf(command, sizeof(command), "exec:cat %s; echo more", f->path);
    refuses(f, command, "bytes follow the end");
    snprintf(command, sizeof(command), "exec:cat %s; exit 7", f->path);
    refuses(f, command, "status 7");
    snprintf(command, sizeof(command), "file:%s,offset=1", f->path);
    refuses(f, command, "cannot be loaded");
    load(&f->dest, f->from);
    tear_down(f);
}

/* A stock QEMU's file: another machine. And what was never a VM. */
static void test_something_else_is_run(void **state)
{
    struct fixture *f = set_up();

    (void)state;
    refuses(f, "exec:printf 'QEVM\\000\\000\\000\\003\\007\\000\\000\\000\\004virt\\001'",
            "the machine is \"virt\" at the source and \"pair\" here");
    refuses(f, "file:/dev/null", "the stream ends in the middle");
    refuses(f, "exec:echo this is no virtual machine", "cannot be loaded");
    refuses(f, "exec:no-such-command 2>/dev/null", "status 127");
    tear_down(f);
}

static void test_postcopy_without_a_way_back(void **state)
{
    struct fixture *f = set_up();
    struct baton_error error;

    (void)state;
    baton_set_capability(f->source.baton, BATON_CAPABILITY_POSTCOPY_RAM, true, NULL);
    assert_true(baton_migrate(f->source.baton, f->to, false, &error) < 0);
    assert_non_null(strstr(error.text, "way back"));
    assert_true(access(f->path, F_OK) < 0);
    tear_down(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_saved_vm_loses_a_page),
        cmocka_unit_test(test_a_compressed_vm_loses_a_page),
        cmocka_unit_test(test_a_pipe_loses_a_page),
        cmocka_unit_test(test_a_socket_that_was_given_loses_a_page),
        cmocka_unit_test(test_a_saved_vm_runs_here_as_well),
        cmocka_unit_test(test_a_failure_to_save_costs_the_vm),
        cmocka_unit_test(test_a_hanging_command_cannot_be_ended),
        cmocka_unit_test(test_a_damaged_file_is_run),
        cmocka_unit_test(test_something_else_is_run),
        cmocka_unit_test(test_postcopy_without_a_way_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
