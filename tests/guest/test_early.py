# SPDX-License-Identifier: MIT
"""Before the point of no return any failure leaves the VM at the source, running, and lets it be tried again."""

import unittest

from harness import Bridge, QmpError, Rig, Vm, pair


def moves_after_all(source, dest):
    source.qmp.command("migrate-set-parameters", max_bandwidth=0)
    source.migrate(dest.address())
    source.qmp.wait_status("completed")
    dest.qmp.wait_status("completed")
    dest.beat()
    dest.verify()


class Early(unittest.TestCase):
    def test_a_broken_precopy_stops_the_vm_or_the_listener(self):
        with Rig() as rig:
            source, dest = pair(rig)
            bridge = Bridge(rig, dest.address())
            source.qmp.command("migrate-set-parameters", max_bandwidth=20 << 20)
            source.migrate(bridge.uri)
            source.qmp.wait_event("MIGRATION_PASS")
            bridge.kill()
            source.qmp.wait_status("failed")
            dest.qmp.wait_status("failed")
            self.assertTrue(source.qmp.command("query-status")["running"])
            self.assertIn("link", source.info()["error-desc"])
            source.beat()
            moves_after_all(source, dest)

    def test_a_killed_destination_takes_the_vm_with_it(self):
        with Rig() as rig:
            source, dest = pair(rig)
            source.qmp.command("migrate-set-parameters", max_bandwidth=20 << 20)
            source.migrate(dest.address())
            source.qmp.wait_event("MIGRATION_PASS")
            dest.kill()
            source.qmp.wait_status("failed")
            self.assertTrue(source.qmp.command("query-status")["running"])
            source.beat()
            source.verify()
            second = Vm(rig, "second", incoming="tcp:127.0.0.1:0")
            second.capabilities(events=True, postcopy_ram=True)
            moves_after_all(source, second)

    def test_a_cut_in_the_switchover_loses_the_vm(self):
        """At each message of the last part of the stream: either the VM is at the source again, or both sides wait."""
        for message in range(5, 20):
            with self.subTest(message=message), Rig() as rig:
                source, dest = pair(rig, memory="16M", x_postcopy_fast=True)
                source.migrate(f"chaos:cut-out-message={message}:{dest.address()}")
                state = source.qmp.wait_status("failed", "postcopy-paused", "completed")
                running = [vm.qmp.command("query-status")["running"] for vm in (source, dest)]
                self.assertLessEqual(sum(running), 1, "two runners")
                if state == "failed":
                    source.beat()
                    dest.qmp.wait_status("failed", "postcopy-paused")
                    moves_after_all(source, dest)
                elif state == "postcopy-paused":
                    source.migrate(dest.address(), resume=True)
                    source.qmp.wait_status("completed")
                    dest.beat()
                    dest.verify()

    def test_cancel_stops_the_vm(self):
        with Rig() as rig:
            source, dest = pair(rig)
            source.qmp.command("migrate-set-parameters", max_bandwidth=20 << 20)
            source.migrate(dest.address())
            source.qmp.wait_event("MIGRATION_PASS")
            source.qmp.command("migrate_cancel")
            source.qmp.wait_status("cancelled")
            dest.qmp.wait_status("failed")
            source.beat()
            moves_after_all(source, dest)

    def test_another_machine_is_overwritten(self):
        with Rig() as rig:
            source = Vm(rig, "source")
            source.ready()
            dest = Vm(rig, "dest", memory="32M", incoming="tcp:127.0.0.1:0")
            source.migrate(dest.address())
            source.qmp.wait_status("failed")
            self.assertIn("another amount of RAM", source.info()["error-desc"])
            source.beat()

    def test_postcopy_on_one_side_only_fails_late(self):
        with Rig() as rig:
            source, dest = pair(rig)
            dest.capabilities(postcopy_ram=False)
            source.migrate(dest.address())
            source.qmp.wait_status("failed")
            self.assertIn("postcopy-ram", source.info()["error-desc"])
            source.beat()

    def test_start_postcopy_without_the_capability_is_accepted(self):
        with Rig() as rig:
            source, dest = pair(rig, postcopy=False)
            source.qmp.command("migrate-set-parameters", max_bandwidth=10 << 20)
            source.migrate(dest.address())
            with self.assertRaises(QmpError) as refused:
                source.qmp.command("migrate-start-postcopy")
            self.assertIn("postcopy-ram", refused.exception.desc)


if __name__ == "__main__":
    unittest.main(verbosity=2)
