//! A broker over TLS that takes the user from a certificate (SASL EXTERNAL), as Fedora's does.

use compat_tests::certificates::Certificates;
use compat_tests::darkserver::Sqlite;
use compat_tests::indexer::RunningIndexer;
use compat_tests::rabbitmq::RabbitMq;
use compat_tests::wait_within;

use crate::support::{WITHIN, configuration, jobs, publish, state_change, wait_until_consumed};

#[test]
fn a_certificate_proves_the_user() {
    let (certificates, index) = (Certificates::make(), Sqlite::empty());
    let server = RabbitMq::start_with_tls(&certificates);
    let virtual_host = server.virtual_host();
    // The common name of the certificate.
    server.allow("localhost", &virtual_host, [".*", ".*", ".*"]);
    let url = server.tls_url(&virtual_host);
    let files = [certificates.authority(), certificates.certificate(), certificates.key()];
    let [ca, certificate, key] = files.each_ref().map(|file| file.to_str().expect("UTF-8"));
    let keys = format!("ca_file = \"{ca}\"\ncert_file = \"{certificate}\"\nkey_file = \"{key}\"");
    let indexer = RunningIndexer::start(&index.url(), &configuration(&url, &keys));
    wait_until_consumed(&indexer);
    publish(&url, &[ca, certificate, key], &[state_change(1, 1)]);
    wait_within(WITHIN, "a job", || jobs(&index) == ["build primary 1"]);
    let connections = server.control(&["list_connections", "user", "ssl", "auth_mechanism", "--no-table-headers"]);
    assert!(connections.lines().any(|line| line == "localhost\ttrue\tEXTERNAL"), "{connections}");

    // Neither a client without a certificate nor a broker of another authority is accepted, and nothing is sent in
    // plain text.
    let others = Certificates::make();
    let other = others.authority();
    for (keys, expected) in [
        (format!("ca_file = \"{ca}\""), "expected a connection"),
        (keys.replace(ca, other.to_str().expect("UTF-8")), "invalid peer certificate"),
    ] {
        let refused = RunningIndexer::start(&index.url(), &configuration(&url, &keys));
        wait_within(WITHIN, expected, || refused.log().contains(expected));
        assert_eq!(refused.metric("indexer_broker_connects_total{queue=\"test\"}"), 0.0);
    }
}
