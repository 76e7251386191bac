//! The question of a debuginfod client, and its caller.

use std::fmt;

use artifact::{ArtifactType, BuildId};
use http_client::ESCAPED;
use percent_encoding::utf8_percent_encode;

use crate::permits::ClientAddress;

/// A question on a debuginfod path; holding one means that it is well formed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    pub(crate) build_id: BuildId,
    pub(crate) resource: Resource,
}

/// The resource of a build-id that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Resource {
    /// The whole ELF file.
    Artifact(ArtifactType),
    /// The raw bytes of the section with this name.
    Section(String),
    /// The source file at this canonical path.
    Source(String),
}

impl Resource {
    /// The word in URLs and metrics: one of four.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Artifact(kind) => kind.as_str(),
            Self::Section(_) => "section",
            Self::Source(_) => "source",
        }
    }
}

impl Question {
    /// Bytes of its text, about.
    pub(crate) fn text_bytes(&self) -> usize {
        match &self.resource {
            Resource::Artifact(_) => 0,
            Resource::Section(text) | Resource::Source(text) => text.len(),
        }
    }
}

/// Writes the path of a URL, escaped as libdebuginfod does, without a slash before: `buildid/ID/source/usr/src/x.c`.
impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "buildid/{}/", self.build_id)?;
        match &self.resource {
            Resource::Artifact(kind) => f.write_str(kind.as_str()),
            Resource::Section(name) => write!(f, "section/{}", utf8_percent_encode(name, ESCAPED)),
            Resource::Source(path) => {
                write!(f, "source/{}", utf8_percent_encode(path.trim_start_matches('/'), ESCAPED))
            }
        }
    }
}

/// The client of a question, as upstreams are told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caller {
    /// The client that acquires permits.
    pub(crate) client: ClientAddress,
    /// X-Forwarded-For for upstreams: an element for each that was received, and one for the peer. Empty where no
    /// upstream is asked.
    pub(crate) forwarded_for: String,
    /// How many servers the question has passed.
    pub(crate) hops: usize,
    /// Via as received: its last elements.
    pub(crate) via: String,
    /// As sent, for upstreams that are told.
    pub(crate) user_agent: Option<String>,
    /// The most bytes that the client accepts (X-DEBUGINFOD-MAXSIZE).
    pub(crate) max_size: Option<u64>,
}

/// Why a path under `/buildid/` is no question: what was expected and what was found.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// The text of [`artifact::Error::BuildId`].
    #[error("{0}")]
    BuildId(String),
    #[error("expected /buildid/ID/ followed by debuginfo, executable, section/NAME or source/PATH, found {0:?}")]
    Resource(String),
    #[error("expected a section name without dot segments after /section/, found {0:?}")]
    SectionName(String),
    #[error("expected an absolute path after /source, found none")]
    SourcePath,
    #[error("expected UTF-8 after percent-decoding, found other bytes")]
    Utf8,
}

impl Question {
    /// Reads what follows `/buildid/`, percent-decoded. Additional segments and slashes after `debuginfo` and
    /// `executable` are ignored, as the reference server does.
    pub(crate) fn parse(tail: &str) -> Result<Self, Malformed> {
        let (build_id, rest) = tail.trim_start_matches('/').split_once('/').unwrap_or((tail, ""));
        let build_id = build_id.parse::<BuildId>().map_err(|error| Malformed::BuildId(error.to_string()))?;
        let rest = rest.trim_start_matches('/');
        let (word, suffix) = rest.split_once('/').unwrap_or((rest, ""));
        let resource = match word {
            "debuginfo" => Resource::Artifact(ArtifactType::Debuginfo),
            "executable" => Resource::Artifact(ArtifactType::Executable),
            "section" => match suffix.trim_matches('/') {
                // Dot segments would lead an upstream's URL to another place.
                name if name.is_empty() || name.split('/').any(|segment| matches!(segment, "." | "..")) => {
                    return Err(Malformed::SectionName(name.chars().take(80).collect()));
                }
                name => Resource::Section(name.to_owned()),
            },
            "source" => match artifact::path::canonical(suffix) {
                path if path == "/" => return Err(Malformed::SourcePath),
                path => Resource::Source(path),
            },
            _ => return Err(Malformed::Resource(rest.chars().take(80).collect())),
        };
        Ok(Self { build_id, resource })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(tail: &str) -> Resource {
        Question::parse(tail).unwrap().resource
    }

    #[test]
    fn the_four_requests_are_read() {
        assert_eq!(resource("AB12/debuginfo"), Resource::Artifact(ArtifactType::Debuginfo));
        assert_eq!(resource("ab12/executable/whatever/else"), Resource::Artifact(ArtifactType::Executable));
        assert_eq!(resource("ab12/debuginfo/"), Resource::Artifact(ArtifactType::Debuginfo));
        assert_eq!(resource("ab12//section/.debug_info"), Resource::Section(".debug_info".into()));
        for path in ["ab12/source/usr/a//./x/../b.c", "ab12/source//usr/a/b.c", "ab12/source///usr/a/b.c"] {
            assert_eq!(resource(path), Resource::Source("/usr/a/b.c".into()));
        }
        assert_eq!(Question::parse("AB12/debuginfo").unwrap().to_string(), "buildid/ab12/debuginfo");
    }

    #[test]
    fn malformed_questions_state_what_was_expected() {
        for (tail, expected) in [
            ("xyz/debuginfo", "an even number of hex digits"),
            ("abc/debuginfo", "an even number of hex digits"),
            ("ab12/nonsense", "debuginfo, executable, section/NAME or source/PATH"),
            ("ab12", "debuginfo, executable, section/NAME or source/PATH"),
            ("ab12/section", "a section name"),
            ("ab12/section/", "a section name"),
            ("ab12/section/../../../metrics", "a section name without dot segments"),
            ("ab12/section/.text/.", "a section name without dot segments"),
            ("ab12/source/", "an absolute path"),
            ("ab12/../cd34/debuginfo", "debuginfo, executable, section/NAME or source/PATH"),
        ] {
            let error = Question::parse(tail).unwrap_err().to_string();
            assert!(error.contains(expected), "{tail}: {error}");
        }
    }

    #[test]
    fn a_question_is_escaped_as_libdebuginfod_does() {
        let question = Question::parse("ab12/source/a b/d+.c").unwrap();
        assert_eq!(question.to_string(), "buildid/ab12/source/a%20b/d%2B.c");
    }
    #[test]
    fn inputs_of_fuzzing_are_read_printed_and_read_again() {
        let fuzz = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
        let mut questions = 0;
        for directory in ["corpus/source_path", "corpus/build_id", "regressions/source_path"] {
            for entry in std::fs::read_dir(fuzz.join(directory)).unwrap() {
                let Ok(text) = String::from_utf8(std::fs::read(entry.unwrap().path()).unwrap()) else { continue };
                for tail in [text.clone(), format!("ab12/section/{text}"), format!("ab12/source/{text}")] {
                    let Ok(question) = Question::parse(&tail) else { continue };
                    let printed = format!("/{question}");
                    let url = url::Url::parse(&format!("http://upstream{printed}")).unwrap();
                    assert_eq!((url.path(), url.query(), url.fragment()), (&*printed, None, None), "{tail:?}");
                    let decoded = percent_encoding::percent_decode_str(&printed).decode_utf8().unwrap();
                    assert_eq!(decoded.strip_prefix("/buildid/").map(Question::parse), Some(Ok(question)), "{tail:?}");
                    questions += 1;
                }
            }
        }
        assert!(questions > 100, "{questions}");
    }
}
