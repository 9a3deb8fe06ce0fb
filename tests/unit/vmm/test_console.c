/* SPDX-License-Identifier: MIT */
/* The console on a unix socket: who may connect, what a late client sees, and what a slow or a fast
 * one does to the guest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "vmm/console.h"

static char directory[] = "/tmp/vmm-console-XXXXXX";
static char path[64];
static atomic_uint inputs;

static void on_input(void *opaque)
{
    atomic_fetch_add(&inputs, 1);
}

static void on_quit(void *opaque)
{
}

static int set_up(void **state)
{
    if (!mkdtemp(directory))
        return -1;
    snprintf(path, sizeof(path), "%s/socket", directory);
    return 0;
}

static int tear_down(void **state)
{
    return rmdir(directory); /* fails if the console left its socket behind */
}

static struct vmm_console *open_console(const char *where)
{
    struct vmm_console_config config = {.where = where, .on_input = on_input, .on_quit = on_quit};
    struct vmm_console *console = NULL;

    assert_int_equal(vmm_console_new(&config, &console, NULL), 0);
    assert_int_equal(vmm_console_start(console, NULL), 0);
    return console;
}

static int dial(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    strcpy(address.sun_path, path);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static void say(struct vmm_console *console, const char *text)
{
    while (*text)
        vmm_console_put(console, (uint8_t)*text++);
}

/* Reads until `end` has come or two seconds have gone by; returns how much. */
static size_t hear(int fd, const char *end, char *text, size_t size)
{
    struct pollfd poll_in = {.fd = fd, .events = POLLIN};
    size_t count = 0;

    while (count + 1 < size && poll(&poll_in, 1, 2000) == 1) {
        ssize_t got = read(fd, text + count, size - 1 - count);

        if (got <= 0)
            break;
        count += (size_t)got;
        text[count] = '\0';
        if (count >= strlen(end) && strcmp(text + count - strlen(end), end) == 0)
            break;
    }
    text[count] = '\0';
    return count;
}

static void test_talks(void **state)
{
    struct vmm_console *console = open_console(path);
    struct stat status;
    uint8_t bytes[32];
    char text[64];
    size_t taken = 0;
    int fd;

    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    say(console, "before ");
    fd = dial();
    say(console, "after");
    hear(fd, "after", text, sizeof(text));
    assert_string_equal(text, "before after");
    atomic_store(&inputs, 0);
    assert_int_equal(write(fd, "keys", 4), 4);
    for (int i = 0; i < 2000 && taken < 4; i++) {
        usleep(1000);
        taken += vmm_console_take(console, bytes + taken, sizeof(bytes) - taken);
    }
    assert_memory_equal(bytes, "keys", 4);
    assert_true(atomic_load(&inputs) > 0);
    /* Gone, and back: the history again, and the connection lives. */
    close(fd);
    say(console, " while away");
    fd = dial();
    say(console, ".");
    hear(fd, ".", text, sizeof(text));
    assert_string_equal(text, "before after while away.");
    /* It only listens from now on, and still hears. */
    shutdown(fd, SHUT_WR);
    usleep(20000);
    say(console, "more!");
    hear(fd, "!", text, sizeof(text));
    assert_string_equal(text, "more!");
    /* The last words are delivered. */
    say(console, "bye");
    vmm_console_free(console);
    hear(fd, "bye", text, sizeof(text));
    assert_string_equal(text, "bye");
    close(fd);
}

static void test_history_is_bounded(void **state)
{
    struct vmm_console *console = open_console(path);
    char *text = malloc(4u << 20);
    size_t count;
    int fd;

    for (int i = 0; i < 3 << 20; i++) /* nobody reads: never blocks */
        vmm_console_put(console, 'x');
    fd = dial();
    say(console, "END");
    count = hear(fd, "END", text, 4u << 20);
    assert_true(count >= (64u << 10) && count <= (64u << 10) + 3);
    assert_string_equal(text + count - 3, "END");
    /* A client that does not read loses the oldest, not the newest. */
    for (int i = 0; i < 3 << 20; i++)
        vmm_console_put(console, 'y');
    say(console, "END");
    count = hear(fd, "END", text, 4u << 20);
    assert_true(count < 3u << 20);
    assert_string_equal(text + count - 3, "END");
    close(fd);
    free(text);
    vmm_console_free(console);
}

static void test_backpressure(void **state)
{
    struct vmm_console *console = open_console(path);
    static char flood[1 << 20];
    size_t sent = 0, taken = 0;
    int fd = dial();

    memset(flood, 'f', sizeof(flood));
    fcntl(fd, F_SETFL, O_NONBLOCK);
    for (int quiet = 0; quiet < 20; quiet++) {
        ssize_t done = send(fd, flood, sizeof(flood), MSG_NOSIGNAL);

        if (done > 0) {
            sent += (size_t)done;
            quiet = 0;
        }
        assert_true(sent < 16u << 20);
        usleep(1000);
    }
    /* The sender stands; nothing is lost. */
    for (int i = 0; i < 20000 && taken < sent; i++) {
        uint8_t bytes[256];
        size_t got = vmm_console_take(console, bytes, sizeof(bytes));

        for (size_t k = 0; k < got; k++)
            assert_int_equal(bytes[k], 'f');
        taken += got;
        if (!got)
            usleep(100);
    }
    assert_int_equal(taken, sent);
    close(fd);
    vmm_console_free(console);
}

static void test_places(void **state)
{
    struct vmm_console_config config = {.where = path, .on_input = on_input, .on_quit = on_quit};
    struct vmm_console *console = open_console(path);
    struct baton_error error = {0};
    struct vmm_console *second = NULL;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char long_path[200];
    int stale;

    assert_int_equal(vmm_console_new(&config, &second, &error), -EADDRINUSE);
    assert_non_null(strstr(error.text, path));
    vmm_console_free(console);
    assert_int_equal(access(path, F_OK), -1);

    /* What a killed process left behind is replaced. */
    stale = socket(AF_UNIX, SOCK_STREAM, 0);
    strcpy(address.sun_path, path);
    assert_int_equal(bind(stale, (struct sockaddr *)&address, sizeof(address)), 0);
    close(stale);
    vmm_console_free(open_console(path));

    /* A file is not. */
    close(open(path, O_CREAT | O_WRONLY, 0600));
    assert_int_equal(vmm_console_new(&config, &second, &error), -EEXIST);
    unlink(path);

    memset(long_path, 'a', sizeof(long_path) - 1);
    long_path[sizeof(long_path) - 1] = '\0';
    config.where = long_path;
    assert_int_equal(vmm_console_new(&config, &second, &error), -ENAMETOOLONG);

    console = open_console("none");
    say(console, "nobody hears");
    vmm_console_free(console);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_talks),
        cmocka_unit_test(test_history_is_bounded),
        cmocka_unit_test(test_backpressure),
        cmocka_unit_test(test_places),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
