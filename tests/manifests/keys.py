"""The key file of agents that tests start."""

import base64
import os
from pathlib import Path


def write(directory):
    """Writes a key file into `directory`, which only its owner may read, and returns its path."""
    file = Path(directory, "keys")
    file.touch(mode=0o600)
    file.write_text(f"test:member:{base64.b64encode(os.urandom(32)).decode()}\n")
    return str(file)
