#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The images in .cache/guest are what they should be, and the tools that make them do what they say.

Where an image is missing (script/guest was not run, or had no mirror) or the reference emulator is not installed, those
tests are skipped.
"""

import gzip
import importlib.util
import lzma
import os
import pathlib
import shutil
import struct
import subprocess
import tempfile
import threading
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "guest"
EMULATOR = shutil.which("qemu-system-riscv64")


def tool(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "guest" / "linux" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def needs(*names):
    missing = [name for name in names if not (CACHE / name).exists()]
    return unittest.skipIf(missing, f"script/guest did not make {', '.join(missing)}")


class Extract(unittest.TestCase):
    image = b"MZ" + bytes(0x36) + b"RSC\x05" + bytes(1000)

    def zboot(self, kind, payload):
        header = b"MZ\0\0zimg" + struct.pack("<II", 64, len(payload)) + bytes(8) + kind
        return header.ljust(64, b"\0") + payload

    def test_unwraps(self):
        unwrap = tool("extract_image").unwrap
        for kernel in (
            self.image,
            gzip.compress(self.image),
            self.zboot(b"gzip", gzip.compress(self.image)),
            self.zboot(b"xzkern", lzma.compress(self.image)),
            gzip.compress(self.zboot(b"gzip", gzip.compress(self.image))),
        ):
            self.assertEqual(unwrap(kernel), self.image)

    def test_refuses(self):
        unwrap = tool("extract_image").unwrap
        for kernel in (b"", b"MZ", bytes(4096), gzip.compress(b"text"), self.zboot(b"lz4", b"x")):
            with self.assertRaises(ValueError):
                unwrap(kernel)
        with self.assertRaises(ValueError):
            unwrap(self.zboot(b"gzip", gzip.compress(self.image))[:-20])


class Initramfs(unittest.TestCase):
    def test_is_deterministic(self):
        archive = tool("mkinitramfs").archive
        one = archive({"init": b"#!", "bin/a": b"abc"})
        self.assertEqual(one, archive({"bin/a": b"abc", "init": b"#!"}))
        self.assertEqual(len(one) % 4, 0)

    @needs("initramfs.cpio.gz")
    @unittest.skipUnless(shutil.which("cpio"), "no cpio")
    def test_cpio_reads_it(self):
        data = gzip.decompress((CACHE / "initramfs.cpio.gz").read_bytes())
        listing = subprocess.run(["cpio", "-tv", "--quiet"], input=data, stdout=subprocess.PIPE, check=True)
        lines = listing.stdout.decode().splitlines()
        names = [line.split()[-1] for line in lines]
        self.assertEqual(names, sorted(names))
        for name in ("init", "bin/busybox", "bin/memcheck", "dev/console", "proc", "sys"):
            self.assertIn(name, names)
        console = lines[names.index("dev/console")]
        self.assertTrue(console.startswith("crw") and "5,   1" in console, console)


class Kernel(unittest.TestCase):
    @needs("Image")
    def test_is_a_plain_image(self):
        with open(CACHE / "Image", "rb") as file:
            header = file.read(64)
        self.assertEqual(header[0x38:0x3C], b"RSC\x05")
        size = struct.unpack_from("<Q", header, 0x10)[0]
        self.assertGreater(size, 1 << 20)


class BareMetal(unittest.TestCase):
    @needs("memcheck-bare.elf", "memcheck-bare.bin")
    def test_is_entered_at_the_start_of_ram(self):
        elf = (CACHE / "memcheck-bare.elf").read_bytes()
        self.assertEqual(elf[:6], b"\x7fELF\x02\x01")
        self.assertEqual(struct.unpack_from("<HH", elf, 16), (2, 243))  # an executable for RISC-V
        self.assertEqual(struct.unpack_from("<Q", elf, 24)[0], 0x80000000)
        # The flat image begins with the bytes of the first segment.
        offset = struct.unpack_from("<Q", elf, struct.unpack_from("<Q", elf, 32)[0] + 8)[0]
        flat = (CACHE / "memcheck-bare.bin").read_bytes()
        self.assertEqual(flat[:64], elf[offset : offset + 64])

    @needs("memcheck-bare.elf")
    @unittest.skipUnless(EMULATOR, "no qemu-system-riscv64")
    def test_boots_verifies_and_can_fail(self):
        command = [EMULATOR, "-M", "virt", "-bios", "none", "-kernel", str(CACHE / "memcheck-bare.elf")]
        command += ["-m", "16M", "-smp", "2", "-display", "none", "-serial", "stdio", "-monitor", "none"]
        guest = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        watchdog = threading.Timer(90, guest.kill)
        watchdog.start()
        try:
            self.talk(guest)
            self.assertEqual(guest.wait(), 0)
        finally:
            watchdog.cancel()
            guest.kill()
            guest.wait()
            guest.stdin.close()
            guest.stdout.close()

    def talk(self, guest):
        def until(start):
            while True:
                line = guest.stdout.readline().decode(errors="replace").strip()
                self.assertTrue(line, f"the guest ended before it said '{start}'")
                if line.startswith("memcheck: " + start):
                    return line

        def order(text):
            guest.stdin.write(text.encode() + b"\n")

        self.assertIn("harts=2", until("ready"))
        until("beat=2")
        order("verify")
        self.assertTrue(until("full verify").endswith("errors=0 OK"))
        order("rate 100")
        until("rate=100")
        order("corrupt 12")
        until("corrupted page=12")
        order("verify")
        self.assertIn("(torn or overwritten)", until("WRONG PAGE number=12 "))
        self.assertTrue(until("full verify").endswith("FAILED"))
        order("quit")
        until("quit")


class Script(unittest.TestCase):
    def test_unknown_option(self):
        result = subprocess.run([ROOT / "script" / "guest", "--nonsense"], stderr=subprocess.PIPE)
        self.assertEqual(result.returncode, 2)
        self.assertIn(b"usage", result.stderr)

    @unittest.skipUnless(shutil.which("clang") and shutil.which("ld.lld"), "no clang or lld")
    def test_no_mirror_still_builds_bare_metal(self):
        with tempfile.TemporaryDirectory() as directory:
            shutil.copytree(ROOT / "guest", pathlib.Path(directory) / "guest")
            os.mkdir(pathlib.Path(directory) / "script")
            script = shutil.copy(ROOT / "script" / "guest", pathlib.Path(directory) / "script")
            environment = dict(os.environ, BATON_DEBIAN_MIRROR="none")
            result = subprocess.run([script], env=environment, stderr=subprocess.PIPE)
            self.assertEqual(result.returncode, 3, result.stderr)
            made = sorted(path.name for path in (pathlib.Path(directory) / ".cache" / "guest").iterdir())
            self.assertIn("memcheck-bare.elf", made)
            self.assertNotIn("Image", made)
            self.assertFalse([name for name in made if name.startswith("tmp.")])


if __name__ == "__main__":
    unittest.main()
