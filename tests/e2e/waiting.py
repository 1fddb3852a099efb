"""Waits for what is not there to be in the way, and tells how long things take; what is to be there awaits
`cluster.waiting`."""

import time

from cluster.waiting import TooLate, until


def until_nothing(what, obstacles, seconds):
    """Asks `obstacles` until it finds nothing any more that is in the way of `what`; names them if it is too late."""
    found = None

    def is_free():
        nonlocal found
        found = list(obstacles())
        return not found

    try:
        until(what, is_free, seconds)
    except TooLate as late:
        raise TooLate(f"{late}: {', '.join(map(str, found))}") from None


class Watch:
    """How long something takes."""

    def __init__(self):
        self.began = time.monotonic()
        self.date = time.time()

    @property
    def seconds(self):
        return time.monotonic() - self.began

    def __str__(self):
        return f"{self.seconds:.1f} s"
