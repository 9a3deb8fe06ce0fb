# SPDX-License-Identifier: MIT
"""Debian's Linux moves, and memcheck inside it finds every page as it must be. Needs script/guest --linux."""

import os
import unittest

from harness import GUEST, LIMIT_S, Bridge, Rig, Vm, pair

APPEND = "memcheck.mib=256 memcheck.threads=2"


@unittest.skipUnless(os.path.exists(os.path.join(GUEST, "initramfs.cpio.gz")),
                     "no Linux guest: script/guest found no Debian mirror; the bare-metal guest stands in")
class Linux(unittest.TestCase):
    def pair(self, rig, rate=20000, **more):
        return pair(rig, "linux", "512M", 2, append=f"{APPEND} memcheck.rate={rate}", **more)

    def boot(self, cpus):
        with Rig() as rig:
            vm = Vm(rig, "vm", "linux", "512M", cpus, append=f"memcheck.mib=64 memcheck.threads={cpus}")
            vm.ready(limit_s=max(LIMIT_S, 120))
            vm.beat()
            self.assertGreater(vm.verify(), 0)

    def test_one_hart_does_not_boot(self):
        self.boot(1)

    def test_four_harts_do_not_boot(self):
        self.boot(4)

    def test_precopy_loses_a_page(self):
        with Rig() as rig:
            source, dest = self.pair(rig, rate=2000)
            source.migrate(dest.address())
            source.qmp.wait_status("completed")
            dest.qmp.wait_status("completed")
            dest.beat()
            dest.verify()

    def test_postcopy_loses_a_page(self):
        with Rig() as rig:
            source, dest = self.pair(rig)
            source.migrate(dest.address())
            source.qmp.wait_event("MIGRATION_PASS")
            source.qmp.command("migrate-start-postcopy")
            source.qmp.wait_status("completed")
            dest.qmp.wait_status("completed")
            dest.beat()
            dest.verify()

    def test_postcopy_at_once_loses_a_page(self):
        with Rig() as rig:
            source, dest = self.pair(rig, x_postcopy_fast=True)
            source.migrate(dest.address())
            source.qmp.wait_status("completed")
            dest.qmp.wait_status("completed")
            dest.beat()
            dest.verify()

    def test_a_broken_link_loses_a_page(self):
        with Rig() as rig:
            source, dest = self.pair(rig)
            bridge = Bridge(rig, dest.address())
            source.qmp.command("migrate-set-parameters", max_postcopy_bandwidth=30 << 20, max_bandwidth=60 << 20)
            source.migrate(bridge.uri)
            source.qmp.wait_event("MIGRATION_PASS")
            source.qmp.command("migrate-start-postcopy")
            source.qmp.wait_status("postcopy-active")
            dest.qmp.wait_status("postcopy-active")
            bridge.kill()
            source.qmp.wait_status("postcopy-paused")
            dest.qmp.wait_status("postcopy-paused")
            self.assertGreater(dest.info()["x-baton-missing-pages"], 0)
            dest.qmp.execute("migrate-recover", {"uri": "tcp:127.0.0.1:0"}, oob=True)
            source.qmp.command("migrate-set-parameters", max_postcopy_bandwidth=0)
            source.migrate(dest.info()["x-baton-addresses"][-1], resume=True)
            source.qmp.wait_status("completed")
            dest.qmp.wait_status("completed")
            dest.beat()
            dest.verify()


if __name__ == "__main__":
    unittest.main(verbosity=2)
