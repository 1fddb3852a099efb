"""What the driver tells: a line for each case as it ends, with what was found, and a table of all at the end."""

import time


class Failure(Exception):
    """Something is not as a user expects it. The words say what."""


class Skipped(Exception):
    """This cluster cannot show it. The words say what that would need."""


def expect(condition, words):
    if not condition:
        raise Failure(words)


class Report:
    """Runs the cases one after the other."""

    def __init__(self):
        self.began = time.monotonic()
        self.lines = []
        self.notes = []
        self.failed = False

    def note(self, words):
        """Something that was found out in the case that runs."""
        self.notes.append(words)
        print(f"      {words}", flush=True)

    def run(self, title, case):
        """Whether `case` passed. One that fails does not stop the others."""
        print(f"----  {title}", flush=True)
        began, self.notes = time.monotonic(), []
        try:
            case()
            verdict, words = "PASS", ""
        except Skipped as skipped:
            verdict, words = "SKIPPED", f": needs {skipped}"
        except Failure as failure:
            verdict, words = "FAIL", f": {failure}"
            self.failed = True
        line = f"{verdict:7} {time.monotonic() - began:6.1f} s  {title}{words}"
        print(line, flush=True)
        self.lines.append("\n".join([line, *(f"{'':18}{note}" for note in self.notes)]))
        return verdict == "PASS"

    def table(self):
        total = time.monotonic() - self.began
        return "\n".join([*self.lines, f"{'FAIL' if self.failed else 'PASS':7} {total:6.1f} s  in all"])
