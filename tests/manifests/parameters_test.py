#!/usr/bin/env python3
"""Tests the table of chart parameters in docs/install.md: makes each of its edits to the overlay
`example`.

Then it builds the overlay with every available version of kustomize and checks the result.
"""

import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import contract
import kustomize
from parameters import EDITS, NONE
from report import Report

TABLE = kustomize.ROOT / "docs/install.md"


@dataclass
class Row:
    """A row of the table: the parameters, their default, and their place in this project."""

    parameters: str
    default: str
    place: str


def rows():
    """Reads the table of parameters."""
    section = re.search(r"(?ms)^## Chart parameters.*?(?=^## )", TABLE.read_text())[0]
    lines = re.findall(r"(?m)^\| (.*?) \| (.*?) ?\| (.*?) \|$", section)
    return {parameters: Row(parameters, default, place) for parameters, default, place in lines[2:]}


def missing(table):
    """Finds parameters without a row, rows without an edit or a reason, and edits without a row."""
    named = " ".join(table)
    yield from (
        f"{TABLE.name} has no row for {one}"
        for one in contract.PARAMETERS
        if f"`{one}" not in named
    )
    yield from (
        f"no test edits {one}"
        for one in table
        if one not in {edit.parameter for edit in EDITS} | NONE
    )
    yield from (
        f"{TABLE.name} has no row {edit.parameter}" for edit in EDITS if edit.parameter not in table
    )
    for one in NONE & set(table):
        if not re.match(r"none: \w+", table[one].place):
            yield f"{TABLE.name} gives no reason why {one} is missing"


def wrong_place(edit, row):
    """Checks that the row mentions what the edit changes."""
    mentioned = re.findall(r"[A-Za-z][\w-]{4,}", " ".join(re.findall(r"`([^`]+)`", row.place)))
    if not set(mentioned) & set(re.findall(r"[A-Za-z][\w-]{4,}", edit.old + edit.new)):
        yield f"the row does not mention {edit.new.strip()}"


def outcome(kubectl, edit):
    """Makes the edit in a copy of the tree, and returns what it finds in the objects."""
    with tempfile.TemporaryDirectory() as scratch:
        for tree in ("manifests", "kustomize"):
            shutil.copytree(kustomize.ROOT / tree, Path(scratch, tree))
        overlay = Path(scratch, "kustomize/overlays/example")
        file = overlay / edit.file
        text = file.read_text()
        if text.count(edit.old) != 1:
            return f"{edit.file} has {edit.old!r} {text.count(edit.old)} times, not once"
        file.write_text(text.replace(edit.old, edit.new))
        return edit.found(kustomize.build(kubectl, overlay))


def problems(kubectls, edit, row):
    yield from wrong_place(edit, row)
    for kubectl in kubectls:
        found = outcome(kubectl, edit)
        if found != edit.wanted:
            yield f"{kubectl}: the result is {found}, not {edit.wanted}"


def main():
    report, table, kubectls = Report(), rows(), kustomize.kubectls()
    report.check("the table", missing(table))
    for edit in EDITS:
        if edit.parameter in table:
            report.check(edit.parameter, problems(kubectls, edit, table[edit.parameter]))
            change = " ".join(edit.new.split()) or f"no {edit.old.strip()}"
            print(f"  {edit.parameter}  ->  {change}")
    for one in sorted(NONE & set(table)):
        print(f"  {one}  ->  {table[one].place}")
    report.end("parameters")


if __name__ == "__main__":
    main()
