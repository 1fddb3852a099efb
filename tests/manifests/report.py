"""Counts what was right, and says what was not."""

import sys


class Report:
    passed = failed = 0

    def judge(self, what, found):
        found = list(found)
        if found:
            self.failed += 1
            print(*(f"{what}: {one}" for one in found), sep="\n")
        else:
            self.passed += 1

    def end(self, name):
        print(f"{name}: {self.passed} passed, {self.failed} failed")
        sys.exit(self.failed > 0)
