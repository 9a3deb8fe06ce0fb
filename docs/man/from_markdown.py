#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes baton-qmp(7) of docs/qmp.md, so that the two cannot differ.

Usage: from_markdown.py HEAD TAIL PAGE.md VERSION >PAGE.7. HEAD and TAIL are what stands before and behind in the manual page;
@VERSION@ in them is replaced. Of Markdown it knows what our pages use: headings, paragraphs, lists with `*`, tables, blocks of
code, `code`, **bold**, *emphasis* and links. A table's row becomes an entry with its first cell as the head.
"""

import re
import sys


def escape(text):
    text = text.replace("\\", "\\e")
    if not text.isascii():
        sys.exit(f"not ASCII, which troff wants: {text}")
    return text


def inline(text):
    """The words of a line, with roff's fonts."""
    out = ""
    for code, rest in re.findall(r"`([^`]*)`|([^`]+)", text):
        if code:
            out += "\\fB" + escape(code).replace("-", "\\-") + "\\fR"
            continue
        rest = escape(re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", rest))
        rest = re.sub(r"\*\*(.+?)\*\*", r"\\fB\1\\fR", rest)
        out += re.sub(r"(?<![\w*])\*(?! )(.+?)(?<! )\*(?![\w*])", r"\\fI\1\\fR", rest)
    return out


def guarded(line):
    """A line that is text, whatever it begins with."""
    return "\\&" + line if line[:1] in (".", "'") else line


def cells(row):
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip()[1:-1])]


def table(rows):
    titles = cells(rows[0])
    for row in rows[2:]:
        head, *more = cells(row)
        yield ".TP"
        yield guarded(inline(head))
        told = [f"{title}: {inline(cell)}" if title else inline(cell) for title, cell in zip(titles[1:], more) if cell]
        for index, text in enumerate(told or ["No arguments."]):
            if index:
                yield ".br"
            yield guarded(text)


def convert(text):
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        if line.startswith("```"):
            yield from (".PP", ".nf", ".RS 4")
            while not lines[at].startswith("```"):
                yield guarded(escape(lines[at]).replace("-", "\\-"))
                at += 1
            at += 1
            yield from (".RE", ".fi")
        elif line.startswith(("# ", "<!--")):
            continue  # the page has a title of its own; marks are for the tests
        elif line.startswith("## "):
            yield ".SH " + inline(line[3:]).upper()
        elif line.startswith("### "):
            yield ".SS " + inline(line[4:])
        elif line.startswith("|"):
            rows = [line]
            while lines[at].startswith("|"):
                rows.append(lines[at])
                at += 1
            yield from table(rows)
        elif line.strip():
            words = [line.strip()]
            while lines[at].strip() and not re.match(r"\* |\||#|```", lines[at]):
                words.append(lines[at].strip())
                at += 1
            joined = " ".join(words)
            if joined.startswith("* "):
                yield '.IP "\\(bu" 3'
                joined = joined[2:]
            else:
                yield ".PP"
            yield guarded(inline(joined))


def main():
    head, tail, page, version = sys.argv[1:]
    parts = []
    for path in (head, page, tail):
        with open(path, encoding="utf-8") as file:
            parts.append(file.read())
    body = "\n".join(convert(parts[1]))
    sys.stdout.write(parts[0].replace("@VERSION@", version) + body + "\n" + parts[2].replace("@VERSION@", version))


main()
