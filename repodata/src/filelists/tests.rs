use artifact::Kind;

use super::*;

const SAMPLE: &str = include_str!("../../tests/samples/filelists.xml");

fn list(text: &str) -> (Result<ListingSummary, String>, Vec<PackageLinks>) {
    let mut listed = Vec::new();
    let summary = read(text.as_bytes(), |one| {
        listed.push(one);
        ControlFlow::Continue(())
    });
    (summary.map_err(|error| error.to_string()), listed)
}

#[test]
fn links_of_createrepo_c_are_read() {
    let (summary, listed) = list(SAMPLE);
    assert_eq!(summary, Ok(ListingSummary { package_count: 6, refused_count: 0, stated_count: Some(6) }));
    let kinds: Vec<(usize, usize)> = listed
        .iter()
        .map(|package| {
            let count = |kind| package.links.iter().filter(|link| link.kind == kind).count();
            (count(Kind::Executable), count(Kind::Debuginfo))
        })
        .collect();
    // Main packages have main links, debuginfo packages .debug links; compat links count for neither.
    assert_eq!(kinds, [(6, 0), (0, 6), (1, 0), (0, 1), (1, 0), (0, 1)]);
    let pkgid = "352784a9b91c5eefa77544a3b2c91a2466f1ee8ee074af21d1f7926b3823d161";
    assert_eq!(faster_hex::hex_string(&listed[0].pkgid), pkgid);
    let path = "/usr/lib/debug/.build-id/44/c0baa66fcb59679412d73d4b5188a6077422e3.3.debug";
    let build_id = "44c0baa66fcb59679412d73d4b5188a6077422e3".parse().unwrap();
    assert_eq!(listed[3].links, [ListedLink { build_id, kind: Kind::Debuginfo, path: path.into() }]);
}

#[test]
fn other_files_and_packages_without_a_pkgid_give_nothing() {
    let file = "<file>/usr/lib/.build-id/44/c0baa66fcb59679412d7</file>";
    let rubbish = "<file>/usr/lib/.build-id/44/c0</file><file>/usr/lib/.build-id/zz/c0baa66fcb59679412d7</file>\
                   <file>/usr/lib/.build-id/../.build-id/44/c0baa66fcb59679412d7</file><file/><other>x</other>";
    let pkgid = "pkgid=\"900150983cd24fb0d6963f7d28e17f72\"";
    let (summary, listed) = list(&format!(
        "<filelists packages=\"x\"><package {pkgid}>{rubbish}</package><package>{file}</package>\
         <package pkgid=\"zz\">{file}</package><package {pkgid}>{rubbish}{file}</package></filelists>"
    ));
    assert_eq!(summary, Ok(ListingSummary { package_count: 4, refused_count: 2, stated_count: None }));
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].links.len(), 1);
}

#[test]
fn a_listing_ends_where_the_caller_breaks_off_and_where_it_is_broken() {
    let mut count = 0;
    let summary = read(SAMPLE.as_bytes(), |_| {
        count += 1;
        ControlFlow::Break(())
    });
    assert_eq!((summary.unwrap().package_count, count), (1, 1));
    for end in (0..SAMPLE.len() - 2).step_by(97) {
        let (summary, listed) = list(&SAMPLE[..end]);
        assert!(summary.unwrap_err().starts_with("filelists.xml, line ") && listed.len() <= 6);
    }
}
