#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The interactive demo, driven through a terminal as a person would."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness  # noqa: E402 (the path had to be set first)

DEMO = os.path.join(harness.TOP, "script", "demo_interactive.py")
FULL = "\u2588"


class Terminal:
    """A program on a terminal of its own; what it says is collected."""

    def __init__(self, *command):
        near, far = pty.openpty()
        fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 100, 0, 0))
        environment = dict(os.environ, TERM="xterm", PYTHONIOENCODING="utf-8", BATON=harness.BATON)
        for name in ("COLUMNS", "LINES"):
            environment.pop(name, None)
        self.process = subprocess.Popen(command, stdin=far, stdout=far, stderr=far, env=environment, start_new_session=True)
        os.close(far)
        self.fd = near
        self.said = ""
        self.bytes = b""

    def read(self, limit_s):
        """False: it says nothing more."""
        if not select.select([self.fd], [], [], limit_s)[0]:
            return True
        try:
            got = os.read(self.fd, 65536)
        except OSError:  # nobody has the other end any more
            return False
        self.bytes += got
        self.said = self.bytes.decode("utf-8", "replace")
        return bool(got)

    def expect(self, pattern, since=0):
        """Where it ends in what was said at or after `since`."""
        deadline = time.monotonic() + harness.LIMIT_S
        while True:
            match = re.compile(pattern).search(self.said, since)
            if match:
                return match.end()
            if not self.read(0.2) or time.monotonic() > deadline:
                raise harness.Failed(f"the demo did not say {pattern!r}; its last words:\n{self.said[-2500:]}")

    def press(self, key):
        os.write(self.fd, key.encode())

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()  # it ends its VMs
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        os.close(self.fd)


def maps(said):
    """How many cells of each map that was drawn are full."""
    rows = re.findall(r"^ {3}\|(.{40,})\|\r?$", said, re.M)
    return ["".join(rows[i:i + 8]).count(FULL) for i in range(0, len(rows) - 7, 8)], {len(row) for row in rows}


class Demo(unittest.TestCase):
    def test_a_plug_that_is_pulled_twice_ends_the_demo(self):
        terminal = Terminal(sys.executable, DEMO, "--guest", "bare")
        self.addCleanup(terminal.close)
        at = terminal.expect(r"Each cell below")
        at = terminal.expect(r"keys: +p pull", at)
        terminal.press("r")
        at = terminal.expect(r"There is nothing to recover", at)
        for again in (False, True):
            terminal.press("p")
            at = terminal.expect(r"kill -9 \d+", at)
            at = terminal.expect(r"Both sides keep what they have", at)
            at = terminal.expect(r"source +postcopy-paused", at)
            at = terminal.expect(r"dest +postcopy-paused +guest runs", at)
            if not again:
                terminal.press("p")
                at = terminal.expect(r"The plug is out already", at)
                terminal.press("v")
                at = terminal.expect(r"the answer comes\s+after a recovery", at)
            terminal.press("r")
            at = terminal.expect(r"Recovered in", at)
            at = terminal.expect(r"source +postcopy-active", at)
        at = terminal.expect(r"The guest has verified \d+ pages, and all are right", at)
        terminal.press("v")
        at = terminal.expect(r"Typed `verify`", at)
        terminal.press("q")
        at = terminal.expect(r"OK: the guest has arrived over a broken link, and all its \d+ pages are right", at)
        self.assertEqual(terminal.process.wait(harness.LIMIT_S), 0)
        full, widths = maps(terminal.said)
        self.assertEqual(widths, {64})
        self.assertGreater(len(full), 10)
        self.assertEqual(full[-1], 8 * 64)
        self.assertLess(min(full), 8 * 64)

    def test_a_demo_without_a_break_claims_one(self):
        terminal = Terminal(sys.executable, DEMO, "--guest", "bare")
        self.addCleanup(terminal.close)
        terminal.expect(r"keys: +p pull")
        terminal.press("q")
        terminal.expect(r"OK: the guest has arrived over a link that nobody broke, and all its \d+ pages are right")
        self.assertEqual(terminal.process.wait(harness.LIMIT_S), 0)

    def test_no_terminal_hangs_the_demo(self):
        for command in ([sys.executable, DEMO], [os.path.join(harness.TOP, "script", "demo"), "--interactive"]):
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                  timeout=harness.LIMIT_S, check=False)
            self.assertIn("needs a terminal", done.stdout)
            self.assertNotEqual(done.returncode, 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
