"""Runs programs: their output is shown only when they fail."""

import os
import subprocess

# 2024-01-01: build time of all packages and the latest time of their files.
EPOCH = "1704067200"


class Failed(Exception):
    """A program ended badly, or something is not as expected."""


def environment(home):
    """Nothing of the user's settings, nothing that changes from run to run."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "TMPDIR": str(home),
        "LC_ALL": "C",
        "TZ": "UTC",
        "SOURCE_DATE_EPOCH": EPOCH,
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def run(command, **options):
    """The standard output of a program."""
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, **options)
    if done.returncode != 0:
        output = (done.stdout + done.stderr).decode(errors="replace")
        raise Failed(f"{' '.join(str(part) for part in command)[:300]}: ended with {done.returncode}\n{output[-4000:]}")
    return done.stdout
