/* SPDX-License-Identifier: MIT */
/*
 * The guest-physical address space.
 *
 * RAM is one mapping: by default private anonymous memory, the kind that userfaultfd fills fastest.
 * A memfd is shared memory; hugetlb takes pages of 2 MiB that were reserved for it. Huge pages are
 * asked for, since a guest's RAM is large and touched everywhere; it is kept out of forks, because
 * a fork write-protects all of it. The device list is written while the machine is put together and
 * only read afterwards, so lookups take no lock. A list of at most VMM_MAX_MMIO entries is searched
 * in order: regions never overlap.
 */
#include "vmm/memory.h"

#include <assert.h>
#include <errno.h>
#include <linux/mman.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const char *const backend_names[] = {"anon", "memfd", "hugetlb"};
_Static_assert(sizeof(backend_names) / sizeof(*backend_names) == VMM_BACKEND_COUNT,
               "backend names");

const char *vmm_backend_name(enum vmm_backend backend)
{
    return backend_names[backend];
}

uint64_t vmm_backend_page_bytes(enum vmm_backend backend)
{
    return backend == VMM_BACKEND_HUGETLB ? VMM_HUGE_PAGE_BYTES : 4096;
}

static void *map_memfd(uint64_t ram_bytes)
{
    int fd = memfd_create("guest-ram", MFD_CLOEXEC);
    void *ram = MAP_FAILED;
    int code;

    if (fd < 0)
        return MAP_FAILED;
    if (ftruncate(fd, (off_t)ram_bytes) == 0)
        ram = mmap(NULL, (size_t)ram_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    code = errno;
    close(fd); /* the mapping keeps the file */
    errno = code;
    return ram;
}

static void *map_ram(enum vmm_backend backend, uint64_t ram_bytes)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS;

    if (backend == VMM_BACKEND_MEMFD)
        return map_memfd(ram_bytes);
    /* Huge pages are reserved here and now: a guest that finds none later would be killed. */
    flags |= backend == VMM_BACKEND_HUGETLB ? MAP_HUGETLB | 21 << MAP_HUGE_SHIFT : MAP_NORESERVE;
    return mmap(NULL, (size_t)ram_bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
}

int vmm_memory_init_backend(struct vmm_memory *memory, enum vmm_backend backend, vmm_gpa ram_base,
                            uint64_t ram_bytes, struct baton_error *error)
{
    uint64_t page_bytes = vmm_backend_page_bytes(backend);
    void *ram;

    memset(memory, 0, sizeof(*memory));
    if (ram_bytes == 0 || ram_bytes % page_bytes || ram_base % page_bytes ||
        ram_base + ram_bytes < ram_base || ram_bytes > SIZE_MAX)
        return baton_error_set(error, EINVAL,
                               "Cannot make guest RAM of %llu bytes at 0x%llx: size and address "
                               "must be multiples of %llu; choose another size",
                               (unsigned long long)ram_bytes, (unsigned long long)ram_base,
                               (unsigned long long)page_bytes);
    ram = map_ram(backend, ram_bytes);
    if (ram == MAP_FAILED && backend == VMM_BACKEND_HUGETLB)
        return baton_error_set(error, errno,
                               "Cannot get %llu huge pages of 2 MiB for the guest: %s; reserve "
                               "them first (sysctl vm.nr_hugepages), or use another backend",
                               (unsigned long long)(ram_bytes / page_bytes), strerror(errno));
    if (ram == MAP_FAILED)
        return baton_error_set(error, errno,
                               "Cannot get %llu bytes of memory for the guest: %s; use less RAM",
                               (unsigned long long)ram_bytes, strerror(errno));
    /* Both are requests that a kernel built without the feature refuses; the VM works without. */
    if (backend != VMM_BACKEND_HUGETLB)
        (void)madvise(ram, (size_t)ram_bytes, MADV_HUGEPAGE);
    (void)madvise(ram, (size_t)ram_bytes, MADV_DONTFORK);
    memory->ram = ram;
    memory->ram_base = ram_base;
    memory->ram_bytes = ram_bytes;
    return 0;
}

int vmm_memory_init(struct vmm_memory *memory, vmm_gpa ram_base, uint64_t ram_bytes,
                    struct baton_error *error)
{
    return vmm_memory_init_backend(memory, VMM_BACKEND_ANON, ram_base, ram_bytes, error);
}

void vmm_memory_fini(struct vmm_memory *memory)
{
    if (memory->ram)
        munmap(memory->ram, (size_t)memory->ram_bytes);
    memset(memory, 0, sizeof(*memory));
}

void vmm_memory_add_mmio(struct vmm_memory *memory, const char *name, vmm_gpa base,
                         uint64_t length_bytes, const struct vmm_mmio_ops *ops, void *opaque)
{
    assert(memory->mmio_count < VMM_MAX_MMIO);
    memory->mmio[memory->mmio_count++] = (struct vmm_mmio){
        .name = name, .base = base, .length_bytes = length_bytes, .ops = ops, .opaque = opaque};
}

static const struct vmm_mmio *find_mmio(const struct vmm_memory *memory, vmm_gpa gpa, unsigned size)
{
    if (size != 1 && size != 2 && size != 4 && size != 8)
        return NULL;
    for (unsigned i = 0; i < memory->mmio_count; i++) {
        const struct vmm_mmio *mmio = &memory->mmio[i];
        uint64_t offset = gpa - mmio->base;

        if (offset < mmio->length_bytes && size <= mmio->length_bytes - offset)
            return mmio;
    }
    return NULL;
}

bool vmm_memory_mmio_read(const struct vmm_memory *memory, vmm_gpa gpa, unsigned size,
                          uint64_t *value)
{
    const struct vmm_mmio *mmio = find_mmio(memory, gpa, size);

    if (!mmio)
        return false;
    *value = mmio->ops->read(mmio->opaque, gpa - mmio->base, size);
    return true;
}

bool vmm_memory_mmio_write(const struct vmm_memory *memory, vmm_gpa gpa, unsigned size,
                           uint64_t value)
{
    const struct vmm_mmio *mmio = find_mmio(memory, gpa, size);

    if (!mmio)
        return false;
    mmio->ops->write(mmio->opaque, gpa - mmio->base, size, value);
    return true;
}
