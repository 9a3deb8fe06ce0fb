/* SPDX-License-Identifier: MIT */
/*
 * The device tree of the `virt` machine, in the shape that firmware and kernels know from QEMU's.
 *
 * It is written front to back with libfdt's sequential writer into a buffer of fixed size. Every
 * call of the writer may fail for want of space; the first failure sticks in `writer.code`, and is
 * looked at once, at the end.
 *
 * A phandle is a number that other nodes refer to; the interrupt controllers of the harts have 1 to
 * N, then come the PLIC and the syscon.
 */
#include "vmm/fdt.h"

#include <errno.h>
#include <libfdt.h>
#include <stdio.h>
#include <string.h>

#include "vmm/clock.h"
#include "vmm/cpu/thread.h"
#include "vmm/device/clint.h"
#include "vmm/device/irq.h"
#include "vmm/device/plic.h"
#include "vmm/device/rtc.h"
#include "vmm/device/syscon.h"
#include "vmm/device/uart.h"

#define PLIC_PHANDLE(config) ((config)->cpus + 1)
#define SYSCON_PHANDLE(config) ((config)->cpus + 2)
#define CPU_PHANDLE(config, index) ((config)->cpus + 3 + (index))

struct writer {
    void *fdt;
    int code; /* libfdt's, of the first failure */
};

static void note(struct writer *writer, int code)
{
    if (!writer->code)
        writer->code = code;
}

static void begin(struct writer *writer, const char *name)
{
    note(writer, fdt_begin_node(writer->fdt, name));
}

static void begin_at(struct writer *writer, const char *name, uint64_t address)
{
    char full[48];

    snprintf(full, sizeof(full), "%s@%llx", name, (unsigned long long)address);
    begin(writer, full);
}

static void end(struct writer *writer)
{
    note(writer, fdt_end_node(writer->fdt));
}

static void bytes(struct writer *writer, const char *name, const void *value, size_t length)
{
    note(writer, fdt_property(writer->fdt, name, value, (int)length));
}

static void flag(struct writer *writer, const char *name)
{
    bytes(writer, name, NULL, 0);
}

static void u32(struct writer *writer, const char *name, uint32_t value)
{
    note(writer, fdt_property_u32(writer->fdt, name, value));
}

static void u64(struct writer *writer, const char *name, uint64_t value)
{
    note(writer, fdt_property_u64(writer->fdt, name, value));
}

static void string(struct writer *writer, const char *name, const char *value)
{
    note(writer, fdt_property_string(writer->fdt, name, value));
}

/* Several strings, each with its terminator: pass a literal with embedded ones. */
#define strings(writer, name, literal) bytes(writer, name, literal, sizeof(literal))

static void reg(struct writer *writer, uint64_t base, uint64_t length)
{
    fdt64_t value[2] = {cpu_to_fdt64(base), cpu_to_fdt64(length)};

    bytes(writer, "reg", value, sizeof(value));
}

static void chosen(struct writer *writer, const struct vmm_fdt_config *config)
{
    char path[48];

    begin(writer, "chosen");
    if (config->bootargs)
        string(writer, "bootargs", config->bootargs);
    snprintf(path, sizeof(path), "/soc/serial@%x", VMM_UART_BASE);
    string(writer, "stdout-path", path);
    if (config->initrd_end > config->initrd) {
        u64(writer, "linux,initrd-start", config->initrd);
        u64(writer, "linux,initrd-end", config->initrd_end);
    }
    bytes(writer, "rng-seed", config->seed, sizeof(config->seed));
    end(writer);
}

static void cpu(struct writer *writer, const struct vmm_fdt_config *config, unsigned index)
{
    begin_at(writer, "cpu", index);
    string(writer, "device_type", "cpu");
    u32(writer, "reg", index);
    string(writer, "status", "okay");
    string(writer, "compatible", "riscv");
    string(writer, "riscv,isa", "rv64imafdc_zicntr_zicsr_zifencei");
    string(writer, "riscv,isa-base", "rv64i");
    strings(writer, "riscv,isa-extensions", "i\0m\0a\0f\0d\0c\0zicntr\0zicsr\0zifencei");
    string(writer, "mmu-type", "riscv,sv39");
    u32(writer, "phandle", CPU_PHANDLE(config, index));
    begin(writer, "interrupt-controller");
    string(writer, "compatible", "riscv,cpu-intc");
    u32(writer, "#interrupt-cells", 1);
    flag(writer, "interrupt-controller");
    u32(writer, "phandle", index + 1);
    end(writer);
    end(writer);
}

static void cpus(struct writer *writer, const struct vmm_fdt_config *config)
{
    begin(writer, "cpus");
    u32(writer, "#address-cells", 1);
    u32(writer, "#size-cells", 0);
    u32(writer, "timebase-frequency", VMM_CLOCK_HZ);
    for (unsigned i = 0; i < config->cpus; i++)
        cpu(writer, config, i);
    begin(writer, "cpu-map");
    begin(writer, "cluster0");
    for (unsigned i = 0; i < config->cpus; i++) {
        char name[16];

        snprintf(name, sizeof(name), "core%u", i);
        begin(writer, name);
        u32(writer, "cpu", CPU_PHANDLE(config, i));
        end(writer);
    }
    end(writer);
    end(writer);
    end(writer);
}

/* Wires two lines into each hart's interrupt controller. */
static void hart_wires(struct writer *writer, const struct vmm_fdt_config *config, unsigned first,
                       unsigned second)
{
    fdt32_t cells[VMM_MAX_CPUS * 4];

    for (unsigned i = 0; i < config->cpus; i++) {
        cells[4 * i] = cells[4 * i + 2] = cpu_to_fdt32(i + 1);
        cells[4 * i + 1] = cpu_to_fdt32(first);
        cells[4 * i + 3] = cpu_to_fdt32(second);
    }
    bytes(writer, "interrupts-extended", cells, config->cpus * 4 * sizeof(cells[0]));
}

static void interrupt_controllers(struct writer *writer, const struct vmm_fdt_config *config)
{
    begin_at(writer, "clint", VMM_CLINT_BASE);
    strings(writer, "compatible", "sifive,clint0\0riscv,clint0");
    reg(writer, VMM_CLINT_BASE, VMM_CLINT_BYTES);
    hart_wires(writer, config, VMM_MIP_MSIP, VMM_MIP_MTIP);
    end(writer);

    begin_at(writer, "plic", VMM_PLIC_BASE);
    strings(writer, "compatible", "sifive,plic-1.0.0\0riscv,plic0");
    reg(writer, VMM_PLIC_BASE, VMM_PLIC_BYTES);
    u32(writer, "#address-cells", 0);
    u32(writer, "#interrupt-cells", 1);
    flag(writer, "interrupt-controller");
    u32(writer, "riscv,ndev", VMM_PLIC_SOURCES - 1);
    hart_wires(writer, config, VMM_MIP_MEIP, VMM_MIP_SEIP);
    u32(writer, "phandle", PLIC_PHANDLE(config));
    end(writer);
}

static void interrupt(struct writer *writer, const struct vmm_fdt_config *config, unsigned line)
{
    u32(writer, "interrupts", line);
    u32(writer, "interrupt-parent", PLIC_PHANDLE(config));
}

static void soc(struct writer *writer, const struct vmm_fdt_config *config)
{
    begin(writer, "soc");
    u32(writer, "#address-cells", 2);
    u32(writer, "#size-cells", 2);
    string(writer, "compatible", "simple-bus");
    flag(writer, "ranges");

    begin_at(writer, "test", VMM_SYSCON_BASE);
    strings(writer, "compatible", "sifive,test1\0sifive,test0\0syscon");
    reg(writer, VMM_SYSCON_BASE, VMM_SYSCON_BYTES);
    u32(writer, "phandle", SYSCON_PHANDLE(config));
    end(writer);

    begin_at(writer, "rtc", VMM_RTC_BASE);
    string(writer, "compatible", "google,goldfish-rtc");
    reg(writer, VMM_RTC_BASE, VMM_RTC_BYTES);
    interrupt(writer, config, VMM_RTC_IRQ);
    end(writer);

    begin_at(writer, "serial", VMM_UART_BASE);
    string(writer, "compatible", "ns16550a");
    reg(writer, VMM_UART_BASE, VMM_UART_BYTES);
    u32(writer, "clock-frequency", VMM_UART_CLOCK_HZ);
    interrupt(writer, config, VMM_UART_IRQ);
    end(writer);

    interrupt_controllers(writer, config);
    end(writer);
}

static void syscon_user(struct writer *writer, const struct vmm_fdt_config *config,
                        const char *name, const char *compatible, uint32_t value)
{
    begin(writer, name);
    string(writer, "compatible", compatible);
    u32(writer, "regmap", SYSCON_PHANDLE(config));
    u32(writer, "offset", 0);
    u32(writer, "value", value);
    end(writer);
}

int vmm_fdt_build(const struct vmm_fdt_config *config, void *buffer, size_t size,
                  struct baton_error *error)
{
    struct writer writer = {.fdt = buffer};

    note(&writer, fdt_create(buffer, (int)size));
    note(&writer, fdt_finish_reservemap(buffer));
    begin(&writer, "");
    u32(&writer, "#address-cells", 2);
    u32(&writer, "#size-cells", 2);
    string(&writer, "compatible", "riscv-virtio");
    string(&writer, "model", "riscv-virtio,baton");
    chosen(&writer, config);
    begin_at(&writer, "memory", config->ram_base);
    string(&writer, "device_type", "memory");
    reg(&writer, config->ram_base, config->ram_bytes);
    end(&writer);
    cpus(&writer, config);
    soc(&writer, config);
    syscon_user(&writer, config, "poweroff", "syscon-poweroff", VMM_SYSCON_POWEROFF);
    syscon_user(&writer, config, "reboot", "syscon-reboot", VMM_SYSCON_REBOOT);
    end(&writer);
    note(&writer, fdt_finish(buffer));
    if (writer.code)
        return baton_error_set(error, writer.code == -FDT_ERR_NOSPACE ? E2BIG : EINVAL,
                               "cannot write the device tree: %s; shorten --append",
                               fdt_strerror(writer.code));
    return 0;
}
