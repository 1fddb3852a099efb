"""Counts the checks that passed, and prints the problems of those that failed."""

import sys


class Report:
    passed = failed = 0

    def check(self, what, problems):
        problems = list(problems)
        if problems:
            self.failed += 1
            print(*(f"{what}: {problem}" for problem in problems), sep="\n")
        else:
            self.passed += 1

    def end(self, name):
        print(f"{name}: {self.passed} passed, {self.failed} failed")
        sys.exit(self.failed > 0)
