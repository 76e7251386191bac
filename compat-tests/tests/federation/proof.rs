//! Files that are hard to recognise by their first bytes: a redirect needs headers of debuginfod's or a build-id note;
//! without either a file is relayed, and checked at its end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use compat_tests::compiled::{Program, build_id, succeed};
use compat_tests::darkserver::Sqlite;
use compat_tests::upstreams::{Fault, Random, Upstream, UpstreamFile};
use tempfile::TempDir;

use crate::client::{Ended, ask};
use crate::{Mode, debuginfo, federated};

/// Bytes in front of a note at the end of a file: behind the first 64 KiB, where a note is searched for.
const IN_FRONT: usize = 400_000;

struct Made {
    _directory: TempDir,
    files: Vec<(&'static str, PathBuf, bool)>,
}

/// A debug file of each form: its name, its path, and whether its note is near its start.
fn make() -> Made {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let text = "int twice(int number) { return 2 * number; }\nvoid _start(void) { for (;;) twice(1); }\n";
    fs::write(at("x.c"), text).unwrap();
    let shell = |script: &str| {
        succeed(Command::new("sh").args(["-ec", script]).current_dir(&directory), "binutils, gcc and elfutils")
    };
    shell(
        "cc -g -shared -fPIC -nostdlib -Wl,--build-id=sha1 -o by-eu-strip x.c && \
         eu-strip -f by-eu-strip.debug by-eu-strip",
    );
    shell(
        "cc -g -O1 -shared -fPIC -nostdlib -Wl,--build-id=sha1 -o by-objcopy x.c && \
         objcopy --only-keep-debug by-objcopy by-objcopy.debug",
    );
    // As the kernel links modules.
    shell(
        "cc -g -c -ffunction-sections x.c && ld -r --build-id=sha1 -o x.ko x.o && \
         objcopy --only-keep-debug x.ko x.ko.debug",
    );
    // As vmlinux: at a high address, with a note beside the build-id's.
    fs::write(
        at("notes.s"),
        ".section .note.Xen,\"a\",@note\n.long 4, 4, 6\n.asciz \"Xen\"\n.long 42\n\
         .section .note.GNU-stack,\"\",@progbits\n",
    )
    .unwrap();
    shell(
        "cc -g -O2 -static -nostdlib -no-pie -fno-pic -mcmodel=kernel -Wl,-Ttext-segment=0xffffffff81000000 \
         -Wl,--build-id=sha1 -o vmlinux x.c notes.s",
    );
    let mut random = Random::new(50);
    let filler: Vec<u8> = (0..IN_FRONT).map(|_| random.number() as u8).collect();
    fs::write(at("filler"), filler).unwrap();
    shell(
        "cc -g -O3 -shared -fPIC -nostdlib -Wl,--build-id=sha1 -o late x.c && \
         objcopy -O binary --only-section=.note.gnu.build-id late note && \
         objcopy --only-keep-debug --remove-section=.note.gnu.build-id late late.part && \
         objcopy --add-section .filler=filler late.part late.filled && \
         objcopy --add-section .note.gnu.build-id=note --set-section-alignment .note.gnu.build-id=4 \
         late.filled late.debug",
    );
    let files = [
        ("a debug file of eu-strip", "by-eu-strip.debug", true),
        ("a debug file of objcopy", "by-objcopy.debug", true),
        ("a kernel module's", "x.ko.debug", true),
        ("vmlinux", "vmlinux", true),
        ("a file with its note at its end", "late.debug", false),
    ];
    let files = files.map(|(what, name, is_near)| (what, at(name), is_near)).into();
    Made { _directory: directory, files }
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap()
}

#[test]
fn files_are_redirected_to_by_headers_or_note_and_relayed_without_either() {
    let (made, index) = (make(), Sqlite::with_packages(&[]));
    let [with_headers, bare] = [Upstream::start(Fault::None), Upstream::start(Fault::None)];
    let gateways =
        Mode::BOTH.map(|mode| [&with_headers, &bare].map(|upstream| federated(&index, mode, "", &[upstream])));
    for (what, file, is_near) in &made.files {
        let (bytes, path) = (read(file), debuginfo(&build_id(file)));
        with_headers.add(&path, &UpstreamFile::new(bytes.clone()));
        bare.add(&path, &UpstreamFile::bare(bytes.clone()));
        for (mode, gateways) in Mode::BOTH.iter().zip(&gateways) {
            for ((has_headers, upstream), gateway) in [(true, &with_headers), (false, &bare)].iter().zip(gateways) {
                let what = format!("{what}, headers: {has_headers}, {mode:?}");
                let reply = ask(gateway, &path);
                if *mode == Mode::Redirect && (*has_headers || *is_near) {
                    assert_eq!(reply.ended, Ended::Redirect(format!("{}{path}", upstream.url())), "{what}");
                } else {
                    assert!(reply.has_right_bytes(&what, &bytes), "{what}: {:?}", reply.head);
                }
            }
        }
    }
}

#[test]
fn a_file_with_another_build_id_is_never_served_whole_however_late_its_note() {
    let (made, index) = (make(), Sqlite::with_packages(&[]));
    let asked = Program::compile("asked", "/s/asked");
    let path = debuginfo(&asked.build_id);
    for (what, file, is_near) in &made.files {
        for has_headers in [true, false] {
            let bytes = read(file);
            let held = if has_headers { UpstreamFile::new(bytes) } else { UpstreamFile::bare(bytes) };
            let lying = Upstream::with_files(Fault::None, [(&*path, &held)]);
            let right = UpstreamFile::new(read(&asked.debug()));
            let having = Upstream::with_files(Fault::None, [(&*path, &right)]);
            for mode in Mode::BOTH {
                let what = format!("{what} in place of another, headers: {has_headers}, {mode:?}");
                let alone = federated(&index, mode, "", &[&lying]);
                match ask(&alone, &path).ended {
                    Ended::Unavailable => {}
                    // Its note is out of reach: the headers count.
                    Ended::Redirect(_) if mode == Mode::Redirect && has_headers && !is_near => {}
                    // The part before what is held back.
                    Ended::BrokenOff(bytes) if !is_near => assert!(bytes.len() < held.bytes.len(), "{what}"),
                    other => panic!("{what}: expected a reset, found {other:?}: {}", alone.log()),
                }
                // It is an unknown answer, not a 404, at every try.
                let again = ask(&alone, &path).ended;
                assert!(!matches!(again, Ended::Absent(_) | Ended::File(_)), "{what}: {again:?}");
                if *is_near {
                    let both = federated(&index, mode, "", &[&lying, &having]);
                    match ask(&both, &path).ended {
                        Ended::Redirect(to) if mode == Mode::Redirect => {
                            assert_eq!(to, format!("{}{path}", having.url()), "{what}");
                        }
                        Ended::File(bytes) if mode == Mode::Relay => assert!(bytes == *right.bytes, "{what}"),
                        other => panic!("{what}: expected the right file, found {other:?}: {}", both.log()),
                    }
                }
            }
        }
    }
}
