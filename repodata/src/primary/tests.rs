use super::*;

const SAMPLE: &str = include_str!("../../tests/samples/primary.xml");

fn list(text: &str) -> (Result<ListingSummary, String>, Vec<Listed>) {
    let mut listed = Vec::new();
    let summary = read(text.as_bytes(), |one| {
        listed.push(one);
        ControlFlow::Continue(())
    });
    (summary.map_err(|error| error.to_string()), listed)
}

fn package(listed: &Listed) -> &ListedPackage {
    match listed {
        Listed::Package(package) => package,
        Listed::Refused(refused) => panic!("{refused:?}"),
    }
}

#[test]
fn packages_of_createrepo_c_are_read() {
    let (summary, listed) = list(SAMPLE);
    let expected = ListingSummary { package_count: 6, refused_count: 0, stated_count: Some(6) };
    assert_eq!(summary, Ok(expected));
    let names: Vec<String> = listed.iter().map(|one| package(one).nevra.nvra()).collect();
    assert_eq!(
        names,
        [
            "bidtest-1.2~rc1-4.fc99.x86_64",
            "bidtest-debuginfo-1.2~rc1-4.fc99.x86_64",
            "bidtest-sub-9.9-4.fc99.x86_64",
            "bidtest-sub-debuginfo-9.9-4.fc99.x86_64",
            "server-1.1-6.fc99.x86_64",
            "server-debuginfo-1.1-6.fc99.x86_64"
        ]
    );
    let first = package(&listed[0]);
    assert_eq!(first.nevra.epoch, Some(3));
    assert_eq!(first.checksum.to_string(), "sha256:352784a9b91c5eefa77544a3b2c91a2466f1ee8ee074af21d1f7926b3823d161");
    assert_eq!(first.href, Href { base: None, href: "bidtest-1.2~rc1-4.fc99.x86_64.rpm".into() });
    assert_eq!((first.size, first.built_at), (Some(17_039), Some(1_704_067_200)));
    assert_eq!(first.source_rpm.as_deref(), Some("bidtest-1.2~rc1-4.fc99.src.rpm"));
    assert_eq!(first.header_range, Some(4504..9937));
    assert!(first.build_ids.is_empty());
    assert_eq!(package(&listed[4]).nevra.epoch, None);
}

#[test]
fn build_ids_are_read_and_rubbish_is_counted() {
    let (_, listed) = list(SAMPLE);
    let ids = |number: usize| {
        let package = package(&listed[number]);
        (package.build_ids.iter().map(ToString::to_string).collect::<Vec<_>>(), package.rubbish_count)
    };
    let (of_debuginfo, rubbish) = ids(1);
    assert_eq!(of_debuginfo.len(), 4);
    assert_eq!((of_debuginfo[0].as_str(), rubbish), ("071e1fd6b2c27bcd23a6242113fe1cef19409372", 1));
    assert_eq!(ids(5), (vec!["603a983df20b2b4f046613dac440cac19f905584".to_owned()], 0));
    for (text, is_id) in [
        ("0123456789abcdef", true),
        ("0123456789ABCDEF", true),
        ("0123456789abcde", false),
        ("01234567", false),
        ("nilnil", false),
        ("", false),
        (&"ab".repeat(64), true),
        (&"ab".repeat(65), false),
        ("0123456789abcdef-1", false),
    ] {
        assert_eq!(build_id(text).is_some(), is_id, "{text}");
    }
}
