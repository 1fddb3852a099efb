"""Namespaces that act as separate computers, and the processes in them.

Everything that starts a process of the cluster uses this module. Nothing here outlives the process
that created it, even if that is killed: the kernel then kills the holders, the end of a holder
kills all processes in its namespaces, and namespaces without processes disappear with their mounts
and links.
"""

import os
import subprocess

from . import programs
from .waiting import until

# Longer than any timeout in a command, and long enough to import an image on a busy computer.
PATIENCE = 180
# The kernel sends this signal when the thread that started the process ends.
KILL_WITH_PARENT = ["setpriv", "--pdeathsig", "KILL", "--"]


class Network:
    """A network namespace, held by an idle process."""

    KINDS = ("--net",)

    def __init__(self, *setup):
        """`setup` is a command that runs in the namespaces first, and then executes the holder."""
        command = [
            *KILL_WITH_PARENT,
            "unshare",
            *self.KINDS,
            "--",
            *setup,
            str(programs.path("pause")),
        ]
        # In a new session, so that Ctrl-C does not kill it out of order.
        self.holder = subprocess.Popen(command, start_new_session=True)
        own = os.stat("/proc/self/ns/net").st_ino
        until(
            "a new network namespace exists",
            lambda: os.stat(self.namespace("net")).st_ino != own,
            10,
        )

    def namespace(self, file):
        """Returns the file of one of the namespaces."""
        return f"/proc/{self.holder.pid}/ns/{file}"

    def inside(self):
        """Returns a command prefix that runs a command in this network."""
        return ["nsenter", f"--net={self.namespace('net')}", "--"]

    def run(self, *command):
        """Runs a command in this network and waits for its end."""
        return check(*self.inside(), *command)

    def end(self):
        """Kills the holder."""
        self.holder.kill()
        self.holder.wait()


class Machine(Network):
    """A network with its own processes, mounts and host name; its end kills all its processes."""

    KINDS = ("--net", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc")

    def __init__(self, setup, ready):
        """`setup` creates the file `ready` when it has finished, and executes its arguments."""
        super().__init__(*setup)
        until("a new machine is ready", ready.exists, 10)

    def on_machine(self):
        """Returns a command prefix that runs a command in all namespaces of this machine."""
        files = {"net": "net", "mount": "mnt", "uts": "uts", "pid": "pid_for_children"}
        return [
            "nsenter",
            *(f"--{kind}={self.namespace(file)}" for kind, file in files.items()),
            "--",
        ]


class Process:
    """A program that runs until it is stopped, and writes a log."""

    def __init__(self, log, prefix, *command, **options):
        """Starts the program; `prefix` determines where."""
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [*KILL_WITH_PARENT, *prefix, *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **options,
            )

    def check(self):
        """Raises an error if the program has ended by itself."""
        if self.process.poll() is not None:
            last = self.log.read_text(errors="replace").splitlines()[-3:]
            raise RuntimeError(
                f"{self.log.stem} has ended with {self.process.returncode}: {' / '.join(last)}"
            )

    def kill(self):
        """Kills the program without any warning."""
        self.process.kill()
        self.process.wait()

    def wait(self):
        """Waits until the program has ended, soon after the end of its machine."""
        self.process.wait(timeout=10)


def check(*command):
    """Runs a command and returns its output; if it fails, the exception has its error message."""
    command = [str(word) for word in command]
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{' '.join(command)} took more than {PATIENCE} s") from None
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
    return done.stdout
