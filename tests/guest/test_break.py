# SPDX-License-Identifier: MIT
"""Postcopy breaks in the middle, in every way that a person or a cable can break it, and goes on."""

import unittest

from harness import Bridge, QmpError, Rig, pair

SLOW = 2 << 20  # bytes a second: leaves time to break things
REWRITES = 200  # a second: a busier guest would ask for all its pages at once


def to_postcopy(source, dest, uri):
    source.console.send(f"rate {REWRITES}")
    source.qmp.command("migrate-set-parameters", max_bandwidth=60 << 20, max_postcopy_bandwidth=SLOW)
    source.migrate(uri)
    source.qmp.wait_event("MIGRATION_PASS")
    source.qmp.command("migrate-start-postcopy")
    source.qmp.wait_status("postcopy-active")
    dest.qmp.wait_status("postcopy-active")


def is_status(status):
    return lambda data: data["status"] == status


def wait_paused(*vms):
    for vm in vms:
        vm.qmp.wait_status("postcopy-paused")


def finish(source, dest):
    source.qmp.command("migrate-set-parameters", max_postcopy_bandwidth=0)
    source.qmp.wait_status("completed")
    dest.qmp.wait_status("completed")
    dest.beat()
    dest.verify()


class Break(unittest.TestCase):
    def break_and_recover(self, times, kill, recover_first=False, oob_side="source"):
        with Rig() as rig:
            source, dest = pair(rig)
            bridge = Bridge(rig, dest.address())
            to_postcopy(source, dest, bridge.uri)
            for i in range(times):
                self.assertGreater(dest.info()["x-baton-missing-pages"], 0, "nothing is left to break")
                if kill and (i == 0 or not recover_first):
                    bridge.kill()
                else:
                    (source if oob_side == "source" else dest).qmp.execute("migrate-pause", oob=True)
                wait_paused(source, dest)
                uri = dest.address()
                if recover_first:
                    dest.qmp.execute("migrate-recover", {"uri": f"unix:{rig.path(f'recover{i}.sock')}"}, oob=True)
                    uri = dest.info()["x-baton-addresses"][-1]
                    self.assertTrue(uri.startswith("unix:"))
                elif kill:
                    bridge = Bridge(rig, uri)
                    uri = bridge.uri
                source.migrate(uri, resume=True)
                source.qmp.wait_status("postcopy-active", "completed")
            finish(source, dest)
            for vm in (source, dest):
                self.assertEqual(vm.info()["x-baton-pauses"], times)
                self.assertGreater(vm.info()["x-baton-paused-time"], 0)

    def test_a_killed_bridge_loses_the_vm(self):
        self.break_and_recover(1, kill=True)

    def test_two_killed_bridges_lose_the_vm(self):
        self.break_and_recover(2, kill=True)

    def test_ten_killed_bridges_lose_the_vm(self):
        self.break_and_recover(10, kill=True)

    def test_ten_pauses_lose_the_vm(self):
        self.break_and_recover(10, kill=False)

    def test_a_pause_at_the_destination_loses_the_vm(self):
        self.break_and_recover(1, kill=False, oob_side="dest")

    def test_another_address_by_migrate_recover_is_not_found(self):
        self.break_and_recover(2, kill=True, recover_first=True)

    def test_a_cut_in_the_recovery_handshake_loses_the_vm(self):
        """Cut the new link after each of its first messages, and inside of some, in either direction."""
        with Rig() as rig:
            source, dest = pair(rig)
            to_postcopy(source, dest, dest.address())
            source.qmp.execute("migrate-pause", oob=True)
            wait_paused(source, dest)
            plans = [f"cut-out-message={n}" for n in (1, 2, 3)]
            plans += [f"cut-out-message={n},tear-bytes=3" for n in (1, 2, 3)]
            plans += [f"cut-in-byte={n}" for n in (1, 70, 75, 120, 130, 500)]
            for plan in plans:
                source.qmp.drain()
                before = len(source.qmp.events)  # the cut may be over before the order is answered
                source.migrate(f"chaos:{plan}:{dest.address()}", resume=True)
                at, _ = source.qmp.wait_event("MIGRATION", is_status("postcopy-recover-setup"), since=before)
                source.qmp.wait_event("MIGRATION", is_status("postcopy-paused"), since=at)
                wait_paused(source, dest)
            source.migrate(dest.address(), resume=True)
            finish(source, dest)

    def test_the_source_cannot_recover_alone(self):
        """The destination still believes in the old link: a newer, proved one takes its place."""
        with Rig() as rig:
            source, dest = pair(rig)
            bridge = Bridge(rig, dest.address())
            to_postcopy(source, dest, bridge.uri)
            # A stopped bridge keeps both connections open and carries nothing: only the source is told to let go.
            bridge.freeze()
            source.qmp.execute("migrate-pause", oob=True)
            source.qmp.wait_status("postcopy-paused")
            self.assertEqual(dest.info()["status"], "postcopy-active")
            source.migrate(dest.address(), resume=True)
            finish(source, dest)

    def test_a_port_probe_takes_the_place_of_the_source(self):
        import socket
        with Rig() as rig:
            source, dest = pair(rig)
            to_postcopy(source, dest, dest.address())
            source.qmp.execute("migrate-pause", oob=True)
            wait_paused(source, dest)
            _, host, port = dest.address().split(":")
            probes = [socket.create_connection((host, int(port))) for _ in range(8)]
            probes[1].sendall(b"GET / HTTP/1.0\r\n\r\n")
            probes[2].sendall(b"QEVM\0\0\0\3")
            probes[3].close()
            self.assertEqual(dest.info()["status"], "postcopy-paused")
            source.migrate(dest.address(), resume=True)
            finish(source, dest)

    def test_a_bad_address_ends_the_migration(self):
        with Rig() as rig:
            source, dest = pair(rig)
            to_postcopy(source, dest, dest.address())
            source.qmp.execute("migrate-pause", oob=True)
            wait_paused(source, dest)
            good = dest.address()
            for uri in ("tcp:127.0.0.1:1", f"unix:{rig.path('nobody.sock')}"):
                source.qmp.drain()
                before = len(source.qmp.events)
                source.migrate(uri, resume=True)
                at, _ = source.qmp.wait_event("MIGRATION", is_status("postcopy-recover-setup"), since=before)
                source.qmp.wait_event("MIGRATION", is_status("postcopy-paused"), since=at)
                self.assertTrue(source.info()["error-desc"])
            with self.assertRaises(QmpError):
                source.migrate("nonsense", resume=True)
            source.migrate(good, resume=True)
            finish(source, dest)


if __name__ == "__main__":
    unittest.main(verbosity=2)
