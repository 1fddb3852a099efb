"""Waits until no obstacle is left, and measures durations; `cluster.waiting` has the basics."""

import time

from cluster.waiting import TimedOut, until


def until_nothing(what, obstacles, seconds):
    """Calls `obstacles` until it returns nothing, which means `what`; a timeout names those that
    are left.
    """
    found = None

    def is_free():
        nonlocal found
        found = list(obstacles())
        return not found

    try:
        until(what, is_free, seconds)
    except TimedOut as error:
        raise TimedOut(f"{error}: {', '.join(map(str, found))}") from None


class Stopwatch:
    """Measures a duration from its creation on."""

    def __init__(self):
        self.began = time.monotonic()
        self.date = time.time()

    @property
    def seconds(self):
        return time.monotonic() - self.began

    def __str__(self):
        return f"{self.seconds:.1f} s"
