#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Every C file is as clang-format leaves it. Versions of it differ in small things, so another one than 14 skips."""

import shutil
import subprocess
import sys

source = sys.argv[1]
tool = next((name for name in ("clang-format-14", "clang-format") if shutil.which(name)), None)
if not tool or " 14." not in subprocess.run([tool, "--version"], capture_output=True, text=True).stdout:
    print("clang-format 14 is not here")
    sys.exit(77)
files = subprocess.run(["git", "-C", source, "ls-files", "*.c", "*.h"], capture_output=True, text=True).stdout.split()
if not files:
    print("not a git checkout: no list of files")
    sys.exit(77)
sys.exit(subprocess.run([tool, "--dry-run", "--Werror", *files], cwd=source).returncode)
