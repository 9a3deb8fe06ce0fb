#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs all tests of a build and counts them; script/test calls it. See there for the arguments."""

import argparse
import json
import os
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROCESS_TESTS = ["tests/guest/test_move.py", "tests/guest/test_break.py", "tests/guest/test_early.py",
                 "tests/guest/test_operator.py", "tests/guest/test_monitors.py",
                 "tests/guest/test_faults.py", "tests/guest/test_channels.py", "tests/guest/test_memory.py", "tests/guest/test_demo.py",
                 "tests/guest/test_linux.py", "tests/docs/test_docs.py", "tests/docs/test_man.py"]
SANITIZERS = {"TSAN_OPTIONS": "halt_on_error=1", "ASAN_OPTIONS": "detect_leaks=1"}
TOTAL = {"passed": 0, "failed": 0, "skipped": 0}


def count(result, name, seconds, detail=""):
    TOTAL[result] += 1
    print(f"{result:8} {name} ({seconds:.1f} s)" + (f": {detail}" if detail else ""), flush=True)


def wanted(name, names):
    return not names or any(part in name for part in names)


def meson_tests(build, names, label="", repeat=1, suites=(), jobs=2, patience=1):
    """Each program that meson knows is one test; its own output is shown if it fails."""
    known = json.loads(subprocess.run(["meson", "introspect", "--tests", build], check=True, capture_output=True,
                                      text=True, cwd=TOP).stdout)
    chosen = [test["name"] for test in known if wanted(test["name"], names)
              and (not suites or any(suite.split(":")[-1] in suites for suite in test["suite"]))]
    if not chosen:
        return
    log = os.path.join(TOP, build, "meson-logs", "testlog.json")
    if os.path.exists(log):
        os.remove(log)
    subprocess.run(["meson", "test", "-C", build, "--no-rebuild", "--num-processes", str(jobs), "--repeat", str(repeat),
                    "--timeout-multiplier", str(patience),
                    *chosen], cwd=TOP, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    results = {"OK": "passed", "SKIP": "skipped", "EXPECTEDFAIL": "passed"}
    seen = 0
    if os.path.exists(log):
        with open(log, encoding="utf-8") as lines:
            for line in lines:
                test = json.loads(line)
                seen += 1
                result = results.get(test["result"], "failed")
                count(result, label + test["name"].split(" / ")[-1], test["duration"])
                if result == "failed":
                    print((test.get("stdout") or "")[-4000:], (test.get("stderr") or "")[-4000:], flush=True)
    if seen < len(chosen) * repeat:
        count("failed", f"{label}meson test", 0, f"{len(chosen) * repeat - seen} tests gave no result")


# Runs a unittest file and prints a line of JSON for each test, so that they are counted one by one.
CHILD = r"""
import json, sys, time, unittest
sys.path.insert(0, sys.argv[1])
class Result(unittest.TestResult):
    def startTest(self, test):
        super().startTest(test)
        self.began, self.verdict = time.monotonic(), ("passed", "")
    def addError(self, test, error): super().addError(test, error); self.verdict = ("failed", self.errors[-1][1])
    def addFailure(self, test, error): super().addFailure(test, error); self.verdict = ("failed", self.failures[-1][1])
    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.verdict = ("skipped", reason)
    def addSubTest(self, test, subtest, error):
        super().addSubTest(test, subtest, error)
        if error: self.verdict = ("failed", str(subtest) + str(error[1]))
    def stopTest(self, test):
        print("RESULT " + json.dumps([test.id(), *self.verdict, time.monotonic() - self.began]), flush=True)
names = sys.argv[3:]
suite = unittest.TestSuite()
def add(tests):
    for test in tests:
        if isinstance(test, unittest.TestSuite): add(test)
        elif not names or any(name in sys.argv[2] + "." + test.id() for name in names): suite.addTest(test)
add(unittest.defaultTestLoader.loadTestsFromName(sys.argv[2]))
suite.run(Result())
print("DONE", flush=True)
"""


def process_tests(path, names, environment, label=""):
    folder, module = os.path.dirname(path), os.path.basename(path)[:-3]
    child = subprocess.Popen([sys.executable, "-W", "ignore", "-c", CHILD, os.path.join(TOP, folder), module, *names],
                             cwd=TOP, env=environment, stdout=subprocess.PIPE, text=True)
    done = False
    for line in child.stdout:
        if line.startswith("RESULT "):
            name, verdict, detail, seconds = json.loads(line[7:])
            count(verdict, label + name, seconds, detail)
        elif line == "DONE\n":
            done = True
        else:
            print(line, end="")
    if child.wait() or not done:
        count("failed", label + module, 0, "it did not run to its end")


def lint(names):
    if not wanted("lint", names):
        return
    began = time.monotonic()
    ran = subprocess.run(["script/lint", "build"], cwd=TOP, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    count({0: "passed", 77: "skipped"}.get(ran.returncode, "failed"), "lint", time.monotonic() - began,
          ran.stdout[-4000:] if ran.returncode else "")


def sanitized(kind, names):
    build = f"build-{kind}"
    if not os.path.exists(os.path.join(TOP, build)):
        flags = {"tsan": "thread", "asan": "address,undefined"}[kind]
        subprocess.run(["meson", "setup", build, f"-Db_sanitize={flags}", "-Db_lundef=false"], cwd=TOP, check=True,
                       stdout=subprocess.DEVNULL)
    subprocess.run(["ninja", "-C", build], cwd=TOP, check=True, stdout=subprocess.DEVNULL)
    for name, value in SANITIZERS.items():
        os.environ[name] = value
    meson_tests(build, names, f"{kind}: ", suites=("unit",), patience=5)
    environment = dict(os.environ, BATON=os.path.join(TOP, build, "cmd", "baton"), BATON_TEST_LIMIT="180")
    for path in PROCESS_TESTS:
        if "linux" not in path and "docs" not in path:
            process_tests(path, names, environment, f"{kind}: ")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--all", action="store_true")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    began = time.monotonic()
    environment = dict(os.environ, BATON=os.path.join(TOP, "build", "cmd", "baton"))
    meson_tests("build", options.names)
    for path in PROCESS_TESTS:
        if os.path.exists(os.path.join(TOP, path)):
            process_tests(path, options.names, environment)
    software = dict(environment, BATON_FAULTS="software")
    for path in PROCESS_TESTS:
        if os.path.basename(path) in ("test_move.py", "test_break.py", "test_operator.py"):
            process_tests(path, options.names, software, "software faults: ")
    if options.all:
        lint(options.names)
        meson_tests("build", options.names, "again: ", repeat=100, suites=("runtime",))
        for kind in ("tsan", "asan"):
            sanitized(kind, options.names)
    print(f"{time.monotonic() - began:.0f} seconds")
    print(f"{TOTAL['passed']} passed, {TOTAL['failed']} failed, {TOTAL['skipped']} skipped", flush=True)
    sys.exit(1 if TOTAL["failed"] or not TOTAL["passed"] else 0)


main()
