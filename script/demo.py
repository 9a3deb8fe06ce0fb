#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The demo: a guest moves from one VM process to another, the link between them is killed half-way, and it arrives all the same.

Every `baton` command is printed as it is run, from the checkout's folder, so that it can be typed by hand. The processes, monitors,
consoles and the bridge come from the guest tests' harness. script/demo is the front: it builds what this needs.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TOP, "tests", "guest"))
sys.dont_write_bytecode = True

import harness  # noqa: E402 (the path had to be set first)
from harness import Bridge, Failed, QmpError, Rig, Vm  # noqa: E402

WATCH_S = 3.0            # how long the paused VM is watched
LEFT_WHEN_KILLED = 1 / 3  # part of all pages that is missing when the bridge is killed
POSTCOPY_LIMIT = "64M"   # bytes a second: slow enough that something is left to break
PRECOPY_LIMIT = "64M"    # the same for precopy, which shall not be done before the switch
PRECOPY_BYTES = 32 << 20  # precopy goes on until so much was sent
BOOT_LIMIT_S = 110

GUESTS = {
    # memcheck's one worker is bound to CPU 0. All else, the console's interrupts too, is sent to CPU 1: so the heartbeat can go on
    # while the worker waits for a page.
    "linux": {"memory": "512M", "append": "no4lvl isolcpus=0 memcheck.mib=320 memcheck.threads=1 rdinit=/bin/busybox -- "
              'sh -c "/bin/busybox mount -t proc proc /proc; for i in /proc/irq/*/smp_affinity_list; do echo 1 >$i; done; '
              'exec /init"'},
    "bare": {"memory": "256M", "append": ""},
}

# What a state means, for the time line; why a side is paused, it says itself.
MEANING = {
    ("source", "setup"): "`baton migrate`: a link is made",
    ("source", "active"): "precopy: memory is sent, the guest runs here",
    ("source", "device"): "switchover: the guest stands still",
    ("source", "postcopy-device"): "CPUs and devices are sent",
    ("source", "postcopy-active"): "the guest may run there; its pages follow",
    ("source", "postcopy-recover-setup"): "`baton migrate --resume`: a new link is made",
    ("source", "postcopy-recover"): "learns which pages have arrived",
    ("source", "postcopy-active again"): "the missing pages follow on the new link",
    ("source", "completed"): "the destination has confirmed every page",
    ("dest", "setup"): "listens",
    ("dest", "active"): "the source has come",
    ("dest", "postcopy-device"): "CPUs and devices are loaded",
    ("dest", "postcopy-active"): "missing pages are fetched",
    ("dest", "postcopy-recover-setup"): "listens for the source",
    ("dest", "postcopy-recover"): "the source is back: tells it what has arrived",
    ("dest", "postcopy-active again"): "missing pages are asked for again",
    ("dest", "completed"): "every page is here",
}


# ---- Words on a terminal ----

class Screen:
    """Prints for 80 to 100 columns; in colour on a terminal that wants it."""

    COLOURS = {"bold": "1", "dim": "2", "red": "31;1", "green": "32;1", "yellow": "33;1", "blue": "36"}

    def __init__(self):
        self.colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self.width = min(100, max(80, shutil.get_terminal_size((96, 24)).columns)) - 1

    def paint(self, name, text):
        return f"\033[{self.COLOURS[name]}m{text}\033[0m" if self.colour else text

    def line(self, text="", colour=None):
        print(self.paint(colour, text) if colour and text else text, flush=True)

    def step(self, text):
        self.line()
        self.line("== " + text, "bold")

    def note(self, text, colour=None):
        for line in textwrap.wrap(text, self.width - 3, break_on_hyphens=False):
            self.line("   " + line, colour)

    def command(self, arguments):
        """A command line, broken such that it can still be copied into a shell."""
        line, first = "   $", True
        for word in grouped(shlex.quote(argument) for argument in arguments):
            if not first and len(line) + len(word) + 3 > self.width:
                self.line(line + " \\", "blue")
                line = "       "
            line += " " + word
            first = False
        self.line(line, "blue")

    def output(self, text):
        """A command's words; `baton status` has labels of 11 columns, below which its long lines go on."""
        for line in text.rstrip("\n").split("\n"):
            hang = 11 if re.match(r"[A-Z ][a-z ]{0,8}:? +", line) else 0
            for part in textwrap.wrap(line, self.width - 5, subsequent_indent=" " * hang,
                                      break_on_hyphens=False, drop_whitespace=True) or [""]:
                self.line("     " + part)


def grouped(words):
    """Options together with their values."""
    group = ""
    for word in words:
        if group.startswith("--") and " " not in group and not word.startswith("--"):
            yield group + " " + word
            group = ""
            continue
        if group:
            yield group
        group = word
    if group:
        yield group


def duration(milliseconds):
    if milliseconds is None:
        return "-"
    if milliseconds < 1:
        return f"{milliseconds * 1000:.0f} us"
    if milliseconds < 1000:
        return f"{milliseconds:.1f} ms" if milliseconds < 100 else f"{milliseconds:.0f} ms"
    return f"{milliseconds / 1000:.2f} s"


def mebibytes(count):
    return f"{count / (1 << 20):.1f} MiB"


# ---- The demo ----

class Demo:
    postcopy_limit = POSTCOPY_LIMIT
    breaks = 1  # how often the link was broken

    def __init__(self, guest, rig, screen):
        self.guest = guest
        self.rig = rig
        self.screen = screen
        self.start = time.time()
        self.marks = []    # (time of day, side, what, why): what we did ourselves
        self.reasons = {}  # side: why it paused, in its own words
        self.baton_path = harness.BATON[len(TOP) + 1:] if harness.BATON.startswith(TOP + "/") else harness.BATON

    def mark(self, side, what, why=""):
        self.marks.append((time.time(), side, what, why))

    def shown(self, arguments):
        """As it can be typed in the checkout's folder."""
        prefix = TOP + "/"
        return [argument[len(prefix):] if argument.startswith(prefix) else argument for argument in arguments]

    def baton(self, *arguments):
        """Runs a command as a person would, and shows it and what it says."""
        command = [self.baton_path, *arguments]
        self.screen.command(command)
        done = subprocess.run(command, cwd=TOP, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, timeout=harness.LIMIT_S, check=False)
        if done.stdout:
            self.screen.output(done.stdout)
        if done.returncode:
            raise Failed(f"`{shlex.join(command)}` ended with code {done.returncode}")

    def monitor(self, vm, command, **arguments):
        """An order for which there is no `baton` command."""
        self.screen.line(f"   {vm.name}'s monitor: " + json.dumps({"execute": command, "arguments": arguments}), "blue")
        vm.qmp.command(command, **arguments)

    def vm(self, name, **more):
        vm = Vm(self.rig, name, self.guest, GUESTS[self.guest]["memory"], 2, append=GUESTS[self.guest]["append"], **more)
        self.screen.command(self.shown(vm.args))
        return vm

    # -- the acts, in their order --

    def boot(self):
        screen = self.screen
        what = "Debian's Linux with the memory checker" if self.guest == "linux" else "the bare-metal memory checker"
        screen.step(f"Two VMs: one runs {what}, the other waits for it")
        self.source = self.vm("source")
        # Capabilities have to be set before the destination listens, so it is told later where.
        self.dest = self.vm("dest", incoming="defer")
        for vm in (self.source, self.dest):
            self.baton("set", "--qmp", vm.qmp_path, "postcopy-ram=on", "events=on")
        self.monitor(self.dest, "migrate-incoming", uri="tcp:127.0.0.1:0")
        self.direct = self.dest.address()
        screen.note(f"The destination listens at {self.direct}. Waiting for the guest to fill its memory ...")
        self.source.ready(BOOT_LIMIT_S)
        self.source.beat()
        screen.note(f"memcheck is ready {time.time() - self.start:.1f} s after the start, and writes and verifies pages all the time:")
        self.show_console(self.source, 3)
        self.mark("source", "guest ready", "memcheck has filled its pages")

    def show_console(self, vm, count):
        for _, line in vm.console.lines[-count:]:
            self.screen.line("     | " + line[: self.screen.width - 7], "dim")

    def build_bridge(self, uri):
        # A bridge that hears Ctrl-C itself would print a traceback.
        old = signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.bridge = Bridge(self.rig, uri)
        signal.signal(signal.SIGINT, old)

    def start_migration(self):
        screen = self.screen
        self.build_bridge(self.direct)
        screen.step("The guest moves, through a TCP bridge that can be killed")
        screen.note(f"The bridge: {self.bridge.uri} -> {self.direct}, process {self.bridge.process.pid}. Both phases are slowed "
                    "down, so that there is something left to break.")
        self.baton("set", "--qmp", self.source.qmp_path, "max-bandwidth=" + PRECOPY_LIMIT,
                   "max-postcopy-bandwidth=" + self.postcopy_limit)
        self.baton("migrate", "--detach", "--qmp", self.source.qmp_path, self.bridge.uri)
        self.wait("precopy to send a while", lambda: self.sent() >= PRECOPY_BYTES)
        screen.note(f"Precopy has sent {mebibytes(self.sent())}. Now the guest moves, and the rest of its memory follows it:")
        self.baton("postcopy", "--qmp", self.source.qmp_path)
        self.dest.qmp.wait_status("postcopy-active")
        self.dest.console.wait("memcheck: beat", 0)
        screen.note("The guest runs at the destination:")
        self.show_console(self.dest, 1)

    def sent(self):
        info = self.source.info()
        if info.get("status") in ("failed", "cancelled", "completed"):
            raise Failed(f"the migration has {info['status']} too early: {info.get('error-desc', 'too fast for this machine')}")
        return info.get("ram", {}).get("transferred", 0)

    def wait(self, for_what, condition):
        deadline = time.monotonic() + harness.LIMIT_S
        while not condition():
            if time.monotonic() > deadline:
                raise Failed(f"waited {harness.LIMIT_S:.0f} s for {for_what}")
            time.sleep(0.01)

    def missing_pages(self):
        info = self.dest.info()
        if info["status"] != "postcopy-active":
            raise Failed(f"the destination is {info['status']} before the bridge was killed: {info.get('error-desc', '')}")
        return info["x-baton-missing-pages"]

    def break_link(self):
        screen, dest = self.screen, self.dest
        ram = dest.info()["ram"]
        limit = ram["total"] / ram["page-size"] * LEFT_WHEN_KILLED
        self.wait("two thirds of the pages to arrive", lambda: self.missing_pages() <= limit)
        screen.step("The link breaks")
        screen.note(f"kill -9 {self.bridge.process.pid}   (the bridge; no host has the whole guest now)", "yellow")
        self.mark("bridge", "killed", "a third of the pages is still missing")
        self.bridge.kill()
        for vm in (self.source, dest):
            vm.qmp.wait_status("postcopy-paused")
            self.reasons[vm.name] = vm.info().get("error-desc", "")
        begin = dest.console.count()
        for vm in (self.source, dest):
            self.baton("status", "--qmp", vm.qmp_path)
        self.watch(begin)

    def watch(self, begin):
        """The paused guest goes on as far as its pages allow: says what of it was seen."""
        screen, dest = self.screen, self.dest
        screen.note(f"Does the guest go on? Watching its console for {WATCH_S:.0f} s ...")
        time.sleep(WATCH_S)
        beats = [line for _, line in dest.console.lines[begin:] if "memcheck: beat=" in line]
        for line in beats[:2] + (["..."] if len(beats) > 3 else []) + beats[2:][-1:]:
            screen.line("     | " + line, "dim")
        waiters = dest.info().get("x-baton-waiters", [])
        names = " and ".join(waiter["name"] for waiter in waiters) or "no CPU"
        waits = f"{names} {'wait' if len(waiters) > 1 else 'waits'} for a page that the source has"
        if not waiters:
            waits = "no CPU has met a missing page yet"
        if beats:
            first, last = (re.search(r"verified=(\d+)", beats[i]).group(1) for i in (0, -1))
            screen.note(f"{len(beats)} heartbeat{'s' * (len(beats) > 1)} came while both sides were paused; {waits}. The guest "
                        f"has verified {int(last) - int(first)} pages meanwhile.", "green")
        else:
            screen.note(f"No heartbeat came while both sides are paused: {waits}. The guest stands still until it comes; it is "
                        "not lost.", "yellow")
        if any("memcheck: WRONG" in line for _, line in dest.console.lines):
            raise Failed("the guest has found a wrong page")

    def recover(self):
        screen = self.screen
        screen.step("Recovery on the direct path, at a new address")
        uri = f"tcp:127.0.0.1:{free_port()}"
        self.baton("recover", "--qmp", self.dest.qmp_path, uri)
        self.mark("dest", "listens", "`baton recover`: at " + uri)
        self.baton("set", "--qmp", self.source.qmp_path, "max-postcopy-bandwidth=0")
        self.baton("migrate", "--resume", "--qmp", self.source.qmp_path, uri)
        self.source.qmp.wait_status("completed")
        self.dest.qmp.wait_status("completed")

    def verify(self):
        screen, dest = self.screen, self.dest
        screen.step("The guest judges: it verifies every page of its memory")
        dest.beat()
        screen.note("`verify` is typed on the destination's console:")
        begin = dest.console.count()
        pages = dest.verify()
        self.mark("dest", "guest verified", f"{pages} pages, not a byte is wrong")
        for _, line in dest.console.lines[begin:]:
            if "verify" in line:
                screen.line("     | " + line)
        if any("memcheck: WRONG" in line for _, line in self.source.console.lines + dest.console.lines):
            raise Failed("the guest has found something wrong before")
        return pages

    def show(self):
        """All of it; returns how many pages the guest has found right."""
        self.boot()
        self.start_migration()
        self.break_link()
        self.recover()
        pages = self.verify()
        self.time_line()
        self.table()
        return pages

    # -- the account --

    def time_line(self):
        screen = self.screen
        screen.step("Time line (seconds since the start)")
        rows = list(self.marks)
        for vm in (self.source, self.dest):
            vm.qmp.drain()
            again = ""
            for _, name, data, stamp in vm.qmp.events:
                when = stamp["seconds"] + stamp["microseconds"] / 1e6
                if name == "MIGRATION":
                    status = data["status"]
                    why = MEANING.get((vm.name, status + again), MEANING.get((vm.name, status), ""))
                    if status == "postcopy-paused":
                        again = " again"
                        why = self.reasons.get(vm.name, "")
                    rows.append((when, vm.name, "-> " + status, why))
                elif name in ("STOP", "RESUME"):
                    rows.append((when, vm.name, "guest stops" if name == "STOP" else "guest runs", ""))
        rows.sort(key=lambda row: row[0])
        what_width = max(len(row[2]) for row in rows)
        for when, side, what, why in rows:
            head = f"   {when - self.start:8.3f}  {side:7}{what:{what_width}}  "
            lines = textwrap.wrap(why, max(30, screen.width - len(head)), break_on_hyphens=False) or [""]
            colour = "red" if "paused" in what or side == "bridge" else \
                "green" if "completed" in what or "verified" in what else None
            if screen.width - len(head) < 30:  # a narrow terminal: below instead of beside
                screen.line(head.rstrip(), colour)
                head = " " * 13
            elif lines[0]:
                screen.line(head + lines.pop(0), colour)
            else:
                screen.line(head.rstrip(), colour)
                continue
            for line in lines:
                screen.line(" " * len(head) + line)

    def table(self):
        screen = self.screen
        source, dest = self.source.info(), self.dest.info()
        faults = dest["x-baton-fault-latency"]

        def milliseconds(name):
            return [duration(info.get(name)) for info in (source, dest)]

        def count(name):
            return [str(info["ram"][name]) for info in (source, dest)]

        down = source.get("x-baton-downtime-us")
        rows = [
            ("state", source["status"], dest["status"]),
            ("total time", *milliseconds("total-time")),
            ("downtime (guest stood still)", duration(None if down is None else down / 1000), "-"),
            ("paused", *milliseconds("x-baton-paused-time")),
            ("recovery (order to active)", *milliseconds("x-baton-recover-time")),
            ("pages with data, sent / loaded", *count("normal")),
            ("pages of zeros, sent / loaded", *count("duplicate")),
            ("pages requested", *count("postcopy-requests")),
            ("bytes sent", *[mebibytes(info["ram"]["transferred"]) for info in (source, dest)]),
            ("page faults served", "-", str(faults["count"])),
            ("  half of them within (p50)", "-", duration(faults["p50"] / 1000)),
            ("  99 % of them within (p99)", "-", duration(faults["p99"] / 1000)),
            ("  the longest (over the pause)", "-", duration(faults["max"] / 1000)),
        ]
        screen.step("Numbers")
        screen.line(f"   {'':34}{'source':>14}{'destination':>14}", "bold")
        for name, left, right in rows:
            screen.line(f"   {name:34}{left:>14}{right:>14}")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def run(kind, guest, screen):
    with Rig() as rig:
        try:
            demo = kind(guest, rig, screen)
            pages = demo.show()
        except KeyboardInterrupt:
            screen.line()
            screen.line("Interrupted: the VMs are ended, and their folder is removed.", "yellow")
            return 130
        except (Failed, QmpError, OSError, subprocess.SubprocessError):
            for vm in rig.vms:
                for _, line in vm.console.lines if hasattr(vm, "console") else ():
                    if "memcheck: WRONG" in line or "memcheck: TRAP" in line:
                        screen.note(f"{vm.name}'s guest: {line}", "red")
            raise
    screen.line()
    link = "a broken link" if demo.breaks else "a link that nobody broke"
    screen.line(f"OK: the guest has arrived over {link}, and all its {pages} pages are right "
                f"({time.time() - demo.start:.0f} s).", "green")
    return 0


def interrupt(number, frame):
    raise KeyboardInterrupt


def main(kind=Demo):
    parser = argparse.ArgumentParser(description="Use script/demo, which builds what this needs.")
    parser.add_argument("--guest", choices=sorted(GUESTS), default="linux")
    options = parser.parse_args()
    screen = Screen()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    try:
        return run(kind, options.guest, screen)
    except (Failed, QmpError, OSError, subprocess.SubprocessError) as error:
        sys.stdout.flush()
        screen.line()
        screen.line("THE DEMO FAILED: the guest has not proved that its memory is right.", "red")
        screen.note(str(error), "red")
        return 1


if __name__ == "__main__":
    sys.exit(main())
