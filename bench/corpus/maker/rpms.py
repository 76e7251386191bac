"""One run of rpmbuild, and what its packages hold."""

import re
import shutil
from pathlib import Path

from .inputs import sha256
from .run import environment, run

MACROS = Path(__file__).resolve().parent.parent / "fedora.macros"
ARCH = "x86_64"
DIST = ".fc99"


def build(spec, scratch, builddir):
    """Builds the text of a spec; the packages are then in the directory that is returned."""
    top, made = scratch / "top", scratch / "rpms"
    for directory in (top, made):
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
    file = scratch / "package.spec"
    # Loaded by the spec itself: --target makes rpmbuild forget what --load read.
    file.write_text(f"%{{load:{MACROS}}}\n{spec}")
    defines = {"_topdir": top, "_rpmdir": made, "_builddir": builddir, "_tmppath": top, "_dbpath": top / "db"}
    command = ["rpmbuild", "-bb", "--quiet", "--noclean", "--nodeps", "--target", ARCH]
    for name, value in defines.items():
        command += ["--define", f"{name} {value}"]
    run([*command, file], env=environment(scratch), cwd=scratch)
    shutil.rmtree(top)
    for rpm in made.iterdir():
        rpm.chmod(0o644)
    return made


def preamble(name, version, release, epoch, summary):
    """The head of a spec."""
    lines = [f"Name: {name}", f"Version: {version}", f"Release: {release}{DIST}", f"Summary: {summary}", "License: see the sources"]
    lines += [f"Epoch: {epoch}"] if epoch else []
    return "\n".join([*lines, "%description", "Made for measurements.", ""])


def subpackage(name):
    """`%package` of a package with a name of its own, or `libs` for NAME-libs."""
    return f"%package {name}\nSummary: part of it\n%description {name}\nPart of it.\n"


def upstream(version):
    """Epoch, version and release of a Debian version: `2:1.2-3+deb12u1` is `2`, `1.2`, `3`."""
    epoch, _, rest = version.rpartition(":")
    rest, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "1")
    number = re.match(r"\d+", revision)
    return epoch, rest.replace("-", "."), number.group() if number else "1"


def can_be_listed(path):
    """Whether a spec's file list can name the path without escapes."""
    return not re.search(r"[\s*?\[\]{}\"'%\\$]", path)


def describe(rpm):
    """Bytes, SHA-256, number of members, bytes of the largest member, build-ids named by the file classes."""
    listing = run(["rpm", "-qp", "--nosignature", "--nodigest", "--qf", r"[%{LONGFILESIZES}\t%{FILECLASS}\n]", rpm]).decode(errors="replace")
    rows = [line.partition("\t") for line in listing.splitlines() if "\t" in line]
    ids = {found for _, _, text in rows for found in re.findall(r"BuildID\[\w+\]=([0-9a-f]+)", text)}
    largest = max((int(size) for size, _, _ in rows), default=0)
    return [str(rpm.stat().st_size), sha256(rpm), str(len(rows)), str(largest), str(len(ids))]
