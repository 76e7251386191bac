//! The header fields Content-Digest and Repr-Digest (RFC 9530): the SHA-256 of a body.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Bytes of a SHA-256.
pub(crate) type Sha256Bytes = [u8; 32];

/// Returns the SHA-256 of a value of Content-Digest or Repr-Digest: a dictionary of byte sequences
/// (`sha-256=:BASE64:, sha-512=:BASE64:`). `None` if it has those of other algorithms alone, which need not be checked.
///
/// # Errors
/// It is none, or has a SHA-256 of another length.
pub(crate) fn read(value: &str) -> Result<Option<Sha256Bytes>, String> {
    let refuse = || format!("expected sha-256=:BASE64:, found {:?}", value.chars().take(100).collect::<String>());
    let mut found = None;
    for member in value.split(',').map(|member| member.trim_matches([' ', '\t'])) {
        let (key, item) = member.split_once('=').ok_or_else(refuse)?;
        // Parameters have no meaning here.
        let item = item.split(';').next().unwrap_or(item).trim_end();
        let bytes = item.strip_prefix(':').and_then(|item| item.strip_suffix(':')).ok_or_else(refuse)?;
        let bytes = STANDARD.decode(bytes).map_err(|_| refuse())?;
        if key == "sha-256" {
            // The last member of a name counts (RFC 9651, section 3.2).
            found = Some(Sha256Bytes::try_from(bytes).map_err(|_| refuse())?);
        }
    }
    Ok(found)
}

/// Returns the value of Content-Digest for a SHA-256.
pub(crate) fn write(digest: &Sha256Bytes) -> String {
    format!("sha-256=:{}:", STANDARD.encode(digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sha_256_of_a_dictionary_is_read() {
        let digest = [7; 32];
        let text = write(&digest);
        assert_eq!(text, "sha-256=:BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=:");
        for value in [text.clone(), format!("sha-512=:YQ==:,  {text}"), format!("{text};a=1, md5=:YQ==:")] {
            assert_eq!(read(&value), Ok(Some(digest)), "{value}");
        }
        assert_eq!(read("sha-512=:YQ==:"), Ok(None));
        for wrong in ["", "sha-256", "sha-256=", "sha-256=:", "sha-256=::", "sha-256=:YQ==:", "sha-256=YQ==", "a=:!:"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert!(read(&text.replace("=:", ":")).is_err());
    }
}
