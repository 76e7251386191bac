//! The tokens of SQL, as far as dumps need them.

use std::io::Read;

use super::source::Source;
use super::{DumpError, Position, Result};
use crate::legacy::{MAX_VALUE_BYTES, OriginalValue};

/// Maximum number of bytes that are kept of a word or of a comment's beginning.
const MAX_WORD_BYTES: usize = 256;

/// How a dump writes strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Backslashes escape. Dumps that nothing identifies are read like this.
    MySql,
    /// Backslashes are characters but in `E'...'`; `$tag$ ... $tag$` are strings: PostgreSQL and SQLite.
    Standard,
}

/// A token. What is not wanted has an empty text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A name or keyword without quotes, or a number.
    Word(String),
    /// A text in quotes, with the kind of quotes.
    Quoted(u8, OriginalValue),
    /// Bytes in hex: `0x41`, `X'41'`.
    Hex(OriginalValue),
    /// Any other character.
    Symbol(u8),
    /// The end of the statement.
    StatementEnd,
    /// The end of the file.
    End,
}

/// A programme's mark at the beginning of a dump, and the one that it writes at the end.
const MARKS: [(&str, &str); 3] = [
    ("MySQL dump", "Dump completed"),
    ("MariaDB dump", "Dump completed"),
    ("PostgreSQL database dump", "PostgreSQL database dump complete"),
];

/// Reads tokens.
pub(super) struct Lexer<R> {
    pub(super) source: Source<R>,
    pub(super) dialect: Dialect,
    /// What ends a statement, if it is not `;`.
    delimiter: Option<Vec<u8>>,
    /// The mark that has to follow, because its beginning was read.
    pub(super) awaited_mark: Option<&'static str>,
}

impl<R: Read> Lexer<R> {
    pub(super) fn new(input: R) -> Self {
        Self { source: Source::new(input), dialect: Dialect::MySql, delimiter: None, awaited_mark: None }
    }

    pub(super) fn position(&self) -> Position {
        self.source.position()
    }

    /// Returns the next token; strings without their text unless they are `wanted`.
    pub(super) fn token(&mut self, is_wanted: bool) -> Result<Token> {
        loop {
            let Some(byte) = self.source.peek()? else { return Ok(Token::End) };
            match byte {
                _ if byte.is_ascii_whitespace() => self.source.pass(),
                b'-' if self.source.peek_at(1)? == Some(b'-') => self.line_comment(2)?,
                b'#' if self.dialect == Dialect::MySql => self.line_comment(1)?,
                b'/' if self.source.peek_at(1)? == Some(b'*') => self.block_comment()?,
                _ if self.is_at_delimiter()? => {
                    (0..self.delimiter.as_ref().map_or(1, Vec::len)).for_each(|_| self.source.pass());
                    return Ok(Token::StatementEnd);
                }
                b'\'' | b'"' | b'`' => {
                    let escapes = self.dialect == Dialect::MySql && byte != b'`';
                    return Ok(Token::Quoted(byte, self.quoted(escapes, is_wanted)?));
                }
                b'$' if self.dialect == Dialect::Standard => return self.dollar(is_wanted),
                _ if is_word(byte) => return self.word(is_wanted),
                b'-' | b'+' | b'.' if self.source.peek_at(1)?.is_some_and(|next| next.is_ascii_digit()) => {
                    return self.word(is_wanted);
                }
                _ => {
                    self.source.pass();
                    return Ok(Token::Symbol(byte));
                }
            }
        }
    }

    /// Passes the rest of a statement.
    pub(super) fn skip_statement(&mut self) -> Result<()> {
        loop {
            match self.token(false)? {
                Token::StatementEnd => return Ok(()),
                Token::End => return Err(self.unexpected_end("the end of a statement (;)")),
                _ => {}
            }
        }
    }

    /// Passes the rest of a line, without its end.
    pub(super) fn skip_line(&mut self) -> Result<()> {
        while self.source.peek()?.is_some_and(|byte| byte != b'\n') {
            self.source.pass();
        }
        Ok(())
    }

    /// Reads the rest of the line of the client's command `DELIMITER`.
    pub(super) fn read_delimiter(&mut self) -> Result<()> {
        let mut delimiter = Vec::new();
        while let Some(byte) = self.source.peek()?.filter(|byte| *byte != b'\n') {
            if !byte.is_ascii_whitespace() && delimiter.len() < MAX_WORD_BYTES {
                delimiter.push(byte);
            }
            self.source.pass();
        }
        self.delimiter = (!delimiter.is_empty() && delimiter != b";").then_some(delimiter);
        Ok(())
    }

    pub(super) fn unexpected_end(&self, expected: impl Into<String>) -> DumpError {
        self.error_at(self.position(), expected, "the end of the file: the dump is cut off")
    }

    pub(super) fn error_at(&self, at: Position, expected: impl Into<String>, found: impl Into<String>) -> DumpError {
        DumpError::Syntax { at, expected: expected.into(), found: found.into() }
    }

    fn is_at_delimiter(&mut self) -> Result<bool> {
        let Some(delimiter) = &self.delimiter else { return Ok(self.source.peek()? == Some(b';')) };
        for (distance, byte) in delimiter.iter().enumerate() {
            if self.source.peek_at(distance)? != Some(*byte) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn line_comment(&mut self, marker_bytes: usize) -> Result<()> {
        (0..marker_bytes).for_each(|_| self.source.pass());
        let mut text = Vec::new();
        while let Some(byte) = self.source.peek()?.filter(|byte| *byte != b'\n') {
            if text.len() < MAX_WORD_BYTES {
                text.push(byte);
            }
            self.source.pass();
        }
        let text = String::from_utf8_lossy(&text);
        let text = text.trim();
        if self.awaited_mark.is_some_and(|mark| text.starts_with(mark)) {
            self.awaited_mark = None;
        } else if let Some((start, end)) = MARKS.into_iter().find(|(start, _)| text.starts_with(start)) {
            self.awaited_mark = Some(end);
            self.dialect = if start.starts_with("Postgre") { Dialect::Standard } else { Dialect::MySql };
        }
        Ok(())
    }

    /// Passes `/* ... */`. What MySQL executes of it (`/*! ... */`) are settings, and views.
    fn block_comment(&mut self) -> Result<()> {
        let at = self.position();
        let mut previous = 0;
        (0..2).for_each(|_| self.source.pass());
        loop {
            let Some(byte) = self.source.next()? else {
                return Err(self.unexpected_end(format!("the end (*/) of the comment that begins in line {}", at.line)));
            };
            if previous == b'*' && byte == b'/' {
                return Ok(());
            }
            previous = byte;
        }
    }

    /// Reads a text in quotes. Two quotes in it stand for one.
    fn quoted(&mut self, escapes: bool, is_wanted: bool) -> Result<OriginalValue> {
        let at = self.position();
        let quote = self.source.next()?;
        let mut text = Text::new(is_wanted);
        loop {
            let Some(byte) = self.source.next()? else {
                let found = format!("the end of the string that begins in line {}, byte {}", at.line, at.byte);
                return Err(self.unexpected_end(found));
            };
            if Some(byte) == quote {
                if self.source.peek()? != quote {
                    return Ok(text.value());
                }
                self.source.pass();
                text.push(byte);
            } else if byte == b'\\' && escapes {
                self.escape(&mut text)?;
            } else {
                text.push(byte);
            }
        }
    }

    /// Reads what follows a backslash.
    fn escape(&mut self, text: &mut Text) -> Result<()> {
        // The loop of the string reports the end of the file.
        let Some(byte) = self.source.next()? else { return Ok(()) };
        match (self.dialect, byte) {
            (_, b'n') => text.push(b'\n'),
            (_, b't') => text.push(b'\t'),
            (_, b'r') => text.push(b'\r'),
            (_, b'b') => text.push(8),
            (Dialect::MySql, b'0') => text.push(0),
            (Dialect::MySql, b'Z') => text.push(0x1a),
            (Dialect::MySql, b'%' | b'_') => {
                text.push(b'\\');
                text.push(byte);
            }
            (Dialect::Standard, b'f') => text.push(12),
            (Dialect::Standard, b'0'..=b'7' | b'x') => text.push(self.numeric_escape(byte)?),
            _ => text.push(byte),
        }
        Ok(())
    }

    /// Reads the rest of `\ooo` or `\xhh`, whose first character is known: a byte.
    pub(super) fn numeric_escape(&mut self, first: u8) -> Result<u8> {
        let (radix, mut value, max_digits) =
            if first == b'x' { (16, None, 2) } else { (8, char::from(first).to_digit(8), 2) };
        for _ in 0..max_digits {
            let digit = self.source.peek()?.and_then(|byte| char::from(byte).to_digit(radix));
            let Some(digit) = digit else { break };
            value = Some(value.unwrap_or(0) * radix + digit);
            self.source.pass();
        }
        Ok(value.map_or(first, |value| (value & 0xff) as u8))
    }

    /// Reads `$tag$ ... $tag$`, or a single dollar sign.
    fn dollar(&mut self, is_wanted: bool) -> Result<Token> {
        let at = self.position();
        let mut tag = vec![b'$'];
        self.source.pass();
        while tag.len() < MAX_WORD_BYTES
            && let Some(byte) = self.source.peek()?.filter(|byte| is_word(*byte) && *byte != b'$')
        {
            tag.push(byte);
            self.source.pass();
        }
        if self.source.peek()? != Some(b'$') {
            return Ok(Token::Symbol(b'$'));
        }
        tag.push(b'$');
        self.source.pass();
        let (mut text, mut window) = (Text::new(is_wanted), Vec::with_capacity(tag.len() + 1));
        loop {
            let Some(byte) = self.source.next()? else {
                return Err(self.unexpected_end(format!("the end of the string that begins in line {}", at.line)));
            };
            window.push(byte);
            if window == tag {
                return Ok(Token::Quoted(b'$', text.value()));
            }
            if window.len() == tag.len() {
                text.push(window.remove(0));
            }
        }
    }

    fn word(&mut self, is_wanted: bool) -> Result<Token> {
        let mut word = Vec::new();
        let is_number = self.source.peek()?.is_some_and(|byte| !byte.is_ascii_alphabetic() && byte != b'_');
        while let Some(byte) = self.source.peek()? {
            let continues = is_word(byte) || is_number && matches!(byte, b'+' | b'-' | b'.');
            // The mark of a comment behind a number.
            if !continues || !word.is_empty() && byte == b'-' && self.source.peek_at(1)? == Some(b'-') {
                break;
            }
            if word.len() >= MAX_WORD_BYTES && !word.starts_with(b"0x") {
                self.source.pass();
                continue;
            }
            if word.len() <= 2 * MAX_VALUE_BYTES + 2 {
                word.push(byte);
            }
            self.source.pass();
        }
        if self.source.peek()? == Some(b'\'') {
            match word.as_slice() {
                b"e" | b"E" => {
                    // Such strings have backslashes in PostgreSQL.
                    return Ok(Token::Quoted(b'\'', self.quoted(true, is_wanted)?));
                }
                b"x" | b"X" => {
                    let digits = self.quoted(false, true)?;
                    return Ok(Token::Hex(match digits {
                        OriginalValue::Bytes(digits) => bytes_of_hex(&digits),
                        other => other,
                    }));
                }
                _ => {}
            }
        }
        if let Some(digits) = word.strip_prefix(b"0x").filter(|digits| !digits.is_empty()) {
            return Ok(Token::Hex(bytes_of_hex(digits)));
        }
        Ok(Token::Word(String::from_utf8_lossy(&word).into_owned()))
    }
}

/// A text of bounded length.
pub(super) struct Text {
    bytes: Vec<u8>,
    is_wanted: bool,
    is_too_long: bool,
}

impl Text {
    /// Returns an empty text, which stays empty unless it is wanted.
    pub(super) fn new(is_wanted: bool) -> Self {
        Self { bytes: Vec::new(), is_wanted, is_too_long: false }
    }

    pub(super) fn push(&mut self, byte: u8) {
        if !self.is_wanted {
        } else if self.bytes.len() < MAX_VALUE_BYTES {
            self.bytes.push(byte);
        } else {
            self.is_too_long = true;
        }
    }

    pub(super) fn value(self) -> OriginalValue {
        if self.is_too_long { OriginalValue::TooLong } else { OriginalValue::Bytes(self.bytes) }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

fn bytes_of_hex(digits: &[u8]) -> OriginalValue {
    if digits.len() > 2 * MAX_VALUE_BYTES {
        return OriginalValue::TooLong;
    }
    let mut bytes = vec![0; digits.len() / 2];
    match faster_hex::hex_decode(digits, &mut bytes) {
        Ok(_) => OriginalValue::Bytes(bytes),
        // No bytes of anything: what reads the value refuses it.
        Err(_) => OriginalValue::Bytes(digits.to_vec()),
    }
}
