//! The status lines of gpgv (GnuPG's doc/DETAILS).

use super::GoodSignature;

/// What gpgv reports about the signatures of one file.
#[derive(Debug, Default)]
pub(super) struct Status {
    good: Option<GoodSignature>,
    /// The first signature that is wrong. It spoils all others.
    bad: Option<String>,
    /// The first reason why a signature is not good.
    other: Option<String>,
}

impl Status {
    /// Parses all lines. A signature's lines follow each other: `GOODSIG` or another result, then `VALIDSIG`.
    pub(super) fn parse(text: &str) -> Self {
        let mut status = Self::default();
        // The key and user of a `GOODSIG` that waits for its `VALIDSIG`.
        let mut pending: Option<String> = None;
        for line in text.lines() {
            let Some(line) = line.strip_prefix("[GNUPG:] ") else { continue };
            let (keyword, rest) = line.split_once(' ').unwrap_or((line, ""));
            let (key, user) = rest.split_once(' ').unwrap_or((rest, ""));
            let user = clean(user);
            match keyword {
                "NEWSIG" => pending = None,
                "GOODSIG" => pending = Some(user),
                "VALIDSIG" => {
                    // The last word is the primary key's fingerprint; the first the signing key's.
                    let fingerprint = rest.split(' ').next_back().unwrap_or_default();
                    if let Some(user) = pending.take().filter(|_| is_fingerprint(fingerprint))
                        && status.good.is_none()
                    {
                        status.good = Some(GoodSignature { fingerprint: fingerprint.into(), user });
                    }
                }
                "BADSIG" => {
                    pending = None;
                    let found = format!("a signature of other bytes by {} {user}", clean(key));
                    status.bad.get_or_insert(found);
                }
                "EXPKEYSIG" => status.not_good(&mut pending, format!("one by the expired key {} {user}", clean(key))),
                "REVKEYSIG" => status.not_good(&mut pending, format!("one by the revoked key {} {user}", clean(key))),
                "EXPSIG" => status.not_good(&mut pending, format!("one by {} {user}, which has expired", clean(key))),
                // ERRSIG KEY ALGORITHM HASH CLASS TIME REASON; 9 is a missing key.
                "ERRSIG" if rest.split(' ').nth(5) == Some("9") => {
                    status.not_good(&mut pending, format!("one by the unknown key {}", clean(key)));
                }
                "ERRSIG" => {
                    let reason = clean(rest.split(' ').nth(5).unwrap_or_default());
                    status.not_good(&mut pending, format!("one by {} that gpgv cannot check ({reason})", clean(key)));
                }
                "NODATA" => status.not_good(&mut pending, "no signature".into()),
                _ => {}
            }
        }
        status
    }

    fn not_good(&mut self, pending: &mut Option<String>, found: String) {
        *pending = None;
        self.other.get_or_insert(found);
    }

    /// The first good signature.
    ///
    /// # Errors
    /// What was found instead, if the lines tell it.
    pub(super) fn good(self) -> Result<GoodSignature, Option<String>> {
        match (self.bad, self.good) {
            (Some(bad), _) => Err(Some(bad)),
            (None, Some(good)) => Ok(good),
            (None, None) => Err(self.other),
        }
    }
}

fn is_fingerprint(text: &str) -> bool {
    (32..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A text of the key's owner, for a message.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINGERPRINT: &str = "0123456789ABCDEF0123456789ABCDEF01234567";

    fn good(lines: &[&str]) -> Result<String, Option<String>> {
        let text: String = lines.iter().map(|line| format!("[GNUPG:] {line}\n")).collect();
        Status::parse(&text).good().map(|good| format!("{} {}", good.fingerprint, good.user))
    }

    #[test]
    fn only_a_good_signature_with_its_fingerprint_counts() {
        let valid = format!("VALIDSIG AA 2024-01-01 1 0 4 0 22 10 00 {FINGERPRINT}");
        assert_eq!(good(&["NEWSIG", "GOODSIG K A <a@b>", &valid]), Ok(format!("{FINGERPRINT} A <a@b>")));
        // VALIDSIG follows the signatures of expired keys, too.
        for result in ["EXPKEYSIG K A", "REVKEYSIG K A", "EXPSIG K A"] {
            assert!(good(&["NEWSIG", result, &valid]).unwrap_err().is_some(), "{result}");
            assert!(good(&["NEWSIG", "GOODSIG K A", result, &valid]).is_err(), "{result}");
        }
        assert_eq!(good(&["GOODSIG K A", "NEWSIG", &valid]), Err(None));
        assert_eq!(good(&["GOODSIG K A", "VALIDSIG"]), Err(None));
        assert_eq!(good(&[&valid]), Err(None));
        assert_eq!(good(&[]), Err(None));
        let unknown = "ERRSIG K 1 10 00 1 9 FPR";
        assert_eq!(good(&[unknown]), Err(Some("one by the unknown key K".into())));
        assert!(good(&["NEWSIG", unknown, "NO_PUBKEY K", "NEWSIG", "GOODSIG K A", &valid]).is_ok());
        assert!(good(&["NEWSIG", "GOODSIG K A", &valid, "NEWSIG", "BADSIG L B"]).unwrap_err().is_some());
        assert_eq!(Status::parse("GOODSIG K A\nVALIDSIG").good(), Err(None));
    }
}
