#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The manual pages of section 7 say what is true, and troff understands all three. baton(1) itself is test_docs.py's.

BATON names the program (default: build/cmd/baton).
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests", "docs"))
sys.dont_write_bytecode = True

import test_docs  # noqa: E402 (the path had to be set first)

MAN = os.path.join(TOP, "docs", "man")


def qmp_page():
    """As the build makes it."""
    return subprocess.run([sys.executable, os.path.join(MAN, "from_markdown.py"), os.path.join(MAN, "baton-qmp.7.head"),
                           os.path.join(MAN, "baton-qmp.7.tail"), os.path.join(TOP, "docs", "qmp.md"), "0"],
                          check=True, stdout=subprocess.PIPE, text=True).stdout


def heads(page):
    """What heads an entry, in bold."""
    return {name.replace("\\-", "-") for line in re.findall(r"^\.TP\n(.*)$", page, re.M)
            for name in re.findall(r"\\fB(.*?)\\fR", line)}


class Qmp(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.page = qmp_page()
        cls.heads = heads(cls.page)

    def test_a_command_is_missing(self):
        self.assertLessEqual(test_docs.answer_of_commands(), self.heads)

    def test_an_event_is_missing(self):
        events = set(re.findall(r'"([A-Z]+(?:_[A-Z]+)*)"', test_docs.read("monitor/events.c")))
        self.assertGreaterEqual(events, {"MIGRATION", "STOP"})
        self.assertLessEqual(events - {"UNKNOWN"}, self.heads)

    def test_a_field_is_missing(self):
        fields = set(re.findall(r'"(x-baton-[\w-]+)"', test_docs.read("monitor/query_migrate.c")))
        self.assertGreater(len(fields), 5)
        self.assertLessEqual(fields, self.heads)

    def test_something_of_the_page_is_lost(self):
        """Every word of docs/qmp.md has come through."""
        def words(text):
            return {word.lower() for word in re.findall(r"[A-Za-z]{4,}", re.sub(r"\\f[BIR]", " ", text))}
        text = re.sub(r"\]\([^)]*\)", "]", test_docs.read("docs/qmp.md").split("\n", 1)[1])
        text = re.sub(r"^\|.*\n(?=\|-)|^<!--.*\n", "", text, flags=re.M)  # titles of columns and marks may go
        self.assertEqual(words(text) - words(self.page), set())
        self.assertRegex(self.page, r"(?i)\n\.SH DIFFERENCES FROM QEMU\n")


class Migration(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.page = test_docs.read("docs/man/baton-migration.7").replace("\\-", "-")
        states = re.search(r"^\.SH STATES\n(.*?)^\.SH ", cls.page, re.S | re.M)[1]
        cls.states = dict(re.findall(r"^\.SS ([^\n]*)\n(.*?)(?=^\.SS|\Z)", states, re.S | re.M))

    def test_a_state_is_missing_or_is_not(self):
        table = re.search(r"status_names\[\] = \{(.*?)\}", test_docs.read("lib/engine/names.c"), re.S)
        self.assertEqual(list(self.states), re.findall(r'"([\w-]+)"', table[1]))

    def test_a_state_is_half_told(self):
        for name, text in self.states.items():
            self.assertEqual(re.findall(r"^\.TP\n\.B (.*)$", text, re.M), ["Source", "Destination", "What to do"], name)

    def test_the_page_and_the_design_disagree_about_the_destination(self):
        section = re.search(r"^## States\n(.*?)^## ", test_docs.read("docs/design.md"), re.S | re.M)[1]
        never = {row.split("`")[1] for row in section.split("\n") if row.startswith("| `") and "never in it" in row}
        self.assertEqual({name for name, text in self.states.items() if "Never in it." in text}, never)

    def test_a_command_or_option_is_none(self):
        known = test_docs.commands()
        seen = 0
        for command, rest in re.findall(r"(?:\.BR? \"?|\$ )baton (\w+)(.*)", self.page):
            self.assertIn(command, known)
            used = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", rest))
            self.assertLessEqual(used, test_docs.options_of(command), rest)
            seen += 1
        self.assertGreater(seen, 10)


class Pages(unittest.TestCase):
    def pages(self, folder):
        made = os.path.join(folder, "baton-qmp.7")
        with open(made, "w", encoding="utf-8") as file:
            file.write(qmp_page())
        return [made, os.path.join(MAN, "baton.1"), os.path.join(MAN, "baton-migration.7")]

    def test_troff_complains(self):
        if not shutil.which("groff"):
            self.skipTest("groff is not here")
        with tempfile.TemporaryDirectory(prefix="baton-") as folder:
            for page in self.pages(folder):
                said = subprocess.run(["groff", "-man", "-ww", "-Tutf8", "-z", page], stderr=subprocess.PIPE, text=True, check=True)
                self.assertEqual(said.stderr, "", page)

    def test_man_complains(self):
        if not shutil.which("man") or not shutil.which("groff"):
            self.skipTest("man is not here")
        with tempfile.TemporaryDirectory(prefix="baton-") as folder:
            for page in self.pages(folder):
                said = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", page], stdin=subprocess.DEVNULL,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=True,
                                      env=dict(os.environ, LC_ALL="C.UTF-8", MANWIDTH="200", MANPAGER="cat"))
                self.assertEqual(said.stderr, "", page)

    def test_a_page_that_is_referred_to_is_not(self):
        for name in ("baton.1", "baton-migration.7", "baton-qmp.7.tail"):
            text = test_docs.read("docs/man/" + name).replace("\\-", "-").split(".SH SEE ALSO")[1]
            for page, section in re.findall(r"^\.BR ([\w-]+) \((\d)\)", text, re.M):
                self.assertIn(f"{page}.{section}", ("baton.1", "baton-qmp.7", "baton-migration.7"), name)


if __name__ == "__main__":
    unittest.main(verbosity=2)
