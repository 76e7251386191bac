"""What is taken from the distribution: packages and upstream sources, fetched with apt and kept in the cache.

`inputs.tsv` in the cache records what was taken (kind, name, version, file, sha256). What is recorded and there is not asked for
again, so a corpus stays what it is when the distribution moves on; remove the cache for newer versions.
"""

import functools
import hashlib
import os
import re
import shutil
import subprocess
import threading
from pathlib import Path

from .run import Failed, run

SOURCE_LISTS = ["/etc/apt/sources.list", "/etc/apt/sources.list.d"]


class Absent(Failed):
    """The distribution does not have it (any more)."""


class Inputs:
    def __init__(self, cache):
        self.cache = cache
        self.files = cache / "inputs"
        self.record = cache / "inputs.tsv"
        self.lock = threading.Lock()
        self.known = {}
        self.files.mkdir(parents=True, exist_ok=True)
        if self.record.exists():
            for line in self.record.read_text().splitlines()[1:]:
                kind, name, version, file, digest = line.split("\t")
                self.known[kind, name] = (version, file, digest)

    def package(self, name):
        """Version and file of a binary package: as recorded, else the newest that apt knows."""
        return self._get("package", name, self._fetch_package)

    def source(self, name):
        """Version and upstream tar file of a source package."""
        return self._get("source", name, self._fetch_source)

    def depends(self, package, any_version=False):
        """The packages of the same version that a package with debug files is for (or, any version: the newest it stands for)."""
        with self.lock:
            return self._depends(package, any_version)

    def with_debug(self, row):
        """The package with the debug files of a family, and the packages that it is for."""
        if row.kind != "kernel":
            return row.name, self.depends(row.name)
        # The named package is empty and depends on that of the newest kernel.
        debug = self.depends(row.name, any_version=True)[0]
        image = debug.removesuffix("-dbg")
        # An image is there unsigned first, and has the same modules.
        images = [image, f"{image}-unsigned"]
        recorded = [name for name in images if ("package", name) in self.known]
        return debug, (recorded or [name for name in images if stanza(name, "Version")] or images)[:1]

    def rows(self, wanted):
        """What the families of a table were made of, as recorded."""
        keys = set()
        for row in wanted:
            if row.kind == "source":
                keys.add(("source", row.name))
                continue
            debug, mains = self.with_debug(row)
            keys |= {("package", name) for name in [debug, *mains]}
            if "sources" in row.options:
                keys.add(("source", row.options["sources"].partition(":")[0]))
        return [(*key, *self.known[key]) for key in sorted(keys) if key in self.known]

    def _get(self, kind, name, fetch):
        with self.lock:
            known = self.known.get((kind, name))
            if known and (self.files / known[1]).exists():
                return known[0], self.files / known[1]
            version, file = fetch(name, known[0] if known else None)
            digest = sha256(self.files / file)
            if known and digest != known[2]:
                raise Failed(f"{file}: expected SHA-256 {known[2]} as in {self.record}, found {digest}")
            self.known[kind, name] = (version, file, digest)
            lines = ["kind\tname\tversion\tfile\tsha256"]
            lines += ["\t".join((*key, *value)) for key, value in sorted(self.known.items())]
            part = self.record.with_suffix(".part")
            part.write_text("\n".join(lines) + "\n")
            part.rename(self.record)
            return version, self.files / file

    def _fetch_package(self, name, version):
        version = version or stanza(name, "Version")
        before = set(os.listdir(self.files))
        run(["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", f"{name}={version}"], cwd=self.files)
        file = f"{name}_{version.replace(':', '%3a')}_{stanza(name, 'Architecture')}.deb"
        if not (self.files / file).exists():
            raise Failed(f"apt-get download {name}: expected {file}, found {sorted(set(os.listdir(self.files)) - before)}")
        return version, file

    def _depends(self, package, any_version):
        """`Depends: libkrb5-3 (= 1.20) | libk5crypto3 (= 1.20)`; recorded, because apt forgets old versions."""
        directory = self.cache / "depends"
        directory.mkdir(exist_ok=True)
        kept = directory / package
        if not kept.exists():
            version = stanza(package, "Version")
            fields = " ".join(stanza(package, field) for field in ("Depends", "Recommends", "Suggests"))
            found = re.findall(r"([a-z0-9][a-z0-9.+-]*)(?::\w+)? \(= ([^)]*)\)", fields)
            names = [name for name, same in found if same == version or any_version]
            names += [package.removesuffix("-dbg")] if stanza(package.removesuffix("-dbg"), "Version") and not any_version else []
            kept.write_text("".join(f"{name}\n" for name in sorted(set(names) - {package}) if stanza(name, "Version")))
        return kept.read_text().split()

    def _fetch_source(self, name, version):
        options = self._source_options()
        versions = [version]
        if version is None:
            shown = run(["apt-cache", *options, "showsrc", "--only-source", name]).decode()
            versions = newest_first(set(re.findall(r"^Version: (.*)$", shown, re.M)))
        directory = self.files / f"source-{name}"
        for version in versions:
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir()
            try:
                run(["apt-get", *options, "source", "--download-only", "--tar-only", "--only-source", "-qq", "-o", "APT::Sandbox::User=root", f"{name}={version}"], cwd=directory)
            except Failed as failure:
                # The list of a suite can be ahead of the mirror: the next older version then.
                reason = failure
                continue
            tars = sorted(file for file in os.listdir(directory) if re.search(r"\.orig\.tar\.\w+$", file))
            tars = tars or sorted(file for file in os.listdir(directory) if re.search(r"(?<!debian)\.tar\.\w+$", file))
            if not tars:
                raise Failed(f"source package {name} {version}: expected an upstream tar file, found {sorted(os.listdir(directory))}")
            return version, f"source-{name}/{tars[-1]}"
        raise Absent(f"source package {name}: no version of {versions} can be fetched\n{reason if versions else ''}")

    def _source_options(self):
        """apt's options for the sources of the suites that this machine's own apt uses."""
        directory = self.cache / "apt"
        options = []
        for option in (f"Dir::Etc::sourcelist={directory}/corpus.sources", "Dir::Etc::sourceparts=/nonexistent",
                       f"Dir::State::lists={directory}/lists", "Dir::Cache::srcpkgcache=", "Dir::Cache::pkgcache="):
            options += ["-o", option]
        if not (directory / "lists" / "partial").exists():
            (directory / "lists").mkdir(parents=True, exist_ok=True)
            write_source_list(directory)
            run(["apt-get", *options, "-o", "APT::Sandbox::User=root", "update", "-qq"])
        return options


def write_source_list(directory):
    """`deb` becomes `deb-src`, in both formats that apt knows. Only lists of the distribution: those with a `main`."""
    stanzas = []
    for place in SOURCE_LISTS:
        place = Path(place)
        files = sorted(place.glob("*")) if place.is_dir() else [place]
        for file in files:
            if file.suffix == ".sources":
                stanzas += [part for part in re.split(r"\n\s*\n", file.read_text()) if re.search(r"^Components:.*\bmain\b", part, re.M)]
            elif file.suffix == ".list" and file.exists():
                for line in file.read_text().splitlines():
                    found = re.match(r"deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+(\S+)\s+(.*\bmain\b.*)", line)
                    if found:
                        stanzas.append("Types: deb\nURIs: {}\nSuites: {}\nComponents: {}".format(*found.groups()))
    if not stanzas:
        raise Failed(f"expected apt's lists of packages in {SOURCE_LISTS}, found none with a component `main`")
    text = "\n\n".join(re.sub(r"^Types:.*$", "Types: deb-src", part.strip(), flags=re.M) for part in stanzas)
    (directory / "corpus.sources").write_text(text + "\n")


def newest_first(versions):
    """In dpkg's order."""
    def compare(one, other):
        return -1 if subprocess.run(["dpkg", "--compare-versions", one, "gt", other]).returncode == 0 else 1

    return sorted(versions, key=functools.cmp_to_key(compare))


_shown = {}


def stanza(package, field):
    """A field of the newest version of a package; empty if there is none."""
    if package not in _shown:
        try:
            text = run(["apt-cache", "show", "--no-all-versions", package]).decode()
        except Failed:
            text = ""
        _shown[package] = dict(re.findall(r"^([A-Za-z-]+): (.*)$", text, re.M))
    return _shown[package].get(field, "")


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
