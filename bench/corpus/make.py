#!/usr/bin/env python3
"""Makes RPM families as Fedora's rpmbuild would, of the distribution's binaries and sources. See README.md."""

import argparse
import configparser
import fcntl
import os
import shutil
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.dont_write_bytecode = True
from maker import prebuilt, rpms, source  # noqa: E402
from maker.inputs import Inputs  # noqa: E402
from maker.run import Failed, run  # noqa: E402
from maker.table import SIZES, read_table  # noqa: E402
from maker.units import Units  # noqa: E402

HERE = Path(__file__).resolve().parent
TOOLS = ["rpmbuild", "find-debuginfo", "dwz", "gdb-add-index", "eu-elfcompress", "eu-strip", "dpkg-deb", "apt-get", "gcc", "g++", "make", "tar", "zstd"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("--out", type=Path, help="directory of the packages (default: var/corpus/SIZE)")
    parser.add_argument("--cache", type=Path, default=Path("var/corpus/cache"), help="what is fetched and compiled (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="families at a time (default: %(default)s)")
    parser.add_argument("--level", type=int, default=3, choices=range(1, 20), metavar="1-19", help="zstd level of the big families (default: %(default)s); of the others it is 19")
    parser.add_argument("--only", help="make only the families with this in their name")
    arguments = parser.parse_args()
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        sys.exit(f"make.py: missing: {', '.join(missing)} (Debian: rpm debugedit dwz gdb elfutils dpkg-dev g++ make zstd)")
    out = (arguments.out or Path("var/corpus") / arguments.size).resolve()
    os.umask(0o022)
    arguments.cache.mkdir(parents=True, exist_ok=True)
    with open(arguments.cache / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"make.py: another one works in {arguments.cache}")
        sys.exit(Maker(arguments.size, out, arguments.cache.resolve(), arguments.level).make(arguments.jobs, arguments.only))


class Maker:
    def __init__(self, size, out, cache, level):
        self.rows = read_table(HERE / "families.tsv", size, level)
        self.recipes = configparser.ConfigParser(interpolation=None)
        self.recipes.read(HERE / "recipes.ini")
        self.inputs = Inputs(cache)
        self.cache, self.out = cache, out
        tools = [run(command).decode().splitlines()[0] for command in (["rpmbuild", "--version"], ["gcc", "--version"], ["find-debuginfo", "--version"], ["dwz", "--version"])]
        self.units = Units(out, tools)
        self.begun = time.monotonic()
        self.done = 0
        self.lock = threading.Lock()

    def make(self, jobs, only):
        """Makes what is not there yet; 1 if a family failed."""
        rows = [row for row in self.rows if not only or only in row.name]
        failures = []

        def one(row):
            try:
                made = self.family(row)
            except Failed as failure:
                failures.append(row.name)
                made = f"FAILED: {failure}"
            with self.lock:
                self.done += 1
                print(f"[{self.done}/{len(rows)}] {time.monotonic() - self.begun:6.0f} s  {row.name}: {made}", flush=True)

        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(one, rows))
        if failures:
            print(f"make.py: failed: {' '.join(sorted(failures))}", file=sys.stderr)
            return 1
        if only is None:
            self.units.forget_others(rows)
        rows = self.units.write_manifests(self.inputs, self.rows)
        total = sum(int(row[1]) for row in rows)
        print(f"{len(rows)} packages, {total / 1e6:.1f} MB, largest member {max(int(row[4]) for row in rows) / 1e6:.1f} MB, "
              f"{sum(int(row[5]) for row in rows)} ELF files with a build-id, {time.monotonic() - self.begun:.0f} s: {self.out}")
        return 0

    def family(self, row):
        recipe = dict(self.recipes[row.name]) if row.kind == "source" and self.recipes.has_section(row.name) else {}
        wanted = [release for release in range(1, row.releases + 1) if not self.units.is_done(row, release, recipe)]
        if not wanted:
            return "there"
        scratch = self.cache / "work" / row.name
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        packages = 0
        if row.kind == "source":
            builds = source.builds_directory(self.cache)
            version, tree, stage = source.compile_source(row, self.inputs, builds, recipe)
            for release in wanted:
                made = source.package(row, release, version, tree, stage, scratch)
                packages += self.units.finish(row, release, recipe, made, (row.name, version, f"{release}{rpms.DIST}"))
        else:
            name, version, release, made = prebuilt.package(row, self.inputs, scratch)
            packages += self.units.finish(row, 1, recipe, made, (name, version, release + rpms.DIST))
        shutil.rmtree(scratch)
        return f"{packages} packages"


if __name__ == "__main__":
    main()
