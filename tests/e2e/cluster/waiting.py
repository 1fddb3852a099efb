"""Waits for conditions, always with a timeout."""

import time


class TimedOut(Exception):
    """A condition did not become true in time."""


def until(what, condition, seconds):
    """Calls `condition` until it returns a true value, and returns that; `what` names it in the
    error.
    """
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise TimedOut(f"{what}: not within {seconds} s")
        time.sleep(0.1)
