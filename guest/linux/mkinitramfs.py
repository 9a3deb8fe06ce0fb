#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes an initramfs: a gzip-compressed cpio archive ("newc"), the same bytes for the same files, no root needed.

Usage: mkinitramfs.py OUTPUT NAME=FILE...

NAME is the path inside (every file is executable), FILE where its contents come from. Directories, the
console's device node and the mount points are added by themselves.
"""

import gzip
import os
import stat
import sys

MOUNT_POINTS = ["dev", "proc", "sys", "tmp"]
CONSOLE = ("dev/console", 5, 1)


def entry(inode, name, mode, data=b"", device=(0, 0)):
    fields = [inode, mode, 0, 0, 1, 0, len(data), 0, 0, device[0], device[1], len(name) + 1, 0]
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    body = header + name.encode() + b"\0"
    body += b"\0" * (-len(body) % 4) + data
    return body + b"\0" * (-len(data) % 4)


def archive(files):
    """`files` maps names to contents."""
    nodes = {name: (stat.S_IFREG | 0o755, data, (0, 0)) for name, data in files.items()}
    nodes[CONSOLE[0]] = (stat.S_IFCHR | 0o600, b"", CONSOLE[1:])
    for name in list(nodes) + [point + "/." for point in MOUNT_POINTS]:
        while "/" in name:
            name = name.rpartition("/")[0]
            nodes[name] = (stat.S_IFDIR | 0o755, b"", (0, 0))
    # Sorted: a directory comes before what is in it.
    parts = [entry(i, name, *nodes[name]) for i, name in enumerate(sorted(nodes), start=1)]
    return b"".join(parts) + entry(0, "TRAILER!!!", 0)


def main():
    if len(sys.argv) < 3 or not all("=" in argument for argument in sys.argv[2:]):
        sys.exit(__doc__)
    output = sys.argv[1]
    files = {}
    for argument in sys.argv[2:]:
        name, _, path = argument.partition("=")
        with open(path, "rb") as file:
            files[name] = file.read()
    with open(output + ".part", "wb") as file:
        file.write(gzip.compress(archive(files), compresslevel=9, mtime=0))
    os.replace(output + ".part", output)


if __name__ == "__main__":
    main()
