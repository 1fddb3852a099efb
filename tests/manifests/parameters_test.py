#!/usr/bin/env python3
"""Makes the one edit of the overlay `example` that docs/install.md promises for each parameter of a chart, and looks at
what comes out, with every kustomize there is.
"""

import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import contract
import rendering
from parameters import EDITS, NONE
from report import Report

TABLE = rendering.ROOT / "docs/install.md"


@dataclass
class Row:
    """A row of the table: the parameters, their default, and the place that is told."""

    parameters: str
    default: str
    place: str


def rows():
    """The table of the parameters: the one in the section that speaks of a chart."""
    section = re.search(r"(?ms)^## Chart parameters.*?(?=^## )", TABLE.read_text())[0]
    lines = re.findall(r"(?m)^\| (.*?) \| (.*?) ?\| (.*?) \|$", section)
    return {parameters: Row(parameters, default, place) for parameters, default, place in lines[2:]}


def missing(table):
    """Parameters without a row, rows without an edit or a reason, and edits without a row."""
    named = " ".join(table)
    yield from (f"{TABLE.name} has no row for {one}" for one in contract.PARAMETERS if f"`{one}" not in named)
    yield from (f"no test edits {one}" for one in table if one not in {edit.parameter for edit in EDITS} | NONE)
    yield from (f"{TABLE.name} has no row {edit.parameter}" for edit in EDITS if edit.parameter not in table)
    for one in NONE & set(table):
        if not re.match(r"none: \w+", table[one].place):
            yield f"{TABLE.name} does not say why {one} is missing"


def unheard_of(edit, row):
    """The place that the row tells must be the one that is edited."""
    told = set(re.findall(r"[A-Za-z][\w-]{4,}", " ".join(re.findall(r"`([^`]+)`", row.place))))
    if not told & set(re.findall(r"[A-Za-z][\w-]{4,}", edit.old + edit.new)):
        yield f"the row says nothing of {edit.new.strip()}"


def outcome(kubectl, edit):
    """What the objects are after the edit, made to a copy of the whole tree."""
    with tempfile.TemporaryDirectory() as scratch:
        for tree in ("manifests", "kustomize"):
            shutil.copytree(rendering.ROOT / tree, Path(scratch, tree))
        overlay = Path(scratch, "kustomize/overlays/example")
        file = overlay / edit.file
        text = file.read_text()
        if text.count(edit.old) != 1:
            return f"{edit.file} has {edit.old!r} {text.count(edit.old)} times, not once"
        file.write_text(text.replace(edit.old, edit.new))
        return edit.found(rendering.build(kubectl, overlay))


def judge(kubectls, edit, row):
    yield from unheard_of(edit, row)
    for kubectl in kubectls:
        found = outcome(kubectl, edit)
        if found != edit.wanted:
            yield f"{kubectl}: comes to {found}, not {edit.wanted}"


def main():
    report, table, kubectls = Report(), rows(), rendering.kubectls()
    report.judge("the table", missing(table))
    for edit in EDITS:
        if edit.parameter in table:
            report.judge(edit.parameter, judge(kubectls, edit, table[edit.parameter]))
            change = " ".join(edit.new.split()) or f"no {edit.old.strip()}"
            print(f"  {edit.parameter}  ->  {change}")
    for one in sorted(NONE & set(table)):
        print(f"  {one}  ->  {table[one].place}")
    report.end("parameters")


if __name__ == "__main__":
    main()
