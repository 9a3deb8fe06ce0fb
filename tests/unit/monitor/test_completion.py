#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Shell completion offers each command, option and setting that the program has, and nothing that it has not.

Arguments: the baton program, the root of the sources. bash is driven without a terminal, zsh (if there is one) with one.
"""
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

BATON, ROOT = map(os.path.abspath, sys.argv[1:3])
BASH = os.path.join(ROOT, "completion", "baton.bash")
ZSH = os.path.join(ROOT, "completion")
BREAKS = re.compile(r"([=:])")


def help_of(*args):
    return subprocess.run([BATON, "help", *args], capture_output=True, text=True, timeout=20, check=True).stdout


def commands():
    return set(re.findall(r"(?m)^  ([a-z]+) ", help_of()))


def options_of(command):
    lines = [line for line in help_of(command).split("\n") if re.match(r"Usage:|  --", line)]
    heads = [line if line.startswith("Usage:") else line.split("  ")[1] for line in lines]
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", "\n".join(heads))) | {"--help"}


def settings():
    return dict(re.findall(r"(?m)^  ([a-z-]+)=(\S+)", help_of("set")))


def offered(*words, folder="/"):
    """What bash offers for the last of the words."""
    split = [part for word in words for part in (BREAKS.split(word) if word else [""])]
    # A word that ends at a break has nothing behind it.
    split = [part for at, part in enumerate(split) if part or at == len(split) - 1]
    if len(split) > 1 and not split[-1] and words[-1]:
        split.pop()
    script = ('source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}; '
              '_baton; printf "%s\\n" "${COMPREPLY[@]}"')
    done = subprocess.run(["bash", "--norc", "--noprofile", "-c", script, "bash", BASH, BATON, *split], cwd=folder,
                          capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return set(done.stdout.split())


@unittest.skipUnless(shutil.which("bash"), "no bash")
class Bash(unittest.TestCase):
    def test_a_command_is_not_offered(self):
        known = commands()
        self.assertLessEqual({"run", "migrate", "status", "check", "quit", "incoming", "help"}, known)
        self.assertEqual(offered(""), known | {"--help", "--version"})
        self.assertEqual(offered("mi"), {"migrate"})
        self.assertEqual(offered("help", ""), known)

    def test_an_option_is_not_offered(self):
        for command in commands() - {"help"}:
            self.assertEqual(offered(command, "--"), options_of(command), command)
            self.assertLessEqual(options_of(command), offered(command, ""), command)
        self.assertEqual(offered("status", "--qmp", "/x", "--j"), {"--json"})

    def test_a_setting_is_not_offered(self):
        known = settings()
        self.assertGreaterEqual(len(known), 5)
        self.assertLessEqual({name + "=" for name in known}, offered("set", ""))
        for name, value in known.items():
            self.assertEqual(offered("set", name[:-1]) - {other + "=" for other in known if other != name}, {name + "="})
            self.assertEqual(offered("set", name + "="), {"on", "off"} if value == "on|off" else set())
        self.assertEqual(offered("set", "--qmp", "/x", "postcopy-ram=of"), {"off"})

    def test_a_value_is_not_offered(self):
        with tempfile.TemporaryDirectory() as folder:
            open(os.path.join(folder, "b.qmp"), "w", encoding="utf-8").close()
            self.assertEqual(offered("status", "--qmp", "b", folder=folder), {"b.qmp"})
            self.assertEqual(offered("status", "--qmp=b", folder=folder), {"b.qmp"})
            self.assertEqual(offered("run", "--console", "", folder=folder), {"stdio", "none", "b.qmp"})
            self.assertEqual(offered("migrate", "unix:b", folder=folder), {"b.qmp"})
        self.assertEqual(offered("run", "--faults", ""), {"auto", "userfaultfd", "software"})
        self.assertEqual(offered("run", "--incoming", "d"), {"defer"})
        self.assertEqual(offered("migrate", "t"), {"tcp:"})
        self.assertEqual(offered("migrate", "tcp:"), set())
        self.assertEqual(offered("status", "--timeout", ""), set())

    def test_an_option_with_a_value_is_not_known(self):
        """Else its value would be completed as the next word."""
        text = ""
        for path in (BASH, os.path.join(ZSH, "_baton")):
            with open(path, encoding="utf-8") as file:
                text += file.read()
        for command in commands() - {"help"}:
            for option in re.findall(r"(?m)^  (--[a-z-]+) [A-Zv]", help_of(command)):
                self.assertEqual(len(re.findall(rf"(?m)^    .*{option}(?![-\w]).*\) ", text)), 2, option)


@unittest.skipUnless(shutil.which("zsh"), "no zsh")
class Zsh(unittest.TestCase):
    def offered(self, line):
        """What zsh lists for the line."""
        pid, master = pty.fork()
        if pid == 0:
            environment = {"PATH": os.path.dirname(BATON) + ":" + os.environ["PATH"], "TERM": "dumb", "HOME": "/nonexistent"}
            os.execvpe("zsh", ["zsh", "-f"], environment)
        os.write(master, f"fpath=({ZSH} $fpath); autoload -U compinit && compinit -u -D; "
                 "LISTMAX=9999; PS1='rea''dy> '\n".encode())
        self.until(master, b"ready> ")
        os.write(master, line.encode() + b"\x04")  # ^D lists without inserting
        out = self.until(master, None)
        os.close(master)
        os.waitpid(pid, 0)
        return set(re.findall(r"--[a-z-]+|[a-z][a-z-]+", out))

    @staticmethod
    def until(master, word):
        out, deadline = b"", time.monotonic() + 15
        while time.monotonic() < deadline and not (word and word in out):
            if select.select([master], [], [], 2.0)[0]:
                out += os.read(master, 4096)
            elif not word:
                break
        return out.decode(errors="replace")

    def test_all_is_offered(self):
        self.assertLessEqual(commands(), self.offered("baton "))
        self.assertLessEqual(options_of("migrate"), self.offered("baton migrate --"))
        self.assertLessEqual(set(settings()), self.offered("baton set "))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
