//! The real dnf on the same repository: what `dnf repoquery -f` names for a build-id is a subset of what `/buildids/`
//! names, and what only we find has one of four causes.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use compat_tests::darkserver::{RunningGateway, Sqlite};
use compat_tests::fixtures;
use compat_tests::headers;
use compat_tests::process::run;
use compat_tests::repository::{Compression, Dnf, Repository};
use compat_tests::rpmbuild::link;
use compat_tests::static_server::StaticServer;
use serde_json::Value;

use crate::support::{families, repo};

/// Why `dnf repoquery -f` does not find what we find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    /// The only links to the file have a number behind the build-id.
    NumberedLink,
    /// Debuginfo shared by dwz, which rpm links to nothing.
    Dwz,
    /// No link, but the class of the file in the header states the build-id.
    FileClass,
    /// Nothing in the header states it: the payload was read.
    Payload,
}

/// Packages that `/buildids/ID` names, with the path of each file.
fn ours(gateway: &RunningGateway, id: &str) -> Vec<(String, String)> {
    let rows: Value = serde_json::from_str(&gateway.get(&format!("/buildids/{id}")).text()).unwrap();
    let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
    rows.as_array().unwrap().iter().map(|row| (text(row, "rpm"), text(row, "elf"))).collect()
}

/// Paths in the header of an RPM, by the real rpm.
fn listed(rpm: &std::path::Path) -> BTreeSet<String> {
    let output = run(Command::new("rpm").args(["-qpl", "--nosignature", "--nodigest"]).arg(rpm), "rpm");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// The cause for which a file with a build-id in a package is found by us alone, by the package itself.
fn cause(rpm: &std::path::Path, id: &str, path: &str) -> Result<Cause, String> {
    let links = listed(rpm);
    let (plain, debug) = (link(id, ""), link(id, "debug/"));
    if links.contains(&plain) || links.contains(&debug) {
        return Err(format!("{}: expected that dnf finds {id}, which has a link", rpm.display()));
    }
    let debug = debug.strip_suffix(".debug").unwrap().to_owned();
    let is_numbered = |link: &String| {
        [&plain, &debug].iter().any(|start| link.strip_prefix(*start).is_some_and(|rest| rest.starts_with('.')))
    };
    if links.iter().any(is_numbered) {
        return Ok(Cause::NumberedLink);
    }
    if path.contains("/.dwz/") {
        return Ok(Cause::Dwz);
    }
    let class = headers::classes(rpm).into_iter().find(|(file, _)| file == path).map(|(_, class)| class);
    let class = class.unwrap_or_default();
    Ok(if class.contains(id) { Cause::FileClass } else { Cause::Payload })
}

/// What dnf and we name for the build-ids of some families.
#[derive(Default)]
struct Comparison {
    named_by_dnf: usize,
    named_by_us: usize,
    causes: BTreeMap<Cause, BTreeSet<String>>,
}

fn compare(family: &str) -> Comparison {
    let mut comparison = Comparison::default();
    let repository = Repository::of_families(&[family.to_owned()], Compression::Gzip);
    let server = StaticServer::start(repository.path());
    let index = Sqlite::empty();
    repo(&index, &server.url(), &[]).expect(0);
    let gateway = RunningGateway::start(&index.url());
    let dnf = Dnf::of(&server.url());
    let truth = fixtures::truth(family);
    let ids: BTreeSet<&str> = truth.iter().map(|row| row.build_id.as_str()).collect();
    for id in ids {
        let names = dnf.packages_with(&[&link(id, "debug/"), &link(id, "")]);
        let ours = ours(&gateway, id);
        for name in &names {
            assert!(ours.iter().any(|(rpm, _)| rpm == name), "{family}: {id}: dnf names {name}, we {ours:?}");
        }
        comparison.named_by_dnf += names.len();
        comparison.named_by_us += ours.iter().map(|(rpm, _)| rpm).collect::<BTreeSet<_>>().len();
        for (nvra, path) in ours.iter().filter(|(rpm, _)| !names.contains(rpm)) {
            let row = truth.iter().find(|row| row.build_id == id && row.nvra() == nvra && row.path == *path);
            let row = row.unwrap_or_else(|| panic!("{family}: {id}: {path} of {nvra} has another build-id"));
            let cause = cause(&fixtures::rpm(&row.rpm), id, path).unwrap_or_else(|error| panic!("{error}"));
            comparison.causes.entry(cause).or_default().insert(format!("{family}: {nvra}: {path}"));
        }
    }
    comparison
}

#[test]
fn what_dnf_names_is_a_subset_and_the_rest_has_a_cause() {
    // Some families have packages of the same names: each is a repository of its own, for dnf as for us.
    let families = families();
    let compared: Vec<Comparison> = std::thread::scope(|scope| {
        let parts = families.chunks(families.len().div_ceil(3));
        let parts: Vec<_> =
            parts.map(|part| scope.spawn(|| part.iter().map(|family| compare(family)).collect::<Vec<_>>())).collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    });
    let (mut causes, mut named_by_dnf, mut named_by_us) = (BTreeMap::<Cause, BTreeSet<String>>::new(), 0, 0);
    for comparison in compared {
        named_by_dnf += comparison.named_by_dnf;
        named_by_us += comparison.named_by_us;
        for (cause, files) in comparison.causes {
            causes.entry(cause).or_default().extend(files);
        }
    }
    eprintln!("dnf names {named_by_dnf} packages, we {named_by_us}; only we: {causes:#?}");
    assert_eq!(causes.len(), 4, "expected each cause: {causes:#?}");
    assert!(named_by_dnf > 0 && named_by_us > named_by_dnf);
}
