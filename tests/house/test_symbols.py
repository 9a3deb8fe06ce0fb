#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The pure libraries need nothing but memory, strings and assert; whatever else they link to breaks the simulator's promise."""

import re
import subprocess
import sys

# __popcountdi2 is the compiler's own, for hosts without the instruction.
ALLOWED = re.compile(r"^(mem(cpy|set|move|cmp|chr)|str(len|cmp|ncmp|cpy|chr|nlen)|__assert_fail|__stack_chk_fail|__popcountdi2|"
                     r"_GLOBAL_OFFSET_TABLE_|__(asan|ubsan|tsan|sanitizer)_.*)$")


def symbols(archive, which):
    out = subprocess.run(["nm", "-g", which, archive], check=True, capture_output=True, text=True).stdout
    return {line.split()[-1] for line in out.splitlines() if len(line.split()) >= 2 and not line.endswith(":")}


def main():
    archives = sys.argv[1:]
    defined = set().union(*(symbols(archive, "--defined-only") for archive in archives))
    bad = 0
    for archive in archives:
        for name in sorted(symbols(archive, "--undefined-only") - defined):
            if not ALLOWED.match(name):
                print(f"{archive}: needs {name}, which a pure library may not")
                bad += 1
        for name in sorted(symbols(archive, "--defined-only")):
            if not re.match(r"^(baton|engine|pageset|source|dest|wire|text|__odr_asan)_?", name):
                print(f"{archive}: exports {name}, which does not begin with its module's name")
                bad += 1
    if not defined:
        sys.exit("no symbols seen at all: is this the right file?")
    sys.exit(1 if bad else 0)


main()
