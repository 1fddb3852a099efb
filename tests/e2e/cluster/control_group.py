"""The control group of a node, in which kubelet places and limits its pods."""

import os
from pathlib import Path

from .waiting import until

ROOT = Path("/sys/fs/cgroup")


def make(name):
    """Creates the group in every hierarchy, where kubelet expects it."""
    for group in directories(name):
        group.mkdir()


def remove(name):
    """Removes the group and all groups below it, as soon as their processes have ended."""
    until(
        f"the processes in control group {name} have ended",
        lambda: all(map(is_gone, directories(name))),
        30,
    )


def directories(name):
    """Returns the group's directories: one in version 2, one in each hierarchy in version 1."""
    if (ROOT / "cgroup.controllers").exists():
        return [ROOT / name]
    # Symbolic links are aliases of hierarchies.
    return [part / name for part in ROOT.iterdir() if part.is_dir() and not part.is_symlink()]


def is_gone(group):
    """Tries to remove a directory; returns whether that succeeded."""
    try:
        for directory, _, _ in os.walk(group, topdown=False):
            os.rmdir(directory)
    except OSError:
        return False
    return True
