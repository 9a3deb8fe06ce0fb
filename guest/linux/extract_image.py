#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes the plain RISC-V Linux `Image` out of a kernel as distributions ship it.

Usage: extract_image.py KERNEL IMAGE

Debian's kernel is a plain Image already; a gzip file and an EFI "zboot" image (a small EFI program with the
compressed Image inside) are unwrapped. The result is written only if it has the header of a RISC-V Image, under a temporary
name first.
"""

import lzma
import os
import struct
import subprocess
import sys
import zlib

MAGIC_OFFSET = 0x38  # of the header described in the kernel's Documentation/arch/riscv/boot-image-header.rst
MAGIC = b"RSC\x05"


def gunzip(data):
    return zlib.decompressobj(wbits=31).decompress(data)


def unzstd(data):
    return subprocess.run(["zstd", "-dc"], input=data, stdout=subprocess.PIPE, check=True).stdout


DECOMPRESSORS = {b"gzip": gunzip, b"zstd": unzstd, b"xz": lzma.decompress, b"xzkern": lzma.decompress}


def unwrap(data):
    """Returns the Image inside `data`, or raises ValueError."""
    for _ in range(3):  # zboot inside gzip is the most that makes sense
        if data[4:8] == b"zimg":
            offset, length = struct.unpack_from("<II", data, 8)
            kind = data[24:56].split(b"\0")[0]
            if kind not in DECOMPRESSORS:
                raise ValueError(f"an EFI zboot kernel compressed with {kind.decode(errors='replace')!r}")
            if offset + length > len(data):
                raise ValueError("an EFI zboot kernel that is cut short")
            data = DECOMPRESSORS[kind](data[offset : offset + length])
        elif data[:2] == b"\x1f\x8b":
            data = gunzip(data)
        elif data[MAGIC_OFFSET : MAGIC_OFFSET + 4] == MAGIC:
            return data
        else:
            break
    raise ValueError("neither a RISC-V Image, nor gzip, nor EFI zboot")


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    source, target = sys.argv[1:]
    with open(source, "rb") as file:
        data = file.read()
    try:
        image = unwrap(data)
    except (ValueError, zlib.error, lzma.LZMAError, OSError, struct.error, subprocess.CalledProcessError) as error:
        sys.exit(f"extract_image: {source} is not a kernel that can be used: {error}")
    with open(target + ".part", "wb") as file:
        file.write(image)
    os.replace(target + ".part", target)


if __name__ == "__main__":
    main()
