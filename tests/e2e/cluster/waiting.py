"""Waits for conditions, never without an end."""

import time


class TooLate(Exception):
    """What was waited for did not come."""


def until(what, condition, seconds):
    """Asks `condition` until it answers with something true, and returns that."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise TooLate(f"{what}: not within {seconds} s")
        time.sleep(0.1)
