/* SPDX-License-Identifier: MIT */
/*
 * `baton run`: makes a VM and runs it until its guest powers off or somebody quits.
 *
 * This file reads the options, wires machine, monitor and library together, and waits. The main
 * thread waits for the machine. A second thread takes signals (through a signalfd: no handler runs
 * anywhere) and the console's quit key; both only ask: a VM that another host or this process's
 * memory still needs is not given up for a Ctrl-C. What insists is `quit` with force, in the
 * monitor.
 *
 * Exit codes: 0, or what the guest said when it powered off; 1 when the VM could not be made; 2
 * when the options are wrong.
 */
#include "cmd/run.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "baton/baton.h"
#include "monitor/qmp.h"
#include "vmm/cpu/thread.h"
#include "vmm/machine.h"

#define EXIT_USAGE 2

struct run_options {
    struct vmm_machine_config machine;
    const char *qmp;
    const char *monitor;
    const char *incoming; /* NULL: none; "defer": told later by the monitor */
};

struct run {
    struct run_options options;
    struct vmm_machine *machine;
    struct qmp_server *qmp;
    int quit_fd; /* eventfd: the quit key */
    int end_fd;  /* eventfd: the signal thread shall end */
    int signal_fd;
};

static const char help_text[] =
    "Usage: baton run [options]\n"
    "Runs a RISC-V virtual machine (64 bit, QEMU's `virt` board) that can be migrated.\n"
    "\n"
    "  --memory SIZE        guest RAM, with K, M or G behind the number (default 512M)\n"
    "  --cpus N             number of CPUs, 1 to 8 (default 1)\n"
    "  --kernel FILE        Linux Image, flat binary or ELF file to boot\n"
    "  --initrd FILE        initial RAM disk\n"
    "  --append STRING      kernel command line\n"
    "  --firmware FILE      flat M-mode firmware (default: OpenSBI's fw_dynamic.bin);\n"
    "                       `none` enters the kernel in M mode\n"
    "  --machine virt       the only machine there is\n"
    "  --console WHERE      `stdio` (the default; Ctrl-a h helps when it is a terminal),\n"
    "                       `none`, or the path of a unix socket to make\n"
    "  --qmp PATH           make a QMP monitor socket at PATH\n"
    "  --monitor WHERE      make a monitor for people: `stdio` (with --console elsewhere), or the\n"
    "                       path of a unix socket to make\n"
    "  --incoming URI       do not boot: wait for a VM at tcp:HOST:PORT or unix:PATH, or read\n"
    "                       one from file:PATH, exec:COMMAND or fd:NUMBER; `defer` waits\n"
    "                       for the monitor to say where\n"
    "  --paused             do not start the CPUs before the monitor says `cont`; with\n"
    "                       --incoming, whether or not the VM ran where it came from\n"
    "  --memory-backend KIND what guest RAM is made of: `anon` (the default), `memfd` (shared\n"
    "                       memory) or `hugetlb` (reserved huge pages of 2 MiB)\n"
    "  --faults HOW         how missing pages of an incoming VM are caught: `userfaultfd`,\n"
    "                       `software` (needs no privilege) or `auto` (the default)\n"
    "  --help               show this\n"
    "\n"
    "SIGINT and SIGTERM end the VM, unless a migration still needs it.\n";

enum {
    OPTION_MEMORY = 256,
    OPTION_CPUS,
    OPTION_KERNEL,
    OPTION_INITRD,
    OPTION_APPEND,
    OPTION_FIRMWARE,
    OPTION_MACHINE,
    OPTION_CONSOLE,
    OPTION_QMP,
    OPTION_MONITOR,
    OPTION_INCOMING,
    OPTION_PAUSED,
    OPTION_FAULTS,
    OPTION_BACKEND,
    OPTION_HELP
};

static const struct option long_options[] = {
    {"memory", required_argument, NULL, OPTION_MEMORY},
    {"cpus", required_argument, NULL, OPTION_CPUS},
    {"kernel", required_argument, NULL, OPTION_KERNEL},
    {"initrd", required_argument, NULL, OPTION_INITRD},
    {"append", required_argument, NULL, OPTION_APPEND},
    {"firmware", required_argument, NULL, OPTION_FIRMWARE},
    {"machine", required_argument, NULL, OPTION_MACHINE},
    {"console", required_argument, NULL, OPTION_CONSOLE},
    {"qmp", required_argument, NULL, OPTION_QMP},
    {"monitor", required_argument, NULL, OPTION_MONITOR},
    {"incoming", required_argument, NULL, OPTION_INCOMING},
    {"paused", no_argument, NULL, OPTION_PAUSED},
    {"faults", required_argument, NULL, OPTION_FAULTS},
    {"memory-backend", required_argument, NULL, OPTION_BACKEND},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

/* A number without sign or spaces, with an optional unit of bytes. */
static int parse_number(const char *text, bool units, uint64_t *value)
{
    static const char suffixes[] = "KMGT";
    const char *suffix;
    unsigned shift = 0;
    char *rest;

    if (*text < '0' || *text > '9')
        return -EINVAL;
    errno = 0;
    *value = strtoull(text, &rest, 10);
    if (errno)
        return -ERANGE;
    if (units && *rest && (suffix = strchr(suffixes, *rest & ~0x20))) {
        shift = 10 * (unsigned)(suffix - suffixes + 1);
        rest++;
    }
    if (*rest)
        return -EINVAL;
    if (*value > UINT64_MAX >> shift)
        return -ERANGE;
    *value <<= shift;
    return 0;
}

static int parse_memory(struct run_options *options, const char *text, struct baton_error *error)
{
    if (parse_number(text, true, &options->machine.memory_bytes))
        return baton_error_set(error, EINVAL,
                               "--memory '%s' is not a size; write a number with K, M or G, such "
                               "as 512M",
                               text);
    if (options->machine.memory_bytes < VMM_MIN_MEMORY_BYTES ||
        options->machine.memory_bytes > VMM_MAX_MEMORY_BYTES ||
        options->machine.memory_bytes % 4096) {
        bool bare = options->machine.memory_bytes < VMM_MIN_MEMORY_BYTES &&
                    strspn(text, "0123456789") == strlen(text);

        if (bare && options->machine.memory_bytes >= VMM_MIN_MEMORY_BYTES >> 20)
            return baton_error_set(error, EINVAL,
                                   "--memory '%s' means so many bytes, which is too little; did "
                                   "you mean %sM?",
                                   text, text);
        return baton_error_set(error, EINVAL,
                               "--memory '%s' is out of range: it can be %lluM to %lluG, in steps "
                               "of 4K",
                               text, VMM_MIN_MEMORY_BYTES >> 20, VMM_MAX_MEMORY_BYTES >> 30);
    }
    return 0;
}

static int parse_backend(struct run_options *options, const char *text, struct baton_error *error)
{
    for (unsigned i = 0; i < VMM_BACKEND_COUNT; i++) {
        if (strcmp(text, vmm_backend_name(i)) == 0) {
            options->machine.backend = i;
            return 0;
        }
    }
    return baton_error_set(
        error, EINVAL, "--memory-backend '%s' is unknown; it can be anon, memfd or hugetlb", text);
}

static int parse_faults(struct run_options *options, const char *text, struct baton_error *error)
{
    for (unsigned i = 0; i < BATON_FAULTS_COUNT; i++) {
        if (strcmp(text, baton_faults_name(i)) == 0) {
            options->machine.faults = i;
            return 0;
        }
    }
    return baton_error_set(
        error, EINVAL, "--faults '%s' is unknown; it can be auto, userfaultfd or software", text);
}

static int parse_cpus(struct run_options *options, const char *text, struct baton_error *error)
{
    uint64_t cpus;

    if (parse_number(text, false, &cpus) || cpus < 1 || cpus > VMM_MAX_CPUS)
        return baton_error_set(error, EINVAL, "--cpus '%s' is not a number from 1 to %u", text,
                               VMM_MAX_CPUS);
    options->machine.cpus = (unsigned)cpus;
    return 0;
}

static int parse_option(struct run_options *options, int option, const char *value,
                        struct baton_error *error)
{
    switch (option) {
    case OPTION_MEMORY:
        return parse_memory(options, value, error);
    case OPTION_CPUS:
        return parse_cpus(options, value, error);
    case OPTION_KERNEL:
        options->machine.kernel = value;
        return 0;
    case OPTION_INITRD:
        options->machine.initrd = value;
        return 0;
    case OPTION_APPEND:
        options->machine.append = value;
        return 0;
    case OPTION_FIRMWARE:
        options->machine.firmware = value;
        return 0;
    case OPTION_MACHINE:
        if (strcmp(value, VMM_MACHINE_NAME) == 0)
            return 0;
        return baton_error_set(error, EINVAL, "--machine '%s' is unknown; there is only `%s`",
                               value, VMM_MACHINE_NAME);
    case OPTION_CONSOLE:
        options->machine.console = value;
        return 0;
    case OPTION_QMP:
        options->qmp = value;
        return 0;
    case OPTION_MONITOR:
        options->monitor = value;
        return 0;
    case OPTION_INCOMING:
        options->incoming = value;
        options->machine.incoming = true;
        return 0;
    case OPTION_BACKEND:
        return parse_backend(options, value, error);
    case OPTION_FAULTS:
        return parse_faults(options, value, error);
    default:
        options->machine.paused = true;
        return 0;
    }
}

static int check_file(const char *option, const char *path, struct baton_error *error)
{
    if (!path || access(path, R_OK) == 0)
        return 0;
    return baton_error_set(error, errno, "%s: cannot read '%s': %s", option, path, strerror(errno));
}

static int check_options(const struct run_options *options, struct baton_error *error)
{
    const struct vmm_machine_config *machine = &options->machine;
    int code;

    if (!machine->kernel && !machine->incoming)
        return baton_error_set(error, EINVAL,
                               "there is nothing to boot: name a kernel with --kernel, or wait for "
                               "a VM with --incoming");
    if (options->monitor && strcmp(options->monitor, "stdio") == 0 &&
        (!machine->console || strcmp(machine->console, "stdio") == 0))
        return baton_error_set(error, EINVAL,
                               "--monitor stdio needs stdin and stdout for itself; put the console "
                               "elsewhere with --console none or a socket's path");
    code = check_file("--kernel", machine->kernel, error);
    if (!code)
        code = check_file("--initrd", machine->initrd, error);
    if (!code && machine->firmware && strcmp(machine->firmware, "none") != 0)
        code = check_file("--firmware", machine->firmware, error);
    return code;
}

/* 0: go on; 1: help was shown; negative: wrong. */
static int parse(int argc, char **argv, struct run_options *options, struct baton_error *error)
{
    int option;
    int code = 0;

    *options = (struct run_options){.machine = {.memory_bytes = 512ull << 20, .cpus = 1}};
    optind = 0; /* the GNU way to begin anew: the command line was looked at before */
    while (!code && (option = getopt_long(argc, argv, "+:h", long_options, NULL)) != -1) {
        switch (option) {
        case 'h':
        case OPTION_HELP:
            fputs(help_text, stdout);
            return 1;
        case ':':
            return baton_error_set(error, EINVAL, "%s needs a value", argv[optind - 1]);
        case '?':
            return baton_error_set(error, EINVAL,
                                   "%s is not an option of `baton run`, or takes no value",
                                   argv[optind - 1]);
        default:
            code = parse_option(options, option, optarg, error);
        }
    }
    if (!code && optind < argc)
        code = baton_error_set(error, EINVAL, "'%s' is not an option", argv[optind]);
    return code ? code : check_options(options, error);
}

/* ---- Quitting ---- */

static void quit_key(void *opaque)
{
    struct run *run = opaque;
    uint64_t one = 1;

    if (write(run->quit_fd, &one, sizeof(one)) < 0)
        fprintf(stderr, "baton: cannot quit: %s\n", strerror(errno));
}

static void ask_to_quit(struct run *run)
{
    struct baton_error error = {0};

    if (baton_may_quit(vmm_machine_baton(run->machine), &error) == 0)
        vmm_machine_quit(run->machine);
    else
        fprintf(stderr, "baton: not quitting: %s\n", error.text);
}

static void *signal_thread(void *opaque)
{
    struct run *run = opaque;

    for (;;) {
        struct pollfd polls[] = {{.fd = run->signal_fd, .events = POLLIN},
                                 {.fd = run->quit_fd, .events = POLLIN},
                                 {.fd = run->end_fd, .events = POLLIN}};
        struct signalfd_siginfo info;
        uint64_t count;

        if (poll(polls, 3, -1) < 0)
            continue;
        if (polls[2].revents)
            return NULL;
        if (polls[0].revents && read(run->signal_fd, &info, sizeof(info)) == sizeof(info))
            ask_to_quit(run);
        if (polls[1].revents && read(run->quit_fd, &count, sizeof(count)) == sizeof(count))
            ask_to_quit(run);
    }
}

/* Before any thread is made, so that all of them leave the signals to the signalfd. */
static int open_signals(struct run *run, struct baton_error *error)
{
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN); /* a reader that leaves is an error code, not the VM's end */
    run->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC);
    run->quit_fd = eventfd(0, EFD_CLOEXEC);
    run->end_fd = eventfd(0, EFD_CLOEXEC);
    if (run->signal_fd < 0 || run->quit_fd < 0 || run->end_fd < 0)
        return baton_error_set(error, errno, "cannot prepare for signals: %s", strerror(errno));
    return 0;
}

static void close_signals(struct run *run)
{
    close(run->signal_fd);
    close(run->quit_fd);
    close(run->end_fd);
}

/* ---- Running ---- */

/* With port 0 the system chose: say where. */
static void show_addresses(struct run *run)
{
    struct baton_info *info = calloc(1, sizeof(*info));

    if (!info)
        return;
    baton_query(vmm_machine_baton(run->machine), info);
    for (unsigned i = 0; i < info->address_count; i++)
        fprintf(stderr, "baton: waiting for a VM at %s\n", info->addresses[i]);
    free(info);
}

static int make(struct run *run, struct baton_error *error)
{
    struct run_options *options = &run->options;
    int code;

    options->machine.on_quit_key = quit_key;
    options->machine.opaque = run;
    code = vmm_machine_new(&options->machine, &run->machine, error);
    if (!code && (options->qmp || options->monitor))
        code = qmp_server_start(run->machine, options->qmp, &run->qmp, error);
    if (!code && options->monitor)
        code = qmp_server_add_human(run->qmp, options->monitor, error);
    if (!code && options->incoming && strcmp(options->incoming, "defer") != 0) {
        code = baton_incoming(vmm_machine_baton(run->machine), options->incoming, error);
        if (!code)
            show_addresses(run);
    }
    return code;
}

/* Waits for the end with the signal thread beside. */
static int attend(struct run *run, int *exit_code, struct baton_error *error)
{
    pthread_t thread;
    uint64_t one = 1;
    int code = pthread_create(&thread, NULL, signal_thread, run);

    if (code)
        return baton_error_set(error, code, "cannot start the thread that takes signals: %s",
                               strerror(code));
    pthread_setname_np(thread, "signals");
    *exit_code = vmm_machine_wait(run->machine);
    if (write(run->end_fd, &one, sizeof(one)) == sizeof(one))
        pthread_join(thread, NULL);
    return 0;
}

int cmd_run(int argc, char **argv)
{
    struct baton_error error = {0};
    struct run run = {0};
    int exit_code = EXIT_FAILURE;
    int code = parse(argc, argv, &run.options, &error);

    if (code) {
        if (code < 0)
            fprintf(stderr, "baton run: %s\nTry `baton run --help`.\n", error.text);
        return code < 0 ? EXIT_USAGE : EXIT_SUCCESS;
    }
    code = open_signals(&run, &error);
    if (!code) {
        code = make(&run, &error);
        if (!code)
            code = attend(&run, &exit_code, &error);
        qmp_server_stop(run.qmp);
        vmm_machine_free(run.machine);
    }
    close_signals(&run);
    if (code)
        fprintf(stderr, "baton run: %s\n", error.text);
    return exit_code;
}
