/* SPDX-License-Identifier: MIT */
/*
 * Clients that wait, overtake, flood, vanish and do not read: the server and everybody else go on.
 *
 * The first argument says how often the tests of concurrency are repeated.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "client.h"
#include "fake.h"
#include "monitor/internal.h"

static char folder[] = "/tmp/baton-clients-XXXXXX", path[64];
static unsigned rounds = 3;
static struct qmp_server *server;

static int begin(void **state)
{
    struct baton_error error = {0};

    fake_reset();
    assert_int_equal(qmp_server_start(fake_machine(), path, &server, &error), 0);
    return 0;
}

static int end(void **state)
{
    fake_hold_ram(false);
    qmp_server_stop(server);
    return 0;
}

static void open_client(struct test_client *client)
{
    client_connect(client, path);
    client_negotiate(client);
}

static void send_waiting_command(struct test_client *client, const char *id)
{
    char command[200];

    snprintf(
        command, sizeof(command),
        "{'execute': 'pmemsave', 'arguments': {'val': %u, 'size': 4096, 'filename': '/dev/null'},"
        " 'id': '%s'}",
        FAKE_RAM_BASE, id);
    client_send(client, command);
}

static void wait_for_waiting(unsigned count)
{
    for (int i = 0; fake_waiting() != count; i++) {
        assert_true(i < TEST_WAIT_MS);
        usleep(1000);
    }
}

static unsigned session_count(void)
{
    unsigned count;

    pthread_mutex_lock(&server->sessions_lock);
    count = server->session_count;
    pthread_mutex_unlock(&server->sessions_lock);
    return count;
}

static void wait_for_sessions(unsigned count)
{
    for (int i = 0; session_count() != count; i++) {
        assert_true(i < TEST_WAIT_MS);
        usleep(1000);
    }
}

static void expect_id(struct test_client *client, const char *id)
{
    json_t *answer = client_answer(client, NULL);

    assert_non_null(json_object_get(answer, "return"));
    assert_string_equal(json_string_value(json_object_get(answer, "id")), id);
    json_decref(answer);
}

static void test_out_of_band(void **state)
{
    for (unsigned round = 0; round < rounds; round++) {
        struct test_client client, other;
        char order[300];

        open_client(&client);
        open_client(&other);
        fake_hold_ram(true);
        send_waiting_command(&client, "slow");
        client_send(&client, "{'execute': 'query-version', 'id': 'next'}");
        wait_for_waiting(1);
        client_send(&client, "{'exec-oob': 'migrate-recover', 'arguments': {'uri': 'tcp:b:2'},"
                             " 'id': 'fast'}");
        expect_id(&client, "fast");
        fake_last_order(order, sizeof(order));
        assert_string_equal(order, "recover tcp:b:2");
        client_send(&client, "{'exec-oob': 'migrate-pause', 'id': 'fast too'}");
        expect_id(&client, "fast too");
        /* The other client is not held up, not even in band. */
        client_expect(&other, "{'execute': 'stop'}", "{'return': {}}");
        client_expect(&other, "{'execute': 'cont'}", "{'return': {}}");
        assert_int_equal(fake_waiting(), 1);
        fake_hold_ram(false);
        expect_id(&client, "slow");
        expect_id(&client, "next");
        client_close(&client);
        client_close(&other);
    }
    wait_for_sessions(0);
}

struct worker {
    pthread_t thread;
    unsigned number;
};

static void *converse(void *opaque)
{
    const struct worker *worker = opaque;
    struct test_client client;

    open_client(&client);
    for (unsigned i = 0; i < 30; i++) {
        char command[120], id[30];

        snprintf(id, sizeof(id), "%u-%u", worker->number, i);
        snprintf(command, sizeof(command), "{'%s': '%s', 'id': '%s'}",
                 i % 3 == 2 ? "exec-oob" : "execute",
                 i % 3 == 0   ? "query-migrate"
                 : i % 3 == 1 ? (i & 1 ? "stop" : "cont")
                              : "migrate-pause",
                 id);
        client_send(&client, command);
        expect_id(&client, id);
    }
    client_close(&client);
    return NULL;
}

static void test_many_at_once(void **state)
{
    for (unsigned round = 0; round < rounds; round++) {
        struct worker workers[6];

        for (unsigned i = 0; i < 6; i++) {
            workers[i].number = i;
            assert_int_equal(pthread_create(&workers[i].thread, NULL, converse, &workers[i]), 0);
        }
        for (uint64_t i = 0; i < 50; i++)
            fake_pass(i);
        for (unsigned i = 0; i < 6; i++)
            pthread_join(workers[i].thread, NULL);
    }
    wait_for_sessions(0);
}

/* Everything is sent before anything is read. */
static void test_pipelined(void **state)
{
    struct test_client client;

    open_client(&client);
    for (unsigned i = 0; i < 5000; i++) {
        char command[60];

        snprintf(command, sizeof(command), "{\"execute\": \"query-status\", \"id\": \"%u\"}", i);
        assert_true(client_send_bytes(&client, command, strlen(command)));
        if (i >= 1000) { /* by now some answers must be read, or both sides would wait */
            char id[12];

            snprintf(id, sizeof(id), "%u", i - 1000);
            expect_id(&client, id);
        }
    }
    client_close(&client);
}

static void test_rubbish(void **state)
{
    static const char not_utf8[] = "\xff\xfe\x80\x01 {\"execute\": \"\xc3\x28\"}\n";
    struct test_client client;
    size_t count = 5u * 1024 * 1024;
    char *bytes = malloc(count);

    open_client(&client);
    memset(bytes, 'x', count);
    memcpy(bytes, "{\"a\": \"", 7);
    bytes[count - 1] = '\n';
    assert_true(client_send_bytes(&client, bytes, count));
    client_expect_error(&client, "", "GenericError", "size limit of 1048576 bytes");
    memset(bytes, '[', count);
    bytes[count - 1] = '\n';
    assert_true(client_send_bytes(&client, bytes, count));
    client_expect_error(&client, "", "GenericError", "nesting depth limit");
    assert_true(client_send_bytes(&client, not_utf8, sizeof(not_utf8) - 1));
    json_decref(client_answer(&client, NULL));
    json_decref(client_answer(&client, NULL));
    client_expect(&client, "{'execute': 'query-status'}",
                  "{'return': {'status': 'running', 'running': true}}");
    client_close(&client);
    free(bytes);
}

static void test_noise(void **state)
{
    uint64_t random = 0x9e3779b97f4a7c15ull;

    for (unsigned round = 0; round < 20; round++) {
        struct test_client client;
        char bytes[8192];

        open_client(&client);
        for (size_t i = 0; i < sizeof(bytes); i++) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            bytes[i] = "{}[]\":,\\\n'ae\xff\x00 1"[random % 17];
        }
        client_send_bytes(&client, bytes, sizeof(bytes));
        client_close(&client);
    }
    wait_for_sessions(0);
}

static void test_half_closed(void **state)
{
    for (unsigned round = 0; round < rounds; round++) {
        struct test_client client;

        open_client(&client);
        fake_hold_ram(true);
        send_waiting_command(&client, "a");
        client_send(&client, "{'execute': 'query-version', 'id': 'b'}");
        shutdown(client.fd, SHUT_WR);
        wait_for_waiting(1);
        fake_hold_ram(false);
        expect_id(&client, "a");
        expect_id(&client, "b");
        assert_null(client_receive(&client));
        client_close(&client);
    }
    wait_for_sessions(0);
}

static void test_vanishing(void **state)
{
    for (unsigned round = 0; round < rounds * 5; round++) {
        struct test_client client;
        char order[300];

        open_client(&client);
        client_send(&client, "{'execute': 'migrate', 'arguments': {'uri': 'tcp:last:1'}}");
        client_close(&client); /* the order is carried out all the same */
        wait_for_sessions(0);
        fake_last_order(order, sizeof(order));
        assert_string_equal(order, "migrate tcp:last:1");
        fake_reset();
    }
}

static void test_events_unread(void **state)
{
    struct test_client slow, brisk;
    json_t *message;

    open_client(&slow);
    open_client(&brisk);
    client_expect(&brisk,
                  "{'execute': 'migrate-set-capabilities', 'arguments': {'capabilities':"
                  " [{'capability': 'events', 'state': true}]}}",
                  "{'return': {}}");
    for (unsigned i = 0; i < 40000 && session_count() == 2; i++) {
        fake_pass(i);
        message = client_event(&brisk, "MIGRATION_PASS"); /* so that none are lost on the way */
        json_decref(message);
    }
    wait_for_sessions(1);
    client_expect(
        &brisk, "{'execute': 'query-version', 'arguments': {}}",
        "{'return': {'qemu': {'major': 0, 'minor': 1, 'micro': 0}, 'package': 'baton 0.1.0'}}");
    while ((message = client_receive(&slow))) /* what was in the socket, then the end */
        json_decref(message);
    client_close(&slow);
    client_close(&brisk);
}

static void test_answers_unread(void **state)
{
    struct test_client client;
    bool closed = false;

    server->stall_ns = 200000000; /* before there is a session that reads it */
    open_client(&client);
    for (unsigned i = 0; i < 200000 && !closed; i++) {
        static const char command[] = "{\"execute\": \"query-commands\"}\n";
        ssize_t sent = send(client.fd, command, sizeof(command) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);

        closed = sent < 0 && (errno == EPIPE || errno == ECONNRESET);
        if (sent < 0 && errno == EAGAIN)
            usleep(10000);
    }
    assert_true(closed);
    client_close(&client);
    wait_for_sessions(0);
}

static void test_flood_of_events(void **state)
{
    struct timespec before, after;

    clock_gettime(CLOCK_MONOTONIC, &before);
    for (unsigned i = 0; i < 100000; i++)
        fake_pass(i);
    clock_gettime(CLOCK_MONOTONIC, &after);
    assert_true(after.tv_sec - before.tv_sec < 5); /* nobody who raises events is held up */
}

static void test_too_many(void **state)
{
    struct test_client clients[QMP_MAX_SESSIONS], one_more;

    for (unsigned i = 0; i < QMP_MAX_SESSIONS; i++)
        open_client(&clients[i]);
    one_more.count = 0;
    one_more.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    {
        struct sockaddr_un address = {.sun_family = AF_UNIX};

        snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
        assert_int_equal(connect(one_more.fd, (struct sockaddr *)&address, sizeof(address)), 0);
    }
    assert_null(client_receive(&one_more));
    client_close(&one_more);
    client_close(&clients[0]);
    wait_for_sessions(QMP_MAX_SESSIONS - 1);
    open_client(&clients[0]);
    for (unsigned i = 0; i < QMP_MAX_SESSIONS; i++)
        client_close(&clients[i]);
}

static void test_stop(void **state)
{
    for (unsigned round = 0; round < rounds; round++) {
        struct test_client idle, busy;

        fake_hold_ram(false);
        open_client(&idle);
        open_client(&busy);
        qmp_server_stop(server);
        assert_null(client_receive(&idle));
        assert_null(client_receive(&busy));
        client_close(&idle);
        client_close(&busy);
        begin(state);
    }
}

/* A worker that waits for a page is left behind; its wait may end whenever it likes. */
static void test_stop_while_waiting(void **state)
{
    struct test_client client;
    struct timespec before, after;

    open_client(&client);
    fake_hold_ram(true);
    send_waiting_command(&client, "never");
    wait_for_waiting(1);
    clock_gettime(CLOCK_MONOTONIC, &before);
    qmp_server_stop(server);
    clock_gettime(CLOCK_MONOTONIC, &after);
    assert_true(after.tv_sec - before.tv_sec < 4);
    assert_null(client_receive(&client));
    client_close(&client);
    fake_hold_ram(false);
    wait_for_waiting(0);
    usleep(50000); /* lets it end where the sanitizers still look */
    begin(state);
}

static void test_socket_file(void **state)
{
    struct baton_error error = {0};
    struct qmp_server *second = NULL;
    char other[80], far[300];
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd;

    assert_int_equal(qmp_server_start(fake_machine(), path, &second, &error), -EADDRINUSE);
    assert_non_null(strstr(error.text, "another process serves it"));
    snprintf(other, sizeof(other), "%s/other", folder);
    fclose(fopen(other, "w"));
    assert_int_equal(qmp_server_start(fake_machine(), other, &second, &error), -EEXIST);
    assert_int_equal(access(other, F_OK), 0);
    unlink(other);
    /* A socket that a dead process has left. */
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", other);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    close(fd);
    assert_int_equal(qmp_server_start(fake_machine(), other, &second, &error), 0);
    qmp_server_stop(second);
    assert_int_equal(access(other, F_OK), -1);
    memset(far, 'x', sizeof(far) - 1);
    far[sizeof(far) - 1] = 0;
    assert_int_equal(qmp_server_start(fake_machine(), far, &second, &error), -ENAMETOOLONG);
    assert_int_equal(qmp_server_start(fake_machine(), "", &second, &error), -ENAMETOOLONG);
    assert_int_equal(qmp_server_start(fake_machine(), "/nonexistent/x", &second, &error), -ENOENT);
    qmp_server_stop(NULL);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_out_of_band, begin, end),
        cmocka_unit_test_setup_teardown(test_many_at_once, begin, end),
        cmocka_unit_test_setup_teardown(test_pipelined, begin, end),
        cmocka_unit_test_setup_teardown(test_rubbish, begin, end),
        cmocka_unit_test_setup_teardown(test_noise, begin, end),
        cmocka_unit_test_setup_teardown(test_half_closed, begin, end),
        cmocka_unit_test_setup_teardown(test_vanishing, begin, end),
        cmocka_unit_test_setup_teardown(test_events_unread, begin, end),
        cmocka_unit_test_setup_teardown(test_answers_unread, begin, end),
        cmocka_unit_test_setup_teardown(test_flood_of_events, begin, end),
        cmocka_unit_test_setup_teardown(test_too_many, begin, end),
        cmocka_unit_test_setup_teardown(test_stop, begin, end),
        cmocka_unit_test_setup_teardown(test_stop_while_waiting, begin, end),
        cmocka_unit_test_setup_teardown(test_socket_file, begin, end),
    };
    int result;

    if (argc > 1)
        rounds = (unsigned)atoi(argv[1]);
    if (!mkdtemp(folder))
        return 1;
    snprintf(path, sizeof(path), "%s/qmp", folder);
    result = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(folder);
    return result;
}
