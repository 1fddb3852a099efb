"""Waits for conditions, each with a deadline."""

import time

from report import Failure

PAUSE = 0.5


def until(words, within, probe):
    """What `probe` says as soon as that is not nothing. `words` say what is awaited, `within` is in seconds."""
    deadline = time.monotonic() + within
    while not (found := probe()):
        if time.monotonic() > deadline:
            raise Failure(f"not within {within:.0f} s: {words}")
        time.sleep(PAUSE)
    return found


def until_nothing(words, within, probe):
    """Returns as soon as `probe` finds nothing more that is in the way of what is awaited."""
    found = None

    def is_free():
        nonlocal found
        found = probe()
        return not found

    try:
        until(words, within, is_free)
    except Failure as failure:
        raise Failure(f"{failure}; {found}") from None


class Watch:
    """How long something took."""

    def __init__(self):
        self.began = time.monotonic()
        self.date = time.time()

    @property
    def seconds(self):
        return time.monotonic() - self.began

    def __str__(self):
        return f"{self.seconds:.1f} s"
