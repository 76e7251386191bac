//! Signatures by keys that gpg makes.

use std::fs;
use std::process::Command as Process;

use super::*;

const TEXT: &[u8] = b"<repomd/>\n- dashed\n";

/// A home directory of gpg with a key.
struct Signer {
    home: TempDir,
}

impl Signer {
    /// A key that expires as stated (`0`: never, `20240101T000000`), made on the first day of 2023.
    fn new(expires: &str) -> Self {
        // Sockets of the agent are below it, and their paths are short.
        let signer = Self { home: TempDir::with_prefix_in("gpg", "/tmp").unwrap() };
        let time = ["--faked-system-time", "20230101T000000!"];
        let key = ["--quick-generate-key", "Test <test@example>", "ed25519", "sign", expires];
        signer.gpg(&[&time[..], &key].concat(), b"");
        signer
    }

    fn gpg(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let file = self.home.path().join("input");
        fs::write(&file, input).unwrap();
        let mut gpg = Process::new("gpg");
        gpg.args(["--batch", "--quiet", "--no-tty", "--pinentry-mode", "loopback", "--passphrase", ""]);
        gpg.arg("--homedir").arg(self.home.path()).args(arguments);
        let output = gpg.stdin(fs::File::open(&file).unwrap()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Writes its public key to a file.
    fn key_file(&self, arguments: &[&str]) -> PathBuf {
        let path = self.home.path().join(format!("key{}", arguments.len()));
        fs::write(&path, self.gpg(&[arguments, &["--export"]].concat(), b"")).unwrap();
        path
    }

    fn sign(&self, arguments: &[&str]) -> Vec<u8> {
        self.gpg(arguments, TEXT)
    }
}

impl Drop for Signer {
    fn drop(&mut self) {
        // Its agent would live on.
        let _ = Process::new("gpgconf").arg("--homedir").arg(self.home.path()).args(["--kill", "all"]).output();
    }
}

async fn detached(keys: &[PathBuf], signed: &[u8], signature: &[u8]) -> Result<GoodSignature, String> {
    check(keys, "repomd.xml", signed, signature).await.map_err(text_of)
}

async fn clearsigned(keys: &[PathBuf], file: &[u8]) -> Result<(GoodSignature, Vec<u8>), String> {
    check_clearsigned(keys, "InRelease", file).await.map_err(text_of)
}

fn text_of(error: RefreshError) -> String {
    match error {
        RefreshError::Refused(text) => text,
        RefreshError::Command(failure) => format!("command: {failure}"),
        RefreshError::Inconsistent(text) => panic!("inconsistent: {text}"),
        RefreshError::Stopped => panic!("stopped"),
    }
}

#[tokio::test]
async fn a_configured_key_makes_a_good_signature() {
    let signer = Signer::new("0");
    let armored = signer.key_file(&["--armor"]);
    for keys in [armored.clone(), signer.key_file(&[])] {
        for signature in [signer.sign(&["--armor", "--detach-sign"]), signer.sign(&["--detach-sign"])] {
            let good = detached(std::slice::from_ref(&keys), TEXT, &signature).await.unwrap();
            assert_eq!((good.user.as_str(), good.fingerprint.len()), ("Test <test@example>", 40));
        }
    }
    let file = signer.sign(&["--clearsign"]);
    let keys = std::slice::from_ref(&armored);
    let (good, text) = clearsigned(keys, &file).await.unwrap();
    assert_eq!((good.user.as_str(), text.as_slice()), ("Test <test@example>", TEXT));
    // What stands outside of the signature is not taken for signed.
    let around = [b"before\n", &file[..], b"after\n"].concat();
    if let Ok((_, text)) = clearsigned(keys, &around).await {
        assert_eq!(text, TEXT);
    }
    let changed = String::from_utf8(file).unwrap().replace("<repomd/>", "<repomd />");
    let error = clearsigned(keys, changed.as_bytes()).await.unwrap_err();
    assert!(error.starts_with("InRelease: expected a good signature by one of the keys, found a signature of other"));
}

#[tokio::test]
async fn other_signatures_are_refused() {
    let (signer, other) = (Signer::new("0"), Signer::new("0"));
    let keys = [signer.key_file(&[])];
    let signature = signer.sign(&["--armor", "--detach-sign"]);
    let expected = "repomd.xml: expected a good signature by one of the keys, found ";
    for (signed, signature, found) in [
        (&b"<repomd />\n"[..], &signature[..], "a signature of other bytes by "),
        (TEXT, &other.sign(&["--detach-sign"]), "one by the unknown key "),
        (TEXT, b"<html>Sign in</html>", "no signature"),
        (TEXT, b"", "no signature"),
        (TEXT, &signature[..signature.len() / 2], ""),
    ] {
        let error = detached(&keys, signed, signature).await.unwrap_err();
        assert!(error.starts_with(&format!("{expected}{found}")), "{error}");
    }
    assert!(detached(&[], TEXT, &signature).await.unwrap_err().starts_with(expected));
    let both = [signature.clone(), other.sign(&["--armor", "--detach-sign"])].concat();
    assert!(detached(&[keys[0].clone(), other.key_file(&[])], TEXT, &both).await.is_ok());
    let missing = detached(&[PathBuf::from("/nowhere/key")], TEXT, &signature).await.unwrap_err();
    assert!(
        missing.starts_with("/nowhere/key: expected a file with public keys of at most 16 MiB, found No such file")
    );
}

#[tokio::test]
async fn expired_and_revoked_keys_are_refused() {
    let expired = Signer::new("20230601T000000");
    let signature = expired.sign(&["--faked-system-time", "20230301T000000!", "--detach-sign"]);
    let error = detached(&[expired.key_file(&[])], TEXT, &signature).await.unwrap_err();
    assert!(error.contains("found one by the expired key "), "{error}");

    let revoked = Signer::new("0");
    let signature = revoked.sign(&["--detach-sign"]);
    assert!(detached(&[revoked.key_file(&[])], TEXT, &signature).await.is_ok());
    let revocations = fs::read_dir(revoked.home.path().join("openpgp-revocs.d")).unwrap();
    let certificate = fs::read_to_string(revocations.map(|entry| entry.unwrap().path()).next().unwrap()).unwrap();
    revoked.gpg(&["--import"], certificate.replace(":-----BEGIN", "-----BEGIN").as_bytes());
    let error = detached(&[revoked.key_file(&[])], TEXT, &signature).await.unwrap_err();
    assert!(error.contains("found one by the revoked key "), "{error}");
}
