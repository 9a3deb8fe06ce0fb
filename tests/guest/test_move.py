# SPDX-License-Identifier: MIT
"""A whole VM moves: what is lost, doubled or changed on the way would be found by the guest, or by comparing both sides."""

import filecmp
import unittest

from harness import Rig, QmpError, pair

MEMORY = 64 << 20


def move(source, dest, how):
    """Orders a migration of one of three kinds and waits until both sides are complete."""
    source.migrate(dest.address())
    if how == "postcopy":
        source.qmp.wait_event("MIGRATION_PASS")
        source.qmp.command("migrate-start-postcopy")
    source.qmp.wait_status("completed")
    dest.qmp.wait_status("completed")


class BareMetal(unittest.TestCase):
    def run_and_verify(self, how, listen=None):
        with Rig() as rig:
            fast = {"x_postcopy_fast": True} if how == "fast" else {}
            listen = f"unix:{rig.path('migration.sock')}" if listen is None else listen
            source, dest = pair(rig, listen=listen, **fast)
            source.beat()
            move(source, dest, how)
            dest.beat()
            dest.verify()
            self.assertFalse(source.qmp.command("query-status")["running"])
            self.assertEqual(source.qmp.command("query-status")["status"], "postmigrate")
            self.assertTrue(dest.qmp.command("query-status")["running"])

    def test_precopy_over_tcp_loses_a_page(self):
        self.run_and_verify("precopy", "tcp:127.0.0.1:0")

    def test_precopy_over_unix_loses_a_page(self):
        self.run_and_verify("precopy")

    def test_postcopy_over_tcp_loses_a_page(self):
        self.run_and_verify("postcopy", "tcp:127.0.0.1:0")

    def test_postcopy_over_unix_loses_a_page(self):
        self.run_and_verify("postcopy")

    def test_postcopy_at_once_over_tcp_loses_a_page(self):
        self.run_and_verify("fast", "tcp:127.0.0.1:0")

    def test_postcopy_at_once_over_unix_loses_a_page(self):
        self.run_and_verify("fast")

    def test_postcopy_over_ipv6_loses_a_page(self):
        try:
            self.run_and_verify("postcopy", "tcp:[::1]:0")
        except QmpError as error:
            if "::1" in error.desc:
                self.skipTest(f"no IPv6 here: {error.desc}")
            raise

    def compare(self, how):
        """A VM that was stopped before it moved is the same on both sides, page by page and register by register."""
        with Rig() as rig:
            fast = {"x_postcopy_fast": True} if how == "fast" else {}
            source, dest = pair(rig, **fast)
            source.beat()
            source.qmp.command("stop")
            move(source, dest, how)
            self.assertFalse(dest.qmp.command("query-status")["running"], "a VM that was stopped was started by moving it")
            source.dump(rig.path("source.ram"), MEMORY)
            dest.dump(rig.path("dest.ram"), MEMORY)
            self.assertTrue(filecmp.cmp(rig.path("source.ram"), rig.path("dest.ram"), shallow=False), "memory differs")
            self.assertEqual(source.device_state(), dest.device_state())
            dest.qmp.command("cont")
            dest.beat()
            dest.verify()

    def test_precopy_changes_a_stopped_vm(self):
        self.compare("precopy")

    def test_postcopy_changes_a_stopped_vm(self):
        self.compare("postcopy")

    def test_postcopy_at_once_changes_a_stopped_vm(self):
        self.compare("fast")

    def test_it_cannot_move_on_to_a_third_host(self):
        with Rig() as rig:
            source, dest = pair(rig)
            move(source, dest, "postcopy")
            from harness import Vm
            third = Vm(rig, "third", incoming="defer")
            third.capabilities(events=True, postcopy_ram=True)
            third.qmp.command("migrate-incoming", uri="tcp:127.0.0.1:0")
            source.kill()
            move(dest, third, "postcopy")
            third.beat()
            third.verify()


if __name__ == "__main__":
    unittest.main(verbosity=2)
