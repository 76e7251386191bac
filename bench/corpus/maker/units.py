"""Families as units: each is there whole or not at all, and is made again only when what it is made of changes."""

import hashlib
import json
import shutil
import threading

from . import rpms

# To be raised when the maker would make other packages of the same inputs.
EDITION = 1
COLUMNS = ["file", "bytes", "sha256", "members", "largest_member", "build_ids", "family"]


class Units:
    def __init__(self, out, tools):
        self.out, self.tools = out, tools
        self.stamps = out / ".units"
        self.stamps.mkdir(parents=True, exist_ok=True)
        self.lock = threading.Lock()

    def is_done(self, row, release, recipe):
        stamp = self._stamp(row, release)
        if not stamp.exists():
            return False
        kept = json.loads(stamp.read_text())
        return kept["key"] == self._key(row, release, recipe) and (self.out / kept["directory"]).is_dir()

    def finish(self, row, release, recipe, made, nvr):
        """Moves the packages to packages/NAME/VERSION/RELEASE and says that they are there; returns their number."""
        directory = self.out / "packages" / nvr[0] / nvr[1] / nvr[2]
        self._remove(self._stamp(row, release))
        shutil.rmtree(directory, ignore_errors=True)
        described = [[f"{directory.relative_to(self.out)}/{rpm.name}", *rpms.describe(rpm), row.name] for rpm in sorted(made.iterdir())]
        directory.parent.mkdir(parents=True, exist_ok=True)
        staged = directory.with_name(directory.name + ".part")
        shutil.rmtree(staged, ignore_errors=True)
        shutil.move(made, staged)
        staged.rename(directory)
        stamp = self._stamp(row, release)
        part = stamp.with_suffix(".part")
        part.write_text(json.dumps({"key": self._key(row, release, recipe), "directory": str(directory.relative_to(self.out)), "packages": described}))
        part.rename(stamp)
        return len(described)

    def forget_others(self, rows):
        """Removes families that the table no longer has."""
        wanted = {self._stamp(row, release) for row in rows for release in range(1, row.releases + 1)}
        for stamp in set(self.stamps.glob("*.json")) - wanted:
            self._remove(stamp)

    def write_manifests(self, inputs, wanted):
        """manifest.tsv, one row a package; inputs.tsv, one row a file they were made of; returns the rows of the former."""
        rows = sorted(package for stamp in self.stamps.glob("*.json") for package in json.loads(stamp.read_text())["packages"])
        self._write("manifest.tsv", [COLUMNS, *rows])
        self._write("inputs.tsv", [["kind", "name", "version", "file", "sha256"], *inputs.rows(wanted)])
        return rows

    def _write(self, name, rows):
        part = self.out / f"{name}.part"
        part.write_text("".join("\t".join(row) + "\n" for row in rows))
        part.rename(self.out / name)

    def _remove(self, stamp):
        if stamp.exists():
            shutil.rmtree(self.out / json.loads(stamp.read_text())["directory"], ignore_errors=True)
            stamp.unlink()

    def _stamp(self, row, release):
        return self.stamps / f"{row.kind}-{row.name}-{release}.json"

    def _key(self, row, release, recipe):
        made_of = json.dumps([EDITION, self.tools, row.kind, row.name, release, row.options, recipe, rpms.MACROS.read_text()], sort_keys=True)
        return hashlib.sha256(made_of.encode()).hexdigest()
