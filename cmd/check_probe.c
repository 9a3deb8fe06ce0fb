/* SPDX-License-Identifier: MIT */
/*
 * Finds out what this host offers.
 *
 * Problem: what /proc and /dev say is not what a process may do: seccomp, capabilities, device
 * cgroups and kernel options all have a say. So whatever can be tried is tried: userfaultfd is
 * opened in each way there is, and shown memory of each kind; only settings are read from files.
 *
 * Data: struct check_host, filled once. Nothing else is kept and nothing of the host is changed:
 * the memory that is tried out is one page, mapped, never touched, and unmapped; a huge page is
 * mapped without a reservation, so that none needs to be free.
 *
 * Failure: there is none. What cannot be found out stays 0 or empty, and the errno value tells why
 * something is refused.
 */
#include "cmd/check_probe.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef UFFD_USER_MODE_ONLY /* the kernel has had it since 5.11 */
#define UFFD_USER_MODE_ONLY 1
#endif
#ifndef USERFAULTFD_IOC_NEW /* since 6.1 */
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif

#define HUGE_PAGES "/sys/kernel/mm/hugepages"

/* ---- userfaultfd ---- */

/* A line "Name:   123 kB" of /proc/meminfo, in bytes. */
static uint64_t read_meminfo_bytes(const char *name)
{
    FILE *file = fopen("/proc/meminfo", "re");
    uint64_t value, found = 0;
    char line[128], word[64];

    if (!file)
        return 0;
    while (fgets(line, sizeof(line), file))
        if (sscanf(line, "%63[^:]: %" SCNu64 " kB", word, &value) == 2 && strcmp(word, name) == 0)
            found = value << 10;
    fclose(file);
    return found;
}

static uint64_t default_huge_page_bytes(void)
{
    return read_meminfo_bytes("Hugepagesize");
}

static int open_device(void)
{
    int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
    int fd, code;

    if (device < 0)
        return -1;
    fd = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
    code = errno;
    close(device);
    errno = code;
    return fd;
}

static int open_way(enum check_way way)
{
    int flags = O_CLOEXEC | O_NONBLOCK;

    if (way == CHECK_WAY_DEVICE)
        return open_device();
    if (way == CHECK_WAY_USER_MODE)
        flags |= UFFD_USER_MODE_ONLY;
    return (int)syscall(SYS_userfaultfd, flags);
}

/* Shakes hands; 0 or -errno. */
static int shake_hands(int fd, uint64_t features, uint64_t *offered)
{
    struct uffdio_api api = {.api = UFFD_API, .features = features};

    if (ioctl(fd, UFFDIO_API, &api) < 0)
        return -errno;
    *offered = api.features;
    return 0;
}

static void *map_page(enum check_memory memory, size_t length_bytes)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

    if (memory == CHECK_MEMORY_SHMEM)
        flags = MAP_SHARED | MAP_ANONYMOUS;
    if (memory == CHECK_MEMORY_HUGETLB)
        flags |= MAP_HUGETLB;
    return mmap(NULL, length_bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
}

/* Whether missing pages of this memory can be caught and filled: 0, or the errno value. */
static int try_memory(int fd, enum check_memory memory, size_t length_bytes)
{
    struct uffdio_register request = {.mode = UFFDIO_REGISTER_MODE_MISSING};
    void *host = map_page(memory, length_bytes);
    int code = 0;

    if (host == MAP_FAILED)
        return errno;
    request.range = (struct uffdio_range){.start = (uintptr_t)host, .len = length_bytes};
    if (ioctl(fd, UFFDIO_REGISTER, &request) < 0)
        code = errno;
    else if (!(request.ioctls & 1ull << _UFFDIO_COPY))
        code = EOPNOTSUPP;
    munmap(host, length_bytes);
    return code;
}

static void try_memories(struct check_host *host, int fd)
{
    uint64_t huge_bytes = default_huge_page_bytes();

    for (int i = 0; i < CHECK_MEMORY_HUGETLB; i++)
        host->missing[i] = try_memory(fd, (enum check_memory)i, (size_t)getpagesize());
    host->missing[CHECK_MEMORY_HUGETLB] =
        huge_bytes ? try_memory(fd, CHECK_MEMORY_HUGETLB, huge_bytes) : EOPNOTSUPP;
}

static void probe_userfaultfd(struct check_host *host)
{
    bool tried = false;

    for (int i = 0; i < CHECK_MEMORY_COUNT; i++)
        host->missing[i] = CHECK_NOT_TRIED;
    for (int i = 0; i < CHECK_WAY_COUNT; i++) {
        int fd = open_way((enum check_way)i);
        uint64_t offered = 0;

        host->way[i] = fd < 0 ? errno : 0;
        if (fd < 0)
            continue;
        host->way[i] = -shake_hands(fd, 0, &offered);
        if (!host->way[i] && !tried) { /* the strongest way speaks for all */
            tried = true;
            host->thread_ids = offered & UFFD_FEATURE_THREAD_ID;
            try_memories(host, fd);
        }
        close(fd);
    }
}

/* ---- Files ---- */

/* The first line of a file, without its end; empty if there is none. */
static void read_line(const char *path, char *line, size_t size)
{
    FILE *file = fopen(path, "re");

    line[0] = 0;
    if (!file)
        return;
    if (!fgets(line, (int)size, file))
        line[0] = 0;
    line[strcspn(line, "\n")] = 0;
    fclose(file);
}

static uint64_t read_number(const char *path)
{
    char line[64];

    read_line(path, line, sizeof(line));
    return strtoull(line, NULL, 10);
}

/* The word in brackets of a line such as "always [madvise] never". */
static void read_choice(const char *path, char word[CHECK_WORD_BYTES])
{
    char line[256], *begin, *end;

    word[0] = 0;
    read_line(path, line, sizeof(line));
    begin = strchr(line, '[');
    end = begin ? strchr(begin, ']') : NULL;
    if (end)
        snprintf(word, CHECK_WORD_BYTES, "%.*s", (int)(end - begin - 1), begin + 1);
}

static void probe_huge_pages(struct check_host *host)
{
    DIR *folder = opendir(HUGE_PAGES);
    const struct dirent *entry;

    while (folder && (entry = readdir(folder)) && host->page_size_count < CHECK_MAX_PAGE_SIZES) {
        struct check_pages *pages = &host->pages[host->page_size_count];
        char path[sizeof(HUGE_PAGES) + 300];
        uint64_t kilobytes;

        if (sscanf(entry->d_name, "hugepages-%" SCNu64 "kB", &kilobytes) != 1)
            continue;
        pages->size_bytes = kilobytes << 10;
        snprintf(path, sizeof(path), HUGE_PAGES "/%s/nr_hugepages", entry->d_name);
        pages->total = read_number(path);
        snprintf(path, sizeof(path), HUGE_PAGES "/%s/free_hugepages", entry->d_name);
        pages->free = read_number(path);
        host->page_size_count++;
    }
    if (folder)
        closedir(folder);
}

static uint64_t limit_of(rlim_t limit)
{
    return limit == RLIM_INFINITY ? CHECK_NO_LIMIT : (uint64_t)limit;
}

static void probe_limits(struct check_host *host)
{
    struct rlimit limit = {0};

    if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0) {
        host->memlock_soft_bytes = limit_of(limit.rlim_cur);
        host->memlock_hard_bytes = limit_of(limit.rlim_max);
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        host->files_soft = limit_of(limit.rlim_cur);
        host->files_hard = limit_of(limit.rlim_max);
    }
    host->max_map_count = read_number("/proc/sys/vm/max_map_count");
    host->overcommit = (unsigned)read_number("/proc/sys/vm/overcommit_memory");
    host->available_bytes = read_meminfo_bytes("MemAvailable");
}

void check_probe(struct check_host *host)
{
    int fd;

    memset(host, 0, sizeof(*host));
    probe_userfaultfd(host);
    read_choice("/sys/kernel/mm/transparent_hugepage/enabled", host->thp);
    read_choice("/sys/kernel/mm/transparent_hugepage/shmem_enabled", host->thp_shmem);
    probe_huge_pages(host);
    fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    host->kvm = fd < 0 ? errno : 0;
    if (fd >= 0)
        close(fd);
    probe_limits(host);
    read_line("/proc/sys/net/ipv4/tcp_congestion_control", host->congestion,
              sizeof(host->congestion));
    read_line("/proc/sys/net/ipv4/tcp_available_congestion_control", host->congestion_available,
              sizeof(host->congestion_available));
}
