//! Patterns of paths, as in fnmatch(3) with FNM_PATHNAME: `*`, `?` and `[...]` never match a slash.

/// A parsed pattern.
pub(crate) struct Glob {
    /// One list for each component between slashes.
    parts: Vec<Vec<Token>>,
}

enum Token {
    /// This character.
    Char(char),
    /// `?`
    AnyChar,
    /// `*`
    AnyChars,
    /// `[...]`
    Set { negated: bool, ranges: Vec<(char, char)> },
}

impl Glob {
    /// Parses a pattern. Every pattern is valid: a `[` without an end is a literal character.
    pub(crate) fn new(pattern: &str) -> Self {
        Self { parts: pattern.split('/').map(tokens).collect() }
    }

    /// True if the whole path matches.
    pub(crate) fn matches(&self, path: &str) -> bool {
        let mut parts = path.split('/');
        self.parts.iter().all(|tokens| parts.next().is_some_and(|part| matches(tokens, part))) && parts.next().is_none()
    }

    /// Returns the literal prefix of the last component, and true if that is the whole component.
    pub(crate) fn literal_file_name(&self) -> (String, bool) {
        let tokens = self.parts.last().map_or(&[][..], Vec::as_slice);
        let literal = |token: &Token| match token {
            Token::Char(character) => Some(*character),
            _ => None,
        };
        let head: String = tokens.iter().map_while(literal).collect();
        (head, tokens.iter().all(|token| literal(token).is_some()))
    }
}

impl Token {
    fn matches_char(&self, character: char) -> bool {
        match self {
            Self::Char(one) => *one == character,
            Self::AnyChar | Self::AnyChars => true,
            Self::Set { negated, ranges } => {
                ranges.iter().any(|(first, last)| (*first..=*last).contains(&character)) != *negated
            }
        }
    }
}

fn tokens(part: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = part.chars();
    while let Some(character) = rest.next() {
        tokens.push(match character {
            '?' => Token::AnyChar,
            // Several stars in a row match the same as one.
            '*' if matches!(tokens.last(), Some(Token::AnyChars)) => continue,
            '*' => Token::AnyChars,
            '\\' => Token::Char(rest.next().unwrap_or('\\')),
            '[' => match set(rest.as_str()) {
                Some((set, behind)) => {
                    rest = behind.chars();
                    set
                }
                None => Token::Char('['),
            },
            character => Token::Char(character),
        });
    }
    tokens
}

/// Parses the set after a `[`; returns it and the text after its `]`.
fn set(text: &str) -> Option<(Token, &str)> {
    let (negated, text) = match text.strip_prefix(['!', '^']) {
        Some(text) => (true, text),
        None => (false, text),
    };
    let (mut ranges, mut rest) = (Vec::new(), text.chars());
    loop {
        let first = match rest.next()? {
            // As the first character it is a member.
            ']' if !ranges.is_empty() => return Some((Token::Set { negated, ranges }, rest.as_str())),
            '\\' => rest.next()?,
            character => character,
        };
        let mut ahead = rest.clone();
        let last = match (ahead.next(), ahead.next()) {
            (Some('-'), Some(last)) if last != ']' => {
                let last = if last == '\\' { ahead.next()? } else { last };
                rest = ahead;
                last
            }
            _ => first,
        };
        ranges.push((first, last));
    }
}

/// True if a component matches. Backtracks to the last `*` only: an earlier one could match no more than that.
fn matches(tokens: &[Token], part: &str) -> bool {
    let (mut at, mut rest) = (0, part);
    let mut star: Option<(usize, &str)> = None;
    loop {
        match (tokens.get(at), rest.chars().next()) {
            (Some(Token::AnyChars), _) => {
                at += 1;
                star = Some((at, rest));
                continue;
            }
            (Some(token), Some(character)) if token.matches_char(character) => {
                at += 1;
                rest = &rest[character.len_utf8()..];
                continue;
            }
            (None, None) => return true,
            _ => {}
        }
        let Some((behind, from)) = star else { return false };
        let Some(character) = from.chars().next() else { return false };
        rest = &from[character.len_utf8()..];
        star = Some((behind, rest));
        at = behind;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_fnmatch_does() {
        for (pattern, path, expected) in [
            ("/usr/bin/ls", "/usr/bin/ls", true),
            ("/usr/bin/ls", "/usr/bin/lsof", false),
            ("/usr/bin/l*", "/usr/bin/ls", true),
            ("/usr/bin/*", "/usr/bin/ls", true),
            ("/usr/*", "/usr/bin/ls", false),
            ("/usr/*/ls", "/usr/bin/ls", true),
            ("/*/*/*", "/usr/bin/ls", true),
            ("/usr?bin/ls", "/usr/bin/ls", false),
            ("/usr[/]bin/ls", "/usr/bin/ls", false),
            ("*/usr/bin/ls", "/usr/bin/ls", true),
            ("ls", "/usr/bin/ls", false),
            ("*", "/usr/bin/ls", false),
            ("*ls", "/usr/bin/ls", false),
            ("/usr/bin/??", "/usr/bin/ls", true),
            ("/usr/bin/?", "/usr/bin/ls", false),
            ("/a/[k-m]s", "/a/ls", true),
            ("/a/[!k-m]s", "/a/ls", false),
            ("/a/[^k-m]s", "/a/ls", false),
            ("/a/[!a]s", "/a/ls", true),
            ("/a/[]l]s", "/a/ls", true),
            ("/a/[l-]s", "/a/-s", true),
            ("/a/[\\]]s", "/a/]s", true),
            ("/a/[ls", "/a/[ls", true),
            ("/a/[", "/a/[", true),
            ("/a/[!]", "/a/[!]", true),
            ("/a/\\*", "/a/*", true),
            ("/a/\\*", "/a/x", false),
            ("/a/\\", "/a/\\", true),
            ("/a/?", "/a/ä", true),
            ("/a/*a*b*c", "/a/xxaxxbxxbxc", true),
            ("/a/*a*b*c", "/a/xxaxxbxxbxcd", false),
            ("/a/**x", "/a/x", true),
            ("/a/", "/a/", true),
            ("/a/*", "/a/", true),
            ("", "", true),
            ("", "/a", false),
        ] {
            assert_eq!(Glob::new(pattern).matches(path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn a_pattern_with_many_stars_is_matched_without_delay() {
        let pattern = format!("/{}b", "*a".repeat(1000));
        assert!(!Glob::new(&pattern).matches(&format!("/{}", "a".repeat(4000))));
    }

    #[test]
    fn the_prefix_of_a_file_name_is_that_of_the_last_component() {
        let name = |pattern: &str| Glob::new(pattern).literal_file_name();
        let (whole, head) = (|text: &str| (text.to_owned(), true), |text: &str| (text.to_owned(), false));
        assert_eq!(name("/usr/bin/ls"), whole("ls"));
        assert_eq!(name("/*/ls*"), head("ls"));
        assert_eq!(name("/*/libs?x"), head("libs"));
        assert_eq!(name("/a/\\*x?"), head("*x"));
        assert_eq!(name("/a/*"), head(""));
        assert_eq!(name("/a/lib*"), head("lib"));
        assert_eq!(name("/a/[l]s"), head(""));
        assert_eq!(name("/a/"), whole(""));
        assert_eq!(name(""), whole(""));
    }
}
