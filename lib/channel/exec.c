/* SPDX-License-Identifier: MIT */
/*
 * A command as the other end of a channel: how it is started, waited for and ended.
 *
 * Problem: guest RAM must never be forked, since a fork write-protects all of it, and the command
 * must inherit nothing of ours: a listener or a console that it holds open would outlive us. Data:
 * the process, which leads a process group of its own, so that all that the shell has started can
 * be ended together. Invariants: posix_spawn does not copy memory; every descriptor of this program
 * is close-on-exec, so the command gets stdin, stdout and stderr; signals are at their defaults and
 * none is blocked. A command that was started is always waited for, so no zombie is left. Who may
 * change it: one thread at a time waits for a command. Failure: a sentence with the command's
 * status or signal; the status is the only word that a command has, and it is believed.
 */
#include "channel/plain.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOOK_MS 5 /* between two looks whether the command has ended */
#define LAST_LOOKS 20
#define SHOWN_BYTES 120 /* of a command, in a sentence */

extern char **environ;

/* The shell's stdin or stdout becomes the pipe; the other one stays what ours is. */
static int spawn(const char *command, bool writes, int its_end, pid_t *pid)
{
    char shell[] = "/bin/sh", option[] = "-c";
    char *const arguments[] = {shell, option, (char *)(uintptr_t)command, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    int code;

    sigemptyset(&none);
    sigfillset(&all);
    code = posix_spawn_file_actions_init(&actions);
    if (code)
        return code;
    code = posix_spawnattr_init(&attributes);
    if (code) {
        posix_spawn_file_actions_destroy(&actions);
        return code;
    }
    code =
        posix_spawn_file_actions_adddup2(&actions, its_end, writes ? STDIN_FILENO : STDOUT_FILENO);
    /* A command that makes a stream must not eat what is typed for us. */
    if (!code && !writes)
        code = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (!code)
        code = posix_spawnattr_setflags(
            &attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    if (!code)
        code = posix_spawnattr_setsigmask(&attributes, &none);
    if (!code)
        code = posix_spawnattr_setsigdefault(&attributes, &all);
    if (!code)
        code = posix_spawn(pid, shell, &actions, &attributes, arguments, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return code;
}

int channel_exec_start(const char *command, bool writes, int *fd, pid_t *pid,
                       struct baton_error *error)
{
    int ends[2], code;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return baton_error_set(error, errno, "no pipe for the command '%.*s': %s", SHOWN_BYTES,
                               command, strerror(errno));
    code = spawn(command, writes, ends[writes ? 0 : 1], pid);
    close(ends[writes ? 0 : 1]);
    *fd = ends[writes ? 1 : 0];
    if (code) {
        close(*fd);
        return baton_error_set(error, code, "the command '%.*s' cannot be started: %s", SHOWN_BYTES,
                               command, strerror(code));
    }
    return 0;
}

static int judge(const char *command, int status, struct baton_error *error)
{
    if (WIFSIGNALED(status))
        return baton_error_set(error, EPIPE, "the command '%.*s' was ended by signal %d (%s)",
                               SHOWN_BYTES, command, WTERMSIG(status), strsignal(WTERMSIG(status)));
    if (WEXITSTATUS(status))
        return baton_error_set(error, EPIPE,
                               "the command '%.*s' ended with status %d; try it in a shell",
                               SHOWN_BYTES, command, WEXITSTATUS(status));
    return 0;
}

int channel_exec_wait(const char *command, pid_t *pid, int down_fd, struct baton_error *error)
{
    struct pollfd down = {.fd = down_fd, .events = POLLIN};

    while (*pid) {
        int status;
        pid_t got = waitpid(*pid, &status, WNOHANG);

        if (got == *pid) {
            *pid = 0;
            return judge(command, status, error);
        }
        if (got < 0 && errno != EINTR) {
            *pid = 0; /* somebody else has waited for it: a host that ignores SIGCHLD, say */
            return baton_error_set(error, ECHILD,
                                   "how the command '%.*s' ended cannot be learnt: %s", SHOWN_BYTES,
                                   command, strerror(ECHILD));
        }
        if (poll(&down, 1, LOOK_MS) > 0)
            return baton_error_set(error, ESHUTDOWN, "waiting for the command '%.*s' was ended",
                                   SHOWN_BYTES, command);
    }
    return 0;
}

void channel_exec_end(pid_t *pid)
{
    pid_t group = *pid;

    if (!group)
        return;
    (void)kill(-group, SIGTERM);
    for (unsigned i = 0; i < LAST_LOOKS && *pid; i++) {
        if (waitpid(*pid, NULL, WNOHANG) != 0)
            *pid = 0;
        else
            (void)poll(NULL, 0, LOOK_MS);
    }
    if (*pid) { /* it did not heed; the number is still its own */
        (void)kill(-group, SIGKILL);
        (void)waitpid(*pid, NULL, 0);
    }
    *pid = 0;
}
