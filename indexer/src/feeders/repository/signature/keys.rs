//! Files with keys, armored (RFC 9580, section 6) or binary, as one binary keyring.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::SignatureError;

/// The maximum size of a file with keys. Debian's keyring has 100 KiB.
const MAX_KEY_FILE_BYTES: u64 = 16 << 20;
const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
const END: &str = "-----END PGP PUBLIC KEY BLOCK-----";
/// The number of a public key among OpenPGP's packets.
const PUBLIC_KEY_PACKET: u8 = 6;

/// The keys of all files, as gpgv reads them.
///
/// # Errors
/// [`SignatureError::Keys`] where a file cannot be read or has no public key.
pub(super) async fn keyring(files: &[PathBuf]) -> Result<Vec<u8>, SignatureError> {
    let mut keyring = Vec::new();
    for path in files {
        let refuse = |found| SignatureError::Keys {
            path: path.clone(),
            expected: "a file with public keys of at most 16 MiB",
            found,
        };
        let size = tokio::fs::metadata(path).await.map_err(|error| refuse(error.to_string()))?.len();
        if size > MAX_KEY_FILE_BYTES {
            return Err(refuse(format!("{size} bytes")));
        }
        let bytes = tokio::fs::read(path).await.map_err(|error| refuse(error.to_string()))?;
        keyring.extend(dearmor(path, bytes)?);
    }
    Ok(keyring)
}

/// The packets of a file.
fn dearmor(path: &Path, bytes: Vec<u8>) -> Result<Vec<u8>, SignatureError> {
    let refuse = |expected, found: &str| SignatureError::Keys { path: path.into(), expected, found: found.into() };
    // The first bit of every packet is set: no text begins so, but one with a byte order mark.
    let is_binary = bytes.first().is_some_and(|byte| byte & 0x80 != 0) && !bytes.starts_with(b"\xef\xbb\xbf");
    let packets = if is_binary {
        bytes
    } else if bytes.get(8..12) == Some(b"KBXf") {
        return Err(refuse("exported public keys", "a keybox of GnuPG; gpg --export makes a file with keys from it"));
    } else {
        let text = String::from_utf8_lossy(&bytes);
        let mut packets = Vec::new();
        let mut rest = &*text;
        while let Some((_, block)) = rest.split_once(BEGIN) {
            let Some((block, behind)) = block.split_once(END) else {
                return Err(refuse(END, "the end of the file"));
            };
            packets.extend(decode(block).ok_or_else(|| refuse("keys in base64", "other characters"))?);
            rest = behind;
        }
        if packets.is_empty() {
            return Err(refuse(BEGIN, "a file without it"));
        }
        packets
    };
    let kind = packets.first().map(|byte| if byte & 0x40 == 0 { (byte >> 2) & 0xf } else { byte & 0x3f });
    match kind {
        Some(PUBLIC_KEY_PACKET) => Ok(packets),
        Some(kind) => Err(refuse("an OpenPGP public key (packet 6)", &format!("packet {kind}"))),
        None => Err(refuse("an OpenPGP public key", "nothing")),
    }
}

/// Decodes the lines of an armored block: headers, an empty line, base64, a checksum, which RFC 9580 tells to ignore.
fn decode(block: &str) -> Option<Vec<u8>> {
    const CONFIG: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let lines = block.lines().map(str::trim).filter(|line| !line.is_empty() && !line.contains(": "));
    let data: String = lines.take_while(|line| !line.starts_with('=')).collect();
    GeneralPurpose::new(&STANDARD, CONFIG).decode(data).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<u8>, String> {
        dearmor(Path::new("RPM-GPG-KEY"), bytes.to_vec()).map_err(|error| error.to_string())
    }

    fn armored(packets: &[u8]) -> String {
        let data = base64::engine::general_purpose::STANDARD.encode(packets);
        format!("{BEGIN}\nVersion: GnuPG v2\nComment: a: b\n\n{data}\n=abcd\n{END}\n")
    }

    #[test]
    fn armored_and_binary_keys_are_read() {
        let [old, new] = [&b"\x99\x01\x0d\x04key"[..], b"\xc6\x33\x04key!"];
        for packets in [old, new] {
            assert_eq!(read(packets).unwrap(), packets);
            assert_eq!(read(armored(packets).as_bytes()).unwrap(), packets);
            assert_eq!(read(armored(packets).replace('\n', "\r\n").as_bytes()).unwrap(), packets);
        }
        let two = format!("pub rsa4096\n{}\n{}", armored(old), armored(new));
        assert_eq!(read(two.as_bytes()).unwrap(), [old, new].concat());
        assert_eq!(read(format!("\u{feff}{}", armored(old)).as_bytes()).unwrap(), old);
    }

    #[test]
    fn other_files_are_refused() {
        let secret = "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nabcd\n-----END PGP PRIVATE KEY BLOCK-----\n";
        for (bytes, message) in [
            (&b""[..], "RPM-GPG-KEY: expected -----BEGIN PGP PUBLIC KEY BLOCK-----, found a file without it"),
            (b"<html>", "found a file without it"),
            (secret.as_bytes(), "found a file without it"),
            (b"\x95\x01secret", "expected an OpenPGP public key (packet 6), found packet 5"),
            (b"\0\0\0\x20\x01\x01\0\x02KBXf\0\0", "expected exported public keys, found a keybox of GnuPG"),
            (armored(b"\x88sig").as_bytes(), "expected an OpenPGP public key (packet 6), found packet 2"),
            (armored(b"\x99key").replace(END, "").as_bytes(), "found the end of the file"),
            (armored(b"\x99key").replace("=abcd", "!").as_bytes(), "expected keys in base64, found other characters"),
        ] {
            let error = read(bytes).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }
}
