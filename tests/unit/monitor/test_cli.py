#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
The command line, from outside: exit codes, words, orders, progress; against Baton's monitor and, if there is one, QEMU's.

Arguments: the baton program (with any `run`), the fake VM, the root of the sources.
"""
import json
import os
import pty
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

BATON, FAKE_VM, ROOT = sys.argv[1:4]
CLIENTS = ["migrate", "postcopy", "pause", "recover", "cancel", "status", "set", "incoming", "stop", "cont", "quit"]
COMMANDS = CLIENTS + ["check"]


class FakeVm:
    def __init__(self, path):
        self.process = subprocess.Popen([FAKE_VM, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)
        assert self.process.stdout.readline() == "ready\n"

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().rstrip("\n")

    def end(self):
        if self.process.poll() is None:
            self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def run(*args):
    done = subprocess.run([BATON, *args], capture_output=True, text=True, timeout=30)
    return done.returncode, done.stdout, done.stderr


class CommandLine(unittest.TestCase):
    def test_help(self):
        code, out, _ = run("--help")
        self.assertEqual(code, 0)
        for name in COMMANDS + ["run", "help"]:
            self.assertRegex(out, r"(?m)^  %s " % name)
        for name in COMMANDS:
            code, out, _ = run("help", name)
            self.assertEqual(code, 0)
            self.assertIn("Usage: baton " + name, out)
            self.assertEqual(run(name, "--help")[:2], (0, out))
        self.assertEqual(run("help", "run"), (0, "run --help\n", ""))
        self.assertEqual(run("run", "--memory", "1G"), (0, "run --memory 1G\n", ""))
        self.assertRegex(run("--version")[1], r"^baton \d+\.\d+\.\d+\n$")

    def test_usage(self):
        for args in ([], ["nope"], ["help", "nope"], ["migrate"], ["migrate", "--qmp", "/x"],
                     ["migrate", "--qmp", "/x", "a", "b"], ["pause", "--qmp", "/x", "a"],
                     ["pause", "--qmp"], ["pause", "--bogus"], ["pause", "--watch", "--qmp", "/x"],
                     ["cancel", "--force", "--qmp", "/x"], ["incoming", "--qmp", "/x"], ["check", "a"],
                     ["check", "--qmp", "/x"], ["check", "--timeout", "1"], ["status", "--watch", "0", "--qmp", "/x"],
                     ["status", "--watch=x", "--qmp", "/x"], ["stop", "--qmp", "/x", "a"],
                     ["status", "--detach", "--qmp", "/x"], ["pause", "--qmp", "/x", "--timeout", "0"],
                     ["pause", "--qmp", "/x", "--timeout", "nan"], ["set", "--qmp", "/x"],
                     ["set", "--qmp", "/x", "a"], ["set", "--qmp", "/x", "a=b"],
                     ["set", "--qmp", "/x", "a=9999999999G"]):
            code, out, err = run(*args)
            self.assertEqual((code, out), (2, ""), args)
            self.assertTrue(err.startswith("baton") or not args, err)

    def test_documented(self):
        manual = read("docs/man/baton.1").replace("\\-", "-")
        sources = [read("cmd/run.c")]
        sources += [run("help", name)[1] for name in COMMANDS]
        for text in sources:
            for option in set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)):
                self.assertRegex(manual, r"(?m)%s(?![\w-])" % re.escape(option))
        for name in COMMANDS + ["run", "help"]:
            self.assertRegex(manual, r"(?m)^\.(SS|Ss) .*\b%s\b" % name)


class Unreachable(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, "qmp")

    def tearDown(self):
        self.folder.cleanup()

    def refused(self, *words, timeout="5"):
        begin = time.monotonic()
        for name in (["status"], ["migrate", "tcp:x:1"]):
            code, out, err = run(*name, "--qmp", self.path, "--timeout", timeout)
            self.assertEqual((code, out), (1, ""))
            for word in words:
                self.assertIn(word, err)
        self.assertLess(time.monotonic() - begin, 10)

    def serve(self, sent, stay):
        """Something that is no monitor: sends `sent` to each client, and stays or goes."""
        server = socket.socket(socket.AF_UNIX)
        server.bind(self.path)
        server.listen(5)
        kept = []

        def accept():
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                kept.append(client)
                try:
                    client.sendall(sent)
                except OSError:  # it has heard enough
                    pass
                if not stay:
                    client.close()
        threading.Thread(target=accept, daemon=True).start()
        self.addCleanup(lambda: (server.shutdown(socket.SHUT_RDWR), server.close(), [c.close() for c in kept]))

    def test_missing(self):
        self.refused("There is no monitor socket at " + self.path)

    def test_dead(self):
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(self.path)
        self.refused("Nobody listens at")

    def test_long(self):
        self.path = "x" * 200
        self.refused("cannot be a monitor's socket")

    def test_silent(self):
        self.serve(b"", True)
        self.refused("no greeting within 0.3 s", timeout="0.3")

    def test_other_protocol(self):
        self.serve(b"SSH-2.0-hello there\r\n", True)
        self.refused("is not a QMP monitor")

    def test_other_json(self):
        self.serve(b'{"a": 1}\n', True)
        self.refused("sends no greeting")

    def test_rubbish(self):
        self.serve(b"}}}\n" * 100, True)
        self.refused("is not a QMP monitor")

    def test_endless(self):
        self.serve(b"[" * 3000000, True)
        self.refused("is not a QMP monitor")

    def test_closes(self):
        self.serve(b"", False)
        self.refused("closed the connection")

    def test_goes_silent(self):
        self.serve(b'{"QMP": {"capabilities": []}}\n', True)
        self.refused("did not answer within 0.3 s", timeout="0.3")


class Orders(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, "qmp")
        self.vm = FakeVm(self.path)

    def tearDown(self):
        self.vm.end()
        self.folder.cleanup()

    def test_orders(self):
        self.vm.tell("enter source active")
        for args, order in ((["postcopy"], "postcopy"), (["pause"], "pause"), (["cancel"], "cancel"),
                            (["incoming", "unix:/y"], "incoming unix:/y"), (["stop"], "stop"), (["cont"], "cont"),
                            (["recover", "tcp:a:1"], "recover tcp:a:1"),
                            (["migrate", "--detach", "unix:/x"], "migrate unix:/x"),
                            (["migrate", "--detach", "--resume", "tcp:a:2"], "migrate tcp:a:2 resume")):
            self.assertEqual(run(*args, "--qmp", self.path), (0, "", ""))
            self.assertEqual(self.vm.tell("order"), order)
        self.vm.tell("refuse first do the other thing")
        for name in ("postcopy", "pause", "cancel"):
            self.assertEqual(run(name, "--qmp", self.path),
                             (1, "", f"baton {name}: first do the other thing\n"))
        self.assertEqual(run("migrate", "tcp:a:1", "--qmp", self.path)[0], 1)

    def test_outcome_as_an_object(self):
        self.vm.tell("enter source active")
        for args in (["postcopy"], ["pause"], ["cancel"], ["recover", "tcp:a:1"], ["incoming", "tcp:a:1"], ["stop"],
                     ["cont"], ["set", "postcopy-ram=on"], ["migrate", "--detach", "tcp:a:1"]):
            code, out, err = run(*args, "--json", "--qmp", self.path)
            self.assertEqual((code, json.loads(out), err), (0, {"result": "done"}, ""))
        self.vm.tell("refuse not \"now\"")
        for args in (["postcopy"], ["cancel"], ["migrate", "tcp:a:1"], ["quit"]):
            code, out, err = run(*args, "--json", "--qmp", self.path)
            self.assertEqual((code, json.loads(out), err), (1, {"result": "error", "error": 'not "now"'}, ""))
        code, out, err = run("status", "--json", "--qmp", self.path + "x")
        self.assertEqual((code, json.loads(out)["result"], err), (1, "error", ""))

    def test_cancel_without_a_migration(self):
        for state, words in ((None, "none has begun"), ("failed", "the last one failed"),
                             ("cancelled", "the last one was cancelled"), ("completed", "the last one completed")):
            if state:
                self.vm.tell("enter source " + state)
            self.assertEqual(run("cancel", "--qmp", self.path),
                             (1, "", f"baton cancel: No migration is under way: {words}\n"))
        self.assertEqual(self.vm.tell("order"), "")

    def test_quit(self):
        self.vm.tell("refuse the VM would be lost")
        self.assertEqual(run("quit", "--qmp", self.path), (1, "", "baton quit: the VM would be lost\n"))
        self.assertEqual(run("quit", "--force", "--qmp", self.path), (0, "", ""))

    def test_chosen_address(self):
        self.vm.tell("enter dest postcopy-paused")
        self.vm.tell("numbers")
        self.assertEqual(run("recover", "tcp:0.0.0.0:0", "--qmp", self.path), (0, "tcp:0.0.0.0:4444\n", ""))
        self.assertEqual(run("incoming", "tcp:0.0.0.0:0", "--qmp", self.path), (0, "tcp:0.0.0.0:4444\n", ""))
        out = run("recover", "--json", "tcp:0.0.0.0:0", "--qmp", self.path)[1]
        self.assertEqual(json.loads(out), {"result": "done", "address": "tcp:0.0.0.0:4444"})
        self.assertEqual(run("recover", "tcp:0.0.0.0:4444", "--qmp", self.path), (0, "", ""))

    def test_set(self):
        self.assertEqual(run("set", "--qmp", self.path, "postcopy-ram=on", "max-bandwidth=10M",
                             "downtime-limit=30"), (0, "", ""))
        client = Monitor(self.path)
        self.assertIn({"capability": "postcopy-ram", "state": True},
                      client.call("query-migrate-capabilities"))
        self.assertEqual(client.call("query-migrate-parameters")["max-bandwidth"], 10 << 20)
        client.close()
        code, _, err = run("set", "--qmp", self.path, "foo=on")
        self.assertEqual(code, 1)
        self.assertIn("does not accept value 'foo'", err)
        self.assertEqual(run("set", "--qmp", self.path, "postcopy-ram=1"),
                         (1, "", "baton set: postcopy-ram is a capability: set it on or off, not to a number\n"))
        self.assertEqual(run("set", "--qmp", self.path, "max-bandwidth=on"),
                         (1, "", "baton set: max-bandwidth is a parameter, not a capability: give it a number, not on "
                          "or off\n"))

    def follow(self, steps, *args, terminal=False):
        """Runs `baton migrate` and, once the order has come, takes the VM through the steps."""
        if terminal:
            master, slave = pty.openpty()
        process = subprocess.Popen([BATON, "migrate", "--qmp", self.path, "tcp:a:1", *args], text=True,
                                   stdout=slave if terminal else subprocess.PIPE,
                                   stderr=subprocess.PIPE, env=dict(os.environ, TERM="xterm"))
        deadline = time.monotonic() + 10
        while not self.vm.tell("order").startswith("migrate"):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        for step in steps:
            if step == "die":
                self.vm.process.kill()
            else:
                self.assertEqual(self.vm.tell(step), "ok")
            time.sleep(0.5)  # two looks
        if terminal:
            os.close(slave)
            out = b""
            try:
                while chunk := os.read(master, 4096):
                    out += chunk
            except OSError:
                pass
            os.close(master)
            out = out.decode()
        err = process.communicate(timeout=20)
        return process.returncode, out if terminal else err[0], err[1]

    def test_completes(self):
        self.vm.tell("numbers")
        code, out, err = self.follow(["enter source setup", "enter source active",
                                      "enter source postcopy-active", "enter source completed"])
        self.assertEqual((code, err), (0, ""))
        lines = out.splitlines()
        self.assertIn("active: 420.0 MiB sent, 100.0 MiB of 512.0 MiB left, 110.0 MiB/s, 909 ms to go", lines)
        self.assertEqual([line.split(":")[0] for line in lines[:-1]], ["setup", "active", "postcopy-active"])
        self.assertEqual(lines[-1], "completed in 30.1 s, downtime 45.6 ms, paused for 12.3 s (2 times), 420.0 MiB sent")

    def outcome(self, end, result, code):
        """One migration a VM: the end of an earlier one would be taken for this one's."""
        got, out, err = self.follow(["enter source active", "enter source " + end], "--json")
        self.assertEqual((got, err), (code, ""))
        self.assertEqual(json.loads(out)["result"], result)
        self.assertEqual(json.loads(out)["migrate"]["status"], end)

    def test_completion_as_an_object(self):
        self.outcome("completed", "completed", 0)

    def test_failure_as_an_object(self):
        self.outcome("failed", "failed", 3)

    def test_cancellation_as_an_object(self):
        self.outcome("cancelled", "cancelled", 3)

    def test_pause_as_an_object(self):
        self.outcome("postcopy-paused", "paused", 4)

    def test_terminal(self):
        self.vm.tell("numbers")
        code, out, _ = self.follow(["enter source active", "enter source completed"], terminal=True)
        self.assertEqual(code, 0)
        self.assertIn("\r\x1b[Kactive: 420.0 MiB sent", out)
        self.assertIn("\r\x1b[Kcompleted in", out)

    def test_fails(self):
        code, out, _ = self.follow(["enter source setup", "error nobody listens there", "enter source failed"])
        self.assertEqual(code, 3)
        self.assertIn("The migration failed: nobody listens there", out)

    def test_cancelled(self):
        code, out, _ = self.follow(["enter source active", "enter source cancelling", "enter source cancelled"])
        self.assertEqual(code, 3)
        self.assertIn("The migration was cancelled", out)

    def test_pauses(self):
        code, out, _ = self.follow(["enter source postcopy-active", "explain The cable is out. Put it in.",
                                    "enter source postcopy-paused"])
        self.assertEqual(code, 4)
        self.assertIn("The cable is out. Put it in.", out)

    def test_resumes(self):
        self.vm.tell("enter source postcopy-paused")
        time.sleep(0.6)
        self.vm.tell("numbers")  # sets the time in the state, too
        code, out, _ = self.follow(["enter source postcopy-recover", "enter source postcopy-active",
                                    "enter source completed"], "--resume")
        self.assertEqual(code, 0)
        # The rate is still that of the pause.
        self.assertIn("postcopy-active: 420.0 MiB sent, 100.0 MiB of 512.0 MiB left\n", out)
        self.assertNotIn("to go", out)

    def test_resume_fails(self):
        self.vm.tell("enter source postcopy-paused")
        code, _, _ = self.follow(["enter source postcopy-recover", "enter source postcopy-paused"], "--resume")
        self.assertEqual(code, 4)

    def test_old_end_is_not_the_new_one(self):
        self.vm.tell("enter source failed")
        time.sleep(0.6)
        self.vm.tell("numbers")
        code, _, _ = self.follow(["enter source active", "enter source completed"])
        self.assertEqual(code, 0)

    def test_vm_dies(self):
        code, _, err = self.follow(["enter source active", "die"])
        self.assertEqual(code, 1)
        self.assertIn("closed the connection", err)
        self.assertIn("the last state seen was active", err)

    def test_status(self):
        code, out, err = run("status", "--qmp", self.path)
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(out, "State:     no migration\nVM:        runs here (running)\n"
                              "You may:   send the VM away with `baton migrate`\n")
        self.vm.tell("enter dest postcopy-paused")
        self.vm.tell("error the link broke")
        self.vm.tell("explain 1234 pages are still at the source.")
        self.vm.tell("numbers")
        code, out, err = run("status", "--qmp", self.path)
        self.assertEqual((code, err), (0, ""))
        for line in ("Role:      destination", "State:     postcopy-paused for ", "Why:       the link broke",
                     "Explained: 1234 pages are still at the source.",
                     "Received:  412.0 MiB of 512.0 MiB\n",
                     "Pages:     100000 with data, 5000 zero, 17 requested\n",
                     "Missing:   1234 pages (4.8 MiB)", "Waiting:   cpu 0 for mach-virt.ram+0x1234000 since 3.2 s",
                     "Times:     total 30.1 s, down 45.6 ms, paused 12.3 s (2 times, last recovery 120 ms)",
                     "Faults:    17, half within 120 us, 99 % within 800 us, longest 3.1 ms",
                     "Listens:   tcp:0.0.0.0:4444"):
            self.assertIn(line, out)
        self.assertNotIn("You may:", out)  # the explanation has said it
        self.assertNotIn("Moved:", out)  # that would be the return path
        self.vm.tell("enter source active")
        self.vm.tell("explain ")
        out = run("status", "--qmp", self.path)[1]
        for line in ("Memory:    100.0 MiB of 512.0 MiB left, 110.0 MiB/s",
                     "Moved:     420.0 MiB (precopy 400.0 MiB, switchover 1.0 MiB, postcopy 19.0 MiB)",
                     "Pages:     100000 with data, 5000 zero, 17 requested; 4 passes",
                     "You may:   here: `baton postcopy`"):
            self.assertIn(line, out)
        self.vm.tell("enter dest postcopy-paused")
        code, out, _ = run("status", "--json", "--qmp", self.path)
        both = json.loads(out)
        self.assertEqual(both["migrate"]["x-baton-missing-pages"], 1234)
        self.assertEqual(both["status"]["status"], "running")

    def test_long_words_are_wrapped(self):
        self.vm.tell("enter dest postcopy-paused")
        text = " ".join(f"word{i:02}" for i in range(40)) + " " + "x" * 100 + " end"
        self.vm.tell("explain " + text)
        out = run("status", "--qmp", self.path)[1]
        lines = out[out.index("Explained:"):out.index("Received:")].splitlines()
        self.assertLessEqual(max(len(line) for line in lines if "xx" not in line), 80)
        self.assertEqual([line[:11] for line in lines[1:]], [" " * 11] * (len(lines) - 1))
        self.assertEqual(" ".join(line[11:] for line in lines), text)
        self.assertGreater(len(lines[0]), 70)

    def test_nothing_has_moved(self):
        self.vm.tell("enter source failed")
        self.vm.tell("error nobody listens there")
        self.assertRegex(run("status", "--qmp", self.path)[1],
                         r"^Role:      source\nState:     failed for \d+ ms\nVM:        .*\nWhy:       nobody listens there\n"
                         r"You may:   see why, then here: `baton migrate` again\n$")

    def watch(self, steps, *args, terminal=False):
        master, slave = pty.openpty()
        process = subprocess.Popen([BATON, "status", "--qmp", self.path, "--watch", "0.1", *args], text=True,
                                   stdout=slave if terminal else subprocess.PIPE, stderr=subprocess.PIPE,
                                   env=dict(os.environ, TERM="xterm"))
        for step in steps:
            time.sleep(0.4)
            self.assertEqual(self.vm.tell(step), "ok")
        os.close(slave)
        out = b""
        try:
            while terminal and (chunk := os.read(master, 4096)):
                out += chunk
        except OSError:
            pass
        os.close(master)
        text, err = process.communicate(timeout=20)
        return process.returncode, out.decode() if terminal else text, err

    def test_watch(self):
        self.vm.tell("numbers")
        code, out, err = self.watch(["enter source active", "enter source postcopy-paused", "enter source completed"])
        self.assertEqual((code, err), (0, ""))
        lines = out.splitlines()
        for line in ("no migration", "active: 420.0 MiB sent, 100.0 MiB of 512.0 MiB left, 110.0 MiB/s, 909 ms to go",
                     "postcopy-paused: 420.0 MiB sent, 100.0 MiB of 512.0 MiB left"):
            self.assertIn(line, lines)
        self.assertTrue(lines[-1].startswith("completed"))
        self.assertEqual(run("status", "--watch", "--qmp", self.path)[0], 0)  # is over

    def test_watch_a_destination(self):
        self.vm.tell("enter dest active")
        self.vm.tell("numbers")
        code, out, _ = self.watch(["enter dest failed"])
        self.assertEqual(code, 3)
        self.assertEqual(out.splitlines()[0], "active: 100.0 MiB of 512.0 MiB left")

    def test_watch_on_a_terminal(self):
        code, out, _ = self.watch(["enter source active", "enter source cancelled"], terminal=True)
        self.assertEqual(code, 3)
        self.assertIn("\x1b[H\x1b[JRole:      source\r\nState:     active for", out)

    def test_watch_as_objects(self):
        code, out, _ = self.watch(["enter source active", "enter source completed"], "--json")
        self.assertEqual(code, 0)
        seen = [json.loads(line)["migrate"].get("status", "none") for line in out.splitlines()]
        self.assertEqual(sorted(set(seen), key=seen.index), ["none", "active", "completed"])

    def test_watch_loses_the_vm(self):
        process = subprocess.Popen([BATON, "status", "--qmp", self.path, "--watch=0.1"], text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.readline()
        self.vm.process.kill()
        _, err = process.communicate(timeout=20)
        self.assertEqual(process.returncode, 1)
        self.assertIn("baton status: ", err)

    def test_qmp_is_documented(self):
        page = read("docs/qmp.md")
        client = Monitor(self.path)
        for command in client.call("query-commands"):
            self.assertIn("`%s`" % command["name"], page)
        for event in ("STOP", "RESUME", "RESET", "SHUTDOWN", "MIGRATION", "MIGRATION_PASS"):
            self.assertIn("`%s`" % event, page)
        self.vm.tell("enter dest postcopy-paused")
        self.vm.tell("explain x")
        self.vm.tell("numbers")
        for field in client.call("query-migrate"):
            self.assertIn("`%s`" % field, page)
        client.close()


class Monitor:
    """A bare QMP client."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.file = self.socket.makefile("rw")
        self.file.readline()
        self.call("qmp_capabilities")

    def call(self, name):
        self.file.write(json.dumps({"execute": name}))
        self.file.flush()
        while True:
            message = json.loads(self.file.readline())
            if "event" not in message:
                return message["return"]

    def close(self):
        self.file.close()
        self.socket.close()


class OtherStates(unittest.TestCase):
    """States that a QEMU tells of and a Baton never enters, and some that both do, from a monitor that says only QEMU's fields."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, "qmp")
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(self.path)
        self.server.listen(5)
        self.state, self.run_state, self.ordered = "none", "running", []
        self.later = []  # states of the next looks
        self.gone = False  # an order to quit is not answered any more
        threading.Thread(target=self.serve, daemon=True).start()

    def tearDown(self):
        self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()
        self.folder.cleanup()

    def answer(self, name):
        if name == "query-status":
            return {"status": self.run_state, "running": self.run_state == "running"}
        if name == "query-migrate":
            if self.later:
                self.state = self.later.pop(0)
            ram = {"total": 512 << 20, "remaining": 100 << 20, "transferred": 420 << 20, "mbps": 8.0}
            return {} if self.state == "none" else {"status": self.state, "ram": ram}
        self.ordered.append(name)
        if name == "quit" and self.gone:
            raise OSError
        return {}

    def serve(self):
        """One client at a time, as QEMU does."""
        while True:
            try:
                client, _ = self.server.accept()
            except OSError:
                return
            with client, client.makefile("rw") as file:
                try:
                    file.write('{"QMP": {"version": {}, "capabilities": ["oob"]}}\n')
                    file.flush()
                    for line in file:
                        order = json.loads(line)
                        result = self.answer(order.get("execute") or order["exec-oob"])
                        file.write(json.dumps({"return": result, "id": order["id"]}) + "\n")
                        file.flush()
                except OSError:
                    pass

    def test_what_may_be_done(self):
        for state, run_state, role, words in (
                ("pre-switchover", "finish-migrate", "source", "migrate-continue"),
                ("failing", "finish-migrate", "source", "has failed and is being cleared away"),
                ("postcopy-device", "finish-migrate", "source", "the destination loads the devices"),
                ("postcopy-device", "inmigrate", "destination", "is being handed over"),
                ("postcopy-recover-setup", "finish-migrate", "source", "wait for the destination to be reached"),
                ("postcopy-recover-setup", "running", "destination", "`baton migrate --resume`"),
                ("postcopy-recover", "finish-migrate", "source", "compare notes"),
                ("device", "finish-migrate", "source", "handed over")):
            self.state, self.run_state = state, run_state
            code, out, err = run("status", "--qmp", self.path)
            self.assertEqual((code, err), (0, ""))
            self.assertIn(f"Role:      {role}\nState:     {state}\n", out)
            self.assertIn(words, " ".join(out[out.index("You may:"):].split()))

    def test_no_end_is_seen_in_them(self):
        self.later = ["setup", "active", "pre-switchover", "device", "postcopy-device", "postcopy-active", "completed"]
        code, out, err = run("migrate", "tcp:a:1", "--qmp", self.path)
        self.assertEqual((code, err), (0, ""))
        self.assertEqual([line.split(":")[0] for line in out.splitlines()[:-1]],
                         ["setup", "active", "pre-switchover", "device", "postcopy-device", "postcopy-active"])
        self.later = ["postcopy-recover-setup", "postcopy-recover", "postcopy-active", "completed"]
        code, out, _ = run("migrate", "--resume", "tcp:a:1", "--qmp", self.path)
        self.assertEqual(code, 0)
        self.assertNotIn("/s", out.split("postcopy-active")[0])
        self.later = ["active", "failing", "failed"]
        self.assertEqual(run("migrate", "tcp:a:1", "--qmp", self.path)[0], 3)
        self.later = ["active", "failing", "failed"]
        code, out, _ = run("status", "--watch", "0.05", "--qmp", self.path)
        self.assertEqual((code, [line.split(":")[0] for line in out.splitlines()]), (3, ["active", "failing", "failed"]))

    def test_a_vm_that_would_be_lost_is_not_ended(self):
        self.state = "postcopy-paused"
        code, _, err = run("quit", "--qmp", self.path)
        self.assertEqual((code, self.ordered), (1, ["qmp_capabilities"]))
        self.assertIn("--force", err)
        self.assertEqual(run("quit", "--force", "--qmp", self.path)[0], 0)
        self.assertEqual(self.ordered[-1], "quit")
        self.gone = True
        self.assertEqual(run("quit", "--force", "--qmp", self.path), (0, "", ""))

    def test_an_address_that_is_not_told(self):
        code, out, err = run("recover", "tcp:a:0", "--qmp", self.path)
        self.assertEqual((code, out), (0, ""))
        self.assertIn("does not say at which port", err)


class Check(unittest.TestCase):
    def test_lines(self):
        code, out, err = run("check")
        self.assertEqual(err, "")
        self.assertEqual(code, 0 if "Postcopy by userfaultfd is possible here" in out else 1)
        for label in ("userfaultfd", "/dev/userfaultfd", "user mode only", "--faults auto takes", "Transparent huge pages",
                      "/dev/kvm", "Open files", "Locked memory", "vm.max_map_count", "vm.overcommit_memory",
                      "TCP congestion control"):
            self.assertRegex(out, rf"(?m)^{label}  *\S")
        self.assertLessEqual(max(map(len, out[out.index("Postcopy by"):].splitlines())), 80)

    def test_object(self):
        code, out, err = run("check", "--json")
        host = json.loads(out)
        self.assertEqual(err, "")
        faults = host["userfaultfd"]
        self.assertEqual(code, 0 if faults["postcopy"] else 1)
        self.assertEqual(set(faults["ways"]), {"syscall", "device", "user-mode-only"})
        self.assertEqual(set(faults["missing"]), {"anonymous", "shmem", "hugetlb"})
        self.assertIn(faults["auto"], ("syscall", "device", "software"))
        self.assertEqual({int(name.split("-")[1][:-2]) << 10 for name in os.listdir("/sys/kernel/mm/hugepages")}
                         if os.path.isdir("/sys/kernel/mm/hugepages") else set(),
                         {pages["size"] for pages in host["huge-pages"]})
        self.assertEqual(host["limits"]["max-map-count"], int(open_line("/proc/sys/vm/max_map_count")))
        self.assertEqual(host["tcp-congestion"]["default"], open_line("/proc/sys/net/ipv4/tcp_congestion_control"))
        self.assertTrue(all(text.endswith(".") for text in host["advice"]))

    def test_limits_are_this_process_s(self):
        out = subprocess.run(["bash", "-c", 'ulimit -n 100; exec "$0" check --json', BATON], capture_output=True, text=True,
                             timeout=30).stdout
        host = json.loads(out)
        self.assertEqual(host["limits"]["open-files"], 100)
        self.assertTrue(any("ulimit -n" in text for text in host["advice"]))

    @unittest.skipUnless(os.path.exists("/usr/bin/setpriv") and os.geteuid() == 0, "cannot become nobody")
    def test_without_privileges(self):
        done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all",
                               "--bounding-set=-all", "--", BATON, "check", "--json"], capture_output=True, text=True,
                              timeout=30)
        if not done.stdout and "xec" in done.stderr:
            self.skipTest("nobody may not run the program where it lies")
        host = json.loads(done.stdout)
        self.assertEqual(done.returncode, 0 if host["userfaultfd"]["postcopy"] else 1)
        if open_line("/proc/sys/vm/unprivileged_userfaultfd") == "0":
            self.assertFalse(host["userfaultfd"]["ways"]["syscall"]["available"])
            if not os.stat("/dev/userfaultfd").st_mode & 0o006:
                self.assertEqual(host["userfaultfd"]["auto"], "software")
                self.assertTrue(any("vm.unprivileged_userfaultfd=1" in text for text in host["advice"]))


def open_line(path):
    with open(path, encoding="utf-8") as file:
        return file.readline().strip()


@unittest.skipUnless(shutil.which("qemu-system-x86_64"), "no qemu-system-x86_64")
class StockQemu(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, "qmp")
        self.start()

    def start(self, *more):
        if os.path.exists(self.path):
            os.unlink(self.path)
        self.qemu = subprocess.Popen(["qemu-system-x86_64", "-M", "none", "-display", "none", "-nodefaults",
                                      "-qmp", f"unix:{self.path},server=on,wait=off", *more],
                                     stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while not os.path.exists(self.path):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)

    def tearDown(self):
        self.qemu.terminate()
        self.qemu.wait(10)
        self.folder.cleanup()

    def test_all(self):
        code, out, _ = run("status", "--qmp", self.path)
        self.assertEqual(code, 0)
        self.assertIn("State:     no migration\nVM:        runs here (running)", out)
        self.assertEqual(run("set", "--qmp", self.path, "postcopy-ram=off", "events=on", "max-bandwidth=10M")[0], 0)
        code, _, err = run("pause", "--qmp", self.path)
        self.assertEqual(code, 1)
        self.assertIn("postcopy", err)
        self.assertEqual(run("recover", "tcp:127.0.0.1:0", "--qmp", self.path)[0], 1)
        code, out, _ = run("migrate", "tcp:127.0.0.1:1", "--qmp", self.path)
        self.assertEqual(code, 3)
        self.assertIn("Connection refused", out)
        self.assertEqual(run("migrate", "nonsense", "--qmp", self.path)[0], 1)
        code, out, _ = run("migrate", "exec:cat >/dev/null", "--qmp", self.path)
        self.assertEqual(code, 0)
        self.assertIn("completed in", out)
        code, out, _ = run("status", "--qmp", self.path)
        self.assertIn("Role:      source\nState:     completed\nVM:        does not run here (postmigrate)", out)
        self.assertEqual(run("status", "--json", "--qmp", self.path)[0], 0)
        code, out, _ = run("status", "--watch", "--qmp", self.path)
        self.assertEqual(code, 0)
        self.assertTrue(out.startswith("completed"))
        self.assertEqual(run("cancel", "--qmp", self.path),
                         (1, "", "baton cancel: No migration is under way: the last one completed\n"))

    def test_orders(self):
        for name, state in (("stop", "does not run here (paused)"), ("cont", "runs here (running)")):
            self.assertEqual(run(name, "--qmp", self.path), (0, "", ""))
            self.assertIn(state, run("status", "--qmp", self.path)[1])
        code, _, err = run("set", "--qmp", self.path, "postcopy-ram=1")
        self.assertEqual((code, err), (1, "baton set: postcopy-ram is a capability: set it on or off, not to a number\n"))
        code, _, err = run("set", "--qmp", self.path, "max-bandwidth=on")
        self.assertEqual(code, 1)
        self.assertIn("max-bandwidth is a parameter", err)
        self.assertEqual(run("incoming", "tcp:127.0.0.1:0", "--qmp", self.path)[0], 1)  # was not run with -incoming
        code, out, _ = run("migrate", "--json", "tcp:127.0.0.1:1", "--qmp", self.path)
        self.assertEqual((code, json.loads(out)["result"]), (3, "failed"))
        code, out, err = run("status", "--watch", "--json", "--qmp", self.path)
        self.assertEqual((code, json.loads(out)["migrate"]["status"]), (3, "failed"))
        self.assertEqual(run("quit", "--force", "--qmp", self.path), (0, "", ""))
        self.assertEqual(self.qemu.wait(10), 0)

    def test_receives(self):
        self.qemu.terminate()
        self.qemu.wait(10)
        self.start("-incoming", "defer")
        code, out, err = run("incoming", "tcp:127.0.0.1:0", "--qmp", self.path)
        self.assertEqual((code, err), (0, ""))
        self.assertRegex(out, r"^tcp:127\.0\.0\.1:[1-9]\d*\n$")
        self.assertIn("Role:      destination", run("status", "--qmp", self.path)[1])

    def test_one_client_at_a_time(self):
        holder = Monitor(self.path)
        code, _, err = run("status", "--qmp", self.path, "--timeout", "0.5")
        self.assertEqual(code, 1)
        self.assertIn("it may be serving another client", err)
        holder.close()


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
