# SPDX-License-Identifier: MIT
"""What the guest tests and the demo share: VM processes, their monitors and consoles, and a bridge that can be killed.

Everything waits for events with a deadline; nothing sleeps and hopes. A VM that a test leaves behind is killed when its Vm is closed.
"""

import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GUEST = os.path.join(TOP, ".cache", "guest")
BATON = os.environ.get("BATON", os.path.join(TOP, "build", "cmd", "baton"))
LIMIT_S = float(os.environ.get("BATON_TEST_LIMIT", "60"))


class Failed(Exception):
    """Something that a test promises did not hold."""


class QmpError(Exception):
    """The monitor refused; .error_class and .desc say what it said."""

    def __init__(self, error):
        super().__init__(f"{error.get('class')}: {error.get('desc')}")
        self.error_class = error.get("class")
        self.desc = error.get("desc")


class Qmp:
    """A QMP client. Events are collected as they come, with the monotonic time of their arrival."""

    def __init__(self, path, limit_s=LIMIT_S):
        self.path = path
        self.socket = connect_unix(path, limit_s)
        self.buffer = b""
        self.events = []
        self.next_id = 0
        self.greeting = self._read(time.monotonic() + limit_s)
        self.command("qmp_capabilities", enable=["oob"])

    def close(self):
        self.socket.close()

    def _read(self, deadline):
        while b"\n" not in self.buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.socket], [], [], left)[0]:
                raise Failed(f"the monitor {self.path} did not answer in time")
            got = self.socket.recv(65536)
            if not got:
                raise Failed(f"the monitor {self.path} has closed the connection")
            self.buffer += got
        line, self.buffer = self.buffer.split(b"\n", 1)
        return json.loads(line)

    def _take(self, deadline):
        """Reads one message; an event is kept and gives None."""
        message = self._read(deadline)
        if "event" in message:
            self.events.append((time.monotonic(), message["event"], message.get("data", {}), message["timestamp"]))
            return None
        return message

    def execute(self, command, arguments=None, oob=False, limit_s=LIMIT_S):
        self.next_id += 1
        request = {"exec-oob" if oob else "execute": command, "id": self.next_id}
        if arguments:
            request["arguments"] = arguments
        self.socket.sendall(json.dumps(request).encode() + b"\n")
        deadline = time.monotonic() + limit_s
        while True:
            message = self._take(deadline)
            if message is None or message.get("id") != self.next_id:
                continue
            if "error" in message:
                raise QmpError(message["error"])
            return message["return"]

    def command(self, command, **arguments):
        return self.execute(command, {key.replace("_", "-"): value for key, value in arguments.items()})

    def drain(self):
        """Takes what has arrived already."""
        while b"\n" in self.buffer or select.select([self.socket], [], [], 0)[0]:
            self._take(time.monotonic() + 1)

    def wait_event(self, name, where=lambda data: True, since=0, limit_s=LIMIT_S):
        """The first such event at or after index `since` of .events; returns (index, time)."""
        deadline = time.monotonic() + limit_s
        at = since
        while True:
            while at < len(self.events):
                if self.events[at][1] == name and where(self.events[at][2]):
                    return at, self.events[at][0]
                at += 1
            self._take(deadline)

    def wait_status(self, *wanted, limit_s=LIMIT_S):
        """Waits until query-migrate says one of these; by events, with a look in between."""
        deadline = time.monotonic() + limit_s
        while True:
            status = self.command("query-migrate").get("status", "none")
            if status in wanted:
                return status
            if time.monotonic() > deadline:
                raise Failed(f"{self.path}: migration is {status}, waited for {'/'.join(wanted)}: "
                             f"{self.command('query-migrate').get('error-desc', '')}")
            if select.select([self.socket], [], [], 0.02)[0]:
                self._take(deadline)

    def statuses(self):
        """The statuses that MIGRATION events have told so far."""
        self.drain()
        return [data["status"] for _, name, data, _ in self.events if name == "MIGRATION"]


def connect_unix(path, limit_s):
    deadline = time.monotonic() + limit_s
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(path)
            return connection
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            if time.monotonic() > deadline:
                raise Failed(f"nobody listens at {path}") from None
            time.sleep(0.01)


class Console:
    """The guest's console: lines with their arrival times, read by a thread so that the guest is never held up."""

    def __init__(self, path, limit_s=LIMIT_S):
        self.socket = connect_unix(path, limit_s)
        self.lines = []
        self.changed = threading.Condition()
        self.closed = False
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        rest = b""
        while True:
            try:
                got = self.socket.recv(65536)
            except OSError:
                got = b""
            with self.changed:
                if not got:
                    self.closed = True
                rest += got
                *lines, rest = rest.split(b"\n")
                now = time.monotonic()
                self.lines += [(now, line.decode("latin-1").rstrip("\r")) for line in lines]
                self.changed.notify_all()
            if not got:
                return

    def send(self, line):
        self.socket.sendall(line.encode() + b"\n")

    def wait(self, pattern, since=0, limit_s=LIMIT_S):
        """The first line at or after index `since` in which the pattern is found: (index, match)."""
        deadline = time.monotonic() + limit_s
        with self.changed:
            at = since
            while True:
                while at < len(self.lines):
                    match = re.search(pattern, self.lines[at][1])
                    if match:
                        return at, match
                    at += 1
                left = deadline - time.monotonic()
                if left <= 0 or self.closed:
                    last = "\n  ".join(line for _, line in self.lines[-5:])
                    raise Failed(f"the guest did not say {pattern!r}; its last lines:\n  {last}")
                self.changed.wait(left)

    def count(self):
        with self.changed:
            return len(self.lines)

    def close(self):
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()


class Vm:
    """One `baton run`. `guest` is "bare" or "linux"."""

    def __init__(self, rig, name, guest="bare", memory="64M", cpus=2, incoming=None, append="", extra=(), prefix=()):
        self.name = name
        self.qmp_path = rig.path(name + ".qmp")
        self.console_path = rig.path(name + ".console")
        self.log_path = rig.path(name + ".log")
        args = [*prefix, BATON, "run", "--memory", memory, "--cpus", str(cpus), "--qmp", self.qmp_path,
                "--console", self.console_path, *extra]
        if guest == "bare":
            args += ["--firmware", "none"]
        if incoming is not None:
            args += ["--incoming", incoming]
            if "BATON_FAULTS" in os.environ and "--faults" not in extra:
                args += ["--faults", os.environ["BATON_FAULTS"]]
        elif guest == "bare":
            args += ["--kernel", os.path.join(GUEST, "memcheck-bare.elf")]
        else:
            args += ["--kernel", os.path.join(GUEST, "Image"), "--initrd", os.path.join(GUEST, "initramfs.cpio.gz"),
                     "--append", "console=ttyS0 " + append]
        self.args = args
        self.log = open(self.log_path, "wb")
        self.process = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        rig.vms.append(self)
        try:
            self.qmp = Qmp(self.qmp_path)
            self.console = Console(self.console_path)
        except Failed as error:
            raise Failed(f"{name} did not come up: {error}\n{self.output()}") from None

    def output(self):
        with open(self.log_path, encoding="latin-1") as log:
            return log.read()

    def capabilities(self, **states):
        self.qmp.command("migrate-set-capabilities", capabilities=[
            {"capability": name.replace("_", "-"), "state": state} for name, state in states.items()])

    def migrate(self, uri, resume=False):
        if resume:
            self.qmp.execute("migrate", {"uri": uri, "resume": True})
        else:
            self.qmp.execute("migrate", {"uri": uri})

    def info(self):
        return self.qmp.command("query-migrate")

    def address(self):
        """Where the destination listens, as a URI; it may just be about to."""
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            addresses = self.info().get("x-baton-addresses")
            if addresses:
                return addresses[0]
            time.sleep(0.01)
        raise Failed(f"{self.name} does not listen")

    def ready(self, limit_s=LIMIT_S):
        self.console.wait(r"memcheck: ready", limit_s=limit_s)

    def beat(self, since=None, limit_s=LIMIT_S):
        """Waits for another heartbeat; returns its groups (beat, verified, rewritten, errors)."""
        since = self.console.count() if since is None else since
        _, match = self.console.wait(
            r"memcheck: beat=(\d+) pages=\d+ verified=(\d+) rewritten=(\d+) errors=(\d+)", since, limit_s)
        return [int(group) for group in match.groups()]

    def verify(self, limit_s=LIMIT_S):
        """Has the guest verify all its memory."""
        since = self.console.count()
        self.console.send("verify")
        _, match = self.console.wait(r"memcheck: full verify pages=(\d+) errors=(\d+) (OK|FAILED)", since, limit_s)
        if match.group(3) != "OK" or int(match.group(2)):
            raise Failed(f"{self.name}: the guest found wrong pages: {match.group(0)}")
        return int(match.group(1))

    def dump(self, path, memory_bytes, base=0x80000000):
        self.qmp.execute("pmemsave", {"val": base, "size": memory_bytes, "filename": path})

    def device_state(self):
        return self.qmp.command("x-baton-device-state")

    def is_alive(self):
        return self.process.poll() is None

    def kill(self):
        self.process.kill()
        self.process.wait()

    def close(self):
        if self.is_alive():
            self.kill()
        for thing in ("qmp", "console"):
            if hasattr(self, thing):
                getattr(self, thing).close()
        self.log.close()


class Bridge:
    """A TCP bridge in a process of its own, so that it can be killed like a cable can."""

    CODE = r"""
import socket, sys, threading
target = (sys.argv[1], int(sys.argv[2]))
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(16)
print(listener.getsockname()[1], flush=True)
def pump(a, b):
    try:
        while True:
            got = a.recv(262144)
            if not got:
                break
            b.sendall(got)
    except OSError:
        pass
    for s in (a, b):
        try:
            s.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
while True:
    near, _ = listener.accept()
    far = socket.create_connection(target)
    for s in (near, far):
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    threading.Thread(target=pump, args=(near, far), daemon=True).start()
    threading.Thread(target=pump, args=(far, near), daemon=True).start()
"""

    def __init__(self, rig, uri):
        _, host, port = uri.split(":")
        self.process = subprocess.Popen([sys.executable, "-c", self.CODE, host, port], stdout=subprocess.PIPE, text=True)
        rig.bridges.append(self)
        self.uri = f"tcp:127.0.0.1:{int(self.process.stdout.readline())}"

    def freeze(self):
        """Both connections stay open and carry nothing. SIGSTOP takes a moment to reach all threads."""
        self.process.send_signal(signal.SIGSTOP)
        tasks = f"/proc/{self.process.pid}/task"
        while True:
            states = []
            for task in os.listdir(tasks):
                with open(f"{tasks}/{task}/stat", encoding="ascii") as stat:
                    states.append(stat.read().rsplit(")", 1)[1].split()[0])
            if all(state == "T" for state in states):
                return

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class Rig:
    """A folder and the processes of one test; closes them all."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="baton-")
        self.vms = []
        self.bridges = []

    def path(self, name):
        return os.path.join(self.folder, name)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            for vm in self.vms:
                sys.stderr.write(f"---- {vm.name}: {vm.output()[-2000:]}\n")
                try:
                    sys.stderr.write(f"     {json.dumps(vm.info())[:1500]}\n")
                except (Failed, QmpError, OSError, AttributeError):
                    pass
        for vm in self.vms:
            vm.close()
        for bridge in self.bridges:
            if bridge.process.poll() is None:
                bridge.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def pair(rig, guest="bare", memory="64M", cpus=2, listen="tcp:127.0.0.1:0", append="", postcopy=True,
         dest_extra=(), dest_prefix=(), source_extra=(), **more):
    """A source with its guest ready, and a destination that listens."""
    source = Vm(rig, "source", guest, memory, cpus, append=append, extra=source_extra)
    dest = Vm(rig, "dest", guest, memory, cpus, incoming="defer", extra=dest_extra, prefix=dest_prefix)
    for vm in (source, dest):
        vm.capabilities(events=True, postcopy_ram=postcopy, **more)
    dest.qmp.command("migrate-incoming", uri=listen)
    source.ready(limit_s=max(LIMIT_S, 90))
    return source, dest
