/* SPDX-License-Identifier: MIT */
/* What this host offers, as found out by asking it. The theory of operation is in check_probe.c. */
#ifndef CMD_CHECK_PROBE_H
#define CMD_CHECK_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHECK_MAX_PAGE_SIZES 8
#define CHECK_NO_LIMIT UINT64_MAX
#define CHECK_WORD_BYTES 32
#define CHECK_NOT_TRIED -1

enum check_way { CHECK_WAY_SYSCALL, CHECK_WAY_DEVICE, CHECK_WAY_USER_MODE, CHECK_WAY_COUNT };
enum check_memory {
    CHECK_MEMORY_ANONYMOUS,
    CHECK_MEMORY_SHMEM,
    CHECK_MEMORY_HUGETLB,
    CHECK_MEMORY_COUNT
};

struct check_pages {
    uint64_t size_bytes, total, free;
};

/* What could not be read is 0 or empty. */
struct check_host {
    int way[CHECK_WAY_COUNT];        /* 0: this process may; else the errno value */
    int missing[CHECK_MEMORY_COUNT]; /* missing pages can be caught there: 0, the errno value,
                                        or CHECK_NOT_TRIED without userfaultfd */
    bool thread_ids;                 /* userfaultfd says which thread waits */
    int kvm;                         /* 0: may be opened; else the errno value */
    char thp[CHECK_WORD_BYTES], thp_shmem[CHECK_WORD_BYTES];
    struct check_pages pages[CHECK_MAX_PAGE_SIZES];
    unsigned page_size_count;
    uint64_t memlock_soft_bytes, memlock_hard_bytes, files_soft, files_hard;
    uint64_t max_map_count, available_bytes;
    unsigned overcommit; /* vm.overcommit_memory */
    char congestion[CHECK_WORD_BYTES], congestion_available[256];
};

void check_probe(struct check_host *host);

#endif
