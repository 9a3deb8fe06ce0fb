/* SPDX-License-Identifier: MIT */
/*
 * Loading a guest.
 *
 * There is no ROM: what a ROM would do is done here. The layout of RAM, upwards:
 *
 *   base            firmware (with `--firmware none`: the kernel)
 *   base + 2 MiB    kernel: a Linux Image at its own offset, or a raw binary; an ELF file says
 * itself where it goes high            initrd, then the firmware's information and the device tree,
 * at the very end of RAM
 *
 * Firmware and Linux both edit or reserve the device tree in place, so it has room to grow behind
 * it.
 *
 * All harts begin at the firmware with a0 = hart id, a1 = device tree, a2 = `struct
 * fw_dynamic_info`, which names the kernel as the next stage, in S mode. Without firmware they
 * begin at the kernel, in M mode.
 *
 * Nothing is written to RAM here: the result is a list of pieces, each checked to be inside RAM and
 * clear of the others, so that switching on and a guest's reset (which may have to wait for pages
 * first) can use the same list. Files are untrusted: every length and offset in a header is checked
 * against the file and against RAM.
 */
#include "vmm/boot.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/fdt.h"

#define KERNEL_OFFSET 0x200000u
#define PAGE_BYTES 4096u
#define FDT_ROOM_BYTES 0x10000u /* the tree and what firmware adds to it */
#define INFO_BYTES PAGE_BYTES

/* OpenSBI's agreement with the stage before it, version 2. */
struct fw_dynamic_info {
    uint64_t magic;
    uint64_t version;
    uint64_t next_addr;
    uint64_t next_mode;
    uint64_t options;
    uint64_t boot_hart;
};
#define FW_DYNAMIC_MAGIC 0x4942534fu
#define FW_DYNAMIC_S_MODE 1u

/* The header of a Linux Image for RISC-V. */
struct linux_image {
    uint32_t code[2];
    uint64_t text_offset;
    uint64_t image_bytes; /* with .bss */
    uint64_t flags;
    uint32_t version;
    uint32_t reserved1;
    uint64_t reserved2;
    uint64_t magic;
    uint32_t magic2;
    uint32_t reserved3;
};
#define LINUX_IMAGE_MAGIC2 0x05435352u /* "RSC\5" */

struct file {
    const char *path;
    uint8_t *bytes;
    uint64_t length_bytes;
};

static int read_file(struct vmm_boot *boot, const char *path, const char *what, uint64_t max_bytes,
                     struct file *file, struct baton_error *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat status;
    uint64_t done = 0;

    if (fd < 0)
        return baton_error_set(error, errno, "cannot open the %s '%s': %s", what, path,
                               strerror(errno));
    if (fstat(fd, &status) || !S_ISREG(status.st_mode)) {
        close(fd);
        return baton_error_set(error, EINVAL, "cannot use '%s' as the %s: it is not a file", path,
                               what);
    }
    if (status.st_size == 0 || (uint64_t)status.st_size > max_bytes) {
        close(fd);
        return baton_error_set(error, status.st_size ? E2BIG : EINVAL,
                               "cannot use '%s' as the %s: it has %lld bytes and the guest's RAM "
                               "has %llu; give the guest more --memory or check the file",
                               path, what, (long long)status.st_size,
                               (unsigned long long)max_bytes);
    }
    *file = (struct file){.path = path, .length_bytes = (uint64_t)status.st_size};
    file->bytes = malloc(file->length_bytes);
    while (file->bytes && done < file->length_bytes) {
        ssize_t got = read(fd, file->bytes + done, file->length_bytes - done);

        if (got <= 0) {
            int code = got < 0 ? errno : EIO;

            free(file->bytes);
            close(fd);
            return baton_error_set(error, code, "cannot read the %s '%s': %s", what, path,
                                   got < 0 ? strerror(code) : "it became shorter meanwhile");
        }
        done += (uint64_t)got;
    }
    close(fd);
    if (!file->bytes)
        return baton_error_set(error, ENOMEM, "cannot read the %s '%s': out of memory", what, path);
    boot->files[boot->file_count++] = file->bytes;
    return 0;
}

/* Adds a piece if it lies in RAM and clear of the others. */
static int add_piece(struct vmm_boot *boot, uint64_t ram_bytes, struct vmm_boot_piece piece,
                     struct baton_error *error)
{
    uint64_t offset = piece.at - VMM_RAM_BASE;
    uint64_t length = piece.length_bytes + piece.zero_bytes;

    if (length < piece.length_bytes || offset > ram_bytes || length > ram_bytes - offset)
        return baton_error_set(error, E2BIG,
                               "the %s (%llu bytes at %#llx) does not fit into the guest's RAM of "
                               "%llu MiB at %#x; give the guest more --memory",
                               piece.what, (unsigned long long)length, (unsigned long long)piece.at,
                               (unsigned long long)(ram_bytes >> 20), VMM_RAM_BASE);
    for (unsigned i = 0; i < boot->piece_count; i++) {
        const struct vmm_boot_piece *other = &boot->pieces[i];

        if (piece.at < other->at + other->length_bytes + other->zero_bytes &&
            other->at < piece.at + length)
            return baton_error_set(error, E2BIG,
                                   "the %s (%llu bytes at %#llx) and the %s (at %#llx) overlap in "
                                   "the guest's RAM; give the guest more --memory or check the "
                                   "files",
                                   piece.what, (unsigned long long)length,
                                   (unsigned long long)piece.at, other->what,
                                   (unsigned long long)other->at);
    }
    if (boot->piece_count == VMM_BOOT_MAX_PIECES)
        return baton_error_set(error, E2BIG, "the %s has too many segments", piece.what);
    boot->pieces[boot->piece_count++] = piece;
    return 0;
}

static int add_elf_segment(struct vmm_boot *boot, uint64_t ram_bytes, const struct file *file,
                           const Elf64_Phdr *segment, struct baton_error *error)
{
    if (segment->p_type != PT_LOAD || segment->p_memsz == 0)
        return 0;
    if (segment->p_filesz > segment->p_memsz || segment->p_offset > file->length_bytes ||
        segment->p_filesz > file->length_bytes - segment->p_offset)
        return baton_error_set(error, EINVAL,
                               "cannot use '%s' as the kernel: one of its ELF segments lies "
                               "outside of the file",
                               file->path);
    return add_piece(boot, ram_bytes,
                     (struct vmm_boot_piece){.at = segment->p_paddr,
                                             .bytes = file->bytes + segment->p_offset,
                                             .length_bytes = segment->p_filesz,
                                             .zero_bytes = segment->p_memsz - segment->p_filesz,
                                             .what = "kernel"},
                     error);
}

static int add_elf(struct vmm_boot *boot, uint64_t ram_bytes, const struct file *file,
                   vmm_gpa *entry, struct baton_error *error)
{
    Elf64_Ehdr header;
    unsigned before = boot->piece_count;
    bool entry_inside = false;

    if (file->length_bytes < sizeof(header))
        return baton_error_set(error, EINVAL,
                               "cannot use '%s' as the kernel: its ELF header is "
                               "cut short",
                               file->path);
    memcpy(&header, file->bytes, sizeof(header));
    if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB ||
        header.e_machine != EM_RISCV || header.e_type != ET_EXEC)
        return baton_error_set(error, EINVAL,
                               "cannot use '%s' as the kernel: it is an ELF file, but not a 64-bit "
                               "little-endian RISC-V executable",
                               file->path);
    if (header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phoff > file->length_bytes ||
        (uint64_t)header.e_phnum * sizeof(Elf64_Phdr) > file->length_bytes - header.e_phoff)
        return baton_error_set(error, EINVAL,
                               "cannot use '%s' as the kernel: its ELF program headers lie outside "
                               "of the file",
                               file->path);
    for (unsigned i = 0; i < header.e_phnum; i++) {
        Elf64_Phdr segment;
        int code;

        memcpy(&segment, file->bytes + header.e_phoff + i * sizeof(segment), sizeof(segment));
        code = add_elf_segment(boot, ram_bytes, file, &segment, error);
        if (code)
            return code;
    }
    for (unsigned i = before; i < boot->piece_count; i++)
        if (header.e_entry - boot->pieces[i].at < boot->pieces[i].length_bytes)
            entry_inside = true;
    if (!entry_inside)
        return baton_error_set(
            error, EINVAL,
            "cannot use '%s' as the kernel: its ELF entry point %#llx is in none "
            "of its segments (by physical address)",
            file->path, (unsigned long long)header.e_entry);
    *entry = header.e_entry;
    return 0;
}

/* A Linux Image or any other flat binary, at `base` (2 MiB aligned). */
static int add_flat(struct vmm_boot *boot, uint64_t ram_bytes, const struct file *file,
                    vmm_gpa base, vmm_gpa *entry, struct baton_error *error)
{
    struct linux_image header;
    struct vmm_boot_piece piece = {
        .at = base, .bytes = file->bytes, .length_bytes = file->length_bytes, .what = "kernel"};

    if (file->length_bytes >= 2 && file->bytes[0] == 0x1f && file->bytes[1] == 0x8b)
        return baton_error_set(
            error, EINVAL,
            "cannot use '%s' as the kernel: it is compressed; decompress it with "
            "gunzip first",
            file->path);
    if (file->length_bytes >= sizeof(header)) {
        memcpy(&header, file->bytes, sizeof(header));
        if (header.magic2 == LINUX_IMAGE_MAGIC2) {
            if (header.text_offset > ram_bytes)
                return baton_error_set(
                    error, E2BIG,
                    "the kernel '%s' wants to be at offset %#llx, outside of the "
                    "guest's RAM",
                    file->path, (unsigned long long)header.text_offset);
            if (base > VMM_RAM_BASE && header.text_offset > KERNEL_OFFSET)
                piece.at = VMM_RAM_BASE + header.text_offset;
            if (header.image_bytes > piece.length_bytes)
                piece.zero_bytes = header.image_bytes - piece.length_bytes;
        }
    }
    *entry = piece.at;
    return add_piece(boot, ram_bytes, piece, error);
}

static int add_kernel(struct vmm_boot *boot, const struct vmm_boot_config *config, vmm_gpa base,
                      vmm_gpa *entry, struct baton_error *error)
{
    struct file file;
    int code = read_file(boot, config->kernel, "kernel", config->ram_bytes, &file, error);

    if (code)
        return code;
    if (file.length_bytes >= SELFMAG && memcmp(file.bytes, ELFMAG, SELFMAG) == 0)
        return add_elf(boot, config->ram_bytes, &file, entry, error);
    return add_flat(boot, config->ram_bytes, &file, base, entry, error);
}

static int add_firmware(struct vmm_boot *boot, const struct vmm_boot_config *config,
                        struct baton_error *error)
{
    struct file file;
    int code = read_file(
        boot, config->firmware ? config->firmware : VMM_DEFAULT_FIRMWARE, "firmware",
        config->ram_bytes < KERNEL_OFFSET ? config->ram_bytes : KERNEL_OFFSET, &file, error);

    if (code)
        return code;
    if (file.length_bytes >= SELFMAG && memcmp(file.bytes, ELFMAG, SELFMAG) == 0)
        return baton_error_set(error, EINVAL,
                               "cannot use '%s' as the firmware: it is an ELF file; name the flat "
                               "binary (fw_dynamic.bin)",
                               file.path);
    return add_piece(boot, config->ram_bytes,
                     (struct vmm_boot_piece){.at = VMM_RAM_BASE,
                                             .bytes = file.bytes,
                                             .length_bytes = file.length_bytes,
                                             .what = "firmware"},
                     error);
}

/* The initrd ends below `top`. */
static int add_initrd(struct vmm_boot *boot, const struct vmm_boot_config *config, vmm_gpa top,
                      struct vmm_fdt_config *fdt, struct baton_error *error)
{
    struct file file;
    int code;

    if (!config->initrd)
        return 0;
    code = read_file(boot, config->initrd, "initrd", top - VMM_RAM_BASE, &file, error);
    if (code)
        return code;
    fdt->initrd = (top - file.length_bytes) & ~(vmm_gpa)(PAGE_BYTES - 1);
    fdt->initrd_end = fdt->initrd + file.length_bytes;
    return add_piece(boot, config->ram_bytes,
                     (struct vmm_boot_piece){.at = fdt->initrd,
                                             .bytes = file.bytes,
                                             .length_bytes = file.length_bytes,
                                             .what = "initrd"},
                     error);
}

/* The firmware's information and the device tree, in the last bytes of RAM. */
static int add_made(struct vmm_boot *boot, const struct vmm_boot_config *config, vmm_gpa at,
                    const struct vmm_fdt_config *fdt, vmm_gpa next, struct baton_error *error)
{
    struct fw_dynamic_info info = {.magic = FW_DYNAMIC_MAGIC,
                                   .version = 2,
                                   .next_addr = next,
                                   .next_mode = FW_DYNAMIC_S_MODE,
                                   .boot_hart = 0};
    int code;

    boot->made = calloc(1, INFO_BYTES + FDT_ROOM_BYTES);
    if (!boot->made)
        return baton_error_set(error, ENOMEM, "cannot make the device tree: out of memory");
    memcpy(boot->made, &info, sizeof(info));
    /* Half of the room is left for what firmware adds. */
    code = vmm_fdt_build(fdt, boot->made + INFO_BYTES, FDT_ROOM_BYTES / 2, error);
    if (code)
        return code;
    return add_piece(boot, config->ram_bytes,
                     (struct vmm_boot_piece){.at = at,
                                             .bytes = boot->made,
                                             .length_bytes = INFO_BYTES + FDT_ROOM_BYTES,
                                             .what = "device tree"},
                     error);
}

static int build(struct vmm_boot *boot, const struct vmm_boot_config *config,
                 struct baton_error *error)
{
    bool bare = config->firmware && strcmp(config->firmware, "none") == 0;
    struct vmm_fdt_config fdt = {.cpus = config->cpus,
                                 .ram_base = VMM_RAM_BASE,
                                 .ram_bytes = config->ram_bytes,
                                 .bootargs = config->append};
    vmm_gpa info_at;
    vmm_gpa next = 0;
    int code;

    if (config->ram_bytes < INFO_BYTES + FDT_ROOM_BYTES)
        return baton_error_set(error, EINVAL, "%llu bytes of RAM are too few to boot from",
                               (unsigned long long)config->ram_bytes);
    info_at = (VMM_RAM_BASE + config->ram_bytes - INFO_BYTES - FDT_ROOM_BYTES) &
              ~(vmm_gpa)(PAGE_BYTES - 1);
    if (getrandom(fdt.seed, sizeof(fdt.seed), 0) != (ssize_t)sizeof(fdt.seed))
        return baton_error_set(error, errno, "cannot get random bytes for the guest: %s",
                               strerror(errno));
    code = bare ? 0 : add_firmware(boot, config, error);
    if (!code)
        code = add_kernel(boot, config, VMM_RAM_BASE + (bare ? 0 : KERNEL_OFFSET), &next, error);
    if (!code)
        code = add_initrd(boot, config, info_at, &fdt, error);
    if (!code)
        code = add_made(boot, config, info_at, &fdt, next, error);
    if (code)
        return code;
    boot->entry = bare ? next : VMM_RAM_BASE;
    boot->arg1 = info_at + INFO_BYTES;
    boot->arg2 = bare ? 0 : info_at;
    return 0;
}

int vmm_boot_init(struct vmm_boot *boot, const struct vmm_boot_config *config,
                  struct baton_error *error)
{
    int code;

    *boot = (struct vmm_boot){0};
    code = build(boot, config, error);
    if (code)
        vmm_boot_fini(boot);
    return code;
}

void vmm_boot_fini(struct vmm_boot *boot)
{
    for (unsigned i = 0; i < boot->file_count; i++)
        free(boot->files[i]);
    free(boot->made);
    *boot = (struct vmm_boot){0};
}
