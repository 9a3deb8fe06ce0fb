# SPDX-License-Identifier: MIT
"""Every kind of guest RAM moves, breaks and recovers; huge pages do so whole."""

import unittest

from harness import Bridge, Rig, pair
from test_break import finish, to_postcopy, wait_paused

HUGE = "/proc/sys/vm/nr_hugepages"
PAGES = 72  # two VMs of 64 MiB, and some


def reserve():
    """Reserves huge pages; returns how many there were before, or None if they are not to be had."""
    try:
        with open(HUGE, encoding="ascii") as file:
            before = int(file.read())
        if before < PAGES:
            with open(HUGE, "w", encoding="ascii") as file:
                file.write(str(PAGES))
        with open(HUGE, encoding="ascii") as file:
            return before if int(file.read()) >= PAGES else None
    except OSError:
        return None


class Memory(unittest.TestCase):
    def move(self, kind, faults):
        extra = ["--memory-backend", kind]
        with Rig() as rig:
            source, dest = pair(rig, source_extra=extra, dest_extra=extra + ["--faults", faults])
            bridge = Bridge(rig, dest.address())
            to_postcopy(source, dest, bridge.uri)
            for _ in range(2):
                self.assertGreater(dest.info()["x-baton-missing-pages"], 0)
                bridge.kill()
                wait_paused(source, dest)
                if kind == "hugetlb":
                    self.assertEqual(dest.info()["x-baton-missing-pages"] % 512, 0, "a part of a huge page is missing")
                bridge = Bridge(rig, dest.address())
                source.migrate(bridge.uri, resume=True)
                source.qmp.wait_status("postcopy-active")
                dest.qmp.wait_status("postcopy-active")
            finish(source, dest)

    def test_shared_memory_loses_a_page(self):
        self.move("memfd", "userfaultfd")

    def test_shared_memory_with_software_faults_loses_a_page(self):
        self.move("memfd", "software")

    def huge(self, faults):
        before = reserve()
        if before is None:
            self.skipTest("no huge pages are to be had here (sysctl vm.nr_hugepages)")
        try:
            self.move("hugetlb", faults)
        finally:
            with open(HUGE, "w", encoding="ascii") as file:
                file.write(str(before))

    def test_huge_pages_are_torn(self):
        self.huge("userfaultfd")

    def test_huge_pages_with_software_faults_are_torn(self):
        self.huge("software")


if __name__ == "__main__":
    unittest.main(verbosity=2)
