#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The example does what its first lines promise. Usage: test_process_memory.py build/examples/process_memory"""

import os
import re
import subprocess
import sys
import tempfile
import time
import unittest

LIMIT_S = 40


class Example(unittest.TestCase):
    def move(self, folder):
        uri = "unix:" + os.path.join(folder, "memory.sock")
        receiver = subprocess.Popen([EXAMPLE, "receive", uri], stdout=subprocess.PIPE, text=True)
        try:
            while not os.path.exists(uri[len("unix:"):]):
                self.assertIsNone(receiver.poll(), "the receiver has ended")
                time.sleep(0.01)
            sender = subprocess.run([EXAMPLE, "send", uri], stdout=subprocess.PIPE, text=True, timeout=LIMIT_S, check=True)
            return sender.stdout, receiver.communicate(timeout=LIMIT_S)[0], receiver.returncode
        finally:
            receiver.kill()
            receiver.wait()

    def test_a_counter_is_lost_on_the_way(self):
        with tempfile.TemporaryDirectory(prefix="baton-") as folder:
            sent, received, status = self.move(folder)
        for said in (sent, received):
            self.assertRegex(said, r"-> postcopy-paused", "the link was to break on the way")
            self.assertRegex(said, r"-> completed")
        found = re.search(r"(\d+) additions, the counters sum up to (\d+): right", received)
        self.assertIsNotNone(found, received)
        self.assertGreater(int(found[1]), 0)
        self.assertEqual(found[1], found[2])
        self.assertEqual(status, 0)

    def test_nobody_who_listens_hangs_the_sender(self):
        with tempfile.TemporaryDirectory(prefix="baton-") as folder:
            done = subprocess.run([EXAMPLE, "send", f"unix:{folder}/nobody.sock"], stdout=subprocess.PIPE, text=True,
                                  timeout=LIMIT_S, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("-> failed", done.stdout)

    def test_a_usage_error_is_an_endless_wait(self):
        done = subprocess.run([EXAMPLE], stderr=subprocess.PIPE, text=True, timeout=LIMIT_S, check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn("usage:", done.stderr)


if __name__ == "__main__":
    EXAMPLE = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=2)
