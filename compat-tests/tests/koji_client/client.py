"""Calls every method of a hub by Koji's own client, and checks types and values.

Arguments: the URL of the hub, the directory of its topurl, and what the test knows of its builds as JSON.
"""

import json
import os
import sys

import koji
import koji.util

url, topdir, known = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
# One failure is a failure: the client would try again for minutes.
session = koji.ClientSession(url, {"max_retries": 0, "anon_retry": False, "timeout": 30})
paths = koji.PathInfo(topdir)


def expect(found, expected):
    """Fails unless two values and their types are equal."""
    if found != expected or type(found) is not type(expected):
        raise AssertionError("expected %r, found %r" % (expected, found))


def expect_fault(error, part, call, *args, **keywords):
    try:
        result = call(*args, **keywords)
    except koji.GenericError as fault:
        expect(type(fault), error)
        expect(fault.fromFault, True)
        if part not in str(fault):
            raise AssertionError("expected %r in %r" % (part, str(fault)))
        return
    raise AssertionError("expected a fault, found %r" % (result,))


def the_hub_introduces_itself():
    expect(session.getAPIVersion(), koji.API_VERSION)
    expect(session.getKojiVersion(), known["version"])
    expect(session.hub_version, tuple(int(part) for part in known["version"].split(".")))
    methods = session.system.listMethods()
    for name in ("getBuild", "listBuilds", "listBuildRPMs", "listRPMs", "queryRPMSigs", "getRPMHeaders", "multiCall"):
        expect(name in methods, True)


def a_build_is_got_by_id_name_and_map():
    build = session.getBuild(known["build"])
    for member, expected in (
        ("id", known["build"]), ("build_id", known["build"]), ("nvr", known["nvr"]), ("name", known["name"]),
        ("package_name", known["name"]), ("version", known["build_version"]), ("release", known["release"]),
        ("epoch", known["epoch"]), ("state", koji.BUILD_STATES["COMPLETE"]), ("draft", False), ("volume_id", 0),
        ("volume_name", "DEFAULT"), ("completion_ts", known["completion_ts"]), ("promotion_ts", None), ("cg_id", None),
    ):
        expect(build[member], expected)
    # More than 32 bits.
    expect(build["creation_event_id"], 5000000000 + known["build"])
    expect(type(build["creation_ts"]), float)
    expect(koji.util.parseTime(build["completion_time"][:19]), int(build["completion_ts"]))
    expect(session.getBuild(known["nvr"]), build)
    expect(session.getBuild({name: build[name] for name in ("name", "version", "release")}), build)
    expect(session.getBuild({"id": known["build"]}, strict=True), build)
    expect(session.getBuild(1), None)
    expect(session.getBuild(1 << 40), None)
    expect(session.getBuild("nothing-1-1", strict=False), None)
    expect_fault(koji.GenericError, "No such build: 'nothing-1-1'", session.getBuild, "nothing-1-1", strict=True)
    expect_fault(koji.GenericError, "No such build: 1", session.getBuild, 1, True)


def builds_are_listed_by_state_type_and_time():
    def ids(**keywords):
        return [build["build_id"] for build in session.listBuilds(**keywords)]

    everything = {"order": "completion_time,build_id"}
    expect(ids(state=1, type="rpm", queryOpts=everything), known["complete"])
    expect(ids(state=1, type="rpm", queryOpts={"order": "-completion_time,-build_id"}), known["complete"][::-1])
    expect(ids(state=1, queryOpts={"order": "build_id"}), sorted(known["complete"] + [known["image"]]))
    expect(ids(state=1, type="image"), [known["image"]])
    expect(ids(state=koji.BUILD_STATES["BUILDING"]), [known["building"]])
    expect(ids(state=2), [known["deleted"]])
    expect(ids(draft=True), [known["draft"]])
    expect(session.listBuilds(state=1, type="rpm", queryOpts={"countOnly": True}), len(known["complete"]))
    pages = [ids(state=1, type="rpm", queryOpts=dict(everything, limit=2, offset=at)) for at in range(0, 10, 2)]
    expect(sum(pages, []), known["complete"])
    # Neither bound is in the list.
    second = session.getBuild(known["complete"][1])["completion_ts"]
    fourth = session.getBuild(known["complete"][3])["completion_ts"]
    expect(ids(state=1, type="rpm", completeAfter=second, completeBefore=fourth), [known["complete"][2]])
    expect(ids(completeAfter=int(second) + 10 ** 6), [])
    expect(ids(completeBefore="1999-01-01 00:00:00"), [])
    build = session.listBuilds(state=1, type="rpm", queryOpts=dict(everything, limit=1))[0]
    expect(build, session.getBuild(build["build_id"]))
    expect_fault(koji.GenericError, "unsupported build type", session.listBuilds, type="nonsense")
    expect_fault(koji.ParameterError, "unexpected keyword argument 'nonsense'", session.listBuilds, nonsense=1)


def rpms_are_listed_and_have_files():
    rpms = session.listBuildRPMs(known["build"])
    expect(session.listBuildRPMs(known["nvr"]), rpms)
    expect(session.listRPMs(buildID=known["build"]), rpms)
    expect(session.listRPMs(known["build"], None, None, None, None, ["src"]), [r for r in rpms if r["arch"] == "src"])
    expect(session.listRPMs(buildID=1), [])
    nvras = {str(rpm["id"]): "%(name)s-%(version)s-%(release)s.%(arch)s" % rpm for rpm in rpms}
    expect(nvras, known["rpms"])
    build = session.getBuild(known["build"])
    for rpm in rpms:
        file = os.path.join(paths.build(build), paths.rpm(rpm))
        expect(os.path.isfile(file), not rpm["metadata_only"] and not rpm["external_repo_id"])
        if os.path.isfile(file):
            expect(rpm["size"], os.path.getsize(file))
            expect(len(rpm["payloadhash"]), 32)
            expect(rpm["build_id"], known["build"])
    expect([rpm["id"] for rpm in rpms if rpm["metadata_only"]], [known["metadata_only"]])
    expect([rpm["id"] for rpm in rpms if rpm["external_repo_id"]], [known["external"]])
    expect([rpm["arch"] for rpm in rpms].count("src"), 1)
    expect(session.listBuildRPMs(known["image"]), [])
    expect(len(session.listBuildRPMs(known["deleted"])) > 0, True)
    expect_fault(koji.GenericError, "No such build", session.listBuildRPMs, 1)


def signatures_name_copies():
    build = session.getBuild(known["build"])
    for rpm in session.listBuildRPMs(known["build"]):
        rows = session.queryRPMSigs(rpm_id=rpm["id"])
        if rpm["metadata_only"] or rpm["external_repo_id"]:
            expect(rows, [])
            continue
        expect(sorted(row["sigkey"] for row in rows), ["", known["key"]])
        expect({row["rpm_id"] for row in rows}, {rpm["id"]})
        signed = os.path.join(paths.build(build), paths.signed(rpm, known["key"]))
        header = os.path.join(paths.build(build), paths.sighdr(rpm, known["key"]))
        expect(len(session.queryRPMSigs(rpm["id"], known["key"])), 1)
        expect(session.queryRPMSigs(rpm_id=rpm["id"], sigkey="00000000"), [])
        # The parts of a signed copy, by Koji's own reader of RPM files.
        with open(header, "rb") as file:
            expect(koji.rip_rpm_sighdr(signed), file.read())
        plain = os.path.join(paths.build(build), paths.rpm(rpm))
        expect(koji.rip_rpm_hdr(signed), koji.rip_rpm_hdr(plain))
        expect(koji.rip_rpm_sighdr(signed) == koji.rip_rpm_sighdr(plain), False)
    for rpm in session.listBuildRPMs(known["deleted"]):
        expect(session.queryRPMSigs(rpm_id=rpm["id"]), [])


def headers_are_those_of_the_files():
    rpm = known["program"]
    tags = ["FILENAMES", "FILELINKTOS", "SOURCERPM", "BUILDTIME", "EPOCH", "name"]
    header = session.getRPMHeaders(rpmID=rpm, headers=tags)
    expect(sorted(header), sorted(tags))
    expect(header["name"], known["name"])
    expect(header["SOURCERPM"], "%s.src.rpm" % known["nvr"])
    expect(header["EPOCH"], known["epoch"])
    expect(type(header["BUILDTIME"]), int)
    expect(len(header["FILENAMES"]), len(header["FILELINKTOS"]))
    targets = dict(zip(header["FILENAMES"], header["FILELINKTOS"]))
    expect(targets[known["link"]], known["target"])
    expect(session.getRPMHeaders(known["rpms"][str(rpm)], headers=tags), header)
    expect(session.getRPMHeaders(known["metadata_only"], headers=tags), {})
    deleted = session.listBuildRPMs(known["deleted"])[0]["id"]
    expect(session.getRPMHeaders(rpmID=deleted, headers=tags), {})
    expect_fault(koji.GenericError, "Missing rpm file", session.getRPMHeaders, deleted, headers=tags, strict=True)
    expect_fault(koji.GenericError, "No such rpm header field: NONSENSE", session.getRPMHeaders, rpm,
                 headers=["NONSENSE"])


def several_calls_are_one():
    with session.multicall(strict=False) as several:
        build = several.getBuild(known["build"])
        nothing = several.getBuild(1)
        fault = several.getBuild("nothing-1-1", strict=True)
        rpms = several.listRPMs(buildID=known["build"], queryOpts={"limit": 1})
        unknown = several.nonsense()
    expect(build.result, session.getBuild(known["build"]))
    expect(nothing.result, None)
    expect(len(rpms.result), 1)
    for call, part in ((fault, "No such build"), (unknown, "Invalid method: nonsense")):
        expect_fault(koji.GenericError, part, lambda: call.result)
    session.multicall = True
    session.getBuild(known["build"])
    session.getBuild("nothing-1-1", strict=True)
    one, other = session.multiCall()
    expect(one, [build.result])
    expect(sorted(other), ["faultCode", "faultString", "traceback"])
    expect(other["faultCode"], koji.GenericError.faultCode)
    expect_fault(koji.GenericError, "Invalid method: nonsense", session.nonsense)


def moved_and_promoted_builds_have_other_paths():
    moved = session.getBuild(known["moved"])
    expect(moved["volume_name"], "other")
    expect(type(moved["volume_id"]), int)
    draft, promoted = session.getBuild(known["draft"]), session.getBuild(known["promoted"])
    expect((draft["draft"], promoted["draft"]), (True, False))
    expect(draft["release"].endswith(",draft_%d" % known["draft"]), True)
    expect(type(promoted["promotion_ts"]), float)
    for build in (moved, draft, promoted):
        rpm = session.listBuildRPMs(build["id"])[0]
        expect(os.path.isfile(os.path.join(paths.build(build), paths.rpm(rpm))), True)
        expect(rpm["draft"], build["draft"])
    # Koji's link on the default volume.
    expect(os.path.islink(paths.build(dict(moved, volume_name="DEFAULT"))), True)
    expect(os.path.exists(paths.build(session.getBuild(known["deleted"]))), False)


CHECKS = (
    the_hub_introduces_itself,
    a_build_is_got_by_id_name_and_map,
    builds_are_listed_by_state_type_and_time,
    rpms_are_listed_and_have_files,
    signatures_name_copies,
    headers_are_those_of_the_files,
    several_calls_are_one,
    moved_and_promoted_builds_have_other_paths,
)

for check in CHECKS:
    check()
    print(check.__name__)
