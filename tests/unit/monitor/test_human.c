/* SPDX-License-Identifier: MIT */
/*
 * The human monitor over a real socket, and through QMP: every command asks of the library what its
 * QMP command asks, and what makes no sense is told and does no harm.
 */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "client.h"
#include "fake.h"
#include "monitor/human.h"

#define PROMPT "(baton) "

static char folder[] = "/tmp/baton-human-XXXXXX", path[64], qmp_path[64];
static struct qmp_server *server;
static char text[1 << 20];
static int fd;

/* Reads up to the next prompt, or (`prompt` false) to the end of the stream. */
static const char *receive(int from, bool prompt)
{
    size_t count = 0, end = strlen(PROMPT);

    for (;;) {
        struct pollfd poll_fd = {.fd = from, .events = POLLIN};
        ssize_t got;

        assert_int_equal(poll(&poll_fd, 1, TEST_WAIT_MS), 1);
        got = recv(from, text + count, sizeof(text) - 1 - count, 0);
        assert_true(got >= 0);
        count += (size_t)got;
        text[count] = 0;
        if (got == 0) {
            assert_false(prompt);
            return text;
        }
        if (prompt && count >= end && strcmp(text + count - end, PROMPT) == 0) {
            text[count - end] = 0;
            return text;
        }
    }
}

static int open_client(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    assert_int_equal(connect(client, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_non_null(strstr(receive(client, true), "monitor - type 'help'"));
    return client;
}

static void put(int to, const char *line)
{
    assert_int_equal(send(to, line, strlen(line), MSG_NOSIGNAL), (ssize_t)strlen(line));
}

static const char *ask(const char *line)
{
    put(fd, line);
    put(fd, "\n");
    return receive(fd, true);
}

static void expect(const char *line, const char *part)
{
    if (!strstr(ask(line), part))
        fail_msg("'%s' was answered with: %s", line, text);
}

static void expect_order(const char *line, const char *order)
{
    char got[300];

    assert_string_equal(ask(line), "");
    fake_last_order(got, sizeof(got));
    assert_string_equal(got, order);
}

static int begin(void **state)
{
    struct baton_error error = {0};

    fake_reset();
    assert_int_equal(qmp_server_start(fake_machine(), qmp_path, &server, &error), 0);
    assert_int_equal(qmp_server_add_human(server, path, &error), 0);
    fd = open_client();
    return 0;
}

static int end(void **state)
{
    close(fd);
    qmp_server_stop(server);
    assert_int_equal(access(path, F_OK), -1);
    return 0;
}

static void test_orders(void **state)
{
    expect_order("stop", "stop");
    expect_order("c", "cont");
    expect_order("s", "stop");
    expect_order("cont", "cont");
    expect_order("system_reset", "reset");
    expect_order("migrate -d tcp:a:1", "migrate tcp:a:1");
    expect_order("migrate -d -r tcp:a:1", "migrate tcp:a:1 resume");
    expect_order("  migrate\t-r   \"unix:/a \\\"b\\\\\"  -d\r", "migrate unix:/a \"b\\ resume");
    expect_order("migrate_incoming unix:/x", "incoming unix:/x");
    expect_order("migrate_cancel", "cancel");
    expect_order("migrate_start_postcopy", "postcopy");
    expect_order("migrate_pause", "pause");
    expect_order("migrate_recover tcp:b:2", "recover tcp:b:2");
    expect_order("", "recover tcp:b:2");
    fake_refuse("not now: first do the other thing");
    expect("migrate_pause", "Error: not now: first do the other thing\n");
    expect("system_reset", "Error: not now");
    expect("quit", "Error: not now");
    assert_false(fake_quit_asked());
    expect("system_powerdown", "Error: Cannot press the power button");
}

static void test_settings(void **state)
{
    struct baton *baton = server->vm.baton;

    assert_string_equal(ask("migrate_set_capability postcopy-ram on"), "");
    expect("info migrate_capabilities", "postcopy-ram: on\nx-postcopy-fast: off\n");
    expect("migrate_set_capability postcopy-ram off", "");
    expect("info migrate_capabilities", "postcopy-ram: off\n");
    expect("migrate_set_capability return-path on", "Error: this one cannot be set");
    expect("migrate_set_capability foo on", "Error: Parameter 'capability' does not accept");
    expect("migrate_set_capability events maybe", "Error: Expected 'on' or 'off', not 'maybe'");
    expect("migrate_set_capability events", "state is missing\nTry `help migrate_set_capability`");

    assert_string_equal(ask("migrate_set_parameter max-bandwidth 5"), "");
    assert_int_equal(baton_get_parameter(baton, BATON_PARAMETER_MAX_BANDWIDTH), 5 << 20);
    assert_string_equal(ask("migrate_set_parameter max-bandwidth 7b"), "");
    assert_int_equal(baton_get_parameter(baton, BATON_PARAMETER_MAX_BANDWIDTH), 7);
    assert_string_equal(ask("migrate_set_parameter max-postcopy-bandwidth 5"), "");
    assert_int_equal(baton_get_parameter(baton, BATON_PARAMETER_MAX_POSTCOPY_BANDWIDTH), 5);
    assert_string_equal(ask("migrate_set_parameter max-postcopy-bandwidth 3G"), "");
    assert_int_equal(baton_get_parameter(baton, BATON_PARAMETER_MAX_POSTCOPY_BANDWIDTH),
                     3ull << 30);
    assert_string_equal(ask("migrate_set_parameter downtime-limit 30"), "");
    expect("info migrate_parameters", "max-bandwidth: 7 bytes/second\nmax-postcopy-bandwidth: "
                                      "3221225472 bytes/second\ndowntime-limit: 30 ms\n");
    expect("migrate_set_parameter downtime-limit 99999999", "Error: too long a downtime");
    expect("migrate_set_parameter downtime-limit 1k", "Error: Parameter 'downtime-limit' expects a "
                                                      "number, not '1k'");
    expect("migrate_set_parameter max-bandwidth -1", "expects a number, perhaps with");
    expect("migrate_set_parameter max-bandwidth 99999999999999999999", "expects a number");
    expect("migrate_set_parameter max-bandwidth 9999999999999", "expects a number");
    expect("migrate_set_parameter max-bandwidth 1kk", "expects a number");
    expect("migrate_set_parameter foo 1", "Error: There is no parameter 'foo'");
}

static void test_info(void **state)
{
    struct baton_info info = {.role = BATON_ROLE_SOURCE,
                              .status = BATON_STATUS_POSTCOPY_PAUSED,
                              .error = "the link broke",
                              .explain = "Wait.",
                              .total_ns = 5000000000,
                              .page_bytes = 4096,
                              .transferred_bytes = 1 << 20};

    expect("info status", "VM status: running\n");
    ask("stop");
    expect("info status", "VM status: paused\n");
    fake_enter(BATON_ROLE_SOURCE, BATON_STATUS_COMPLETED);
    expect("info status", "VM status: paused (postmigrate)\n");
    fake_set_info(&info);
    expect("info migrate",
           "Migration status: postcopy-paused (the link broke)\ntotal time: 5000 ms\n");
    assert_non_null(strstr(text, "transferred ram: 1024 kbytes\n"));
    assert_non_null(strstr(text, "x-baton-explain: Wait.\n"));
    assert_non_null(strstr(text, "x-baton-pauses: 0\n"));
    expect("info version", "baton ");
}

static void test_help_knows_all(void **state)
{
    char line[100];

    for (const struct human_command *command = human_commands; command->name; command++) {
        expect("help", command->name);
        snprintf(line, sizeof(line), "help %s", command->name);
        expect(line, command->help);
        if (command->qmp)
            assert_non_null(qmp_find_command(command->qmp));
    }
    expect("?", "migrate_recover uri");
    expect("help ?", "help|?");
    expect("help info", "info status -- ");
    assert_null(strstr(text, "stop"));
    expect("info", "info status -- ");
    expect("help foo", "unknown command: 'foo'");
    expect("help stop cont", "one command at a time");
}

static void test_nonsense(void **state)
{
    static char line[100000];

    expect("foo", "unknown command: 'foo'\nTry `help`.");
    expect("info foo", "unknown command: 'info foo'");
    expect("stop now", "stop: 'now' is too much\nTry `help stop`.");
    expect("migrate", "migrate: uri is missing");
    expect("migrate -d", "migrate: uri is missing");
    expect("migrate -x tcp:a:1", "migrate: unsupported option -x");
    expect("migrate tcp:a:1 tcp:b:1", "migrate: 'tcp:b:1' is too much");
    expect("migrate \"tcp:a", "a quote is not closed");
    expect("stop 1 2 3 4 5 6 7 8 9", "no command has more than");
    expect("caf\xe9", "no text in UTF-8");
    assert_int_equal(send(fd, "st\0op\n", 6, 0), 6);
    assert_non_null(strstr(receive(fd, true), "no text in UTF-8"));
    memset(line, 'x', sizeof(line) - 1);
    expect(line, "a line has at most 4096 bytes");
    memset(line + 4096, 0, 1);
    expect(line, "unknown command: 'xxx");
    expect("info status", "VM status: running");
}

static void test_wait(void **state)
{
    int other = open_client();

    fake_enter(BATON_ROLE_SOURCE, BATON_STATUS_ACTIVE);
    put(fd, "migrate tcp:a:1\ninfo status\n");
    /* Another client is not held up. */
    put(other, "migrate_start_postcopy\n");
    assert_string_equal(receive(other, true), "");
    fake_enter(BATON_ROLE_SOURCE, BATON_STATUS_POSTCOPY_PAUSED);
    assert_non_null(strstr(receive(fd, true), "Migration status: postcopy-paused\n"));
    fake_enter(BATON_ROLE_SOURCE, BATON_STATUS_ACTIVE);
    put(other, "migrate -r tcp:a:1\n"); /* left waiting: the server's end cuts it short */
    usleep(100000);
    close(other);
}

static void test_half_closed(void **state)
{
    int other = open_client();

    put(other, "info status\ninfo version\nstop"); /* the last line is no line */
    shutdown(other, SHUT_WR);
    receive(other, false);
    assert_non_null(strstr(text, "VM status: running\n"));
    assert_non_null(strstr(text, "baton "));
    close(other);
    expect("info status", "VM status: running");
}

static void test_socket(void **state)
{
    struct baton_error error = {0};
    struct qmp_server *alone;
    struct stat status;

    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    /* Events are QMP's. */
    ask("migrate_set_capability events on");
    fake_enter(BATON_ROLE_SOURCE, BATON_STATUS_ACTIVE);
    expect("info version", "baton ");
    assert_null(strstr(text, "MIGRATION"));
    assert_int_equal(qmp_server_add_human(server, "/nonexistent/x", &error), -EBUSY);
    /* Without QMP. */
    assert_int_equal(qmp_server_start(fake_machine(), NULL, &alone, &error), 0);
    assert_int_equal(qmp_server_add_human(alone, "/nonexistent/x", &error), -ENOENT);
    assert_int_equal(qmp_server_add_human(alone, path, &error), -EADDRINUSE);
    qmp_server_stop(alone);
    expect("info version", "baton ");
}

#define HUMAN(line)                                                                                \
    "{'execute': 'human-monitor-command', 'arguments': {'command-line': '" line "'}}"

static void test_through_qmp(void **state)
{
    struct test_client client;
    char got[300];
    json_t *event;

    client_connect(&client, qmp_path);
    client_negotiate(&client);
    client_expect(&client, HUMAN("info status"), "{'return': 'VM status: running\\n'}");
    client_expect(&client, HUMAN(""), "{'return': ''}");
    client_expect(&client, HUMAN("migrate -d tcp:a:1"), "{'return': ''}");
    client_expect(&client, HUMAN("migrate -r tcp:a:1"),
                  "{'return': 'This monitor does not wait: the migration goes on in the "
                  "background\\n'}");
    fake_last_order(got, sizeof(got));
    assert_string_equal(got, "migrate tcp:a:1 resume");
    client_expect(&client, HUMAN("foo"),
                  "{'return': 'unknown command: \x01"
                  "foo\x01\\nTry `help`.\\n'}");
    client_expect_error(&client, "{'execute': 'human-monitor-command'}", "GenericError",
                        "Parameter 'command-line' is missing");
    client_expect(&client,
                  "{'execute': 'human-monitor-command', 'arguments': {'command-line': 'stop',"
                  " 'cpu-index': 0}}",
                  "{'return': ''}");
    client_expect_error(&client, "{'execute': 'system_powerdown'}", "GenericError", "power button");
    client_send(&client, "{'execute': 'system_reset'}");
    event = client_event(&client, "RESET");
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(event, "data"), "reason")),
        "host-qmp-system-reset");
    assert_true(json_is_false(json_object_get(json_object_get(event, "data"), "guest")));
    json_decref(event);
    client_close(&client);
}

static void test_quit(void **state)
{
    put(fd, "q\n");
    receive(fd, true);
    while (!fake_quit_asked())
        usleep(1000);
    fake_reset();
    fake_refuse("only this process holds the missing pages");
    expect("quit", "Error: only this process");
    assert_string_equal(ask("quit -f"), "");
    while (!fake_quit_asked())
        usleep(1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_orders, begin, end),
        cmocka_unit_test_setup_teardown(test_settings, begin, end),
        cmocka_unit_test_setup_teardown(test_info, begin, end),
        cmocka_unit_test_setup_teardown(test_help_knows_all, begin, end),
        cmocka_unit_test_setup_teardown(test_nonsense, begin, end),
        cmocka_unit_test_setup_teardown(test_wait, begin, end),
        cmocka_unit_test_setup_teardown(test_half_closed, begin, end),
        cmocka_unit_test_setup_teardown(test_socket, begin, end),
        cmocka_unit_test_setup_teardown(test_through_qmp, begin, end),
        cmocka_unit_test_setup_teardown(test_quit, begin, end),
    };
    int result;

    if (!mkdtemp(folder))
        return 1;
    snprintf(path, sizeof(path), "%s/human", folder);
    snprintf(qmp_path, sizeof(qmp_path), "%s/qmp", folder);
    result = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(folder);
    return result;
}
