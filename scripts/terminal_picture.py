#!/usr/bin/env python3
"""Runs the demo in a terminal of its own and draws what it prints as an SVG.

    scripts/terminal_picture.py target/release/iperf3-mesh docs/images/terminal.svg

The figures are those of a real run on this machine: six agents on the loopback interface without a cap on the
bitrate. The cells differ because three tests at a time share the processor. Needs Python and nothing else.
"""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from html import escape
from pathlib import Path

ARGS = ["local", "--nodes", "6", "--sweeps", "1", "--duration", "2s", "--bitrate", "0"]
# Columns of the terminal, seconds that the run may take.
WIDTH, PATIENCE = 80, 300
# Pixels: size of the text, cell of a character, margin around the text.
FONT, CELL, LINE, MARGIN = 14, 8.4, 20, 18
# Dark with a border of its own, so that it stands out from light and dark pages alike.
BACKGROUND, BORDER, FOREGROUND = "#0d1117", "#444c56", "#d1d7e0"
# The first 16 colours are the terminal's choice; these are xterm's.
NAMED = "000000 cd0000 00cd00 cdcd00 0000ee cd00cd 00cdcd e5e5e5 7f7f7f ff0000 00ff00 ffff00 5c5cff ff00ff 00ffff ffffff"
# Viewers merge longer runs of blanks.
WORDS = re.compile(r"\S+(?: \S+)*")
ESCAPE = re.compile(r"\x1b\[([0-9;]*)([A-Za-z])")


def run(command):
    """The output of a command that has a terminal for standard output."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, WIDTH, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=its, stderr=subprocess.PIPE, env=environment)
    os.close(its)
    output = b"".join(iter(lambda: read(ours), b""))
    _, complaint = process.communicate(timeout=PATIENCE)
    if process.returncode:
        raise SystemExit(f"{command} failed: {complaint.decode()}")
    return output.decode().replace("\r\n", "\n")


def read(terminal):
    """The next piece of output; none once the other end is closed, which Linux reports as an error."""
    try:
        return os.read(terminal, 1 << 16)
    except OSError:
        return b""


def colour(number):
    """A colour of xterm's 256."""
    if number < 16:
        return f"#{NAMED.split()[number]}"
    if number >= 232:
        return "#" + 3 * f"{8 + 10 * (number - 232):02x}"
    levels = (number - 16) // 36, (number - 16) // 6 % 6, (number - 16) % 6
    return "#" + "".join(f"{55 + 40 * level if level else 0:02x}" for level in levels)


def styled(style, codes):
    """The style (foreground, background, weight) after the codes of one escape sequence."""
    foreground, background, weight = style
    codes = iter(int(code or 0) for code in codes.split(";"))
    for code in codes:
        if code == 0:
            foreground, background, weight = FOREGROUND, None, "normal"
        elif code in (1, 22):
            weight = "bold" if code == 1 else "normal"
        elif code in (38, 48):
            assert next(codes) == 5, "only xterm's 256 colours are known"
            number = colour(next(codes))
            foreground, background = (number, background) if code == 38 else (foreground, number)
        elif code in (39, 49):
            foreground, background = (FOREGROUND, background) if code == 39 else (foreground, None)
        elif code // 10 in (3, 9):
            foreground = colour(code % 10 + (8 if code >= 90 else 0))
        elif code // 10 in (4, 10):
            background = colour(code % 10 + (8 if code >= 100 else 0))
    return foreground, background, weight


def runs(line):
    """The pieces of a line that have one style: first column, text, style."""
    style, column, rest = (FOREGROUND, None, "normal"), 0, 0
    for match in [*ESCAPE.finditer(line), None]:
        text = line[rest : match.start() if match else None]
        if text:
            yield column, text, style
        column += len(text)
        if match:
            assert match[2] == "m", f"only colours are known, not {match[0]!r}"
            style, rest = styled(style, match[1]), match.end()


def draw_line(number, line):
    """The elements of one line: backgrounds first, then text that keeps its columns in any font."""
    top = MARGIN + number * LINE
    for column, text, (foreground, background, weight) in runs(line):
        x, width = MARGIN + column * CELL, len(text) * CELL
        if background:
            yield f'<rect x="{x:.1f}" y="{top}" width="{width:.1f}" height="{LINE}" fill="{background}"/>'
        bold = ' font-weight="bold"' if weight == "bold" else ""
        for words in WORDS.finditer(text):
            yield (
                f'<text x="{x + words.start() * CELL:.1f}" y="{top + 15}" fill="{foreground}"{bold} '
                f'textLength="{len(words[0]) * CELL:.1f}">{escape(words[0])}</text>'
            )


def draw(command, output):
    """The whole picture: the command behind a prompt, and its output."""
    lines = [command, "", *output.rstrip("\n").split("\n")]
    columns = max(len(ESCAPE.sub("", line)) for line in lines)
    width, height = round(2 * MARGIN + columns * CELL), 2 * MARGIN + len(lines) * LINE
    elements = [element for number, line in enumerate(lines) for element in draw_line(number, line)]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img"'
        f' font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, \'DejaVu Sans Mono\', monospace" font-size="{FONT}">'
    )
    title = f"<title>Output of {escape(ESCAPE.sub('', command).lstrip('$ '))}</title>"
    frame = (
        f'<rect x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8" '
        f'fill="{BACKGROUND}" stroke="{BORDER}"/>'
    )
    return "\n".join([head, title, frame, *elements, "</svg>", ""])


def main():
    agent, picture = sys.argv[1:]
    prompt = "\x1b[32m$\x1b[0m \x1b[1miperf3-mesh " + " ".join(ARGS) + "\x1b[0m"
    Path(picture).write_text(draw(prompt, run([agent, *ARGS])))


if __name__ == "__main__":
    main()
