use std::time::Duration;

use super::*;

#[test]
fn debuginfod_urls_are_read_as_clients_read_them() {
    let urls = debuginfod_urls("https://a.example/  b.example:8002 ima:enforcing file:///x").unwrap();
    assert_eq!(urls.iter().map(Url::as_str).collect::<Vec<_>>(), ["https://a.example/", "http://b.example:8002/"]);
}

#[test]
fn upstreams_of_urls_have_neither_query_nor_fragment() {
    let of_flag = |url: &str| {
        let error = Config::load(Arguments { upstreams: vec![url.to_owned()], ..Arguments::default() }).unwrap_err();
        format!("{error:#}")
    };
    for (url, found) in [("https://h.example/?token=secret", "a query"), ("https://h.example/#secret", "a fragment")] {
        let expected = format!("expected an http or https URL without query and fragment, found {found}");
        assert_eq!(of_flag(url), format!("--upstream or DARKSERVER_UPSTREAMS: {expected}"));
        let error = debuginfod_urls(&format!("http://a.example {url}")).unwrap_err();
        assert_eq!(format!("{error:#}"), format!("DEBUGINFOD_URLS: {expected}"));
    }
}

#[test]
fn a_file_of_the_original_that_cannot_be_read_is_told_once() {
    let directory = tempfile::tempdir().unwrap();
    // Root may read whatever has a mode.
    std::os::unix::fs::symlink("nowhere", directory.path().join("darkserverweb.conf")).unwrap();
    let error = format!("{:#}", original_database(directory.path()).unwrap_err());
    assert_eq!(error.matches("does not exist").count(), 1, "{error}");
    assert!(error.contains("darkserverweb.conf") && error.contains("--database"), "{error}");
}

#[test]
fn flags_win_over_the_file_and_the_file_over_defaults() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("g.toml");
    std::fs::write(
        &path,
        "listen = \"127.0.0.1:1\"\ncache_size = \"1 GiB\"\ndatabase = \"sqlite:file.db\"\n\
         [request]\nbudget = \"2s\"\n[federation]\nunavailable = \"503\"\n\
         [[upstream]]\nname = \"u\"\nurl = \"http://u.example\"\n",
    )
    .unwrap();
    let arguments = Arguments { config: Some(path), listen: vec!["127.0.0.1:2".into()], ..Arguments::default() };
    let config = Config::load(arguments).unwrap();
    assert_eq!(config.listen, Some(vec!["127.0.0.1:2".parse().unwrap()]));
    assert_eq!(config.cache_size, ByteSize::gib(1));
    assert_eq!(config.federation.unavailable, OnUnavailable::Status);
    assert_eq!(config.request.budget, Duration::from_secs(2));
    assert_eq!(config.upstreams[0].url.as_str(), "http://u.example/");
    assert_eq!(config.federation.max_hops, 8);
}

#[test]
fn where_to_listen_is_one_address_or_a_list() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("g.toml");
    let load = |text: &str| {
        std::fs::write(&path, text).unwrap();
        Config::load(Arguments { config: Some(path.clone()), ..Arguments::default() })
            .map_err(|error| format!("{error:#}"))
    };
    let config = load("listen = [\"127.0.0.1:1\", \"unix:/run/g.sock\"]\nunix_mode = \"0666\"\n").unwrap();
    assert_eq!(config.listen.unwrap().len(), 2);
    assert_eq!(config.unix_mode, 0o666);
    assert_eq!(load("listen = []\n").unwrap().listen, None);
    for (text, expected) in [
        (
            "listen = \"here\"",
            "FILE, line 1: expected ADDRESS:PORT, NAME:PORT, *:PORT, one of them behind `tls:`, or unix:/PATH, \
             found `here` in `listen`",
        ),
        (
            "\nunix_mode = \"0999\"",
            "FILE, line 2: expected permissions in octal, like 0660, found `0999` in `unix_mode`",
        ),
        ("[tls]\nkey = \"/k\"", "expected tls.certificate beside tls.key, found none"),
        ("[tls]\ncertificate = \"/c\"", "expected tls.key beside tls.certificate, found none"),
        (
            "[cors]\norigins = [\"https://a.example/\"]",
            "FILE, line 2: expected `*` or an origin like https://example.org, found `https://a.example/` in \
             `cors.origins`",
        ),
        (
            "[cors]\norigins = [\"*\", \"https://a.example\"]",
            "FILE, line 2: expected `*` alone, found other origins beside it in `cors.origins`",
        ),
    ] {
        let expected = expected.replace("FILE", &format!("configuration file {}", path.display()));
        assert_eq!(load(text).unwrap_err(), expected);
    }
}

#[test]
fn connections_need_some_time_and_some_room() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("g.toml");
    for (text, expected) in [
        ("head_timeout = \"0s\"", "connections.head_timeout: expected 100ms to 1h, found 0s"),
        ("idle_timeout = \"2h\"", "connections.idle_timeout: expected 100ms to 1h, found 2h"),
        ("max_count = 0", "connections.max_count: expected 1 to 1000000, found 0"),
        (
            "max_count = 18446744073709551615",
            "connections.max_count: expected 1 to 1000000, found 18446744073709551615",
        ),
    ] {
        std::fs::write(&path, format!("[connections]\n{text}\n")).unwrap();
        let error = Config::load(Arguments { config: Some(path.clone()), ..Arguments::default() }).unwrap_err();
        assert_eq!(error.to_string(), format!("configuration file {}: {expected}", path.display()));
    }
}

#[test]
fn requests_extractions_and_prefetching_have_limits() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("g.toml");
    for (text, expected) in [
        ("[request]\nmax_concurrent = 1", "request.max_concurrent: expected 2 to 1000000, found 1"),
        ("[request]\nbudget = \"90s\"", "request.budget: expected 100ms to 1m, found 1m 30s"),
        ("[extraction]\nmax_concurrent = 2000", "extraction.max_concurrent: expected 2 to 1024, found 2000"),
        ("[prefetch]\nmax_bytes = \"300MiB\"", "prefetch.max_bytes: expected at most 256.0 MiB, found 300.0 MiB"),
        ("[prefetch]\nmax_bytes = 268435457", "prefetch.max_bytes: expected at most 268435456 B, found 268435457 B"),
        ("[prefetch]\ntimeout = \"11s\"", "prefetch.timeout: expected at most 10s, found 11s"),
        ("[index]\nabsent_ttl = \"3s\"", "index.absent_ttl: expected at most 2s, found 3s"),
        ("[index]\nfound_ttl = \"2000y\"", "index.found_ttl: expected at most 365d, found 2000years"),
        ("[index]\nstale_ttl = \"366d\"", "index.stale_ttl: expected at most 365d, found 1year 18h"),
        ("[federation]\nmax_hops = 0", "federation.max_hops: expected at least 1, found 0"),
        ("[federation]\nunreachable_after = \"2d\"", "federation.unreachable_after: expected 1s to 1day, found 2days"),
        ("[federation]\nwarm_timeout = \"0s\"", "federation.warm_timeout: expected 1s to 10m, found 0s"),
        ("[federation]\nmax_warm = 2000", "federation.max_warm: expected 0 to 1024, found 2000"),
        ("[relay]\nmax_source = \"2GiB\"", "relay.max_source: expected at most 1.0 GiB, found 2.0 GiB"),
        ("[relay]\nmax_concurrent = 0", "relay.max_concurrent: expected 1 to 1024, found 0"),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = Config::load(Arguments { config: Some(path.clone()), ..Arguments::default() }).unwrap_err();
        assert_eq!(error.to_string(), format!("configuration file {}: {expected}", path.display()));
    }
}

#[test]
fn answers_about_files_have_limits() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("g.toml");
    let load = |text: &str| {
        std::fs::write(&path, format!("[metadata]\n{text}\n")).unwrap();
        Config::load(Arguments { config: Some(path.clone()), ..Arguments::default() })
            .map_err(|error| error.to_string())
    };
    let metadata = load("budget = \"2s\"\nmax_results = 7").unwrap().metadata;
    assert_eq!((metadata.budget, metadata.max_results), (Duration::from_secs(2), 7));
    for (text, expected) in [
        ("budget = \"0s\"", "metadata.budget: expected 100ms to 1m, found 0s"),
        ("max_results = 0", "metadata.max_results: expected 1 to 100000, found 0"),
    ] {
        assert_eq!(load(text).unwrap_err(), format!("configuration file {}: {expected}", path.display()));
    }
}

#[test]
fn errors_have_no_passwords() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("g.toml");
    let from_file = |text: &str| {
        std::fs::write(&path, text).unwrap();
        Arguments { config: Some(path.clone()), ..Arguments::default() }
    };
    for arguments in [
        from_file("listen = \"mysql://u:secret@h/d\""),
        from_file("listen = [\"tls:https://u:secret@h\"]"),
        from_file("unix_mode = \"mysql://u:secret@h/d\""),
        from_file("cache_size = \"mysql://u:secret@h/d\""),
        from_file("public_url = \"https://u:secret@h/\""),
        from_file("[cors]\norigins = [\"https://u:secret@a\"]"),
        from_file("[[upstream]]\nredirect_hosts = [\"https://u:secret@a\"]"),
        Arguments { listen: vec!["mysql://u:secret@h/d".into()], ..Arguments::default() },
        Arguments { listen: vec!["unix:mysql://u:secret@h/d".into()], ..Arguments::default() },
        Arguments { config: Some("mysql://u:secret@h/d".into()), ..Arguments::default() },
        Arguments { public_url: Some("https://u:secret@h/".parse().unwrap()), ..Arguments::default() },
    ] {
        let error = format!("{:#}", Config::load(arguments).unwrap_err());
        assert!(error.contains("expected") && !error.contains("secret"), "{error}");
    }
}

#[test]
fn the_public_url_is_host_port_and_path_alone() {
    let load = |url: &str| {
        let public_url = Some(url.parse().unwrap());
        Config::load(Arguments { public_url, ..Arguments::default() }).map_err(|error| error.to_string())
    };
    assert_eq!(load("https://h:1/a").unwrap().public_url.unwrap().as_str(), "https://h:1/a");
    for (url, found) in [
        ("https://u@h/", "a user or password"),
        ("https://:p@h/", "a user or password"),
        ("https://h/?q", "a query"),
        ("https://h/#f", "a fragment"),
    ] {
        assert_eq!(
            load(url).unwrap_err(),
            format!(
                "--public-url or DARKSERVER_PUBLIC_URL: expected an http or https URL of host, port and path \
                 alone, found {found}"
            )
        );
    }
}

#[test]
fn a_named_file_must_be_there() {
    let arguments = Arguments { config: Some("/nonexistent/gateway.toml".into()), ..Arguments::default() };
    let error = format!("{:#}", Config::load(arguments).unwrap_err());
    assert!(error.contains("/nonexistent/gateway.toml"), "{error}");
}
