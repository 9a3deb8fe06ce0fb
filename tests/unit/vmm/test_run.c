/* SPDX-License-Identifier: MIT */
/* The options of `baton run`: each mistake has an exit code of 2 and a sentence that names it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/run.h"
#include "fake_baton.h"
#include "monitor/qmp.h"

#define MAX_ARGUMENTS 16

static char text[4096];

int qmp_server_start(struct vmm_machine *machine, const char *path, struct qmp_server **out,
                     struct baton_error *error)
{
    return baton_error_set(error, ENOTSUP, "no monitor at '%s' today", path);
}

int qmp_server_add_human(struct qmp_server *server, const char *where, struct baton_error *error)
{
    return baton_error_set(error, ENOTSUP, "no monitor at '%s' today", where);
}

void qmp_server_stop(struct qmp_server *server)
{
}

/* Runs the command with what stands in `line`, separated by spaces; what it says on `fd` is left in
 * `text`. */
static int run(int fd, const char *line)
{
    char copy[512];
    char *argv[MAX_ARGUMENTS + 1] = {"run"};
    FILE *capture = tmpfile();
    int argc = 1;
    int kept, code;
    size_t length;

    assert_non_null(capture);
    snprintf(copy, sizeof(copy), "%s", line);
    for (char *word = strtok(copy, " "); word && argc < MAX_ARGUMENTS; word = strtok(NULL, " "))
        argv[argc++] = word;
    fflush(NULL);
    kept = dup(fd);
    dup2(fileno(capture), fd);
    code = cmd_run(argc, argv);
    fflush(NULL);
    dup2(kept, fd);
    close(kept);
    rewind(capture);
    length = fread(text, 1, sizeof(text) - 1, capture);
    text[length] = '\0';
    fclose(capture);
    return code;
}

static void check(const char *line, int code, const char *because)
{
    int got = run(STDERR_FILENO, line);

    if (got != code || !strstr(text, because))
        fail_msg("`run %s` gave %d: %s", line, got, text);
}

static void test_help(void **state)
{
    assert_int_equal(run(STDOUT_FILENO, "--help"), 0);
    assert_non_null(strstr(text, "--incoming URI"));
    assert_int_equal(run(STDOUT_FILENO, "-h"), 0);
}

static void test_mistakes(void **state)
{
    check("", 2, "--kernel");
    check("--frobnicate", 2, "--frobnicate");
    check("-x", 2, "-x");
    check("stray", 2, "stray");
    check("--memory", 2, "--memory needs a value");
    check("--paused=5", 2, "--paused");
    check("--memory lots", 2, "'lots'");
    check("--memory -5M", 2, "'-5M'");
    check("--memory 5X", 2, "'5X'");
    check("--memory 5MM", 2, "'5MM'");
    check("--memory 512", 2, "512M");
    check("--memory 99999999999999999999G", 2, "size");
    check("--memory 99999999999G", 2, "size");
    check("--memory 1T", 2, "out of range");
    check("--cpus 0", 2, "1 to 8");
    check("--cpus 9", 2, "1 to 8");
    check("--cpus two", 2, "1 to 8");
    check("--cpus 1K", 2, "1 to 8");
    check("--machine pc", 2, "`virt`");
    check("--kernel /nonexistent/k", 2, "/nonexistent/k");
    check("--kernel /proc/self/exe --initrd /nonexistent/i", 2, "--initrd");
    check("--kernel /proc/self/exe --firmware /nonexistent/f", 2, "--firmware");
    check("--incoming defer --faults none", 2, "--faults");
}

static void test_failures(void **state)
{
    check("--kernel /proc/self/exe --firmware none --console none", 1, "RISC-V");
    check("--incoming defer --qmp /q --console none --memory 8M", 1, "no monitor at '/q'");
    check("--incoming defer --console /nonexistent/d/s", 1, "/nonexistent/d/s");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_help),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_failures),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
