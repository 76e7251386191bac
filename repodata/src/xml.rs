//! A bounded XML reader: what is in every document of a repository, and nothing else.
//!
//! There are no document type declarations, and no entities but the five predefined ones: nothing unfolds.

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};
use std::sync::Arc;

use quick_xml::XmlVersion;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::Event;
use quick_xml::events::attributes::Attributes;

use crate::error::{shown, unwrap};
use crate::lines::fill;
use crate::{Error, Result};

/// The maximum size of a tag, a text or a comment. The longest real ones are descriptions of packages.
const MAX_PART_BYTES: u64 = 4 << 20;
/// The maximum number of open elements. Listings need six.
const MAX_DEPTH: u32 = 32;
/// The maximum number of attributes of an element.
const MAX_ATTRIBUTES: usize = 64;
/// The maximum size of the value of an attribute, and of a text that is read. PATH_MAX is 4,096.
const MAX_VALUE_BYTES: usize = 64 << 10;
/// The maximum number of elements. Filelists of a release have ten million.
const MAX_ELEMENTS: u64 = 1 << 30;
/// The size of a byte order mark in UTF-8.
const BYTE_ORDER_MARK_BYTES: usize = 3;
/// The size of the buffer for bytes of the document.
const INPUT_BYTES: usize = 64 << 10;

/// A document, part by part.
pub(crate) struct Document<R> {
    name: &'static str,
    reader: quick_xml::Reader<Bounded<Chain<Cursor<Vec<u8>>, R>>>,
    buffer: Vec<u8>,
    depth: u32,
    elements: u64,
    /// The start of the last element, without `<` and `>`, and the length of its name.
    tag: String,
    tag_name_bytes: usize,
    /// The last text.
    text: String,
}

/// A part of a document.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Start,
    End,
    Text,
    /// A comment or an instruction.
    Other,
    Eof,
}

impl<R: Read> Document<R> {
    /// Reads the start of the root element, which has to have this local name.
    ///
    /// # Errors
    /// [`Error::Document`] where the document begins otherwise; [`Error::Io`] and the errors of `input`'s own reader.
    pub(crate) fn open(name: &'static str, mut input: R, root: &str) -> Result<Self> {
        // A byte order mark is passed over only if the first read brings all of it.
        let mut start = vec![0; BYTE_ORDER_MARK_BYTES];
        let filled = fill(&mut input, &mut start)?;
        start.truncate(filled);
        let input = Cursor::new(start).chain(input);
        let input = Bounded { input: BufReader::with_capacity(INPUT_BYTES, input), rest: MAX_PART_BYTES, line: 1 };
        let mut reader = quick_xml::Reader::from_reader(input);
        reader.config_mut().expand_empty_elements = true;
        let (buffer, tag, text) = (Vec::new(), String::new(), String::new());
        let mut document = Self { name, reader, buffer, depth: 0, elements: 0, tag, tag_name_bytes: 0, text };
        let found = loop {
            match document.advance()? {
                Part::Start if document.tag_name() == root => return Ok(document),
                Part::Start => break format!("<{}>", shown(document.tag_name())),
                Part::Text if document.text.trim().is_empty() => {}
                Part::Text => break format!("{:?}", shown(document.text.trim())),
                Part::Other => {}
                Part::End | Part::Eof => break "the end of the file".into(),
            }
        };
        document.refuse(format!("<{root}>"), found)
    }

    /// Reads the next part; `tag` and `text` are those of the last start and the last text.
    fn advance(&mut self) -> Result<Part> {
        self.buffer.clear();
        self.reader.get_mut().rest = MAX_PART_BYTES;
        let (expected, found) = match self.reader.read_event_into(&mut self.buffer) {
            Ok(Event::Start(start)) => {
                self.depth += 1;
                self.elements += 1;
                if self.depth <= MAX_DEPTH && self.elements <= MAX_ELEMENTS {
                    self.tag.clear();
                    self.tag.push_str(&start);
                    self.tag_name_bytes = start.name().as_ref().len();
                    return Ok(Part::Start);
                }
                (format!("at most {MAX_DEPTH} elements in each other, and {MAX_ELEMENTS} in all"), "more".into())
            }
            Ok(Event::End(_)) => {
                self.depth = self.depth.saturating_sub(1);
                return Ok(Part::End);
            }
            Ok(Event::Text(text)) => return Ok(set_text(&mut self.text, &text.xml10_content())),
            Ok(Event::CData(text)) => return Ok(set_text(&mut self.text, &text.xml10_content())),
            Ok(Event::GeneralRef(reference)) => match reference.resolve_char_ref() {
                Ok(Some(char)) => return Ok(set_text(&mut self.text, char.encode_utf8(&mut [0; 4]))),
                Ok(None) => match resolve_predefined_entity(&reference) {
                    Some(text) => return Ok(set_text(&mut self.text, text)),
                    None => ("no entities but the predefined ones".into(), format!("&{};", shown(&reference))),
                },
                Err(error) => ("a reference to a character".into(), shown(&error.to_string())),
            },
            Ok(Event::DocType(text)) => {
                ("no document type declaration".into(), format!("<!DOCTYPE {}>", shown(text.trim())))
            }
            Ok(Event::Eof) if self.depth > 0 => ("the end of every element".into(), "the end of the file".into()),
            Ok(Event::Eof) => return Ok(Part::Eof),
            Ok(_) => return Ok(Part::Other),
            Err(quick_xml::Error::Io(error)) => match Arc::try_unwrap(error) {
                Ok(error) => match error.downcast::<TooLong>() {
                    Ok(TooLong) => ("tags and texts of at most 4 MiB".into(), "a longer one".into()),
                    Err(error) => return Err(unwrap(error)),
                },
                Err(error) => return Err(Error::Io(io::Error::new(error.kind(), error.to_string()))),
            },
            Err(error) => ("well-formed XML in UTF-8".into(), shown(&error.to_string())),
        };
        self.refuse(expected, found)
    }

    /// Reads on to the next child of the element that is open, whose start was the last that was read or whose other
    /// children were read to their ends. False at the end of the element.
    pub(crate) fn next_child(&mut self) -> Result<bool> {
        loop {
            match self.advance()? {
                Part::Start => return Ok(true),
                Part::End | Part::Eof => return Ok(false),
                Part::Text | Part::Other => {}
            }
        }
    }

    /// The name of the last element that began, without prefix.
    pub(crate) fn tag_name(&self) -> &str {
        let name = self.tag.get(..self.tag_name_bytes).unwrap_or_default();
        name.rsplit_once(':').map_or(name, |(_, name)| name)
    }

    /// The value of the attribute with this name, prefix and all, of the last element that began; `None` where it has
    /// none.
    ///
    /// # Errors
    /// [`Error::Document`] where the attributes are broken or beyond a limit.
    pub(crate) fn attribute(&self, name: &str) -> Result<Option<Cow<'_, str>>> {
        let mut rest = Attributes::new(&self.tag, self.tag_name_bytes);
        for (number, attribute) in rest.with_checks(false).enumerate() {
            if number >= MAX_ATTRIBUTES {
                return self.refuse(format!("at most {MAX_ATTRIBUTES} attributes"), "more");
            }
            let attribute = match attribute {
                Ok(attribute) if attribute.key.as_ref() == name => attribute,
                Ok(_) => continue,
                Err(error) => return self.refuse("NAME=\"VALUE\" as attribute", shown(&error.to_string())),
            };
            if attribute.value.len() > MAX_VALUE_BYTES {
                let expected = format!("a value of at most {MAX_VALUE_BYTES} bytes");
                return self.refuse(expected, attribute.value.len().to_string());
            }
            return match attribute.normalized_value(XmlVersion::Explicit1_0) {
                Ok(value) => Ok(Some(value)),
                Err(error) => self.refuse("no entities but the predefined ones", shown(&error.to_string())),
            };
        }
        Ok(None)
    }

    /// Reads the element that is open to its end. Returns its text without white space around it; elements in it are
    /// passed over.
    pub(crate) fn read_text(&mut self) -> Result<String> {
        let mut text = String::new();
        self.read_text_into(&mut text)?;
        let trimmed = text.trim();
        Ok(if trimmed.len() == text.len() { text } else { trimmed.into() })
    }

    /// The same into a buffer that is used again, with all white space.
    pub(crate) fn read_text_into(&mut self, text: &mut String) -> Result<()> {
        text.clear();
        loop {
            match self.advance()? {
                Part::Text if text.len() + self.text.len() <= MAX_VALUE_BYTES => text.push_str(&self.text),
                Part::Text => return self.refuse(format!("a text of at most {MAX_VALUE_BYTES} bytes"), "a longer one"),
                Part::Start => self.skip()?,
                Part::End | Part::Eof => return Ok(()),
                Part::Other => {}
            }
        }
    }

    /// Reads the element that is open to its end.
    pub(crate) fn skip(&mut self) -> Result<()> {
        let depth = self.depth;
        while self.depth >= depth {
            self.advance()?;
        }
        Ok(())
    }

    /// Reads on behind the root element to the end of the file, where a reader that verifies a checksum compares it.
    ///
    /// # Errors
    /// [`Error::Document`] where another element follows; the errors of the input's own reader.
    pub(crate) fn finish(mut self) -> Result<()> {
        loop {
            match self.advance()? {
                Part::Eof => return Ok(()),
                Part::Start => return self.refuse("the end of the file", "another root element"),
                Part::End | Part::Text | Part::Other => {}
            }
        }
    }

    /// An error at the current line.
    pub(crate) fn refuse<T>(&self, expected: impl Into<String>, found: impl Into<String>) -> Result<T> {
        let line = self.reader.get_ref().line;
        Err(Error::Document { document: self.name, line, expected: expected.into(), found: found.into() })
    }
}

fn set_text(text: &mut String, part: &str) -> Part {
    text.clear();
    text.push_str(part);
    Part::Text
}

/// The bytes of a document, of which a number may be read for one part.
struct Bounded<R> {
    input: BufReader<R>,
    rest: u64,
    /// Counted from 1.
    line: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("a part that is too long")]
struct TooLong;

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

impl<R: Read> BufRead for Bounded<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.rest == 0 {
            return Err(io::Error::other(TooLong));
        }
        self.input.fill_buf()
    }

    fn consume(&mut self, bytes: usize) {
        let consumed = self.input.buffer().get(..bytes).unwrap_or_default();
        self.line += memchr::memchr_iter(b'\n', consumed).count() as u64;
        self.rest = self.rest.saturating_sub(bytes as u64);
        self.input.consume(bytes);
    }
}

#[cfg(test)]
mod tests;
