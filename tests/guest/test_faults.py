# SPDX-License-Identifier: MIT
"""Without userfaultfd, as in a container without privileges, everything holds that holds with it."""

import os
import unittest

from harness import BATON, Bridge, Rig, Vm, pair
from test_break import finish, to_postcopy, wait_paused

FORBID = os.path.join(os.path.dirname(os.path.dirname(BATON)), "tests", "guest", "no_userfaultfd")


def deprived_pair(rig, **more):
    """A pair whose destination may not use userfaultfd."""
    source, dest = pair(rig, dest_prefix=[FORBID], **more)
    return source, dest


class Faults(unittest.TestCase):
    def test_the_filter_forbids_nothing(self):
        """The other tests here would prove nothing."""
        with Rig() as rig:
            source, dest = pair(rig, dest_prefix=[FORBID], dest_extra=["--faults", "userfaultfd"])
            source.migrate(dest.address())
            source.qmp.wait_status("failed")
            self.assertIn("userfaultfd", source.info()["error-desc"])
            source.beat()

    def test_postcopy_without_userfaultfd_loses_a_page(self):
        with Rig() as rig:
            source, dest = deprived_pair(rig, x_postcopy_fast=True)
            source.migrate(dest.address())
            finish(source, dest)
            self.assertGreater(dest.info()["ram"]["postcopy-requests"], 0)

    def test_a_broken_link_without_userfaultfd_loses_a_page(self):
        with Rig() as rig:
            source, dest = deprived_pair(rig)
            bridge = Bridge(rig, dest.address())
            to_postcopy(source, dest, bridge.uri)
            for _ in range(3):
                bridge.kill()
                wait_paused(source, dest)
                waiters = dest.info()["x-baton-waiters"]
                dest.qmp.command("stop")
                dest.qmp.command("cont")
                self.assertLessEqual(len(waiters), 2)
                bridge = Bridge(rig, dest.address())
                source.migrate(bridge.uri, resume=True)
                source.qmp.wait_status("postcopy-active")
                dest.qmp.wait_status("postcopy-active")
            finish(source, dest)

    def test_software_faults_by_order_lose_a_page(self):
        with Rig() as rig:
            source, dest = pair(rig, x_postcopy_fast=True, dest_extra=["--faults", "software"])
            source.migrate(dest.address())
            finish(source, dest)


if __name__ == "__main__":
    unittest.main(verbosity=2)
