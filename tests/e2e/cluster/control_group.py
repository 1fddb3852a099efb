"""The place of a node in the tree of control groups, in which kubelet sorts and limits its pods."""

import os
from pathlib import Path

from .waiting import until

ROOT = Path("/sys/fs/cgroup")


def make(name):
    """Makes the group in every hierarchy: kubelet wants to find it there."""
    for group in everywhere(name):
        group.mkdir()


def remove(name):
    """Removes it with all below it, as soon as the kernel has buried the processes."""
    until(f"the end of the processes in control group {name}", lambda: all(map(is_gone, everywhere(name))), 30)


def everywhere(name):
    """The group's directories: one in version 2, one in each hierarchy in version 1."""
    if (ROOT / "cgroup.controllers").exists():
        return [ROOT / name]
    # Symbolic links are second names of hierarchies.
    return [part / name for part in ROOT.iterdir() if part.is_dir() and not part.is_symlink()]


def is_gone(group):
    """Tries to remove one of the directories."""
    try:
        for directory, _, _ in os.walk(group, topdown=False):
            os.rmdir(directory)
    except OSError:
        return False
    return True
