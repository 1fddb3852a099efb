"""The output of the test: one line and its notes at the end of each case, and a table of all cases
at the end.
"""

import time
import traceback

from cluster.waiting import TimedOut


class Failure(Exception):
    """Something differs from what a user expects; the message says what."""


class Skipped(Exception):
    """This cluster cannot run the case; the message says what it lacks."""


def expect(condition, message):
    if not condition:
        raise Failure(message)


class Report:
    """Runs cases, one after the other."""

    def __init__(self):
        self.began = time.monotonic()
        self.lines = []
        self.notes = []
        self.failed = 0

    def note(self, text):
        """Adds a finding to the current case."""
        self.notes.append(text)
        print(f"      {text}", flush=True)

    def run(self, title, case):
        """Runs a case; returns whether it did not fail."""
        print(f"----  {title}", flush=True)
        began, self.notes = time.monotonic(), []
        verdict = self.verdict(case)
        line = f"{verdict[0]:7} {time.monotonic() - began:6.1f} s  {title}{verdict[1]}"
        print(line, flush=True)
        self.lines.append("\n".join([line, *(f"{'':19}{note}" for note in self.notes)]))
        return verdict[0] != "FAIL"

    def verdict(self, case):
        try:
            case()
        except Skipped as skipped:
            return "SKIPPED", f": needs {skipped}"
        except (Failure, TimedOut) as failure:
            self.failed += 1
            return "FAIL", f": {failure}"
        except Exception as error:
            # A fault of the test itself or of the cluster; the other cases still run.
            traceback.print_exc()
            self.failed += 1
            return "FAIL", f": {type(error).__name__}: {error}"
        return "PASS", ""

    def table(self):
        total = time.monotonic() - self.began
        return "\n".join(
            [*self.lines, f"{'FAIL' if self.failed else 'PASS':7} {total:6.1f} s  in total"]
        )
