"""Parts of this computer that pass for computers of their own: namespaces, and the processes in them.

For everything that starts a process of the cluster. Nothing here outlives the process that made it, not even if that
is killed: the kernel then kills the keepers, each keeper's end kills all that runs beside it, and namespaces without
processes vanish with their mounts and links.
"""

import os
import subprocess

from . import programs
from .waiting import until

# More than any time-out that a command is given, and enough to import an image on a busy computer.
PATIENCE = 180
# The kernel sends this signal when the thread that started the process ends.
BOUND = ["setpriv", "--pdeathsig", "KILL", "--"]


class Network:
    """A network namespace, held by a process that does nothing."""

    KINDS = ("--net",)

    def __init__(self, *setup):
        """`setup` is a command that runs before the keeper, in the namespaces, and must end by executing it."""
        command = [*BOUND, "unshare", *self.KINDS, "--", *setup, str(programs.path("pause"))]
        # A session of its own, so that Ctrl-C leaves it to us in which order things end.
        self.keeper = subprocess.Popen(command, start_new_session=True)
        own = os.stat("/proc/self/ns/net").st_ino
        until("a new network namespace", lambda: os.stat(self.namespace("net")).st_ino != own, 10)

    def namespace(self, file):
        """The file that stands for one of the namespaces."""
        return f"/proc/{self.keeper.pid}/ns/{file}"

    def inside(self):
        """What to put before a command so that it runs in this network."""
        return ["nsenter", f"--net={self.namespace('net')}", "--"]

    def run(self, *command):
        """Runs a command in it to its end."""
        return check(*self.inside(), *command)

    def end(self):
        """Kills the keeper at once."""
        self.keeper.kill()
        self.keeper.wait()


class Machine(Network):
    """A network with processes, mounts and a host name of its own; its end kills whatever runs in it."""

    KINDS = ("--net", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc")

    def __init__(self, setup, ready):
        """`setup` makes the file `ready` when its work is done, and executes what follows it."""
        super().__init__(*setup)
        until("a new machine", ready.exists, 10)

    def within(self):
        """What to put before a command so that it runs on this machine as one of its own."""
        files = {"net": "net", "mount": "mnt", "uts": "uts", "pid": "pid_for_children"}
        return ["nsenter", *(f"--{kind}={self.namespace(file)}" for kind, file in files.items()), "--"]


class Process:
    """A program that runs until it is stopped, and writes a log."""

    def __init__(self, log, prefix, *command, **options):
        """Starts it; `prefix` says where."""
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [*BOUND, *prefix, *map(str, command)], stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True, **options)

    def check(self):
        """Says so if it has ended by itself."""
        if self.process.poll() is not None:
            last = self.log.read_text(errors="replace").splitlines()[-3:]
            raise RuntimeError(f"{self.log.stem} has ended with {self.process.returncode}: {' / '.join(last)}")

    def kill(self):
        """Gives it no time to say anything."""
        self.process.kill()
        self.process.wait()

    def wait(self):
        """Waits until it is no more, which is soon after its machine's end."""
        self.process.wait(timeout=10)


def check(*command):
    """Runs a command to its end, and returns what it wrote; its complaint is part of the exception if it fails."""
    command = [str(word) for word in command]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{' '.join(command)} took more than {PATIENCE} s") from None
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
    return done.stdout
