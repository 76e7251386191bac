"""Families built from upstream sources: compiled once, packaged once per release with rpmbuild and find-debuginfo."""

import os
import re
import shutil
from pathlib import Path

from . import elf, rpms
from .run import Failed, environment, run

FLAGS = "-O2 -g -grecord-gcc-switches -fexceptions -fstack-protector-strong -fasynchronous-unwind-tables -Wno-error"
CONFIGURE = "./configure --prefix=/usr --libdir=/usr/lib64 --sysconfdir=/etc --disable-nls --disable-dependency-tracking $OPTIONS"


# Of the directory that sources are compiled in: debugedit leaves the length of its path, though not its name, in the debug files.
PATH_BYTES = 128


def builds_directory(cache):
    """The directory below the cache that sources are compiled in, made if it is not there."""
    directory = os.path.join(cache, "builds")
    if len(directory) > PATH_BYTES:
        raise Failed(f"{cache}: expected a path of at most {PATH_BYTES - len('/builds')} bytes, found {len(str(cache))}")
    directory = Path(directory.ljust(PATH_BYTES, "-"))
    directory.mkdir(exist_ok=True)
    return directory


def compile_source(row, inputs, builds, recipe):
    """The version, the build tree (below `builds`) and the directory with what is installed."""
    version, tar = inputs.source(row.name)
    version = rpms.upstream(version)[1]
    tree = builds / f"{row.name}-{version}"
    stage = builds / f"{row.name}-{version}.stage"
    done = builds / f"{row.name}-{version}.done"
    wanted = repr((tar.name, recipe, FLAGS))
    if done.exists() and done.read_text() == wanted:
        return version, tree, stage
    for directory in (tree, stage):
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
    done.unlink(missing_ok=True)
    run(["tar", "-xf", tar, "-C", tree, "--strip-components=1", "--no-same-owner"])
    env = environment(builds) | {"DESTDIR": str(stage), "CC": "gcc", "CXX": "g++", "CFLAGS": FLAGS, "CXXFLAGS": FLAGS,
                                 "LDFLAGS": "-Wl,--build-id=sha1", "OPTIONS": recipe.get("configure", "")}
    build = recipe.get("build", CONFIGURE + " && make")
    install = recipe.get("install", "make install DESTDIR=$DESTDIR")
    run(["sh", "-ec", f"umask 022\n(\n{build}\n)\n{install}"], cwd=tree, env=env)
    strangers = set(os.listdir(stage)) - {"usr", "etc", "var"}
    if strangers:
        raise Failed(f"{row.name}: expected /usr, /etc and /var to be installed, found also {sorted(strangers)}")
    tidy(stage)
    done.write_text(wanted)
    return version, tree, stage


def tidy(stage):
    """As Fedora has it: no libtool archives, and every ELF file that is linked can be executed."""
    for path in sorted(stage.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        if path.suffix == ".la" or path.match("*/info/dir"):
            path.unlink()
        elif path.suffix != ".o" and elf.is_elf(path):
            path.chmod(0o755)


def package(row, release, version, tree, stage, scratch):
    """One release; the directory with its packages."""
    parts = split(stage)
    if not any(parts.values()):
        raise Failed(f"{row.name}: nothing was installed")
    spec = rpms.preamble(row.name, version, release, "", f"{row.name} of the distribution's sources")
    names = [part for part in ("libs", "devel") if parts[part]]
    spec += "".join(rpms.subpackage(part) for part in names)
    spec += f"%debug_package\n%prep\n%setup -q -T -D -n {tree.name}\n%build\n"
    spec += f"%install\nmkdir -p %{{buildroot}}\ncp -a {stage}/. %{{buildroot}}/\n"
    for part, files in parts.items():
        if files:
            listing = scratch / f"{part}.files"
            listing.write_text("".join(f"/{file}\n" for file in files))
            spec += f"%files {part if part != 'main' else ''} -f {listing}\n"
    return rpms.build(spec, scratch, tree.parent)


def split(stage):
    """What Fedora puts into NAME, NAME-libs and NAME-devel; a library alone is NAME itself."""
    parts = {"main": [], "libs": [], "devel": []}
    for directory, _, files in os.walk(stage):
        for file in files:
            path = os.path.relpath(os.path.join(directory, file), stage)
            if not rpms.can_be_listed(path):
                continue
            if re.search(r"\.so\.[0-9.]+$", path):
                parts["libs"].append(path)
            elif re.search(r"^usr/include/|\.a$|\.so$|\.pc$|/man3/|/cmake/|-config$", path):
                parts["devel"].append(path)
            else:
                parts["main"].append(path)
    if not any("/bin/" in path or "/sbin/" in path for path in parts["main"]):
        parts["main"] += parts["libs"]
        parts["libs"] = []
    return {part: sorted(files) for part, files in parts.items()}
