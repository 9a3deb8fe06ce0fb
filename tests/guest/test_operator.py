# SPDX-License-Identifier: MIT
"""Nothing blocks the operator, and no order makes two runners."""

import threading
import time
import unittest

from harness import Qmp, QmpError, Rig, pair
from test_break import finish, to_postcopy, wait_paused

ANSWER_S = 0.1


class Operator(unittest.TestCase):
    def timed(self, qmp, command):
        """The answer's time; the best of three, because the machine may be busy with something else."""
        times = []
        for _ in range(3):
            begin = time.monotonic()
            qmp.command(command)
            times.append(time.monotonic() - begin)
        return min(times)

    def test_waiting_cpus_or_a_waiting_monitor_hold_up_the_operator(self):
        with Rig() as rig:
            source, dest = pair(rig)
            to_postcopy(source, dest, dest.address())
            source.qmp.execute("migrate-pause", oob=True)
            wait_paused(source, dest)
            # A monitor that reads memory which is not there waits; so do both CPUs, sooner or later.
            reader = Qmp(dest.qmp_path)
            done = threading.Event()

            def read():
                reader.execute("pmemsave", {"val": 0x80000000, "size": 64 << 20, "filename": rig.path("ram")})
                done.set()
            threading.Thread(target=read, daemon=True).start()
            deadline = time.monotonic() + 20
            while len(dest.info()["x-baton-waiters"]) < 3 and time.monotonic() < deadline:
                time.sleep(0.02)
            waiters = dest.info()["x-baton-waiters"]
            self.assertEqual(sorted(waiter["name"] for waiter in waiters), ["cpu 0", "cpu 1", "monitor"])
            self.assertIn("The VM runs here", dest.info()["x-baton-explain"])
            for command in ("query-status", "query-migrate", "stop"):
                self.assertLess(self.timed(dest.qmp, command), ANSWER_S, command)
            self.assertFalse(dest.qmp.command("query-status")["running"])
            self.assertFalse(done.is_set())
            # Stopped while its CPUs wait, it must still be stopped when the pages have come.
            source.qmp.command("migrate-set-parameters", max_postcopy_bandwidth=0)
            source.migrate(dest.address(), resume=True)
            source.qmp.wait_status("completed")
            dest.qmp.wait_status("completed")
            self.assertTrue(done.wait(20), "the waiting monitor was never served")
            before = dest.device_state()
            time.sleep(0.3)
            self.assertEqual(before, dest.device_state(), "a stopped VM went on")
            dest.qmp.command("cont")
            dest.beat()
            dest.verify()

    def refused(self, vm, command, **arguments):
        with self.assertRaises(QmpError) as refused:
            vm.qmp.command(command, **arguments)
        return refused.exception.desc

    def test_cont_makes_two_runners(self):
        with Rig() as rig:
            source, dest = pair(rig)
            self.refused(dest, "cont")
            to_postcopy(source, dest, dest.address())
            self.assertIn("destination", self.refused(source, "cont"))
            source.qmp.execute("migrate-pause", oob=True)
            wait_paused(source, dest)
            self.assertIn("destination", self.refused(source, "cont"))
            dest.qmp.command("stop")
            dest.qmp.command("cont")
            source.migrate(dest.address(), resume=True)
            finish(source, dest)
            self.refused(source, "cont")
            self.assertFalse(source.qmp.command("query-status")["running"])

    def test_an_order_in_the_wrong_state_is_obeyed(self):
        with Rig() as rig:
            source, dest = pair(rig)
            self.refused(source, "migrate-pause")
            self.refused(source, "migrate-recover", uri="tcp:127.0.0.1:0")
            with self.assertRaises(QmpError):
                source.migrate("tcp:127.0.0.1:1", resume=True)
            self.refused(dest, "migrate-incoming", uri="tcp:127.0.0.1:0")
            to_postcopy(source, dest, dest.address())
            self.refused(source, "migrate_cancel")
            self.refused(dest, "migrate_cancel")
            self.refused(source, "quit")
            self.refused(dest, "quit")
            source.process.terminate()
            dest.process.terminate()
            with self.assertRaises(QmpError):
                source.migrate(dest.address())
            finish(source, dest)
            self.assertTrue(source.is_alive() and dest.is_alive(), "SIGTERM ended a VM that was needed")

    def test_a_hanging_dial_holds_up_the_operator(self):
        import socket
        with Rig() as rig:
            source, _ = pair(rig)
            # A listener that never accepts: the connection stands, and nobody says a word.
            deaf = socket.socket()
            deaf.bind(("127.0.0.1", 0))
            deaf.listen(1)
            source.migrate(f"tcp:127.0.0.1:{deaf.getsockname()[1]}")
            self.assertLess(self.timed(source.qmp, "query-migrate"), ANSWER_S)
            self.assertLess(self.timed(source.qmp, "query-status"), ANSWER_S)
            source.qmp.command("migrate_cancel")
            source.qmp.wait_status("cancelled", limit_s=5)
            source.beat()


if __name__ == "__main__":
    unittest.main(verbosity=2)
