"""Families of the distribution's binaries and their debug files: laid out and named as find-debuginfo would have."""

import fnmatch
import os
import re
import shutil
import sys

from . import elf, rpms
from .inputs import Absent
from .run import Failed, run

SOURCES = ("*.c", "*.h", "*.S", "*.cc", "*.cpp", "*.cxx", "*.hpp", "*.hh", "*.y", "*.l", "*.inc", "*.def")
MOVES = [("lib/x86_64-linux-gnu/", "usr/lib64/"), ("usr/lib/x86_64-linux-gnu/", "usr/lib64/"), ("lib64/", "usr/lib64/"),
         ("lib/", "usr/lib/"), ("bin/", "usr/bin/"), ("sbin/", "usr/sbin/")]


class Family:
    """The files of one family while they are put in order below `root`."""

    def __init__(self, row, scratch, version):
        self.row, self.scratch = row, scratch
        self.epoch, self.version, self.release = rpms.upstream(version)
        self.nvra = f"{self.version}-{self.release}{rpms.DIST}.{rpms.ARCH}"
        self.root = scratch / "root"
        self.packages = {}

    def take(self, source, path, package, executable):
        """Moves a file to its place in a package."""
        target = self.root / path
        if not rpms.can_be_listed(path) or os.path.lexists(target):
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        os.rename(source, target)
        if executable:
            target.chmod(0o755)
        self.packages.setdefault(package, []).append(path)

    def debug(self, source, path, package):
        """Moves a debug file to its place, as the table wants its sections."""
        if self.row.options.get("debug") == "plain":
            run(["eu-elfcompress", "-q", "-t", "none", source])
        self.take(source, path, f"{package}-debuginfo", False)


def package(row, inputs, scratch):
    """Name, version, release of a family and the directory with its packages."""
    package_with_debug, mains = inputs.with_debug(row)
    name = row.options["as"] if row.kind == "kernel" else row.name.removesuffix("-dbg")
    mains = {name if row.kind == "kernel" else main: main for main in mains}
    version, deb = inputs.package(package_with_debug)
    family = Family(row, scratch, version)
    debug = unpack(deb, scratch / "in" / package_with_debug)
    unpacked = {main: unpack(inputs.package(deb_name)[1], scratch / "in" / deb_name) for main, deb_name in mains.items()}
    (kernel if row.kind == "kernel" else programs)(family, unpacked, debug)
    if not any(package.endswith("-debuginfo") for package in family.packages):
        raise Failed(f"{row.name}: expected debug files of {', '.join(mains.values())}, found none")
    if "sources" in row.options:
        try:
            debugsource(family, inputs, name)
        except Absent as absent:
            print(f"{row.name}: without -debugsource: {absent}", file=sys.stderr)
    shutil.rmtree(scratch / "in")
    made = rpms.build(spec(family, name), scratch, scratch)
    if len(os.listdir(made)) != len(family.packages):
        raise Failed(f"{row.name}: expected the packages {sorted(family.packages)}, found {sorted(os.listdir(made))}")
    return name, family.version, family.release, made


def unpack(deb, directory):
    directory.mkdir(parents=True)
    run(["dpkg-deb", "-x", deb, directory])
    return directory


def programs(family, mains, debug):
    """Each program or library gets the debug file of its build-id, in the -debuginfo of its own package."""
    found, multifiles = {}, []
    for path in files(debug / "usr/lib/debug"):
        if "/.dwz/" in str(path):
            multifiles.append(path)
        elif identity := elf.build_id(path):
            found.setdefault(identity, path)
    for name, directory in sorted(mains.items()):
        for path in files(directory):
            place = moved(str(path.relative_to(directory)))
            identity = None if path.is_symlink() else elf.build_id(path)
            family.take(path, place, name, identity is not None)
            if identity in found:
                family.debug(found.pop(identity), f"usr/lib/debug/{place}-{family.nvra}.debug", name)
    owners = [name for name in sorted(mains) if f"{name}-debuginfo" in family.packages]
    for path in multifiles:
        if owners:
            family.debug(path, str(path.relative_to(debug)), owners[0])


def kernel(family, mains, debug):
    """vmlinux and the modules whose debug file has at most `limit` bytes; as in Fedora without versions in their names."""
    limit = int(family.row.options.get("limit", 1 << 40))
    (name, main), = mains.items()
    left_out = set()
    for path in files(debug / "usr/lib/debug"):
        place = str(path.relative_to(debug / "usr/lib/debug"))
        if path.is_symlink() or "/.build-id/" in str(path):
            continue
        if place.endswith(".ko"):
            run(["eu-strip", "--reloc-debug-sections-only", path])
            if path.stat().st_size <= limit:
                family.debug(path, f"usr/lib/debug/{moved(place)}.debug", name)
            else:
                left_out.add(place)
        elif found := re.match(r"boot/vmlinux-(.*)", place):
            family.debug(path, f"usr/lib/debug/usr/lib/modules/{found[1]}/vmlinux", name)
    for path in files(main):
        place = str(path.relative_to(main))
        if place.removesuffix(".xz") not in left_out:
            family.take(path, moved(place), name, False)


def debugsource(family, inputs, name):
    """The upstream sources, whole or some directories of them: those of C and C++."""
    source, _, directories = family.row.options["sources"].partition(":")
    tar = inputs.source(source)[1]
    place = f"usr/src/debug/{name}-{family.nvra}"
    target = family.root / place
    target.mkdir(parents=True)
    patterns = [f"*/{directory}/{pattern}" for directory in directories.split("+") for pattern in SOURCES] if directories else SOURCES
    # tar fails for a pattern without a file.
    listing = run(["tar", "-tf", tar]).decode(errors="replace").splitlines()
    patterns = [pattern for pattern in patterns if fnmatch.filter(listing, pattern)]
    run(["tar", "-xf", tar, "-C", target, "--strip-components=1", "--no-same-owner", "--wildcards", *patterns])
    if not any(files(target)):
        raise Failed(f"{family.row.name}: expected sources in {source}, found none")
    family.packages[f"{name}-debugsource"] = [place]


def spec(family, name):
    text = rpms.preamble(name, family.version, family.release, family.epoch, f"{name} of the distribution")
    # Otherwise rpmbuild takes the files of NAME-debuginfo away, to spread them over subpackages.
    text = "%undefine _debuginfo_subpackages\n%global debug_package %{nil}\n%global __os_install_post %{nil}\n" + text
    if "level" in family.row.options:
        text = f"%global _binary_payload w{family.row.options['level']}.zstdio\n" + text
    for package, paths in sorted(family.packages.items()):
        option = "" if package == name else f"-n {package}"
        text += rpms.subpackage(option) if option else ""
        listing = family.scratch / f"{package}.files"
        listing.write_text("%defattr(-,root,root,-)\n" + "".join(f"/{path}\n" for path in sorted(paths)))
        text += f"%files {option} -f {listing}\n"
    return text + f"%install\nrm -rf %{{buildroot}}\nmkdir -p $(dirname %{{buildroot}})\nmv {family.root} %{{buildroot}}\n"


def files(directory):
    """All files and symlinks below, in the order of their names."""
    for parent, directories, names in os.walk(directory):
        directories.sort()
        for name in sorted(names + [one for one in directories if os.path.islink(os.path.join(parent, one))]):
            yield type(directory)(parent) / name


def moved(place):
    """Where Fedora has it."""
    if found := re.match(r"boot/([A-Za-z.]+)-(\d.*)", place):
        return f"usr/lib/modules/{found[2]}/{found[1]}"
    for old, new in MOVES:
        if place.startswith(old):
            return new + place[len(old):]
    return place
