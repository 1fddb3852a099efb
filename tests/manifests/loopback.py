"""Addresses of loopback for tests that use ports which are not theirs to choose."""

import os


def own(last):
    """An address that ends with `last`, and that no other test takes while this one runs."""
    return f"127.{os.getpid() // 250 % 250 + 1}.{os.getpid() % 250 + 1}.{last}"
