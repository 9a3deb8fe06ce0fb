# SPDX-License-Identifier: MIT
"""The human monitor and QMP, side by side on real VMs: each command at least once, and a migration with nothing but lines."""

import json
import os
import re
import stat
import subprocess
import time
import unittest

from harness import BATON, GUEST, LIMIT_S, Failed, Qmp, QmpError, Rig, Vm, connect_unix, pair

PROMPT = b"(baton) "
SLOW = 2 << 20


class Human:
    """A client of the human monitor: a line out, and what comes before the next prompt."""

    def __init__(self, path):
        self.socket = connect_unix(path, LIMIT_S)
        self.socket.settimeout(LIMIT_S)
        self.rest = b""
        self.greeting = self.read()

    def read(self):
        while PROMPT not in self.rest:
            more = self.socket.recv(65536)
            if not more:
                raise Failed(f"the monitor has closed the connection after {self.rest!r}")
            self.rest += more
        answer, self.rest = self.rest.split(PROMPT, 1)
        return answer.decode()

    def close(self):
        self.socket.close()

    def ask(self, line):
        self.socket.sendall(line.encode() + b"\n")
        return self.read()

    def order(self, line):
        """Silence says that it was done."""
        answer = self.ask(line)
        if answer:
            raise Failed(f"{line}: {answer}")

    def status(self):
        match = re.search(r"^Migration status: ([\w-]+)", self.ask("info migrate"), re.M)
        return match[1] if match else "none"

    def wait_status(self, *wanted):
        deadline = time.monotonic() + LIMIT_S
        while self.status() not in wanted:
            if time.monotonic() > deadline:
                raise Failed(f"migration is {self.status()}, waited for {wanted}")
            time.sleep(0.02)

    def field(self, name):
        match = re.search(rf"^{name}: (.*)$", self.ask("info migrate"), re.M)
        return match and json.loads(match[1])


def monitored(rig, name, **more):
    vm = Vm(rig, name, extra=("--monitor", rig.path(name + ".monitor")), **more)
    vm.human = Human(rig.path(name + ".monitor"))
    return vm


class Monitors(unittest.TestCase):
    def test_every_command_that_one_vm_can_answer(self):
        with Rig() as rig:
            vm = monitored(rig, "vm")
            human = vm.human
            self.assertIn("type 'help'", human.greeting)
            self.assertEqual(stat.S_IMODE(os.stat(rig.path("vm.monitor")).st_mode), 0o600)
            vm.ready()
            self.assertEqual(human.ask("info status"), "VM status: running\n")
            human.order("stop")
            self.assertEqual(human.ask("info status"), "VM status: paused\n")
            self.assertFalse(vm.qmp.command("query-status")["running"])
            human.order("cont")
            vm.beat()
            human.order("migrate_set_capability postcopy-ram on")
            self.assertIn("postcopy-ram: on\n", human.ask("info migrate_capabilities"))
            human.order("migrate_set_parameter max-bandwidth 3")
            self.assertEqual(vm.qmp.command("query-migrate-parameters")["max-bandwidth"], 3 << 20)
            self.assertIn("max-bandwidth: 3145728 bytes/second\n", human.ask("info migrate_parameters"))
            self.assertIn("Error: ", human.ask("migrate_set_parameter downtime-limit 2000001"))
            self.assertRegex(human.ask("info version"), r"^baton \d")
            self.assertIn("x-baton-vm-running: true", human.ask("info migrate"))
            self.assertIn("Error: Cannot press the power button", human.ask("system_powerdown"))
            for line in ("migrate_pause", "migrate_start_postcopy", "migrate_recover tcp:127.0.0.1:0", "migrate tcp:nowhere",
                         "migrate_incoming tcp:127.0.0.1:0", "migrate -r tcp:127.0.0.1:1"):
                self.assertRegex(human.ask(line), r"^Error: .{20}", line)
            human.order("migrate_cancel")  # nothing to give up is no mistake, as in QEMU
            self.assertIn("unknown command: 'foo'", human.ask("foo"))
            self.assertIn("migrate_recover uri -- ", human.ask("help migrate_recover"))
            told = {line.split(" -- ")[0].split("|")[0] for line in human.ask("help").split("\n") if line}
            self.assertGreaterEqual(len(told), 19)
            # A migration that cannot begin is waited for, and told.
            self.assertIn("Migration status: failed (", human.ask("migrate tcp:127.0.0.1:1"))
            human.order("quit")
            self.assertEqual(vm.process.wait(LIMIT_S), 0)
            vm.qmp.wait_event("SHUTDOWN", lambda data: data["reason"] == "host-qmp-quit")
            self.assertFalse(os.path.exists(rig.path("vm.monitor")))

    def test_a_migration_with_pause_and_recovery_by_lines_alone(self):
        with Rig() as rig:
            source = monitored(rig, "source")
            dest = monitored(rig, "dest", incoming="defer")
            source.ready()
            for vm in (source, dest):
                vm.human.order("migrate_set_capability postcopy-ram on")
            dest.human.order("migrate_incoming tcp:127.0.0.1:0")
            uri = dest.human.field("x-baton-addresses")[0]
            source.console.send("rate 200")
            source.human.order("migrate_set_parameter max-bandwidth 60")
            source.human.order(f"migrate_set_parameter max-postcopy-bandwidth {SLOW}")
            source.human.order(f"migrate -d {uri}")
            source.human.wait_status("active")
            source.human.order("migrate_start_postcopy")
            for vm in (source, dest):
                vm.human.wait_status("postcopy-active")
            self.assertEqual(source.human.ask("info status"), "VM status: paused (finish-migrate)\n")
            for breaker in (source, dest):
                breaker.human.order("migrate_pause")
                for vm in (source, dest):
                    vm.human.wait_status("postcopy-paused")
                self.assertIn("x-baton-explain: ", dest.human.ask("info migrate"))
                for refused in ("cont", "quit", "migrate_cancel", "system_reset"):
                    self.assertIn("Error: ", source.human.ask(refused), refused)
                path = rig.path(breaker.name + ".recover")
                dest.human.order(f"migrate_recover unix:{path}")
                if breaker is source:
                    source.human.order(f"migrate -d -r unix:{path}")
                    source.human.wait_status("postcopy-active")
            source.human.order("migrate_set_parameter max-postcopy-bandwidth 0")
            self.assertEqual(source.human.ask(f"migrate -r unix:{path}"), "Migration status: completed\n")
            dest.human.wait_status("completed")
            dest.beat()
            dest.verify()
            self.assertIn("x-baton-pauses: 2\n", source.human.ask("info migrate"))
            self.assertEqual(source.human.ask("info status"), "VM status: paused (postmigrate)\n")
            # Where there is no kernel to start again, a reset is refused, and the VM lives on.
            self.assertIn("Error: cannot reset the VM: there is no kernel", dest.human.ask("system_reset"))
            dest.beat()
            source.human.order("quit")
            source.process.wait(LIMIT_S)

    def test_several_people_and_programs_at_once(self):
        with Rig() as rig:
            vm = monitored(rig, "vm")
            people = [Human(rig.path("vm.monitor")) for _ in range(8)]
            program = Qmp(vm.qmp_path)
            for i in range(20):
                for person in people:
                    person.socket.sendall(b"stop\ninfo status\ncont\n" if i % 2 else b"help\n")
                self.assertEqual(program.command("human-monitor-command", command_line="info version")[:5], "baton")
                for person in people:
                    for _ in range(3 if i % 2 else 1):
                        person.read()
            for client in (program, *people):
                client.close()
            vm.human.order("cont")
            vm.beat()

    def test_a_reset_by_an_operator(self):
        with Rig() as rig:
            vm = monitored(rig, "vm")
            vm.ready()
            for order in (lambda: vm.human.order("system_reset"), lambda: vm.qmp.command("system_reset")):
                since = vm.console.count()
                begin = len(vm.qmp.events)
                order()
                _, _ = vm.qmp.wait_event("RESET", lambda data: data == {"guest": False, "reason": "host-qmp-system-reset"},
                                         begin)
                vm.console.wait(r"memcheck: ready", since)
            # A stopped VM stays stopped, and is reset when it goes on.
            vm.human.order("stop")
            since = vm.console.count()
            begin = len(vm.qmp.events)
            vm.human.order("system_reset")
            time.sleep(0.3)
            self.assertEqual(vm.human.ask("info status"), "VM status: paused\n")
            vm.qmp.drain()
            self.assertNotIn("RESET", [name for _, name, _, _ in vm.qmp.events[begin:]])
            vm.human.order("cont")
            vm.console.wait(r"memcheck: ready", since)
            vm.verify()

    def test_a_reset_while_the_vm_moves(self):
        with Rig() as rig:
            source, dest = pair(rig)
            source.qmp.command("migrate-set-parameters", max_bandwidth=20 << 20)
            source.migrate(dest.address())
            source.qmp.wait_event("MIGRATION_PASS")
            since = source.console.count()
            source.qmp.command("system_reset")
            source.qmp.wait_event("RESET")
            source.console.wait(r"memcheck: ready", since, limit_s=max(LIMIT_S, 90))
            source.qmp.command("migrate-set-parameters", max_bandwidth=0)
            source.qmp.wait_status("completed")
            dest.qmp.wait_status("completed")
            dest.beat()
            dest.verify()
            # Each status came with the reason for it.
            source.qmp.drain()
            told = [data for _, name, data, _ in source.qmp.events if name == "MIGRATION"]
            self.assertGreaterEqual(len(told), 3)
            for data in told:
                self.assertGreater(len(data["x-baton-reason"]), 5, data)
            with self.assertRaises(QmpError) as refused:
                source.qmp.command("system_reset")
            self.assertIn("does not run on this host", refused.exception.desc)

    def test_standard_input_and_output(self):
        with Rig() as rig:
            qmp_path = rig.path("qmp")
            base = [BATON, "run", "--memory", "16M", "--firmware", "none", "--kernel",
                    os.path.join(GUEST, "memcheck-bare.elf"), "--monitor", "stdio"]
            bad = subprocess.run(base, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_S, check=False)
            self.assertEqual(bad.returncode, 2)
            self.assertIn("--monitor stdio needs", bad.stderr)
            for ending in ("quit\n", ""):
                vm = subprocess.Popen([*base, "--console", "none", "--qmp", qmp_path], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
                try:
                    vm.stdin.write("info status\nstop\ninfo status\n" + ending)
                    vm.stdin.close()
                    if not ending:
                        # The end of stdin is not the end of the VM.
                        qmp = Qmp(qmp_path)
                        deadline = time.monotonic() + LIMIT_S
                        while qmp.command("query-status")["running"] and time.monotonic() < deadline:
                            time.sleep(0.01)
                        qmp.command("quit")
                        qmp.close()
                    self.assertEqual(vm.wait(LIMIT_S), 0)
                    said = vm.stdout.read()
                    self.assertIn("VM status: running\n(baton) (baton) VM status: paused\n", said)
                finally:
                    vm.kill()
                    vm.wait()
                    vm.stdout.close()


if __name__ == "__main__":
    unittest.main(verbosity=2)
