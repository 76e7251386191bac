//! Removal of passwords from texts.

/// Returns a text, such as an error that quotes a line of a configuration file, with `***` for the secrets of every URL
/// in it: the password of `scheme://user:password@host`, all of `scheme://token@host`, and the rest of the line where a
/// URL ends inside its password.
///
/// Passwords need not be escaped, so rather too much is hidden than too little: everything up to the last `@` before
/// the next URL or the end of the line. Where a scheme lacks slashes (`mysql:user:password@host`) everything between
/// its colon and the `@` is removed.
pub fn redact_passwords(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let mut rest = line;
        while let Some(slashes) = rest.find("://") {
            let (before, url) = rest.split_at(slashes + "://".len());
            push_without_slashes(&mut shown, before);
            let end = end_of_secret(url);
            if end > 0 {
                if let Some((user, _)) = url[..end].split_once(':') {
                    shown.push_str(user);
                    shown.push(':');
                }
                shown.push_str("***");
            }
            rest = &url[end..];
        }
        push_without_slashes(&mut shown, rest);
    }
    shown
}

/// Returns the end of what may be secret in the rest of a line after `scheme://`; 0 if nothing is.
fn end_of_secret(rest: &str) -> usize {
    let url = &rest[..next_url(rest).unwrap_or(rest.len())];
    match url.rfind('@') {
        Some(at) => at,
        None if is_host(url) => 0,
        None => rest.rfind('@').unwrap_or(rest.trim_end_matches(['\n', '\r']).len()),
    }
}

/// Returns the start of the next URL's scheme. Letters in the middle of a word are no scheme.
fn next_url(rest: &str) -> Option<usize> {
    rest.match_indices("://").find_map(|(slashes, _)| {
        let before = rest[..slashes].trim_end_matches(|c: char| c.is_ascii_alphanumeric() || "+-.".contains(c));
        let is_apart = before.ends_with(|c: char| c.is_whitespace() || "\"'`,;=([{<>|".contains(c));
        (is_apart && before.len() < slashes).then_some(before.len())
    })
}

/// True if a URL without `@` starts with a host and an optional port, not with a user and a part of the password.
fn is_host(url: &str) -> bool {
    let end = url.find(|c: char| c.is_whitespace() || "/?#\"'`".contains(c)).unwrap_or(url.len());
    let host = &url[..end];
    let port = match host.strip_prefix('[').and_then(|address| address.split_once(']')) {
        Some((_, port)) => port,
        None => host.find(':').map_or("", |colon| &host[colon..]),
    };
    let port = port.trim_start_matches(':').trim_end_matches([':', ',', ';', '.', ')', ']', '}', '>']);
    port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit())
}

fn push_without_slashes(shown: &mut String, text: &str) {
    for word in text.split_inclusive(char::is_whitespace) {
        match (word.find(':'), word.rfind('@')) {
            (Some(colon), Some(at)) if colon < at => {
                shown.push_str(&word[..=colon]);
                shown.push_str("***");
                shown.push_str(&word[at..]);
            }
            _ => shown.push_str(word),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_at_any_position() {
        for (text, shown) in [
            ("database = \"mysql://u:SECRET@h/d\"", "database = \"mysql://u:***@h/d\""),
            ("database = \"mysql://u:SECRET@h/d", "database = \"mysql://u:***@h/d"),
            (
                "TOML parse error\n  |\n1 | database = \"mysql://u:SECRET@h/d\n  |            ^\ninvalid\n",
                "TOML parse error\n  |\n1 | database = \"mysql://u:***@h/d\n  |            ^\ninvalid\n",
            ),
            ("https://SECRET@h/x", "https://***@h/x"),
            ("https://:SECRET@h/x", "https://:***@h/x"),
            // Not escaped.
            ("mysql://u:SEC@RET@h/d", "mysql://u:***@h/d"),
            ("mysql://u:SEC/RET?#SECRET@h/d", "mysql://u:***@h/d"),
            ("'mysql://u:SEC\"RET' SECRET@h/d'", "'mysql://u:***@h/d'"),
            ("mysql://u:SEC://RET@h/d", "mysql://u:***@h/d"),
            ("mysql://u:x, y://SECRET@h/d", "mysql://u:***@h/d"),
            ("mysql://ü:SECRÉT@h/é", "mysql://ü:***@h/é"),
            // Cut off.
            ("mysql://u:SECRET", "mysql://u:***"),
            ("mysql://u:SEC RET\r\nmore", "mysql://u:***\r\nmore"),
            ("mysql://u:123456", "mysql://u:***"),
            ("mysql://u:SEC https://a:RET@b", "mysql://u:***@b"),
            // Several.
            ("a://u:SECRET@h, b://v:SECRET@i/;c://w", "a://u:***@h, b://v:***@i/;c://w"),
            ("[\"a://u:SECRET@h\",\"b://SECRET@i\"]", "[\"a://u:***@h\",\"b://***@i\"]"),
            ("http://h:80/x http://u:SECRET@h", "http://h:80/x http://u:***@h"),
            ("jdbc:mysql://u:SECRET@h,jdbc:mysql://u:SECRET@h", "jdbc:mysql://u:***@h"),
            // Slashes missing.
            ("database = mysql:SECRET@h", "database = mysql:***@h"),
            ("found \"mysql:/u:SECRET@h/d\", http://h", "found \"mysql:***@h/d\", http://h"),
        ] {
            assert_eq!(redact_passwords(text), shown, "{text}");
        }
    }

    #[test]
    fn text_without_secrets_is_unchanged() {
        for text in [
            "",
            "\n\n",
            "a: b\nc@d",
            "://",
            "x://",
            "http://h:8080/pub: refused",
            "http://h:8080: refused (https://[::1]:443/a:b, https://[::1])",
            "found \"https://h:1\", expected 'sqlite:darkserver.db'",
            "https://h/a:b",
        ] {
            assert_eq!(redact_passwords(text), text);
        }
    }
}
