#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How long the Linux guest takes to boot: in Baton and in QEMU's TCG, with the same firmware, kernel and initramfs.

From the start of the process to memcheck's "ready" on the console. The two take turns, so that what else the machine does
hurts both. Needs script/guest (the Linux part) and qemu-system-riscv64.

Usage: bench/boot.py [RUNS] [HARTS...]     (default: 5 runs of 1, 2 and 4 harts)
"""

import os
import select
import shutil
import statistics
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
GUEST = os.path.join(TOP, ".cache", "guest")
BATON = os.environ.get("BATON", os.path.join(TOP, "build", "cmd", "baton"))
FIRMWARE = "/usr/share/qemu/opensbi-riscv64-generic-fw_dynamic.bin"
FIRMWARES = (FIRMWARE, "/usr/lib/riscv64-linux-gnu/opensbi/generic/fw_dynamic.bin")
LIMIT_S = 300


def boot_s(command):
    began = time.monotonic()
    vm = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    seen = b""
    try:
        while b"memcheck: ready" not in seen:
            left = began + LIMIT_S - time.monotonic()
            if left <= 0 or not select.select([vm.stdout], [], [], left)[0]:
                sys.exit(f"{command[0]} did not boot within {LIMIT_S} s")
            got = os.read(vm.stdout.fileno(), 65536)
            if not got:
                sys.exit(f"{command[0]} ended: {seen[-500:].decode('latin-1')}")
            seen += got
        return time.monotonic() - began
    finally:
        vm.kill()
        vm.wait()
        vm.stdout.close()


def main():
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    harts = [int(word) for word in sys.argv[2:]] or [1, 2, 4]
    qemu = shutil.which("qemu-system-riscv64")
    firmware = next((path for path in FIRMWARES if os.path.exists(path)), None)
    kernel, initrd = os.path.join(GUEST, "Image"), os.path.join(GUEST, "initramfs.cpio.gz")
    if not qemu or not firmware:
        print("skipped: there is no qemu-system-riscv64 with its firmware here; install qemu-system-misc and opensbi")
        return
    if not os.path.exists(initrd):
        print("skipped: there is no Linux guest; script/guest found no Debian mirror")
        return
    append = "console=ttyS0 no4lvl memcheck.mib=16 memcheck.threads=1"
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} host CPUs; 512 MiB; seconds, {runs} runs each")
    for cpus in harts:
        baton = [BATON, "run", "--memory", "512M", "--cpus", str(cpus), "--firmware", firmware, "--kernel", kernel,
                 "--initrd", initrd, "--append", append]
        tcg = [qemu, "-M", "virt", "-accel", "tcg", "-m", "512M", "-smp", str(cpus), "-nographic", "-bios", firmware,
               "-kernel", kernel, "-initrd", initrd, "-append", append]
        times = {"baton": [], "qemu": []}
        for _ in range(runs):
            times["baton"].append(boot_s(baton))
            times["qemu"].append(boot_s(tcg))
        for side, all_s in times.items():
            print(f"{cpus} harts  {side:5}  median {statistics.median(all_s):6.2f}  "
                  f"({' '.join(f'{one:.2f}' for one in all_s)})", flush=True)
        ratio = statistics.median(times["baton"]) / statistics.median(times["qemu"])
        print(f"{cpus} harts  baton/qemu {ratio:.2f}", flush=True)


main()
