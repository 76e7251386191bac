//! Log injection: each request has one line, whatever a client sends.

use compat_tests::darkserver::{RunningGateway, Sqlite};
use serde_json::Value;

use super::Connection;

#[test]
fn clients_cannot_forge_log_lines() {
    let sqlite = Sqlite::with_packages(&[]);
    for format in ["text", "json"] {
        let gateway = RunningGateway::start_with(&sqlite.url(), "", &["--log-format", format]);
        let lines_before = gateway.log().lines().count();
        let long = "a".repeat(60_000);
        let heads = [
            "GET /x%0a2026-01-01T00:00:00Z%20ERROR%20forged HTTP/1.1\r\nHost: x\r\n".to_owned(),
            "GET /x\"%20status=200%20y=\" HTTP/1.1\r\nHost: x\r\n".to_owned(),
            "GET /x HTTP/1.1\r\nHost: x\r\nUser-Agent: a\"b\\n\tforged=1\r\n".to_owned(),
            "GET /x HTTP/1.1\r\nHost: x\r\nUser-Agent: \u{1b}[31mred\r\n".to_owned(),
            "GET /x HTTP/1.1\r\nHost: x\r\nUser-Agent: \u{85}\u{2028}line\r\n".to_owned(),
            "GET /x HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 1.2.3.4\tforged\r\n".to_owned(),
            format!("GET /{long} HTTP/1.1\r\nHost: x\r\nUser-Agent: {long}\r\n"),
            format!("{long} /x HTTP/1.1\r\nHost: x\r\n"),
            "GET /buildid/%0aforged/debuginfo HTTP/1.1\r\nHost: x\r\n".to_owned(),
            "\u{1b}]0;title\u{7} / HTTP/1.1\r\n".to_owned(),
        ];
        for head in &heads {
            let mut line = Connection::open(gateway.port);
            line.send(format!("{head}Connection: close\r\n\r\n").as_bytes()).unwrap();
            line.rest();
        }
        super::wait_until("every request is logged", || access(&gateway.log()) >= heads.len());
        let log = gateway.log();
        assert_eq!(access(&log), heads.len(), "{log}");
        for line in log.lines().skip(lines_before) {
            assert!(line.chars().all(|c| !c.is_control() && c != '\u{2028}'), "{line:?}");
            assert!(line.len() < 10_000, "{} bytes: {}...", line.len(), &line[..200]);
            match format {
                "json" => assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}"),
                _ => assert!(line.starts_with("20") && line.as_bytes()[10] == b'T', "{line}"),
            }
        }
    }
}

fn access(log: &str) -> usize {
    log.lines().filter(|line| line.contains(" access: ") || line.contains("\"target\":\"access\"")).count()
}
