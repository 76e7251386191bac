//! Certificates towards one provider.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use reqwest::{Certificate, ClientBuilder, Identity};

/// PEM files for connections to one server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of the authorities that are trusted, beside those of the system.
    pub ca: Option<PathBuf>,
    /// Our own certificate, followed by its intermediate certificates.
    pub certificate: Option<PathBuf>,
    /// Private key of the certificate.
    pub key: Option<PathBuf>,
}

/// What the files hold.
pub(super) struct Certificates {
    authorities: Vec<Certificate>,
    identity: Option<Identity>,
    /// The files, for messages.
    files: String,
}

impl Certificates {
    /// # Errors
    /// A file cannot be read, or does not hold what it should; a certificate stands without a key, or a key without a
    /// certificate.
    pub(super) fn read(tls: &TlsFiles) -> Result<Self> {
        let authorities = match &tls.ca {
            Some(path) => authorities(path).with_context(|| format!("tls.ca {}", path.display()))?,
            None => Vec::new(),
        };
        let identity = match (&tls.certificate, &tls.key) {
            (Some(certificate), Some(key)) => Some(identity(certificate, key)?),
            (None, None) => None,
            (Some(_), None) => bail!("expected tls.key beside tls.certificate, found none"),
            (None, Some(_)) => bail!("expected tls.certificate beside tls.key, found none"),
        };
        let files = [&tls.ca, &tls.certificate, &tls.key].into_iter().flatten();
        let files = files.map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
        Ok(Self { authorities, identity, files })
    }

    pub(super) fn authorities(&self) -> Vec<Certificate> {
        self.authorities.clone()
    }

    pub(super) fn add_identity(&self, builder: ClientBuilder) -> ClientBuilder {
        match &self.identity {
            Some(identity) => builder.identity(identity.clone()),
            None => builder,
        }
    }

    /// What a message about a client that cannot be built begins with.
    pub(super) fn describe(&self) -> String {
        match self.files.as_str() {
            "" => "HTTP client".to_owned(),
            files => format!("HTTP client with {files}"),
        }
    }
}

fn authorities(path: &Path) -> Result<Vec<Certificate>> {
    let found = Certificate::from_pem_bundle(&fs::read(path)?)?;
    if found.is_empty() {
        bail!("expected certificates in PEM, found none");
    }
    Ok(found)
}

fn identity(certificate: &Path, key: &Path) -> Result<Identity> {
    let read = |name: &str, path: &Path| fs::read(path).with_context(|| format!("{name} {}", path.display()));
    let mut pem = read("tls.certificate", certificate)?;
    pem.push(b'\n');
    pem.extend(read("tls.key", key)?);
    Identity::from_pem(&pem).with_context(|| {
        format!("expected a certificate in {} and its key in {}, in PEM", certificate.display(), key.display())
    })
}

#[cfg(test)]
mod tests {

    use compat_tests::certificates::Certificates as Files;

    use super::*;

    #[test]
    fn errors_name_the_file() {
        let files = Files::make();
        let empty = tempfile::NamedTempFile::new().unwrap();
        let missing = std::path::PathBuf::from("/nonexistent/x.pem");
        let ca = Some(files.authority());
        let (certificate, key) = (Some(files.certificate()), Some(files.key()));
        let sound = TlsFiles { ca: ca.clone(), certificate: certificate.clone(), key: key.clone() };
        assert!(Certificates::read(&sound).is_ok_and(|read| read.authorities.len() == 1 && read.identity.is_some()));
        assert!(Certificates::read(&TlsFiles::default()).is_ok_and(|read| read.identity.is_none()));
        let empty = Some(empty.path().to_owned());
        let shown = empty.as_ref().unwrap().display().to_string();
        for (tls, expected) in [
            (TlsFiles { ca: Some(missing.clone()), ..sound.clone() }, "tls.ca /nonexistent/x.pem: "),
            (TlsFiles { ca: empty.clone(), ..sound.clone() }, "expected certificates in PEM, found none"),
            (TlsFiles { certificate: Some(missing.clone()), ..sound.clone() }, "tls.certificate /nonexistent/x.pem"),
            (TlsFiles { key: Some(missing), ..sound.clone() }, "tls.key /nonexistent/x.pem"),
            (TlsFiles { key: empty, ..sound.clone() }, &*shown),
            (TlsFiles { key: None, ..sound.clone() }, "expected tls.key beside tls.certificate, found none"),
            (TlsFiles { certificate: None, ..sound.clone() }, "expected tls.certificate beside tls.key, found none"),
        ] {
            let error = Certificates::read(&tls).err().unwrap();
            assert!(format!("{error:#}").contains(expected), "{error:#}");
        }
    }
}
