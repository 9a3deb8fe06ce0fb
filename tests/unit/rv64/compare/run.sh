#!/bin/bash
# SPDX-License-Identifier: MIT
# Compares the software CPU with QEMU's: run.sh BATON, where BATON is the command line program (or anything that takes `run`'s options,
# when RUN is set to the empty word). Prints the instructions on which they differ.
# Needs riscv64-linux-gnu-gcc and qemu-system-riscv64; leaves with 77 (skipped) without them.
set -euo pipefail

baton=${1:?usage: run.sh BATON}
run=${RUN-run}
here=$(dirname "$(readlink -f "$0")")
for tool in riscv64-linux-gnu-gcc qemu-system-riscv64; do
    command -v "$tool" >/dev/null || { echo "$tool is not installed: skipped"; exit 77; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

riscv64-linux-gnu-gcc -O1 -march=rv64gc -mabi=lp64d -mcmodel=medany -ffreestanding -fno-pic -no-pie -nostdlib -static \
    -Wall -Wextra -Wl,--build-id=none -Wl,--no-warn-rwx-segments -T "$here/compare.lds" -o "$work/compare.elf" "$here/compare.c"
timeout 120 qemu-system-riscv64 -M virt -bios none -kernel "$work/compare.elf" -m 64M -display none -serial stdio \
    </dev/null >"$work/qemu.txt"
timeout 120 "$baton" ${run:+"$run"} --memory 64M --cpus 1 --firmware none --kernel "$work/compare.elf" --console stdio \
    </dev/null >"$work/baton.txt"
lines=$(grep -c ':' "$work/qemu.txt")
if ! diff "$work/qemu.txt" "$work/baton.txt"; then
    echo "the CPUs differ in the instructions above"
    exit 1
fi
echo "the CPUs agree on $lines instructions"
