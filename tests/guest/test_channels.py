# SPDX-License-Identifier: MIT
"""A VM is saved to a file or given to a command, and starts from there; whatever goes wrong, it goes on where it is."""

import os
import shutil
import subprocess
import unittest

from harness import QmpError, Rig, Vm


def source_of(rig, **more):
    source = Vm(rig, "source", memory="32M", **more)
    source.capabilities(events=True)
    source.qmp.command("migrate-set-parameters", downtime_limit=5000)
    source.ready()
    return source


def arrives(dest):
    dest.qmp.wait_status("completed")
    dest.beat()
    dest.verify()


class Channels(unittest.TestCase):
    def goes_on(self, source, uri, part):
        source.migrate(uri)
        source.qmp.wait_status("failed")
        self.assertIn(part, source.info()["error-desc"])
        source.beat()  # the CPUs are started right after the state is told
        self.assertTrue(source.qmp.command("query-status")["running"])
        source.beat()

    def refuses(self, dest, uri, part):
        dest.qmp.command("migrate-incoming", uri=uri)
        dest.qmp.wait_status("failed")
        self.assertIn(part, dest.info()["error-desc"])
        self.assertFalse(dest.qmp.command("query-status")["running"])

    def test_a_saved_vm_is_not_the_same(self):
        with Rig() as rig:
            source = source_of(rig)
            uri = "file:" + rig.path("vm.sav")
            source.migrate(uri)
            source.qmp.wait_status("completed")
            self.assertEqual(source.qmp.command("query-status")["status"], "postmigrate")
            with self.assertRaises(QmpError) as refused:
                source.qmp.command("cont")
            self.assertIn("two of it", refused.exception.desc)
            source.kill()
            for name in ("first", "second"):  # as often as one likes, one after the other
                dest = Vm(rig, name, memory="32M", incoming=uri)
                arrives(dest)
                dest.kill()

    def test_a_compressed_vm_is_not_the_same(self):
        with Rig() as rig:
            source = source_of(rig)
            path = rig.path("vm.gz")
            source.migrate(f"exec:gzip -1 > {path}")
            source.qmp.wait_status("completed")
            arrives(Vm(rig, "dest", memory="32M", incoming=f"exec:gzip -dc < {path}"))

    def test_a_failure_to_save_costs_the_vm(self):
        with Rig() as rig:
            source = source_of(rig)
            self.goes_on(source, "file:/dev/full", "No space left on device")
            self.goes_on(source, "exec:exit 3", "ended with status 3")
            self.goes_on(source, "exec:cat >/dev/null; exit 3", "ended with status 3")
            self.goes_on(source, f"file:{rig.path('none')}/vm.sav", "cannot be opened")
            source.capabilities(postcopy_ram=True)
            with self.assertRaises(QmpError) as refused:
                source.migrate("file:" + rig.path("vm.sav"))
            self.assertIn("way back", refused.exception.desc)
            self.assertFalse(os.path.exists(rig.path("vm.sav")))
            source.verify()

    def test_a_damaged_file_is_run(self):
        with Rig() as rig:
            source = source_of(rig)
            path, damaged = rig.path("vm.sav"), rig.path("damaged.sav")
            source.migrate("file:" + path)
            source.qmp.wait_status("completed")
            with open(path, "rb") as file:
                saved = file.read()
            dest = Vm(rig, "dest", memory="32M", incoming="defer")
            dest.capabilities(events=True)
            for bytes_, part in ((saved[:len(saved) // 2], "the stream ends in the middle"),
                                 (saved[:-1], "the stream ends in the middle"),
                                 (b"", "the stream ends in the middle"),
                                 (saved + b"x", "bytes follow the end"),
                                 (b"QEWM" + saved[4:], "not a migration stream"),
                                 (saved[:13] + b"x" + saved[14:], "machine")):
                with open(damaged, "wb") as file:
                    file.write(bytes_)
                self.refuses(dest, "file:" + damaged, part)
            self.refuses(dest, f"exec:cat {path}; exit 3", "ended with status 3")
            dest.qmp.command("migrate-incoming", uri="file:" + path)
            arrives(dest)

    @unittest.skipUnless(shutil.which("qemu-system-riscv64"), "no qemu-system-riscv64 here")
    def test_a_file_of_a_stock_qemu_is_run(self):
        """Another machine, although it has the same name: refused with a reason."""
        with Rig() as rig:
            path = rig.path("qemu.sav")
            qemu = subprocess.Popen(["qemu-system-riscv64", "-M", "virt", "-m", "32M", "-S", "-display", "none", "-serial",
                                     "none", "-monitor", "stdio", "-bios", "none"], stdin=subprocess.PIPE,
                                    stdout=subprocess.DEVNULL, text=True)
            qemu.communicate(f'migrate "exec:cat > {path}"\nquit\n', timeout=30)
            self.assertTrue(os.path.getsize(path))
            dest = Vm(rig, "dest", memory="32M", incoming="defer")
            self.refuses(dest, "file:" + path, "amount of RAM")
