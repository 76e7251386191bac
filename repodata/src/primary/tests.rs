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

/// A listing of one package: its elements and the children of its format.
fn one(elements: &str, format: &str) -> Listed {
    let text = format!("<metadata><package type=\"rpm\">{elements}<format>{format}</format></package></metadata>");
    let (summary, mut listed) = list(&text);
    assert_eq!(summary.map(|summary| summary.package_count), Ok(1));
    listed.remove(0)
}

const NAME: &str = "<name>a</name><arch>noarch</arch>";
const VERSION: &str = "<version epoch=\"0\" ver=\"1\" rel=\"2\"/>";
const CHECKSUM: &str = "<checksum type=\"md5\" pkgid=\"YES\">900150983cd24fb0d6963f7d28e17f72</checksum>";
const LOCATION: &str = "<location xml:base=\"https://h/\" href=\"a%.rpm\"/>";

#[test]
fn a_package_that_lacks_something_is_refused_with_name_and_reason() {
    let complete = one(&[NAME, VERSION, CHECKSUM, LOCATION].concat(), "");
    assert_eq!(package(&complete).href, Href { base: Some("https://h/".into()), href: "a%.rpm".into() });
    assert_eq!(package(&complete).header_range, None);
    let bad_epoch = "<version epoch=\"-1\" ver=\"1\" rel=\"2\"/>";
    let bad_version = "<version epoch=\"0\" ver=\"1/..\" rel=\"2\"/>";
    let bad_checksum = "<checksum type=\"md5\">nonsense</checksum>";
    for (elements, name, reason) in [
        ([VERSION, CHECKSUM, LOCATION], "-1-2.", "expected NAME-[EPOCH:]VERSION-RELEASE.ARCH, found \"-1-2.\""),
        ([NAME, CHECKSUM, LOCATION], "a", "expected NAME-[EPOCH:]VERSION-RELEASE.ARCH, found \"a--.noarch\""),
        ([NAME, VERSION, LOCATION], "a-1-2.noarch", "expected a checksum, found none"),
        ([NAME, VERSION, CHECKSUM], "a-1-2.noarch", "expected a location, found none"),
    ] {
        let location = Href { base: Some("https://h/".into()), href: "a%.rpm".into() };
        let href = elements.contains(&LOCATION).then_some(location);
        let refused = RefusedPackage { name: name.into(), reason: reason.into(), href };
        assert_eq!(one(&elements.concat(), ""), Listed::Refused(refused));
    }
    for elements in [
        [NAME, bad_epoch, CHECKSUM, LOCATION],
        [NAME, bad_version, CHECKSUM, LOCATION],
        [NAME, VERSION, bad_checksum, LOCATION],
        [NAME, VERSION, CHECKSUM, "<location href=\" \"/>"],
    ] {
        assert!(matches!(one(&elements.concat(), ""), Listed::Refused(_)), "{elements:?}");
    }
}

#[test]
fn only_provides_with_a_build_id_count_and_header_ranges_that_can_be() {
    let entry = "<entry name=\"debuginfo(build-id)\" ver=\"44c0baa66fcb59679412\"/>";
    let elements = [NAME, VERSION, CHECKSUM, LOCATION].concat();
    let listed = one(&elements, &format!("<requires>{entry}</requires><provides>{entry}{entry}</provides>"));
    assert_eq!((package(&listed).build_ids.len(), package(&listed).rubbish_count), (1, 0));
    let listed = one(&elements, "<provides><entry name=\"debuginfo(build-id)\"/></provides>");
    assert_eq!((package(&listed).build_ids.len(), package(&listed).rubbish_count), (0, 1));
    for (start, end, range) in
        [("10", "20", Some(10..20)), ("20", "10", None), ("-1", "9", None), ("", "9", None), ("5", "5", None)]
    {
        let listed = one(&elements, &format!("<header-range start=\"{start}\" end=\"{end}\"/>"));
        assert_eq!(package(&listed).header_range, range);
    }
}

#[test]
fn packages_that_are_no_rpms_are_passed_over_and_broken_listings_end() {
    let (summary, listed) =
        list("<metadata packages=\"9\"><package type=\"delta\"><name>x</name></package></metadata>");
    assert_eq!((summary.unwrap().stated_count, listed.len()), (Some(9), 0));
    let mut count = 0;
    let summary = read(SAMPLE.as_bytes(), |_| {
        count += 1;
        if count == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!((summary.unwrap().package_count, count), (2, 2));
    for end in (0..SAMPLE.len() - 2).step_by(97) {
        let (summary, listed) = list(&SAMPLE[..end]);
        assert!(summary.unwrap_err().starts_with("primary.xml, line ") && listed.len() <= 6);
    }
}
