/* SPDX-License-Identifier: MIT */
/*
 * The console.
 *
 * Problem: harts write bytes one by one and must not wait for a slow reader; people come, go and
 * come back and want to see what went on; and a person at a terminal needs a way out.
 *
 * Output is a ring that is never full: `written` counts all bytes ever put, the newest RING_BYTES
 * of them are there. The reader (stdout, or the client of the socket) has a position of its own,
 * `sent`; if the writers overtake it, the oldest bytes are lost to it. A new client starts
 * HISTORY_BYTES back.
 *
 * Input is a small ring that the thread fills from the terminal or the client, and the serial port
 * takes from. While it is full the thread does not read: the sender waits (backpressure).
 *
 * One thread does all reading and writing; file descriptors belong to it. `lock`, a leaf, guards
 * the two rings. Writers wake the thread through an eventfd, and only when it has said (`idle`)
 * that it saw nothing to do.
 *
 * Terminal: raw mode, set when the console is made and undone when it is freed, and by atexit()
 * should the process end otherwise. Ctrl-a is the escape key: Ctrl-a x quits, Ctrl-a a sends one
 * Ctrl-a, Ctrl-a h helps.
 */
#include "vmm/console.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define RING_BYTES (1u << 20)
#define HISTORY_BYTES (64u << 10)
#define INPUT_BYTES 1024u
#define FLUSH_MS 500

#define ESCAPE_KEY 0x01 /* Ctrl-a */

enum console_kind { CONSOLE_NONE, CONSOLE_STDIO, CONSOLE_SOCKET };

struct vmm_console {
    struct vmm_console_config config;
    enum console_kind kind;
    bool terminal; /* raw mode is on */
    char *path;    /* of the socket */

    pthread_t thread;
    bool started;
    int wake_fd; /* eventfd */
    int listen_fd;
    int in_fd; /* -1: nobody there, or no more input */
    int out_fd;
    bool escaped; /* the escape key came last */

    pthread_mutex_t lock;
    bool idle; /* the thread sleeps, there is a reader, and it has seen all output */
    bool quit;
    uint64_t written;
    uint64_t sent;
    uint8_t *ring;
    uint8_t input[INPUT_BYTES];
    size_t input_head, input_count;
};

/* The terminal as it was. One console at most is a terminal, so this is the process's. */
static struct termios terminal_before;
static bool terminal_is_raw;

static void restore_terminal(void)
{
    if (!terminal_is_raw)
        return;
    terminal_is_raw = false;
    tcsetattr(STDIN_FILENO, TCSADRAIN, &terminal_before);
}

static int make_raw(struct baton_error *error)
{
    static bool registered;
    struct termios raw;

    if (tcgetattr(STDIN_FILENO, &terminal_before))
        return baton_error_set(error, errno, "cannot use the terminal as the console: %s",
                               strerror(errno));
    raw = terminal_before;
    raw.c_iflag &= (tcflag_t) ~(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
    raw.c_lflag &= (tcflag_t) ~(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
    raw.c_cflag &= (tcflag_t) ~(CSIZE | PARENB);
    raw.c_cflag |= CS8;
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    if (!registered && atexit(restore_terminal) == 0)
        registered = true;
    if (tcsetattr(STDIN_FILENO, TCSADRAIN, &raw))
        return baton_error_set(error, errno, "cannot put the terminal into raw mode: %s",
                               strerror(errno));
    terminal_is_raw = true;
    return 0;
}

static void wake(struct vmm_console *console)
{
    uint64_t one = 1;
    ssize_t ignored = write(console->wake_fd, &one, sizeof(one));

    (void)ignored; /* a full counter wakes as well */
}

void vmm_console_put(struct vmm_console *console, uint8_t byte)
{
    bool was_idle;

    pthread_mutex_lock(&console->lock);
    console->ring[console->written++ % RING_BYTES] = byte;
    was_idle = console->idle;
    console->idle = false;
    pthread_mutex_unlock(&console->lock);
    if (was_idle)
        wake(console);
}

size_t vmm_console_take(struct vmm_console *console, uint8_t *bytes, size_t size)
{
    size_t taken = 0;
    bool was_full;

    pthread_mutex_lock(&console->lock);
    was_full = console->input_count == INPUT_BYTES;
    while (taken < size && console->input_count) {
        bytes[taken++] = console->input[console->input_head];
        console->input_head = (console->input_head + 1) % INPUT_BYTES;
        console->input_count--;
    }
    pthread_mutex_unlock(&console->lock);
    if (was_full && taken)
        wake(console); /* it had stopped reading */
    return taken;
}

static void put_input(struct vmm_console *console, uint8_t byte)
{
    pthread_mutex_lock(&console->lock);
    if (console->input_count < INPUT_BYTES)
        console->input[(console->input_head + console->input_count++) % INPUT_BYTES] = byte;
    pthread_mutex_unlock(&console->lock);
}

static size_t input_room(struct vmm_console *console)
{
    size_t room;

    pthread_mutex_lock(&console->lock);
    room = INPUT_BYTES - console->input_count;
    pthread_mutex_unlock(&console->lock);
    return room;
}

/* Copies output that is due into `bytes`. Bytes that were overtaken are skipped. */
static size_t peek_output(struct vmm_console *console, uint8_t *bytes, size_t size)
{
    size_t count = 0;

    pthread_mutex_lock(&console->lock);
    if (console->written - console->sent > RING_BYTES)
        console->sent = console->written - RING_BYTES;
    while (count < size && console->sent + count < console->written) {
        bytes[count] = console->ring[(console->sent + count) % RING_BYTES];
        count++;
    }
    pthread_mutex_unlock(&console->lock);
    return count;
}

static void drop_client(struct vmm_console *console)
{
    if (console->kind == CONSOLE_SOCKET && console->out_fd >= 0)
        close(console->out_fd);
    console->in_fd = console->out_fd = -1;
}

static void accept_client(struct vmm_console *console)
{
    int fd = accept4(console->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0)
        return;
    console->in_fd = console->out_fd = fd;
    pthread_mutex_lock(&console->lock);
    console->sent = console->written > HISTORY_BYTES ? console->written - HISTORY_BYTES : 0;
    pthread_mutex_unlock(&console->lock);
}

/* What was written to the descriptor, 0 if it would block, -1 if the reader is gone. */
static ssize_t write_some(struct vmm_console *console, const uint8_t *bytes, size_t count)
{
    ssize_t done = console->kind == CONSOLE_SOCKET
                       ? send(console->out_fd, bytes, count, MSG_NOSIGNAL | MSG_DONTWAIT)
                       : write(console->out_fd, bytes, count);

    if (done < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    return done;
}

static void send_output(struct vmm_console *console)
{
    uint8_t bytes[4096];
    size_t count = peek_output(console, bytes, sizeof(bytes));
    ssize_t done;

    if (!count || console->out_fd < 0)
        return;
    done = write_some(console, bytes, count);
    if (done < 0) {
        drop_client(console);
        return;
    }
    pthread_mutex_lock(&console->lock);
    console->sent += (uint64_t)done;
    pthread_mutex_unlock(&console->lock);
}

static void say(struct vmm_console *console, const char *text)
{
    while (*text)
        vmm_console_put(console, (uint8_t)*text++);
}

/* A key typed at a terminal after the escape key. */
static void escape(struct vmm_console *console, uint8_t key)
{
    switch (key) {
    case 'x':
        console->config.on_quit(console->config.opaque);
        break;
    case ESCAPE_KEY:
    case 'a':
        put_input(console, ESCAPE_KEY);
        break;
    case 'h':
        say(console, "\r\nCtrl-a x  quit\r\nCtrl-a a  send Ctrl-a\r\nCtrl-a h  this help\r\n");
        break;
    }
}

static void receive_input(struct vmm_console *console)
{
    uint8_t bytes[INPUT_BYTES];
    size_t room = input_room(console);
    ssize_t got;

    if (!room)
        return;
    got = read(console->in_fd, bytes, room);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) { /* the sender has no more to say; it may still listen */
        console->in_fd = -1;
        return;
    }
    for (ssize_t i = 0; i < got; i++) {
        if (console->terminal && console->escaped) {
            console->escaped = false;
            escape(console, bytes[i]);
        } else if (console->terminal && bytes[i] == ESCAPE_KEY) {
            console->escaped = true;
        } else {
            put_input(console, bytes[i]);
        }
    }
    console->config.on_input(console->config.opaque);
}

enum { POLL_WAKE, POLL_LISTEN, POLL_IN, POLL_OUT, POLL_COUNT };

/* Says what to wait for. A descriptor of -1 is left out by poll(). */
static bool prepare(struct vmm_console *console, struct pollfd polls[POLL_COUNT])
{
    bool room = input_room(console) > 0;
    bool pending;
    bool quit;

    pthread_mutex_lock(&console->lock);
    quit = console->quit;
    pending = console->out_fd >= 0 && console->sent != console->written;
    /* Without a reader nobody needs to be woken by output. */
    console->idle = console->out_fd >= 0 && !pending;
    polls[POLL_WAKE] = (struct pollfd){.fd = console->wake_fd, .events = POLLIN};
    polls[POLL_LISTEN] =
        (struct pollfd){.fd = console->out_fd < 0 ? console->listen_fd : -1, .events = POLLIN};
    polls[POLL_IN] = (struct pollfd){.fd = room ? console->in_fd : -1, .events = POLLIN};
    /* Without POLLOUT it still tells of a client that hung up. */
    polls[POLL_OUT] = (struct pollfd){.fd = console->out_fd, .events = pending ? POLLOUT : 0};
    pthread_mutex_unlock(&console->lock);
    return !quit;
}

static void *console_thread(void *opaque)
{
    struct vmm_console *console = opaque;
    struct pollfd polls[POLL_COUNT];

    while (prepare(console, polls)) {
        uint64_t ignored;

        if (poll(polls, POLL_COUNT, -1) < 0)
            continue;
        if (polls[POLL_WAKE].revents) {
            ssize_t got = read(console->wake_fd, &ignored, sizeof(ignored));

            (void)got; /* only to take it down */
        }
        if (polls[POLL_LISTEN].revents)
            accept_client(console);
        if (polls[POLL_IN].revents)
            receive_input(console);
        if (polls[POLL_OUT].revents & POLLOUT)
            send_output(console);
        else if (polls[POLL_OUT].revents & (POLLHUP | POLLERR | POLLNVAL))
            drop_client(console);
    }
    return NULL;
}

/* A socket that nobody answers at is a leftover of a process that was killed. */
static int remove_stale(const struct sockaddr_un *address, struct baton_error *error)
{
    struct stat status;
    int fd;
    int code;

    if (lstat(address->sun_path, &status))
        return 0;
    if (!S_ISSOCK(status.st_mode))
        return baton_error_set(error, EEXIST,
                               "cannot put the console at '%s': something that is not a socket is "
                               "there already",
                               address->sun_path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    code = fd < 0 || connect(fd, (const struct sockaddr *)address, sizeof(*address)) ? errno : 0;
    if (fd >= 0)
        close(fd);
    if (code != ECONNREFUSED)
        return baton_error_set(error, EADDRINUSE,
                               "cannot put the console at '%s': another process answers there; "
                               "choose another path",
                               address->sun_path);
    unlink(address->sun_path);
    return 0;
}

static int listen_at(struct vmm_console *console, const char *path, struct baton_error *error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int code;

    if (strlen(path) >= sizeof(address.sun_path) || !*path)
        return baton_error_set(error, ENAMETOOLONG,
                               "cannot put the console at '%s': the path of a socket has 1 to %zu "
                               "bytes",
                               path, sizeof(address.sun_path) - 1);
    strcpy(address.sun_path, path);
    code = remove_stale(&address, error);
    if (code)
        return code;
    console->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* The mode of the file is that of the socket when it is bound: nobody else can connect in
     * between. */
    if (console->listen_fd < 0 || fchmod(console->listen_fd, 0600) ||
        bind(console->listen_fd, (const struct sockaddr *)&address, sizeof(address)))
        return baton_error_set(error, errno, "cannot put the console at '%s': %s", path,
                               strerror(errno));
    console->path = strdup(path);
    if (!console->path || listen(console->listen_fd, 4))
        return baton_error_set(error, errno, "cannot listen for the console at '%s': %s", path,
                               strerror(errno));
    return 0;
}

static int open_where(struct vmm_console *console, struct baton_error *error)
{
    const char *where = console->config.where;
    int code;

    if (where && strcmp(where, "none") == 0)
        return 0;
    if (where && strcmp(where, "stdio") != 0) {
        console->kind = CONSOLE_SOCKET;
        return listen_at(console, where, error);
    }
    console->kind = CONSOLE_STDIO;
    console->in_fd = STDIN_FILENO;
    console->out_fd = STDOUT_FILENO;
    if (isatty(STDIN_FILENO) && isatty(STDOUT_FILENO)) {
        code = make_raw(error);
        if (code)
            return code;
        console->terminal = true;
    }
    return 0;
}

int vmm_console_new(const struct vmm_console_config *config, struct vmm_console **out,
                    struct baton_error *error)
{
    struct vmm_console *console = calloc(1, sizeof(*console));
    int code;

    if (!console)
        return baton_error_set(error, ENOMEM, "cannot make the console: out of memory");
    console->config = *config;
    console->listen_fd = console->in_fd = console->out_fd = -1;
    pthread_mutex_init(&console->lock, NULL);
    console->ring = malloc(RING_BYTES);
    console->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (!console->ring || console->wake_fd < 0)
        code = baton_error_set(error, ENOMEM, "cannot make the console: %s", strerror(errno));
    else
        code = open_where(console, error);
    if (code) {
        vmm_console_free(console);
        return code;
    }
    *out = console;
    return 0;
}

int vmm_console_start(struct vmm_console *console, struct baton_error *error)
{
    int code = pthread_create(&console->thread, NULL, console_thread, console);

    if (code)
        return baton_error_set(error, code, "cannot start the console's thread: %s",
                               strerror(code));
    pthread_setname_np(console->thread, "console");
    console->started = true;
    return 0;
}

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

/* The last words of a guest matter most. */
static void flush(struct vmm_console *console)
{
    uint64_t until = now_ms() + FLUSH_MS;

    while (console->out_fd >= 0 && console->sent != console->written && now_ms() < until) {
        struct pollfd poll_out = {.fd = console->out_fd, .events = POLLOUT};

        if (poll(&poll_out, 1, 50) <= 0)
            continue;
        if (!(poll_out.revents & POLLOUT))
            break;
        send_output(console);
    }
}

void vmm_console_free(struct vmm_console *console)
{
    if (!console)
        return;
    if (console->started) {
        pthread_mutex_lock(&console->lock);
        console->quit = true;
        pthread_mutex_unlock(&console->lock);
        wake(console);
        pthread_join(console->thread, NULL);
        flush(console);
    }
    drop_client(console);
    if (console->listen_fd >= 0)
        close(console->listen_fd);
    if (console->path)
        unlink(console->path);
    free(console->path);
    if (console->wake_fd >= 0)
        close(console->wake_fd);
    if (console->terminal)
        restore_terminal();
    pthread_mutex_destroy(&console->lock);
    free(console->ring);
    free(console);
}
