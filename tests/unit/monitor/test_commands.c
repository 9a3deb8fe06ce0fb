/* SPDX-License-Identifier: MIT */
/*
 * Every command over a real socket: what it asks of the library, what it answers, and how it
 * refuses.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "client.h"
#include "fake.h"

static char folder[] = "/tmp/baton-monitor-XXXXXX", path[64];
static struct qmp_server *server;
static struct test_client client;

static int begin(void **state)
{
    struct baton_error error = {0};

    fake_reset();
    assert_int_equal(qmp_server_start(fake_machine(), path, &server, &error), 0);
    client_connect(&client, path);
    client_negotiate(&client);
    return 0;
}

static int end(void **state)
{
    client_close(&client);
    qmp_server_stop(server);
    return 0;
}

static void expect_order(const char *command, const char *order)
{
    char got[300];

    client_expect(&client, command, "{'return': {}}");
    fake_last_order(got, sizeof(got));
    assert_string_equal(got, order);
}

static void test_negotiation(void **state)
{
    struct test_client other;
    json_t *greeting_less;
    struct stat status;

    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    client_connect(&other, path);
    client_expect_error(&other, "{'execute': 'query-status'}", "CommandNotFound",
                        "Expecting capabilities negotiation with 'qmp_capabilities'");
    client_expect_error(&other, "{'execute': 'nope'}", "CommandNotFound", "Expecting capabilities");
    client_expect_error(&other, "{'execute': 'qmp_capabilities', 'arguments': {'enable': ['foo']}}",
                        "GenericError", "does not accept value 'foo'");
    client_expect(&other, "{'execute': 'qmp_capabilities', 'id': [1]}",
                  "{'return': {}, 'id': [1]}");
    client_expect_error(&other, "{'execute': 'qmp_capabilities'}", "CommandNotFound",
                        "Capabilities negotiation is already complete");
    /* Out of band was not asked for. */
    client_expect_error(&other, "{'exec-oob': 'migrate-pause'}", "GenericError",
                        "QMP input member 'exec-oob' is unexpected");
    greeting_less = client_return(&other, "{'execute': 'query-version'}");
    assert_non_null(json_object_get(greeting_less, "qemu"));
    json_decref(greeting_less);
    client_close(&other);
}

static void test_requests(void **state)
{
    client_expect_error(&client, "{'execute': 'nope', 'id': 1}", "CommandNotFound",
                        "The command nope has not been found");
    client_expect_error(&client, "{'exec-oob': 'query-status'}", "GenericError",
                        "The command query-status does not support OOB");
    client_expect_error(&client, "{'execute': 'stop', 'bogus': 1}", "GenericError",
                        "QMP input member 'bogus' is unexpected");
    client_expect_error(&client, "{'execute': 5}", "GenericError", "must be a string");
    client_expect_error(&client, "[1]", "GenericError", "must be a JSON object");
    client_expect_error(&client, "5", "GenericError", "must be a JSON object");
    client_expect_error(&client, "{}", "GenericError", "lacks member 'execute'");
    client_expect_error(&client, "{'execute': 'stop', 'arguments': 5}", "GenericError",
                        "'arguments' must be an object");
    client_expect_error(&client, "{'execute': 'stop', 'exec-oob': 'stop'}", "GenericError",
                        "clashes");
    client_expect_error(&client, "{'execute': 'stop', 'arguments': {'x': 1}}", "GenericError",
                        "Parameter 'x' is unexpected");
    client_expect_error(&client, "{'execute': 'migrate'}", "GenericError",
                        "Parameter 'uri' is missing");
    client_expect_error(&client, "{'execute': 'migrate', 'arguments': {'uri': 5}}", "GenericError",
                        "Invalid parameter type for 'uri', expected: string");
    client_expect_error(&client, "{'execute': 'migrate', 'arguments': {'uri': 'x', 'resume': 1}}",
                        "GenericError", "Invalid parameter type for 'resume', expected: boolean");
    client_expect_error(&client, "{'execute': }", "GenericError", "JSON parse error");
    client_expect_error(&client, "{'execute': 'stop', 'execute': 'stop'}", "GenericError",
                        "JSON parse");
    client_expect(&client, "{'execute': 'query-status', 'id': {'a': [null]}}",
                  "{'return': {'status': 'running', 'running': true}, 'id': {'a': [null]}}");
}

static void test_table(void **state)
{
    json_t *list = client_return(&client, "{'execute': 'query-commands'}");
    const char *name, *help;
    size_t count = 0;

    for (; (name = qmp_command_name(count, &help)); count++) {
        json_t *row = json_array_get(list, count);

        assert_string_equal(json_string_value(json_object_get(row, "name")), name);
        assert_true(strlen(help) > 10);
    }
    assert_int_equal(json_array_size(list), count);
    assert_true(count >= 20);
    json_decref(list);
}

static void expect_status(enum baton_role role, enum baton_status status, const char *name)
{
    char answer[100];

    fake_enter(role, status);
    snprintf(answer, sizeof(answer), "{'return': {'status': '%s', 'running': %s}}", name,
             strcmp(name, "running") == 0 ? "true" : "false");
    client_expect(&client, "{'execute': 'query-status'}", answer);
}

static void test_status(void **state)
{
    expect_status(BATON_ROLE_SOURCE, BATON_STATUS_ACTIVE, "running");
    expect_order("{'execute': 'stop'}", "stop");
    expect_status(BATON_ROLE_NONE, BATON_STATUS_NONE, "paused");
    expect_status(BATON_ROLE_SOURCE, BATON_STATUS_ACTIVE, "paused");
    expect_status(BATON_ROLE_SOURCE, BATON_STATUS_DEVICE, "finish-migrate");
    expect_status(BATON_ROLE_SOURCE, BATON_STATUS_POSTCOPY_PAUSED, "finish-migrate");
    expect_status(BATON_ROLE_SOURCE, BATON_STATUS_COMPLETED, "postmigrate");
    expect_status(BATON_ROLE_SOURCE, BATON_STATUS_FAILED, "paused");
    expect_status(BATON_ROLE_DEST, BATON_STATUS_ACTIVE, "inmigrate");
    expect_status(BATON_ROLE_DEST, BATON_STATUS_POSTCOPY_DEVICE, "inmigrate");
    expect_status(BATON_ROLE_DEST, BATON_STATUS_POSTCOPY_ACTIVE, "paused");
    expect_order("{'execute': 'cont'}", "cont");
    expect_status(BATON_ROLE_DEST, BATON_STATUS_POSTCOPY_PAUSED, "running");
    fake_refuse("another host runs it");
    client_expect_error(&client, "{'execute': 'cont'}", "GenericError", "another host runs it");
    client_expect_error(&client, "{'execute': 'stop'}", "GenericError", "another host runs it");
}

static void test_orders(void **state)
{
    static const char *const orders[][2] = {
        {"{'execute': 'migrate', 'arguments': {'uri': 'tcp:a:1'}}", "migrate tcp:a:1"},
        {"{'execute': 'migrate', 'arguments': {'uri': 'tcp:a:1', 'resume': true, 'detach': true}}",
         "migrate tcp:a:1 resume"},
        {"{'execute': 'migrate-incoming', 'arguments': {'uri': 'unix:/x'}}", "incoming unix:/x"},
        {"{'execute': 'migrate_cancel'}", "cancel"},
        {"{'execute': 'migrate-start-postcopy'}", "postcopy"},
        {"{'execute': 'migrate-pause'}", "pause"},
        {"{'exec-oob': 'migrate-pause'}", "pause"},
        {"{'execute': 'migrate-recover', 'arguments': {'uri': 'tcp:b:2'}}", "recover tcp:b:2"},
        {"{'exec-oob': 'migrate-recover', 'arguments': {'uri': 'tcp:b:3'}}", "recover tcp:b:3"},
    };

    for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++)
        expect_order(orders[i][0], orders[i][1]);
    fake_refuse("not now: first do the other thing");
    for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++)
        client_expect_error(&client, orders[i][0], "GenericError",
                            "not now: first do the other thing");
}

#define SET_CAPABILITIES "{'execute': 'migrate-set-capabilities', 'arguments': {'capabilities': "

static void test_capabilities(void **state)
{
    client_expect(&client,
                  SET_CAPABILITIES "[{'capability': 'postcopy-ram', 'state': true},"
                                   " {'capability': 'events', 'state': true}]}}",
                  "{'return': {}}");
    client_expect(&client, "{'execute': 'query-migrate-capabilities'}",
                  "{'return': [{'capability': 'postcopy-ram', 'state': true},"
                  "{'capability': 'x-postcopy-fast', 'state': false},"
                  "{'capability': 'return-path', 'state': false},"
                  "{'capability': 'events', 'state': true}]}");
    /* All or nothing: the second one is refused by the library, so the first is put back. */
    client_expect_error(&client,
                        SET_CAPABILITIES "[{'capability': 'postcopy-ram', 'state': false},"
                                         " {'capability': 'return-path', 'state': true}]}}",
                        "GenericError", "this one cannot be set");
    client_expect_error(&client,
                        SET_CAPABILITIES "[{'capability': 'postcopy-ram', 'state': false},"
                                         " {'capability': 'foo', 'state': true}]}}",
                        "GenericError", "Parameter 'capability' does not accept value 'foo'");
    client_expect_error(&client, SET_CAPABILITIES "5}}", "GenericError",
                        "Invalid parameter type for 'capabilities', expected: array");
    client_expect_error(&client, SET_CAPABILITIES "[5]}}", "GenericError", "expected: object");
    client_expect_error(&client, SET_CAPABILITIES "[{'capability': 'events'}]}}", "GenericError",
                        "Parameter 'capabilities[0].state' is missing");
    client_expect_error(&client, SET_CAPABILITIES "[{'capability': 'events', 'state': 5}]}}",
                        "GenericError", "'capabilities[0].state', expected: boolean");
    client_expect_error(&client, SET_CAPABILITIES "[{'capability': 1, 'state': true}]}}",
                        "GenericError", "'capabilities[0].capability', expected: string");
    client_expect_error(&client,
                        SET_CAPABILITIES "[{'capability': 'events', 'state': true, 'q': 1}]}}",
                        "GenericError", "Parameter 'capabilities[0].q' is unexpected");
    {
        json_t *list = client_return(&client, "{'execute': 'query-migrate-capabilities'}");

        assert_true(json_is_true(json_object_get(json_array_get(list, 0), "state")));
        json_decref(list);
    }
}

#define SET_PARAMETERS "{'execute': 'migrate-set-parameters', 'arguments': "

static void test_parameters(void **state)
{
    client_expect(&client,
                  SET_PARAMETERS "{'max-bandwidth': 1000, 'max-postcopy-bandwidth': 5,"
                                 " 'downtime-limit': 30}}",
                  "{'return': {}}");
    client_expect(&client, SET_PARAMETERS "{}}", "{'return': {}}");
    client_expect_error(&client, SET_PARAMETERS "{'max-bandwidth': 7, 'downtime-limit': 99999999}}",
                        "GenericError", "too long a downtime");
    client_expect_error(&client, SET_PARAMETERS "{'foo': 1}}", "GenericError",
                        "Parameter 'foo' is unexpected");
    client_expect_error(&client, SET_PARAMETERS "{'max-bandwidth': -1}}", "GenericError",
                        "Invalid parameter type for 'max-bandwidth'");
    client_expect_error(&client, SET_PARAMETERS "{'max-bandwidth': 1.5}}", "GenericError",
                        "Invalid parameter type for 'max-bandwidth'");
    client_expect(&client, "{'execute': 'query-migrate-parameters'}",
                  "{'return': {'max-bandwidth': 1000, 'max-postcopy-bandwidth': 5,"
                  " 'downtime-limit': 30}}");
}

static json_int_t number(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);

    if (!json_is_integer(value))
        fail_msg("%s is not there, or no integer", name);
    return json_integer_value(value);
}

static void test_query_migrate_dest(void **state)
{
    static struct baton_info info = {
        .role = BATON_ROLE_DEST,
        .status = BATON_STATUS_POSTCOPY_PAUSED,
        .error = "the link broke: caf\xe9", /* not UTF-8: must not spoil the answer */
        .explain = "Wait for the source.",
        .total_ns = 5000000000,
        .paused_ns = 2000000000,
        .state_ns = 1500000000,
        .pauses = 2,
        .epoch = 3,
        .ram_total_bytes = 1 << 20,
        .ram_remaining_bytes = 8192,
        .page_bytes = 4096,
        .normal_pages = 200,
        .requested_pages = 7,
        .missing_pages = 2,
        .faults = 7,
        .fault_p50_ns = 100000,
        .fault_p99_ns = 900000,
        .fault_max_ns = 1000000,
        .waiter_count = 1,
        .waiters = {{.name = "cpu 0", .block = "ram", .offset = 4096, .since_ns = 3000000}},
        .address_count = 3,
        .addresses = {"tcp:[::1]:4444", "unix:/run/x", "tcp:10.0.0.1:5"},
    };
    json_t *answer, *ram, *waiter;

    fake_set_info(&info);
    answer = client_return(&client, "{'execute': 'query-migrate'}");
    assert_string_equal(json_string_value(json_object_get(answer, "status")), "postcopy-paused");
    assert_string_equal(json_string_value(json_object_get(answer, "error-desc")),
                        "the link broke: caf?");
    assert_string_equal(json_string_value(json_object_get(answer, "x-baton-explain")),
                        "Wait for the source.");
    assert_string_equal(json_string_value(json_object_get(answer, "x-baton-role")), "destination");
    assert_int_equal(number(answer, "total-time"), 5000);
    assert_int_equal(number(answer, "x-baton-paused-time"), 2000);
    assert_int_equal(number(answer, "x-baton-state-time"), 1500);
    assert_int_equal(number(answer, "x-baton-pauses"), 2);
    assert_int_equal(number(answer, "x-baton-epoch"), 3);
    assert_int_equal(number(answer, "x-baton-missing-pages"), 2);
    ram = json_object_get(answer, "ram");
    assert_int_equal(number(ram, "normal-bytes"), 200 * 4096);
    assert_int_equal(number(ram, "remaining"), 8192);
    assert_int_equal(number(json_object_get(answer, "x-baton-fault-latency"), "p99"), 900);
    waiter = json_array_get(json_object_get(answer, "x-baton-waiters"), 0);
    assert_string_equal(json_string_value(json_object_get(waiter, "name")), "cpu 0");
    assert_int_equal(number(waiter, "waiting-time"), 3);
    {
        json_t *want = json_loads("[{\"type\": \"inet\", \"host\": \"::1\", \"port\": \"4444\"},"
                                  "{\"type\": \"unix\", \"path\": \"/run/x\"},"
                                  "{\"type\": \"inet\", \"host\": \"10.0.0.1\", \"port\": \"5\"}]",
                                  0, NULL);

        assert_true(json_equal(want, json_object_get(answer, "socket-address")));
        json_decref(want);
    }
    json_decref(answer);
}

static void test_query_migrate_source(void **state)
{
    struct baton_info info = {.role = BATON_ROLE_SOURCE,
                              .status = BATON_STATUS_COMPLETED,
                              .total_ns = 7000000,
                              .setup_ns = 1000000,
                              .downtime_ns = 34567000,
                              .recover_ns = 12000000,
                              .bandwidth_bytes_per_s = 125000000,
                              .page_bytes = 4096,
                              .transferred_bytes = UINT64_MAX};
    json_t *answer = client_return(&client, "{'execute': 'query-migrate'}");

    /* Before the first migration: as QEMU, nothing of QEMU's. */
    assert_null(json_object_get(answer, "status"));
    json_decref(answer);
    fake_set_info(&info);
    answer = client_return(&client, "{'execute': 'query-migrate'}");
    assert_int_equal(number(answer, "downtime"), 34);
    assert_int_equal(number(answer, "x-baton-downtime-us"), 34567);
    assert_int_equal(number(answer, "setup-time"), 1);
    assert_int_equal(number(answer, "x-baton-recover-time"), 12);
    assert_true(json_real_value(json_object_get(json_object_get(answer, "ram"), "mbps")) == 1000.0);
    assert_int_equal(number(json_object_get(answer, "ram"), "transferred"), INT64_MAX);
    assert_null(json_object_get(answer, "error-desc"));
    assert_null(json_object_get(answer, "x-baton-missing-pages"));
    json_decref(answer);
}

static void test_pmemsave(void **state)
{
    char command[200], file[80], *bytes = malloc(200000);
    struct stat status;
    FILE *saved;

    snprintf(file, sizeof(file), "%s/ram", folder);
    snprintf(command, sizeof(command),
             "{'execute': 'pmemsave', 'arguments': {'val': %u, 'size': 200000, 'filename': '%s'}}",
             FAKE_RAM_BASE + 100, file);
    client_expect(&client, command, "{'return': {}}");
    saved = fopen(file, "rb");
    assert_int_equal(fstat(fileno(saved), &status), 0);
    assert_int_equal(status.st_size, 200000);
    assert_int_equal(status.st_mode & 0777, 0600);
    assert_int_equal(fread(bytes, 1, 200000, saved), 200000);
    for (size_t i = 0; i < 200000; i++)
        assert_true((uint8_t)bytes[i] == fake_ram_byte(FAKE_RAM_BASE + 100 + i));
    fclose(saved);
    free(bytes);
    unlink(file);
    client_expect_error(&client,
                        "{'execute': 'pmemsave', 'arguments': {'val': 0, 'size': 1,"
                        " 'filename': '/nonexistent/x'}}",
                        "GenericError", "Could not open '/nonexistent/x': No such file");
    snprintf(command, sizeof(command),
             "{'execute': 'pmemsave', 'arguments': {'val': 0, 'size': 1, 'filename': '%s'}}", file);
    client_expect_error(&client, command, "GenericError", "no RAM there");
    unlink(file);
    client_expect_error(&client,
                        "{'execute': 'pmemsave', 'arguments': {'val': 0, 'size': 100,"
                        " 'filename': '/dev/full'}}",
                        "GenericError", "no RAM there");
    snprintf(
        command, sizeof(command),
        "{'execute': 'pmemsave', 'arguments': {'val': %u, 'size': 100, 'filename': '/dev/full'}}",
        FAKE_RAM_BASE);
    client_expect_error(&client, command, "GenericError", "No space left");
}

static void test_device_state(void **state)
{
    client_expect(&client, "{'execute': 'x-baton-device-state'}",
                  "{'return': {'base64': 'UUVWTQ==', 'length': 4}}");
    fake_refuse("the CPUs run: stop the VM first");
    client_expect_error(&client, "{'execute': 'x-baton-device-state'}", "GenericError",
                        "stop the VM");
}

static void expect_event(const char *name, const char *key, const char *value)
{
    json_t *event = client_event(&client, name);
    json_t *stamp = json_object_get(event, "timestamp"), *data = json_object_get(event, "data");

    assert_true(number(stamp, "seconds") > 1600000000);
    assert_in_range(number(stamp, "microseconds"), 0, 999999);
    if (key)
        assert_string_equal(json_string_value(json_object_get(data, key)), value);
    else
        assert_null(data);
    json_decref(event);
}

static void test_events(void **state)
{
    json_t *event, *events = json_array(), *answer;

    client_send(&client, "{'execute': 'stop'}");
    expect_event("STOP", NULL, NULL);
    client_send(&client, "{'execute': 'cont'}");
    expect_event("RESUME", NULL, NULL);
    json_decref(
        client_return(&client, "{'execute': 'query-status'}")); /* takes the answer to cont */
    /* No MIGRATION events until they are asked for. */
    fake_enter(BATON_ROLE_SOURCE, BATON_STATUS_SETUP);
    fake_guest_shutdown();
    expect_event("SHUTDOWN", "reason", "guest-shutdown");
    client_send(&client, SET_CAPABILITIES "[{'capability': 'events', 'state': true}]}}");
    answer = client_answer(&client, events);
    while (answer && !json_object_get(answer, "return"))
        answer = client_answer(&client, events);
    json_decref(answer);
    assert_int_equal(json_array_size(events), 0);
    json_decref(events);
    fake_enter(BATON_ROLE_SOURCE, BATON_STATUS_ACTIVE);
    event = client_event(&client, "MIGRATION");
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(event, "data"), "status")), "active");
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(event, "data"), "x-baton-reason")),
        "the test says so");
    json_decref(event);
    fake_pass(3);
    event = client_event(&client, "MIGRATION_PASS");
    assert_int_equal(number(json_object_get(event, "data"), "pass"), 3);
    json_decref(event);
}

static void test_quit(void **state)
{
    fake_refuse("only this process holds the missing pages");
    client_expect_error(&client, "{'execute': 'quit'}", "GenericError",
                        "only this process holds the missing pages");
    assert_false(fake_quit_asked());
    client_send(&client, "{'execute': 'quit', 'arguments': {'force': true}}");
    expect_event("SHUTDOWN", "reason", "host-qmp-quit");
    while (!fake_quit_asked())
        usleep(1000);
}

static void test_quit_says_goodbye(void **state)
{
    json_t *events = json_array(), *answer, *rest;

    client_send(&client, "{'execute': 'quit', 'id': 'bye'}");
    while (!fake_quit_asked())
        usleep(1000);
    qmp_server_stop(server);
    server = NULL;
    answer = client_answer(&client, events);
    assert_string_equal(json_string_value(json_object_get(answer, "id")), "bye");
    json_decref(answer);
    while ((rest = client_receive(&client))) {
        if (json_object_get(rest, "event"))
            json_array_append(events, rest);
        json_decref(rest);
    }
    assert_int_equal(json_array_size(events), 1);
    json_decref(events);
    assert_int_equal(access(path, F_OK), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_negotiation, begin, end),
        cmocka_unit_test_setup_teardown(test_requests, begin, end),
        cmocka_unit_test_setup_teardown(test_table, begin, end),
        cmocka_unit_test_setup_teardown(test_status, begin, end),
        cmocka_unit_test_setup_teardown(test_orders, begin, end),
        cmocka_unit_test_setup_teardown(test_capabilities, begin, end),
        cmocka_unit_test_setup_teardown(test_parameters, begin, end),
        cmocka_unit_test_setup_teardown(test_query_migrate_dest, begin, end),
        cmocka_unit_test_setup_teardown(test_query_migrate_source, begin, end),
        cmocka_unit_test_setup_teardown(test_pmemsave, begin, end),
        cmocka_unit_test_setup_teardown(test_device_state, begin, end),
        cmocka_unit_test_setup_teardown(test_events, begin, end),
        cmocka_unit_test_setup_teardown(test_quit, begin, end),
        cmocka_unit_test_setup_teardown(test_quit_says_goodbye, begin, end),
    };
    int result;

    if (!mkdtemp(folder))
        return 1;
    snprintf(path, sizeof(path), "%s/qmp", folder);
    result = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(folder);
    return result;
}
