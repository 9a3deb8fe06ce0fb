#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Who may see what: the VMM, the monitor and the commands see include/baton only; the engine sees no runtime; nobody calls open sources by name."""

import os
import re
import sys

ROOMS = {  # folder: what its files may include with quotes
    "vmm": r"baton/|vmm/",
    "monitor": r"baton/|monitor/|vmm/machine\.h",
    "cmd": r"baton/|cmd/|monitor/|vmm/",
    "include/baton": r"baton/",
    "examples": r"baton/",
    "lib/engine": r"baton/|engine/|base/",
    "lib/wire": r"baton/|wire/|base/",
    "lib/base": r"baton/|base/",
    "lib/channel": r"baton/|channel/|base/",
    "lib/memory": r"baton/|memory/|base/",
    "lib/runtime": r"baton/|runtime/|engine/|wire/|channel/|memory/|base/",
}


def main(source):
    bad = seen = 0
    for room, allowed in ROOMS.items():
        for folder, _, names in os.walk(os.path.join(source, room)):
            for name in names:
                if not name.endswith((".c", ".h", ".def")):
                    continue
                path = os.path.join(folder, name)
                seen += 1
                with open(path, encoding="utf-8") as file:
                    for number, line in enumerate(file, 1):
                        found = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
                        # A name without a folder is the neighbour's in the same folder.
                        if found and "/" in found.group(1) and not re.match(allowed, found.group(1)):
                            print(f"{path}:{number}: {room} may not see {found.group(1)}")
                            bad += 1
    if not seen:
        sys.exit("no file was seen")
    sys.exit(1 if bad else 0)


main(sys.argv[1])
