"""Loopback addresses for tests that cannot choose their ports."""

import os


def address(last):
    """Returns an address that ends with `last` and that no other running test uses."""
    return f"127.{os.getpid() // 250 % 250 + 1}.{os.getpid() % 250 + 1}.{last}"
