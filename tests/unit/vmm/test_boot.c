/* SPDX-License-Identifier: MIT */
/* The device tree, and the files that a guest boots from: good ones, and ones that lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <elf.h>
#include <libfdt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/boot.h"
#include "vmm/fdt.h"

#define MIB (1ull << 20)

static char kernel_path[] = "/tmp/vmm-boot-kernel-XXXXXX";
static char other_path[] = "/tmp/vmm-boot-other-XXXXXX";

static int set_up(void **state)
{
    int a = mkstemp(kernel_path);
    int b = mkstemp(other_path);

    close(a);
    close(b);
    return a < 0 || b < 0;
}

static int tear_down(void **state)
{
    unlink(kernel_path);
    unlink(other_path);
    return 0;
}

/* A file of `size` bytes that begins with these. */
static void make_file(const char *path, const void *bytes, size_t length, size_t size)
{
    FILE *file = fopen(path, "wb");

    assert_non_null(file);
    if (length)
        assert_int_equal(fwrite(bytes, length, 1, file), 1);
    assert_int_equal(fflush(file), 0);
    assert_int_equal(ftruncate(fileno(file), (off_t)size), 0);
    fclose(file);
}

static struct vmm_boot_config bare(uint64_t ram_bytes)
{
    return (struct vmm_boot_config){
        .ram_bytes = ram_bytes, .cpus = 2, .kernel = kernel_path, .firmware = "none"};
}

static void check_refused(const struct vmm_boot_config *config, const char *because)
{
    struct baton_error error = {0};
    struct vmm_boot boot;

    assert_true(vmm_boot_init(&boot, config, &error) < 0);
    if (!strstr(error.text, because))
        fail_msg("expected '%s' in: %s", because, error.text);
}

static const struct vmm_boot_piece *piece(const struct vmm_boot *boot, const char *what)
{
    for (unsigned i = 0; i < boot->piece_count; i++)
        if (strcmp(boot->pieces[i].what, what) == 0)
            return &boot->pieces[i];
    return NULL;
}

static uint32_t cell(const void *fdt, const char *path, const char *property, int index)
{
    int length = 0;
    const fdt32_t *value = fdt_getprop(fdt, fdt_path_offset(fdt, path), property, &length);

    assert_non_null(value);
    assert_true(length >= 4 * (index + 1));
    return fdt32_to_cpu(value[index]);
}

static void test_fdt(void **state)
{
    static char buffer[0x8000];
    struct vmm_fdt_config config = {.cpus = 8,
                                    .ram_base = 0x80000000,
                                    .ram_bytes = 3 * 1024 * MIB,
                                    .bootargs = "console=ttyS0",
                                    .initrd = 0x90000000,
                                    .initrd_end = 0x90000123,
                                    .seed = {1, 2, 3}};
    uint32_t plic;
    int length;

    assert_int_equal(vmm_fdt_build(&config, buffer, sizeof(buffer), NULL), 0);
    assert_int_equal(fdt_check_full(buffer, sizeof(buffer)), 0);
    assert_string_equal(fdt_getprop(buffer, fdt_path_offset(buffer, "/chosen"), "bootargs", NULL),
                        "console=ttyS0");
    assert_true(fdt_path_offset(buffer, fdt_getprop(buffer, fdt_path_offset(buffer, "/chosen"),
                                                    "stdout-path", NULL)) > 0);
    assert_non_null(fdt_getprop(buffer, fdt_path_offset(buffer, "/chosen"), "rng-seed", &length));
    assert_int_equal(length, 32);
    assert_int_equal(cell(buffer, "/chosen", "linux,initrd-end", 1), 0x90000123);
    assert_int_equal(cell(buffer, "/memory@80000000", "reg", 1), 0x80000000);
    assert_int_equal(cell(buffer, "/memory@80000000", "reg", 3), 3 * 1024 * MIB);
    assert_int_equal(cell(buffer, "/cpus", "timebase-frequency", 0), 10000000);
    assert_string_equal(
        fdt_getprop(buffer, fdt_path_offset(buffer, "/cpus/cpu@7"), "mmu-type", NULL),
        "riscv,sv39");
    assert_string_equal(
        fdt_getprop(buffer, fdt_path_offset(buffer, "/cpus/cpu@0"), "riscv,isa", NULL),
        "rv64imafdc_zicntr_zicsr_zifencei");
    assert_true(fdt_path_offset(buffer, "/cpus/cpu@8") < 0);
    assert_int_equal(cell(buffer, "/soc/clint@2000000", "reg", 1), 0x2000000);
    assert_int_equal(cell(buffer, "/soc/clint@2000000", "reg", 3), 0x10000);
    /* Hart 7's lines lead to the interrupt controller of cpu@7. */
    plic = cell(buffer, "/soc/plic@c000000", "phandle", 0);
    assert_int_equal(cell(buffer, "/soc/plic@c000000", "interrupts-extended", 28),
                     cell(buffer, "/cpus/cpu@7/interrupt-controller", "phandle", 0));
    assert_int_equal(cell(buffer, "/soc/plic@c000000", "interrupts-extended", 29), 11);
    assert_int_equal(cell(buffer, "/soc/plic@c000000", "interrupts-extended", 31), 9);
    assert_int_equal(cell(buffer, "/soc/serial@10000000", "interrupt-parent", 0), plic);
    assert_int_equal(cell(buffer, "/soc/serial@10000000", "interrupts", 0), 10);
    assert_int_equal(cell(buffer, "/soc/rtc@101000", "interrupts", 0), 11);
    assert_int_equal(cell(buffer, "/poweroff", "regmap", 0),
                     cell(buffer, "/soc/test@100000", "phandle", 0));
    assert_int_equal(cell(buffer, "/poweroff", "value", 0), 0x5555);
    assert_int_equal(cell(buffer, "/reboot", "value", 0), 0x7777);
}

static void test_fdt_too_long(void **state)
{
    static char buffer[0x8000];
    static char bootargs[0x9000];
    struct vmm_fdt_config config = {.cpus = 1, .bootargs = bootargs};
    struct baton_error error = {0};

    memset(bootargs, 'x', sizeof(bootargs) - 1);
    assert_true(vmm_fdt_build(&config, buffer, sizeof(buffer), &error) < 0);
    assert_non_null(strstr(error.text, "--append"));
}

static void test_flat(void **state)
{
    struct vmm_boot_config config = bare(8 * MIB);
    struct vmm_boot boot;

    make_file(kernel_path, "hello", 5, 100);
    assert_int_equal(vmm_boot_init(&boot, &config, NULL), 0);
    assert_int_equal(boot.entry, 0x80000000);
    assert_int_equal(boot.arg2, 0);
    assert_int_equal(boot.arg1 % 8, 0);
    assert_int_equal(piece(&boot, "kernel")->at, 0x80000000);
    assert_int_equal(fdt_check_header(boot.made + 4096), 0);
    vmm_boot_fini(&boot);
}

static void test_linux_image(void **state)
{
    uint64_t header[8] = {0, 0x200000, 5 * MIB, 0, 2, 0, 0x5643534952, 0x05435352};
    struct vmm_boot_config config = bare(16 * MIB);
    const uint64_t *info;
    struct vmm_boot boot;

    config.firmware = other_path;
    config.initrd = other_path;
    config.append = "quiet";
    make_file(other_path, "firmware", 8, 5000);
    make_file(kernel_path, header, sizeof(header), 1000);
    assert_int_equal(vmm_boot_init(&boot, &config, NULL), 0);
    assert_int_equal(boot.entry, 0x80000000);
    assert_int_equal(piece(&boot, "firmware")->at, 0x80000000);
    assert_int_equal(piece(&boot, "kernel")->at, 0x80200000);
    assert_int_equal(piece(&boot, "kernel")->zero_bytes, 5 * MIB - 1000);
    assert_int_equal(piece(&boot, "initrd")->at % 4096, 0);
    info = (const uint64_t *)(const void *)boot.made;
    assert_int_equal(info[0], 0x4942534f);
    assert_int_equal(info[1], 2);
    assert_int_equal(info[2], 0x80200000);
    assert_int_equal(info[3], 1);
    assert_int_equal(boot.arg2, boot.arg1 - 4096);
    vmm_boot_fini(&boot);
    /* Its .bss counts too. */
    header[2] = 20 * MIB;
    make_file(kernel_path, header, sizeof(header), 1000);
    check_refused(&config, "does not fit");
    header[2] = 13 * MIB + 950 * 1024;
    make_file(kernel_path, header, sizeof(header), 1000);
    check_refused(&config, "overlap");
    header[2] = UINT64_MAX;
    make_file(kernel_path, header, sizeof(header), 1000);
    check_refused(&config, "does not fit");
    header[1] = UINT64_MAX - 5;
    make_file(kernel_path, header, sizeof(header), 1000);
    check_refused(&config, "offset");
}

static void test_bad_files(void **state)
{
    struct vmm_boot_config config = bare(8 * MIB);

    make_file(kernel_path, "", 0, 0);
    check_refused(&config, "0 bytes");
    make_file(kernel_path, "", 0, 9 * MIB);
    check_refused(&config, "--memory");
    make_file(kernel_path, "", 0, 8 * MIB - 1000);
    check_refused(&config, "overlap");
    make_file(kernel_path, "\x1f\x8b\x08", 3, 1000);
    check_refused(&config, "gunzip");
    config.kernel = "/nonexistent/kernel";
    check_refused(&config, "No such file");
    config.kernel = "/tmp";
    check_refused(&config, "not a file");
    config = bare(8 * MIB);
    make_file(kernel_path, "k", 1, 1000);
    make_file(other_path, "", 0, 8 * MIB - 70000);
    config.initrd = other_path;
    check_refused(&config, "overlap");
    make_file(other_path, "", 0, 3 * MIB);
    config.initrd = NULL;
    config.firmware = other_path;
    check_refused(&config, "firmware");
    make_file(other_path, ELFMAG, 4, 100);
    check_refused(&config, "fw_dynamic");
}

struct small_elf {
    Elf64_Ehdr header;
    Elf64_Phdr segments[2];
    uint8_t code[64];
};

static struct small_elf good_elf(void)
{
    struct small_elf elf = {
        .header = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
                   .e_type = ET_EXEC,
                   .e_machine = EM_RISCV,
                   .e_version = EV_CURRENT,
                   .e_entry = 0x80001004,
                   .e_phoff = offsetof(struct small_elf, segments),
                   .e_ehsize = sizeof(Elf64_Ehdr),
                   .e_phentsize = sizeof(Elf64_Phdr),
                   .e_phnum = 2},
        .segments = {{.p_type = PT_LOAD,
                      .p_offset = offsetof(struct small_elf, code),
                      .p_vaddr = 0xffffffff80001000,
                      .p_paddr = 0x80001000,
                      .p_filesz = 64,
                      .p_memsz = 128},
                     {.p_type = PT_NOTE, .p_offset = UINT64_MAX, .p_filesz = 5, .p_memsz = 1}}};

    return elf;
}

static void refuse_elf(const struct small_elf *elf, size_t length, const char *because)
{
    struct vmm_boot_config config = bare(8 * MIB);

    make_file(kernel_path, elf, length, length);
    check_refused(&config, because);
}

static void test_elf(void **state)
{
    struct vmm_boot_config config = bare(8 * MIB);
    struct small_elf elf = good_elf();
    struct vmm_boot boot;

    make_file(kernel_path, &elf, sizeof(elf), sizeof(elf));
    assert_int_equal(vmm_boot_init(&boot, &config, NULL), 0);
    assert_int_equal(boot.entry, 0x80001004);
    assert_int_equal(piece(&boot, "kernel")->at, 0x80001000);
    assert_int_equal(piece(&boot, "kernel")->zero_bytes, 64);
    vmm_boot_fini(&boot);

    refuse_elf(&elf, sizeof(Elf64_Ehdr) - 1, "cut short");
    refuse_elf(&elf, sizeof(Elf64_Ehdr) + 10, "program headers");
    refuse_elf(&elf, sizeof(elf) - 1, "outside of the file");
    elf.header.e_machine = EM_X86_64;
    refuse_elf(&elf, sizeof(elf), "RISC-V");
    elf = good_elf();
    elf.header.e_phoff = UINT64_MAX - 8;
    refuse_elf(&elf, sizeof(elf), "program headers");
    elf = good_elf();
    elf.header.e_phnum = UINT16_MAX;
    refuse_elf(&elf, sizeof(elf), "program headers");
    elf = good_elf();
    elf.header.e_phentsize = 1;
    refuse_elf(&elf, sizeof(elf), "program headers");
    elf = good_elf();
    elf.segments[0].p_offset = UINT64_MAX - 10;
    refuse_elf(&elf, sizeof(elf), "outside of the file");
    elf = good_elf();
    elf.segments[0].p_filesz = UINT64_MAX;
    refuse_elf(&elf, sizeof(elf), "outside of the file");
    elf = good_elf();
    elf.segments[0].p_memsz = UINT64_MAX;
    refuse_elf(&elf, sizeof(elf), "does not fit");
    elf = good_elf();
    elf.segments[0].p_paddr = 0;
    refuse_elf(&elf, sizeof(elf), "does not fit");
    elf = good_elf();
    elf.header.e_entry = 0x80001040;
    refuse_elf(&elf, sizeof(elf), "entry point");
    elf = good_elf();
    elf.segments[1] = elf.segments[0];
    refuse_elf(&elf, sizeof(elf), "overlap");
    elf = good_elf();
    elf.header.e_phnum = 0;
    refuse_elf(&elf, sizeof(elf), "entry point");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fdt),       cmocka_unit_test(test_fdt_too_long),
        cmocka_unit_test(test_flat),      cmocka_unit_test(test_linux_image),
        cmocka_unit_test(test_bad_files), cmocka_unit_test(test_elf),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
