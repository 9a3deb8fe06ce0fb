#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The demo in which a person pulls the plug and puts it back, and watches the guest's memory arrive.

script/demo --interactive is the front: it builds what this needs. The VMs, the bridge and the account at the end are those of
demo.py; here is what stands in between: a map of the memory at the destination that is drawn again and again below what was
said, and the keys. A thing that takes long (a verification, say) is begun by its key and told when it is over, so that the
map goes on and the other keys work.
"""

import os
import re
import select
import shutil
import sys
import termios
import time
import tty

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

import demo  # noqa: E402 (the path had to be set first)
from demo import Failed, duration, free_port, harness, mebibytes  # noqa: E402

FRAME_S = 0.1
ROWS = 8  # of the map; fewer on a terminal that is low
NEW_ADDRESSES = 4  # a destination listens at a few addresses only: later recoveries come to the last of these
KEYS = "keys:  p pull the plug   r recover on another path   v verify in the guest   q end properly"
OVER = ("completed",)
BROKEN = ("postcopy-paused",)


class Interactive(demo.Demo):
    postcopy_limit = "8M"  # slow enough for a person

    def __init__(self, guest, rig, screen):
        super().__init__(guest, rig, screen)
        self.drawn = 0        # lines of the picture that stand on the screen
        self.moving = False   # there is something to draw
        self.addresses = 0    # at which the destination listens for recoveries
        self.asked = 0        # verifications that the guest was asked for
        self.answered = 0
        self.told = 0         # lines of the guest's console that were looked at
        self.breaks = 0       # of the link
        self.columns = min(64, screen.width - 6)
        self.rows = max(1, min(ROWS, shutil.get_terminal_size().lines - 6))
        fine = (sys.stdout.encoding or "").lower().startswith("utf")
        self.shades = ".\u2591\u2592\u2593\u2588" if fine else ".:+x#"

    # -- the picture --

    def picture(self):
        screen, lines = self.screen, []
        for vm in (self.source, self.dest):
            info = vm.info()
            status = info.get("status", "none")
            words = [f"{vm.name:7} {status:23}", "guest runs" if info["x-baton-vm-running"] else "no guest"]
            if vm is self.dest and "x-baton-missing-pages" in info and "ram" in info:
                missing = info["x-baton-missing-pages"] * info["ram"]["page-size"]
                words.append(f"{mebibytes(missing)} of {mebibytes(info['ram']['total'])} missing")
            waiters = info.get("x-baton-waiters", [])
            if waiters:
                words.append(f"{len(waiters)} wait" + "s" * (len(waiters) == 1))
            colour = "red" if status in BROKEN else "green" if status in OVER else None
            lines.append(screen.paint(colour, "   " + "   ".join(words)[:screen.width - 4]) if colour
                         else "   " + "   ".join(words)[:screen.width - 4])
        cells = self.dest.qmp.command("x-baton-received-map", cells=self.rows * self.columns)["cells"]
        for row in range(self.rows):
            part = cells[row * self.columns:(row + 1) * self.columns]
            lines.append("   |" + "".join(self.shades[cell * (len(self.shades) - 1) // 100] for cell in part) + "|")
        beats = [line for _, line in self.dest.console.lines[-40:] if "memcheck: beat=" in line]
        lines.append("   " + (beats[-1] if beats else "no heartbeat yet")[:screen.width - 4])
        lines.append("   " + screen.paint("bold", KEYS[:screen.width - 4]))
        return lines

    def erase(self):
        """What is said next stands where the picture was, and the picture below it."""
        if self.drawn:
            sys.stdout.write(f"\033[{self.drawn}F\033[J")
            self.drawn = 0

    def draw(self):
        lines = self.picture()
        self.erase()
        self.listen_to_guest()
        self.screen.line("\n".join(lines))
        self.drawn = len(lines)

    def listen_to_guest(self):
        """Tells what the guest at the destination has said of importance."""
        lines = self.dest.console.lines
        for _, line in lines[self.told:]:
            if "memcheck: WRONG" in line or "memcheck: TRAP" in line:
                raise Failed("the guest has found a wrong page: " + line)
            match = re.search(r"memcheck: full verify pages=(\d+) errors=(\d+) (OK|FAILED)", line)
            if not match:
                continue
            self.answered += 1
            if match[3] != "OK" or match[2] != "0":
                raise Failed("the guest found wrong pages: " + line)
            self.screen.note(f"The guest has verified {match[1]} pages, and all are right.", "green")
        self.told = len(lines)

    # -- the keys --

    def status(self):
        return [vm.info().get("status", "none") for vm in (self.source, self.dest)]

    def key(self):
        """What was pressed within a frame's time; the end of the input ends the demo as well."""
        if not select.select([sys.stdin], [], [], FRAME_S)[0]:
            return None
        got = os.read(sys.stdin.fileno(), 1)
        return got.decode("latin-1").lower() if got else "q"

    def wait(self, for_what, condition):
        """As in the demo, with the picture going on once there is one."""
        deadline = time.monotonic() + harness.LIMIT_S
        while not condition():
            if time.monotonic() > deadline:
                raise Failed(f"waited {harness.LIMIT_S:.0f} s for {for_what}")
            if self.moving:
                self.draw()
                time.sleep(FRAME_S)
            else:
                time.sleep(0.01)
        self.erase()

    def sent(self):
        self.moving = True
        return super().sent()

    def pull(self):
        screen, (source, dest) = self.screen, self.status()
        if source in OVER:
            screen.note("There is nothing left to break: the guest has arrived. v verifies it, q ends.")
        elif self.bridge.process.poll() is not None:
            screen.note("The plug is out already. r recovers on another path.")
        else:
            self.breaks += 1
            screen.note(f"kill -9 {self.bridge.process.pid}   (the bridge; no host has the whole guest now)", "yellow")
            self.mark("bridge", "killed", f"{self.dest.info().get('x-baton-missing-pages', 0)} pages are missing")
            self.bridge.kill()
            self.wait("both sides to see it", lambda: all(status in BROKEN + OVER for status in self.status()))
            for vm in (self.source, self.dest):
                self.reasons[vm.name] = vm.info().get("error-desc", "")
            if self.reasons["source"]:
                screen.note("The source: " + self.reasons["source"])
            screen.note("Both sides keep what they have. r recovers on another path.")

    def put_back(self):
        """Through another bridge, to another address of the destination while it may have more."""
        source, dest = self.status()
        if source in OVER:
            self.screen.note("There is nothing to recover: the guest has arrived. v verifies it, q ends.")
            return
        if source not in BROKEN:
            self.screen.note(f"There is nothing to recover: the source is {source}. p pulls the plug.")
            return
        if self.addresses < NEW_ADDRESSES:
            self.addresses += 1
            self.direct = f"tcp:127.0.0.1:{free_port()}"
            self.baton("recover", "--qmp", self.dest.qmp_path, self.direct)
            self.mark("dest", "listens", "`baton recover`: at " + self.direct)
        self.build_bridge(self.direct)
        self.screen.note(f"Another bridge: {self.bridge.uri} -> {self.direct}, process {self.bridge.process.pid}.")
        self.baton("migrate", "--resume", "--detach", "--qmp", self.source.qmp_path, self.bridge.uri)
        self.wait("the pages to flow again", lambda: self.status()[0] not in ("postcopy-recover-setup", "postcopy-recover"))
        info = self.source.info()
        if info["status"] in BROKEN:
            raise Failed("the recovery did not work: " + info.get("error-desc", ""))
        self.screen.note(f"Recovered in {duration(info.get('x-baton-recover-time'))}: the missing pages follow.", "green")

    def ask_guest(self):
        self.asked += 1
        self.dest.console.send("verify")
        self.screen.note("Typed `verify` on the guest's console."
                         + (" It needs pages that the source has: the answer comes after a recovery."
                            if self.status()[1] in BROKEN else ""))

    def play(self):
        actions = {"p": self.pull, "r": self.put_back, "v": self.ask_guest}
        arrived = False
        while True:
            self.draw()
            if not arrived and self.status() == ["completed", "completed"]:
                arrived = True
                self.erase()
                self.screen.note("Every page has arrived. v verifies them in the guest, q ends.", "green")
            key = self.key()
            if key == "q":
                self.erase()
                return
            if key in actions:
                self.erase()
                actions[key]()

    # -- the acts --

    def end(self):
        """Whatever was done before: every page arrives."""
        self.screen.step("The end: what is missing arrives at full speed")
        if self.status()[0] in BROKEN:
            self.put_back()
        if self.status()[0] not in OVER:
            self.baton("set", "--qmp", self.source.qmp_path, "max-postcopy-bandwidth=0")
        self.wait("all pages", lambda: self.status() == ["completed", "completed"])
        self.wait("the guest's answers", lambda: self.answers() >= self.asked)
        self.moving = False

    def answers(self):
        self.listen_to_guest()
        return self.answered

    def show(self):
        self.boot()
        terminal = termios.tcgetattr(sys.stdin)
        try:
            tty.setcbreak(sys.stdin.fileno())  # a key counts at once; Ctrl-C still interrupts
            self.start_migration()
            self.screen.note(f"Each cell below is a part of the guest's memory at the destination, from {self.shades[0]} (nothing is "
                             f"here) to {self.shades[-1]} (all is).")
            self.play()
            self.end()
        finally:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, terminal)
        pages = self.verify()
        self.time_line()
        self.table()
        return pages


if __name__ == "__main__":
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        sys.exit("demo: the interactive demo needs a terminal for its keys and its map; script/demo shows the same without one")
    sys.exit(demo.main(Interactive))
