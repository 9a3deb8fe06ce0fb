#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What `meson install` leaves behind is enough for a program of somebody else.

Usage: test_install.py SOURCE BUILD. Installs into a folder that is removed again, and uses only what is in it.
"""

import glob
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

LIMIT_S = 60
CC = shlex.split(os.environ.get("CC", "")) or [next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), "cc")]
HEADERS = ("baton.h", "error.h", "guest.h")
PAGES = ("man1/baton.1", "man7/baton-qmp.7", "man7/baton-migration.7")

# Names that libbaton uses inside as well: an embedder's own must not clash with them, and must not be taken for them.
EMBEDDER = r"""
#include <stdio.h>
#include <baton/baton.h>
%s
int main(void)
{
    struct baton_error error;

    baton_error_set(&error, 5, "said %%d", 7);
    puts(error.text);
    puts(baton_status_name(BATON_STATUS_POSTCOPY_PAUSED));
    return 0;
}
"""


def run(*command, **more):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LIMIT_S, check=False, **more)
    if done.returncode:
        raise AssertionError(f"{shlex.join(command)} ended with code {done.returncode}:\n{done.stdout}")
    return done.stdout


def symbols(path, *options):
    """Names that the file defines for others."""
    return {line.split()[-1].split("@")[0] for line in run("nm", "--defined-only", *options, path).splitlines()
            if len(line.split()) == 3}


def public_functions():
    """Those that a header declares with BATON_API, and those without."""
    text = ""
    for name in HEADERS:
        with open(os.path.join(SOURCE, "include", "baton", name), encoding="utf-8") as file:
            text += re.sub(r"/\*.*?\*/", "", file.read(), flags=re.S)
    text = re.sub(r"__attribute__\(\(.*?\)\)+", "", text)
    text = re.sub(r"\(\*\w+\)\([^)]*\)", "", text)  # members that are functions of the host
    declared = re.findall(r"^([\w \t*\n]*?)\b(baton_\w+)\([^;{}]*\)\s*;", text, re.M)
    declared = [(head.split(), name) for head, name in declared if head.strip()]  # else it is a call
    return {name for head, name in declared if "BATON_API" in head}, {name for head, name in declared if "BATON_API" not in head}


class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.top = tempfile.mkdtemp(prefix="baton-install-")
        cls.addClassCleanup(shutil.rmtree, cls.top)
        run("meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", cls.top)
        cls.shared = cls.only("libbaton.so.0")
        cls.libraries = os.path.dirname(cls.shared)
        cls.pkgconfig = dict(os.environ, PKG_CONFIG_SYSROOT_DIR=cls.top,
                             PKG_CONFIG_PATH=os.path.dirname(cls.only("baton.pc")))

    @classmethod
    def only(cls, name):
        found = glob.glob(os.path.join(cls.top, "**", name), recursive=True)
        assert len(found) == 1, f"{name}: found {found}"
        return found[0]

    def flags(self, *what):
        if not shutil.which("pkg-config"):
            self.skipTest("pkg-config is not here")
        return run("pkg-config", *what, "baton", env=self.pkgconfig).split()

    def compile(self, name, code_path, *flags):
        made = os.path.join(self.top, name)
        run(*CC, "-std=gnu17", "-Wall", "-Werror", "-o", made, code_path, *flags)
        return made

    def test_something_is_not_installed(self):
        for name in HEADERS:
            self.assertIn("/include/baton/", self.only(name))
        for page in PAGES:
            self.assertTrue(self.only(page.split("/")[1]).endswith("/man/" + page))
        programs = glob.glob(os.path.join(self.top, "**", "bin", "baton"), recursive=True)
        self.assertEqual(len(programs), 1)
        self.assertRegex(run(programs[0], "--version"), r"\d+\.\d+\.\d+")

    def test_the_library_has_no_version(self):
        self.assertRegex(run("readelf", "-d", self.shared), r"SONAME.*\[libbaton\.so\.0\]")
        self.assertEqual(os.path.realpath(self.only("libbaton.so")), os.path.realpath(self.shared))
        self.assertRegex(os.path.basename(os.path.realpath(self.shared)), r"libbaton\.so\.0\.\d+\.\d+$")

    def test_the_headers_and_the_library_disagree(self):
        public, hidden = public_functions()
        self.assertEqual(hidden, set(), "declared without BATON_API")
        self.assertGreater(len(public), 35)
        self.assertEqual(symbols(self.shared, "-D"), public)

    def test_the_archive_shows_what_is_hidden(self):
        archives = glob.glob(os.path.join(self.libraries, "libbaton.a"))
        if not archives:
            self.skipTest("this build makes no archive")
        self.assertEqual(symbols(archives[0], "-g"), public_functions()[0])

    def move(self, program):
        environment = dict(os.environ, LD_LIBRARY_PATH=self.libraries)
        uri = "unix:" + os.path.join(self.top, os.path.basename(program) + ".sock")
        receiver = subprocess.Popen([program, "receive", uri], stdout=subprocess.PIPE, text=True, env=environment)
        try:
            deadline = time.monotonic() + LIMIT_S
            while not os.path.exists(uri[len("unix:"):]):
                self.assertIsNone(receiver.poll(), "the receiver has ended")
                self.assertLess(time.monotonic(), deadline, "the receiver does not listen")
                time.sleep(0.01)
            self.assertIn("-> completed", run(program, "send", uri, env=environment))
            said = receiver.communicate(timeout=LIMIT_S)[0]
        finally:
            receiver.kill()
            receiver.wait()
        self.assertRegex(said, r"-> postcopy-paused")
        self.assertRegex(said, r"sum up to \d+: right")

    def test_the_example_cannot_be_built_with_what_is_installed(self):
        example = os.path.join(SOURCE, "examples", "process_memory.c")
        program = self.compile("process_memory", example, *self.flags("--cflags", "--libs"), "-pthread")
        self.assertRegex(run("readelf", "-d", program), r"NEEDED.*\[libbaton\.so\.0\]")
        self.move(program)

    def test_an_embedders_names_clash(self):
        with open(os.path.join(self.top, "embedder.c"), "w", encoding="utf-8") as code:
            names = ("engine_step", "engine_explain", "link_quit", "loop_post", "runtime_now_ns", "pageset_init", "text_init",
                     "channel_close", "ram_init", "fault_wait", "query_update", "wire_put_u32")
            code.write(EMBEDDER % "\n".join(f"int {name};" for name in names))
        outputs = []
        self.compile("shared", code.name, *self.flags("--cflags", "--libs"))
        outputs.append(run(os.path.join(self.top, "shared"), env=dict(os.environ, LD_LIBRARY_PATH=self.libraries)))
        archive = os.path.join(self.libraries, "libbaton.a")
        if os.path.exists(archive):
            outputs.append(run(self.compile("static", code.name, *self.flags("--cflags"), archive, "-pthread")))
        for output in outputs:
            self.assertEqual(output, "said 7\npostcopy-paused\n")


if __name__ == "__main__":
    SOURCE, BUILD = (os.path.abspath(sys.argv.pop(1)) for _ in range(2))
    unittest.main(verbosity=2)
