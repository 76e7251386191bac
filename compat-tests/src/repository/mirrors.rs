//! Metalinks and lists of mirrors, as MirrorManager writes them.

use std::path::Path;
use std::process::Command;

use super::sha256;
use crate::process::run;

/// A metalink of a `repomd.xml`.
pub struct Metalink {
    file: String,
    alternates: String,
    urls: String,
}

impl Metalink {
    /// One that states size and digests of this `repomd.xml`.
    pub fn of(repomd: &Path) -> Self {
        Self {
            file: facts(&std::fs::read(repomd).expect("repomd.xml")),
            alternates: String::new(),
            urls: String::new(),
        }
    }

    /// With an older `repomd.xml` that mirrors may still have.
    pub fn with_alternate(mut self, repomd: &[u8]) -> Self {
        self.alternates += &format!("<mm0:alternate>{}</mm0:alternate>\n", facts(repomd));
        self
    }

    /// With the URL of the `repomd.xml` of another mirror. The first ones are preferred.
    pub fn with_mirror(mut self, base_url: &str) -> Self {
        let preference = 100usize.saturating_sub(self.urls.lines().count());
        let protocol = base_url.split(':').next().unwrap_or_default();
        self.urls += &format!(
            "<url protocol=\"{protocol}\" type=\"{protocol}\" location=\"CZ\" preference=\"{preference}\">\
             {base_url}/repodata/repomd.xml</url>\n"
        );
        self
    }

    /// Its text.
    pub fn text(&self) -> String {
        let alternates = if self.alternates.is_empty() {
            String::new()
        } else {
            format!("<mm0:alternates>\n{}</mm0:alternates>\n", self.alternates)
        };
        format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<metalink version=\"3.0\" \
             xmlns=\"http://www.metalinker.org/\" type=\"dynamic\" pubdate=\"Tue, 01 Dec 2026 00:00:00 GMT\" \
             generator=\"mirrormanager\" xmlns:mm0=\"http://fedorahosted.org/mirrormanager\">\n\
             <files>\n<file name=\"repomd.xml\">\n{}{alternates}\
             <resources maxconnections=\"1\">\n{}</resources>\n</file>\n</files>\n</metalink>\n",
            self.file, self.urls
        )
    }
}

fn facts(repomd: &[u8]) -> String {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), repomd).expect("write a temporary file");
    let digest = |program: &str| {
        let output = run(Command::new(program).arg(file.path()), "coreutils");
        String::from_utf8_lossy(&output.stdout).split(' ').next().unwrap_or_default().to_owned()
    };
    format!(
        "<mm0:timestamp>1796101051</mm0:timestamp>\n<size>{}</size>\n<verification>\n<hash type=\"md5\">{}</hash>\n\
         <hash type=\"sha1\">{}</hash>\n<hash type=\"sha256\">{}</hash>\n<hash type=\"sha512\">{}</hash>\n\
         </verification>\n",
        repomd.len(),
        digest("md5sum"),
        digest("sha1sum"),
        sha256(repomd),
        digest("sha512sum")
    )
}

/// The text of a list of mirrors: base URLs.
pub fn mirrorlist(base_urls: &[&str]) -> String {
    format!("# repo = tested arch = x86_64 country = global\n{}\n", base_urls.join("\n"))
}
