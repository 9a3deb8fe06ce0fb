#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The documents say what is true: names exist, links lead somewhere, commands and options are those of the program.

BATON names the program (default: build/cmd/baton).
"""

import json
import os
import re
import socket
import subprocess
import tempfile
import time
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BATON = os.environ.get("BATON", os.path.join(TOP, "build", "cmd", "baton"))
LIMIT_S = 20
CODE_FOLDERS = ("include", "lib", "vmm", "monitor", "cmd", "guest")
MAPS = ("docs/design.md", "docs/where.md")  # every name on these is checked
# Written such that this file does not match them.
FORBIDDEN = (r"(?<![\w.])/wor[k]\b", r"\.\./share[d]\b", r"\bpypi\.or[g]", r"\bcrates\.i[o]", r"\bnpmjs\.", r"\bdocker\.i[o]",
             r"\bdeb\.debian\.or[g]", r"\bghcr\.i[o]")


def read(path):
    with open(os.path.join(TOP, path), encoding="utf-8") as file:
        return file.read()


def files(folder, *ends):
    found = []
    for at, folders, names in os.walk(os.path.join(TOP, folder)):
        folders[:] = [name for name in folders if not name.startswith((".", "build")) and name != "__pycache__"]
        found += [os.path.relpath(os.path.join(at, name), TOP) for name in names if name.endswith(ends)]
    return sorted(found)


def prose(text):
    """Without the blocks of code."""
    return re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)


def quoted(text):
    return re.findall(r"`([^`\n]+)`", text)


def is_path(word):
    return re.fullmatch(r"[\w.-]+(/[\w.-]+)*/?", word) and ("/" in word) and not word.startswith("/")


def defines(path, name):
    """Whether the C file defines the function, not only calls or declares it."""
    text = read(path)
    for match in re.finditer(rf"^\w[^\n;]*\b{name}\(", text, re.M):
        rest = text[match.end():]
        if re.match(r"[^;{]*\{", rest):
            return True
    return False


def run(*arguments):
    return subprocess.run([BATON, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=LIMIT_S, check=False).stdout


def commands():
    return re.findall(r"^  (\w+) ", run("help"), re.M)


def options_of(command):
    """Those of the usage line and of the list; `--help` is known to all."""
    lines = [line for line in run("help", command).split("\n") if re.match(r"Usage:|  --", line)]
    heads = [line if line.startswith("Usage:") else line.split("  ")[1] for line in lines]
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", "\n".join(heads))) | {"--help"}


def answer_of_commands():
    """What query-commands of a VM that waits for another one says."""
    with tempfile.TemporaryDirectory(prefix="baton-") as folder:
        path = os.path.join(folder, "qmp")
        vm = subprocess.Popen([BATON, "run", "--memory", "16M", "--console", "none", "--incoming", "defer", "--qmp", path],
                              stdin=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + LIMIT_S
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(LIMIT_S)
            while client.connect_ex(path):
                if time.monotonic() > deadline or vm.poll() is not None:
                    raise AssertionError("baton run makes no monitor")
                time.sleep(0.01)
            stream = client.makefile("rw", encoding="utf-8")
            stream.readline()
            for command in ("qmp_capabilities", "query-commands"):
                stream.write(json.dumps({"execute": command}) + "\n")
                stream.flush()
                answer = json.loads(stream.readline())
            stream.close()
            client.close()
            return {entry["name"] for entry in answer["return"]}
        finally:
            vm.kill()
            vm.wait()


class Maps(unittest.TestCase):
    """docs/design.md and docs/where.md lead to places that exist."""

    def test_a_path_leads_nowhere(self):
        for page in MAPS:
            for word in quoted(prose(read(page))):
                if is_path(word):
                    self.assertTrue(os.path.exists(os.path.join(TOP, word)), f"{page}: there is no {word}")

    def test_a_function_is_gone(self):
        sources = [path for folder in CODE_FOLDERS for path in files(folder, ".c", ".h")]
        for page in MAPS:
            for word in quoted(prose(read(page))):
                name = re.fullmatch(r"(\w+)\(\)", word)
                if name:
                    self.assertTrue(any(defines(path, name[1]) for path in sources), f"{page}: nobody defines {word}")

    def places(self, page):
        """(code, test) of each item that has them."""
        found = re.findall(r"Code: (.*?)\n\s*Test: (.*?)(?=\n\d+\. |\n\n|\Z)", read(page), re.S)
        self.assertGreaterEqual(len(found), 10, f"{page}: where are its items?")
        return found

    def test_a_function_stands_in_another_file(self):
        for page in MAPS:
            for code, _ in self.places(page):
                path = None
                for word in quoted(code):
                    if is_path(word):
                        path = word
                        continue
                    self.assertIsNotNone(path, f"{page}: `{word}` stands in no file")
                    self.assertTrue(defines(path, word.removesuffix("()")), f"{page}: {path} does not define {word}")

    def test_a_test_is_gone(self):
        for page in MAPS:
            for _, test in self.places(page):
                path = None
                for word in quoted(test):
                    if is_path(word):
                        path = word
                        continue
                    self.assertIsNotNone(path, f"{page}: `{word}` stands in no file")
                    self.assertRegex(read(path), rf'(?<![\w-]){re.escape(word)}(?=["(])', f"{page}: {path} has no {word}")
                self.assertIsNotNone(path, f"{page}: no test is named in: {test}")

    def test_where_has_not_twenty_questions(self):
        numbers = [int(number) for number in re.findall(r"^(\d+)\. \*\*.*\?\*\*", read("docs/where.md"), re.M)]
        self.assertEqual(numbers, list(range(1, 21)))

    def test_a_state_is_not_explained(self):
        table = re.search(r"status_names\[\] = \{(.*?)\}", read("lib/engine/names.c"), re.S)
        names = re.findall(r'"([\w-]+)"', table[1])
        section = re.search(r"^## States\n(.*?)^## ", read("docs/design.md"), re.S | re.M)[1]
        rows = re.findall(r"^\| `([\w-]+)` \|", section, re.M)
        self.assertEqual(rows, names, "the table of states in docs/design.md")
        self.assertEqual({row.count("|") for row in section.split("\n") if row.startswith("|")}, {8})


class Manual(unittest.TestCase):
    """docs/man/baton.1 and the program agree."""

    @classmethod
    def setUpClass(cls):
        cls.page = read("docs/man/baton.1").replace("\\-", "-")
        cls.sections = {}
        for title, body in re.findall(r"^\.SS baton (.*?)\n(.*?)(?=^\.S[SH])", cls.page, re.S | re.M):
            cls.sections[title.split()[0]] = title + "\n" + body
        common = re.search(r"^\.SH COMMON OPTIONS\n(.*?)(?=^\.SH)", cls.page, re.S | re.M)[1]
        cls.common = set(cls.listed(common))

    @staticmethod
    def listed(text):
        """Options that head an entry or stand in the title."""
        return re.findall(r"(?<![\w-])--[a-z][a-z-]*", text.split("\n")[0]) + \
            re.findall(r"^\.TP\n\.\w+ \"? ?(--[a-z][a-z-]*)", text, re.M)

    def test_a_command_is_not_in_the_manual(self):
        known = commands()
        self.assertIn("migrate", known)
        self.assertEqual(set(self.sections), set(known))

    def test_an_option_is_not_in_the_manual(self):
        for command in commands():
            if command == "help":
                continue
            told = set(self.listed(self.sections[command])) | self.common
            self.assertLessEqual(options_of(command), told, f"`baton help {command}` tells more than the manual")

    def test_the_manual_has_an_option_that_is_not(self):
        for command, section in self.sections.items():
            if command != "help":
                self.assertLessEqual(set(self.listed(section)), options_of(command), f"`baton help {command}` tells less")
        everywhere = set().union(*(options_of(command) for command in self.sections if command != "help"))
        self.assertLessEqual(self.common - {"--help", "--version"}, everywhere)

    def test_a_setting_is_not_in_the_manual(self):
        settings = set(re.findall(r"^  ([a-z-]+)=", run("help", "set"), re.M))
        self.assertGreaterEqual(len(settings), 5)
        for name in settings:
            self.assertIn(name, self.sections["set"])
            self.assertIn(f"`{name}`", read("docs/qmp.md"))


class Monitor(unittest.TestCase):
    """docs/qmp.md and the monitor agree."""

    def told(self):
        section = re.search(r"^## Commands\n(.*?)^## ", read("docs/qmp.md"), re.S | re.M)[1]
        section = section.split("### query-migrate")[0]
        rows = re.findall(r"^\| (`[^|]+`) \|", section, re.M)
        return {name for row in rows for name in quoted(row)}

    def test_a_command_is_told_and_is_not_or_is_and_is_not_told(self):
        self.assertEqual(self.told(), answer_of_commands())

    def test_a_field_is_not_told(self):
        code = read("monitor/query_migrate.c") + read("monitor/events.c")
        fields = set(re.findall(r'"(x-baton-[\w-]+)"', code))
        told = set(re.findall(r"`(x-baton-[\w-]+)`", read("docs/qmp.md"))) - self.told()
        self.assertEqual(told, fields)

    def test_a_capability_or_parameter_is_not_told(self):
        names = read("lib/engine/names.c")
        for table in ("capability_names", "parameter_names"):
            for name in re.findall(r'"([\w-]+)"', re.search(rf"{table}\[\] = \{{(.*?)\}}", names, re.S)[1]):
                self.assertIn(f"`{name}`", read("docs/qmp.md"))


class Errors(unittest.TestCase):
    def test_a_sentence_is_not_said(self):
        code = " ".join(read(path) for path in files("cmd", ".c"))
        code = re.sub(r'"\s*\n\s*"', "", code)
        table = read("docs/errors.md").split("## Reaching a monitor")[1]
        rows = re.findall(r"^\| ([A-Z.][^|]+?) \| ", table, re.M)[1:]
        self.assertGreaterEqual(len(rows), 5)
        for row in rows:
            for part in row.split("..."):
                self.assertIn(part.strip(), code, row)

    def test_an_exit_code_is_not_told(self):
        codes = dict(re.findall(r"^\| (\d) \| (.*) \|$", read("docs/errors.md"), re.M))
        known = re.search(r"enum \{?[^}]*CMD_DONE[^}]*\}", read("cmd/cmd.h"), re.S)[0]
        self.assertEqual(len(codes), len(re.findall(r"\bCMD_[A-Z]+\b", known)))


class Pages(unittest.TestCase):
    def pages(self):
        return files(".", ".md")

    def test_a_link_leads_nowhere(self):
        for page in self.pages():
            for target in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", prose(read(page))):
                if re.match(r"\w+:", target):
                    continue
                path, _, anchor = target.partition("#")
                path = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
                self.assertTrue(os.path.exists(os.path.join(TOP, path)), f"{page}: {target}")
                if anchor:
                    heads = [re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-")
                             for head in re.findall(r"^#+ (.*)$", read(path), re.M)]
                    self.assertIn(anchor, heads, f"{page}: {target}")

    def test_a_name_of_the_outside_world(self):
        for path in files(".", ".md", ".1", ".c", ".h", ".def", ".py", ".sh", ".build", ".S", ".txt") + files("script", ""):
            text = read(path)
            for pattern in FORBIDDEN:
                self.assertNotRegex(text, pattern, path)

    def test_a_script_of_the_readme_is_missing(self):
        named = {word for word in re.findall(r"\bscript/\w+", read("README.md"))}
        self.assertLessEqual({"script/demo", "script/test"}, named)
        for path in named:
            self.assertTrue(os.access(os.path.join(TOP, path), os.X_OK), path)

    def test_a_command_line_makes_no_sense(self):
        known = commands()
        for page in ("README.md", "CONTRIBUTING.md"):
            for block in re.findall(r"^```\w*\n(.*?)^```", read(page), re.S | re.M):
                for line in re.sub(r"\\\n", " ", block).split("\n"):
                    match = re.search(r"\bbaton ([a-z]+)\b(.*)", line)
                    if not match or not line.lstrip().startswith(("a$", "b$", "$", "build/")):
                        continue
                    self.assertIn(match[1], known, f"{page}: {line}")
                    used = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", match[2].split("#")[0]))
                    self.assertLessEqual(used, options_of(match[1]), f"{page}: {line}")

    def test_a_path_of_a_page_leads_nowhere(self):
        for page in ("README.md", "CONTRIBUTING.md", "docs/errors.md"):
            for word in quoted(prose(read(page))):
                word = word.split(" ")[0]
                if is_path(word) and not word.startswith(("build", ".cache")):
                    self.assertTrue(os.path.exists(os.path.join(TOP, word)), f"{page}: there is no {word}")


class Example(unittest.TestCase):
    def test_the_example_is_no_longer_short(self):
        self.assertLessEqual(read("examples/process_memory.c").count("\n"), 200)


if __name__ == "__main__":
    unittest.main(verbosity=2)
