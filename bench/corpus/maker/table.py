"""The table of families."""

from dataclasses import dataclass

from .run import Failed

SIZES = ("small", "medium", "large")
KINDS = ("source", "prebuilt", "kernel")


@dataclass(frozen=True)
class Row:
    """One family: its kind, the distribution's name, the number of releases in this size."""

    kind: str
    name: str
    releases: int
    options: dict


def read_table(file, size, level):
    """The families of a size, in the order of the table; `level` is the compression of the big ones."""
    rows = []
    for number, line in enumerate(file.read_text().splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        fields = line.split()
        if len(fields) < 5 or fields[3] not in KINDS:
            raise Failed(f"{file}:{number}: expected releases in three sizes, a kind of {KINDS} and a name, found {line!r}")
        releases = int(fields[SIZES.index(size)])
        if releases:
            options = dict(option.partition("=")[::2] for option in fields[5:])
            if options.pop("big", None) is not None:
                options["level"] = str(level)
            rows.append(Row(fields[3], fields[4], releases, options))
    return rows
