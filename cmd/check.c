/* SPDX-License-Identifier: MIT */
/*
 * `baton check`: what this host offers for migration, and what to do about what is missing.
 *
 * check_probe.c finds out; this file says it, as lines or as an object, and adds advice. `auto`
 * means what it means for `baton run --faults`: userfaultfd only in a mode in which the kernel's
 * own accesses wait as well, else software. The exit code is about that alone: everything else is
 * about speed and convenience.
 *
 * Nothing is kept and nothing can fail.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cmd/check_probe.h"
#include "cmd/cmd.h"
#include "cmd/migration.h"

#define LABEL_COLUMNS 24
#define ENOUGH_FILES 1024u
#define USUAL_MAP_COUNT 65530u

static const char help[] =
    "Usage: baton check [--json]\n"
    "Says what this host offers for migration: userfaultfd, which catches missing pages, and the\n"
    "memory it works for, huge pages, KVM, limits, TCP; and what to do about what is missing.\n"
    "\n"
    "  --json         print it as an object\n"
    "\n"
    "Exit codes: 0 postcopy by userfaultfd is possible, 1 it is not (`baton run --faults "
    "software`\n"
    "still is), 2 usage.\n";

static const char *const way_names[] = {"userfaultfd", "/dev/userfaultfd", "user mode only"};
static const char *const way_keys[] = {"syscall", "device", "user-mode-only"};
static const char *const memory_names[] = {"Catches: anonymous", "  shared memory", "  huge pages"};
static const char *const memory_keys[] = {"anonymous", "shmem", "hugetlb"};

static bool has_userfaultfd(const struct check_host *host)
{
    bool any = false;

    for (int i = 0; i < CHECK_WAY_COUNT; i++)
        any |= host->way[i] == 0;
    return any && host->missing[CHECK_MEMORY_ANONYMOUS] == 0;
}

/* What `auto` takes, by the key of the way. */
static const char *automatic(const struct check_host *host)
{
    if (host->missing[CHECK_MEMORY_ANONYMOUS] == 0 && host->way[CHECK_WAY_SYSCALL] == 0)
        return way_keys[CHECK_WAY_SYSCALL];
    if (host->missing[CHECK_MEMORY_ANONYMOUS] == 0 && host->way[CHECK_WAY_DEVICE] == 0)
        return way_keys[CHECK_WAY_DEVICE];
    return "software";
}

/* ---- Advice ---- */

static void advise(json_t *list, const char *text)
{
    json_array_append_new(list, json_string(text));
}

static void advise_faults(json_t *list, const struct check_host *host)
{
    bool refused = host->way[CHECK_WAY_SYSCALL] && host->way[CHECK_WAY_DEVICE];

    if (host->way[CHECK_WAY_SYSCALL] == ENOSYS)
        advise(list, "This kernel has no userfaultfd: run one with CONFIG_USERFAULTFD, or receive "
                     "VMs with --faults software.");
    else if (refused)
        advise(list, "userfaultfd is refused here: run as root, or give this user access to "
                     "/dev/userfaultfd, or set sysctl vm.unprivileged_userfaultfd=1; in a "
                     "container, allow the userfaultfd system call or pass the device in.");
    if (refused && host->way[CHECK_WAY_USER_MODE] == 0)
        advise(list, "userfaultfd in user mode only does not catch the kernel's own accesses: "
                     "--faults auto takes software instead, --faults userfaultfd takes it.");
    if (has_userfaultfd(host) && host->missing[CHECK_MEMORY_SHMEM])
        advise(list, "Missing pages of shared memory cannot be caught: use private anonymous "
                     "memory, or a kernel from 4.11 on with CONFIG_SHMEM.");
    if (has_userfaultfd(host) && host->missing[CHECK_MEMORY_HUGETLB])
        advise(list, "Missing huge pages cannot be caught: use ordinary pages, or a kernel from "
                     "4.11 on with CONFIG_HUGETLBFS.");
}

static void advise_memory(json_t *list, const struct check_host *host)
{
    uint64_t free_pages = 0;

    for (unsigned i = 0; i < host->page_size_count; i++)
        free_pages += host->pages[i].free;
    if (host->page_size_count && !free_pages)
        advise(list, "No huge page is free: a VM that shall use some needs them set aside first, "
                     "such as with sysctl vm.nr_hugepages=N.");
    if (host->overcommit == 2)
        advise(list, "vm.overcommit_memory is 2: a VM's whole RAM must fit under CommitLimit "
                     "before it starts; 0 is the usual setting.");
    if (host->max_map_count && host->max_map_count < USUAL_MAP_COUNT)
        advise(list, "vm.max_map_count is low: scattered missing pages split mappings; set sysctl "
                     "vm.max_map_count=65530 or more.");
}

static void advise_rest(json_t *list, const struct check_host *host)
{
    if (host->kvm)
        advise(list, host->kvm == ENOENT
                         ? "/dev/kvm is not there: load kvm_intel or kvm_amd, or enable "
                           "virtualization in the firmware, or nesting on the host below. Baton's "
                           "own CPU does without."
                         : "/dev/kvm may not be used: join the group that owns it (kvm, mostly), "
                           "or pass the device into the container. Baton's own CPU does without.");
    if (host->files_soft < ENOUGH_FILES)
        advise(list, "Few open files are allowed: raise `ulimit -n` to 1024 or more.");
    if (host->congestion[0] && strcmp(host->congestion, "bbr") != 0)
        advise(list, strstr(host->congestion_available, "bbr")
                         ? "On links that lose packets sysctl net.ipv4.tcp_congestion_control=bbr "
                           "is often faster."
                         : "On links that lose packets BBR is often faster: load tcp_bbr, and set "
                           "sysctl net.ipv4.tcp_congestion_control=bbr.");
}

static json_t *advice_for(const struct check_host *host)
{
    json_t *list = json_array();

    advise_faults(list, host);
    advise_memory(list, host);
    advise_rest(list, host);
    return list;
}

/* ---- As an object ---- */

/* Memory is not tried where there is nothing to try it with. */
static const char *why_not(int code)
{
    return code == CHECK_NOT_TRIED ? "not tried" : strerror(code);
}

static json_t *offer(int code)
{
    json_t *object = json_pack("{s:b}", "available", code == 0);

    if (code)
        json_object_set_new(object, "error", json_string(why_not(code)));
    return object;
}

static json_t *number_or_null(uint64_t value)
{
    return value == CHECK_NO_LIMIT ? json_null() : json_integer((json_int_t)value);
}

static json_t *userfaultfd_of(const struct check_host *host)
{
    json_t *ways = json_object(), *memories = json_object();

    for (int i = 0; i < CHECK_WAY_COUNT; i++)
        json_object_set_new(ways, way_keys[i], offer(host->way[i]));
    for (int i = 0; i < CHECK_MEMORY_COUNT; i++)
        json_object_set_new(memories, memory_keys[i], offer(host->missing[i]));
    return json_pack("{s:o, s:o, s:b, s:s, s:b}", "ways", ways, "missing", memories, "thread-ids",
                     host->thread_ids, "auto", automatic(host), "postcopy", has_userfaultfd(host));
}

static json_t *huge_pages_of(const struct check_host *host)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < host->page_size_count; i++)
        json_array_append_new(list, json_pack("{s:I, s:I, s:I}", "size",
                                              (json_int_t)host->pages[i].size_bytes, "total",
                                              (json_int_t)host->pages[i].total, "free",
                                              (json_int_t)host->pages[i].free));
    return list;
}

static json_t *limits_of(const struct check_host *host)
{
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:I, s:i, s:I}", "memlock", number_or_null(host->memlock_soft_bytes),
        "memlock-hard", number_or_null(host->memlock_hard_bytes), "open-files",
        number_or_null(host->files_soft), "open-files-hard", number_or_null(host->files_hard),
        "max-map-count", (json_int_t)host->max_map_count, "overcommit-memory",
        (int)host->overcommit, "memory-available", (json_int_t)host->available_bytes);
}

static json_t *congestion_of(const struct check_host *host)
{
    json_t *available = json_array();
    const char *word = host->congestion_available;

    while (*word) {
        size_t length = strcspn(word, " ");

        if (length)
            json_array_append_new(available, json_stringn(word, length));
        word += length + strspn(word + length, " ");
    }
    return json_pack("{s:s, s:o}", "default", host->congestion, "available", available);
}

static void print_object(const struct check_host *host, json_t *advice)
{
    json_t *object = json_pack(
        "{s:o, s:{s:s, s:s}, s:o, s:o, s:o, s:o, s:O}", "userfaultfd", userfaultfd_of(host),
        "transparent-huge-pages", "anonymous", host->thp, "shmem", host->thp_shmem, "huge-pages",
        huge_pages_of(host), "kvm", offer(host->kvm), "limits", limits_of(host), "tcp-congestion",
        congestion_of(host), "advice", advice);

    json_dumpf(object, stdout, JSON_INDENT(2) | JSON_SORT_KEYS);
    printf("\n");
    json_decref(object);
}

/* ---- As lines ---- */

static void line(const char *label)
{
    printf("%-*s ", LABEL_COLUMNS - 1, label);
}

static const char *yes_or_why(int code)
{
    return code ? why_not(code) : "yes";
}

static const char *words_limit(uint64_t value, bool bytes, char buffer[WORDS_BYTES])
{
    if (value == CHECK_NO_LIMIT)
        return "unlimited";
    if (bytes)
        return words_bytes(value, buffer);
    snprintf(buffer, WORDS_BYTES, "%llu", (unsigned long long)value);
    return buffer;
}

static void print_faults(const struct check_host *host)
{
    for (int i = 0; i < CHECK_WAY_COUNT; i++) {
        line(way_names[i]);
        printf("%s\n", yes_or_why(host->way[i]));
    }
    for (int i = 0; i < CHECK_MEMORY_COUNT; i++) {
        line(memory_names[i]);
        printf("%s\n", yes_or_why(host->missing[i]));
    }
    line("--faults auto takes");
    printf("%s\n", automatic(host));
}

static void print_memory(const struct check_host *host)
{
    char buffer[WORDS_BYTES];

    line("Transparent huge pages");
    printf("%s; shared memory: %s\n", host->thp[0] ? host->thp : "none in this kernel",
           host->thp_shmem[0] ? host->thp_shmem : "none in this kernel");
    for (unsigned i = 0; i < host->page_size_count; i++) {
        line(i ? "" : "Huge pages");
        printf("%s: %llu free of %llu\n", words_bytes(host->pages[i].size_bytes, buffer),
               (unsigned long long)host->pages[i].free, (unsigned long long)host->pages[i].total);
    }
    line("Memory available");
    printf("%s\n", words_bytes(host->available_bytes, buffer));
    line("vm.overcommit_memory");
    printf("%u\n", host->overcommit);
    line("vm.max_map_count");
    printf("%llu\n", (unsigned long long)host->max_map_count);
}

static void print_limits(const struct check_host *host)
{
    char soft[WORDS_BYTES], hard[WORDS_BYTES];

    line("Locked memory");
    printf("%s (at most %s)\n", words_limit(host->memlock_soft_bytes, true, soft),
           words_limit(host->memlock_hard_bytes, true, hard));
    line("Open files");
    printf("%s (at most %s)\n", words_limit(host->files_soft, false, soft),
           words_limit(host->files_hard, false, hard));
    line("/dev/kvm");
    printf("%s\n", yes_or_why(host->kvm));
    line("TCP congestion control");
    printf("%s; available: %s\n", host->congestion[0] ? host->congestion : "unknown",
           host->congestion_available[0] ? host->congestion_available : "unknown");
}

static void print_text(const struct check_host *host, const json_t *advice)
{
    print_faults(host);
    print_memory(host);
    print_limits(host);
    printf("\n%s\n", has_userfaultfd(host)
                         ? "Postcopy by userfaultfd is possible here."
                         : "Postcopy by userfaultfd is not possible here; by software it is.");
    for (size_t i = 0; i < json_array_size(advice); i++) {
        printf("* ");
        words_wrap(json_string_value(json_array_get(advice, i)), 2);
    }
}

int cmd_check(int argc, char **argv)
{
    struct cmd_options options;
    struct check_host host;
    json_t *advice;
    int code = cmd_parse(argc, argv, CMD_TAKES_NO_VM, help, &options);

    if (code >= 0)
        return code;
    check_probe(&host);
    advice = advice_for(&host);
    if (options.json)
        print_object(&host, advice);
    else
        print_text(&host, advice);
    json_decref(advice);
    return has_userfaultfd(&host) ? CMD_DONE : CMD_ERROR;
}
