"""What the driver tells: a line for each case as it ends, with what was found, and a table of all at the end."""

import time
import traceback

from cluster.waiting import TooLate


class Failure(Exception):
    """Something is not as a user expects it. The words say what."""


class Skipped(Exception):
    """This cluster cannot show it. The words say what that would need."""


def expect(condition, words):
    if not condition:
        raise Failure(words)


class Report:
    """Runs cases, one after the other."""

    def __init__(self):
        self.began = time.monotonic()
        self.lines = []
        self.notes = []
        self.failed = 0

    def note(self, words):
        """Something that was found out in the case that runs."""
        self.notes.append(words)
        print(f"      {words}", flush=True)

    def run(self, title, case):
        """Whether the case did not fail."""
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
        except (Failure, TooLate) as failure:
            self.failed += 1
            return "FAIL", f": {failure}"
        except Exception as error:
            # A fault of the driver or of the cluster, and no verdict on the rest.
            traceback.print_exc()
            self.failed += 1
            return "FAIL", f": {type(error).__name__}: {error}"
        return "PASS", ""

    def table(self):
        total = time.monotonic() - self.began
        return "\n".join([*self.lines, f"{'FAIL' if self.failed else 'PASS':7} {total:6.1f} s  in all"])
