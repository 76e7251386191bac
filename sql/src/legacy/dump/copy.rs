//! The rows of PostgreSQL's `COPY ... FROM stdin` (its manual: "COPY", text format).

use std::io::Read;
use std::ops::ControlFlow;

use super::lexer::{Text, Token};
use super::statements::{Columns, Dump, describe};
use super::{Position, Result};
use crate::legacy::{OriginalRow, OriginalTable, OriginalValue};

/// How a value ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ValueEnd {
    Tab,
    Line,
}

impl<R: Read, F: FnMut(OriginalRow, Position) -> ControlFlow<()>> Dump<'_, R, F> {
    /// Reads `COPY NAME (columns) FROM stdin;` and its rows.
    pub(super) fn copy(&mut self) -> Result<ControlFlow<()>> {
        let at = self.lexer.position();
        let first = self.lexer.token(true)?;
        if first == Token::Symbol(b'(') {
            // COPY (query) TO: no rows follow.
            return self.lexer.skip_statement().map(ControlFlow::Continue);
        }
        let (name, mut next) = self.qualified_name(first)?;
        let Some(table) = OriginalTable::of_name(&name) else {
            self.summary.other_tables += 1;
            if self.is_from_stdin(next)? {
                self.skip_rows()?;
            }
            return Ok(ControlFlow::Continue(()));
        };
        let columns = if next == Token::Symbol(b'(') {
            let columns = self.column_list(table)?;
            next = self.lexer.token(true)?;
            columns
        } else {
            self.created_columns(table, at)?
        };
        self.count(table, 0);
        for expected in ["FROM", "STDIN"] {
            match &next {
                Token::Word(word) if word.eq_ignore_ascii_case(expected) => {}
                Token::End => return Err(self.lexer.unexpected_end("FROM stdin;")),
                other => return Err(self.lexer.error_at(self.lexer.position(), "FROM stdin;", describe(other))),
            }
            next = self.lexer.token(true)?;
        }
        match next {
            Token::StatementEnd => self.lexer.skip_line()?,
            Token::End => return Err(self.lexer.unexpected_end("FROM stdin;")),
            other => {
                let expected = "COPY in the text format, without options";
                return Err(self.lexer.error_at(self.lexer.position(), expected, describe(&other)));
            }
        }
        self.lexer.source.pass();
        self.copied_rows(table, &columns)
    }

    fn copied_rows(&mut self, table: OriginalTable, columns: &Columns) -> Result<ControlFlow<()>> {
        while !self.is_at_end_of_rows()? {
            let at = self.lexer.position();
            let row = self.copied_row(columns, at)?;
            self.count(table, 1);
            if self.pass_on(row, at).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// True at the line `\.`, which is passed then.
    fn is_at_end_of_rows(&mut self) -> Result<bool> {
        let source = &mut self.lexer.source;
        let is_end = source.peek()? == Some(b'\\')
            && source.peek_at(1)? == Some(b'.')
            && matches!(source.peek_at(2)?, None | Some(b'\n' | b'\r'));
        if is_end {
            self.lexer.skip_line()?;
            return Ok(true);
        }
        if source.peek()?.is_none() {
            return Err(self.lexer.unexpected_end("the end of the rows of COPY: \\."));
        }
        Ok(false)
    }

    /// Passes the rows of another table.
    fn skip_rows(&mut self) -> Result<()> {
        self.lexer.skip_line()?;
        self.lexer.source.pass();
        while !self.is_at_end_of_rows()? {
            self.lexer.skip_line()?;
            self.lexer.source.pass();
        }
        Ok(())
    }

    /// Passes the rest of a COPY statement; true if rows follow.
    fn is_from_stdin(&mut self, first: Token) -> Result<bool> {
        let (mut next, mut is_from_stdin) = (first, false);
        loop {
            match next {
                Token::Word(word) => is_from_stdin |= word.eq_ignore_ascii_case("stdin"),
                Token::StatementEnd => return Ok(is_from_stdin),
                Token::End => return Err(self.lexer.unexpected_end("the end of a statement (;)")),
                _ => {}
            }
            next = self.lexer.token(true)?;
        }
    }

    fn copied_row(&mut self, columns: &Columns, at: Position) -> Result<OriginalRow> {
        let mut row = OriginalRow::default();
        let mut count = 0;
        loop {
            let column = columns.get(count).copied().flatten();
            let (value, end) = self.copied_value(column.is_some())?;
            count += 1;
            if let Some(column) = column {
                row.set(column, value);
            }
            if end == ValueEnd::Line {
                break;
            }
        }
        if count == columns.len() { Ok(row) } else { Err(self.wrong_count(at, columns.len(), count)) }
    }

    fn copied_value(&mut self, is_wanted: bool) -> Result<(OriginalValue, ValueEnd)> {
        let (mut text, mut is_null, mut is_first) = (Text::new(is_wanted), false, true);
        loop {
            let Some(byte) = self.lexer.source.next()? else {
                return Err(self.lexer.unexpected_end("the end of a row of COPY"));
            };
            match byte {
                b'\t' | b'\n' => {
                    let end = if byte == b'\t' { ValueEnd::Tab } else { ValueEnd::Line };
                    return Ok((if is_null { OriginalValue::Null } else { text.value() }, end));
                }
                // The line's end on Windows: one in a value is escaped.
                b'\r' if self.lexer.source.peek()? == Some(b'\n') => {}
                b'\\' => match self.lexer.source.next()? {
                    Some(b'N') if is_first => is_null = true,
                    Some(b'b') => text.push(8),
                    Some(b'f') => text.push(12),
                    Some(b'n') => text.push(b'\n'),
                    Some(b'r') => text.push(b'\r'),
                    Some(b't') => text.push(b'\t'),
                    Some(b'v') => text.push(11),
                    Some(first @ (b'0'..=b'7' | b'x')) => {
                        let byte = self.lexer.numeric_escape(first)?;
                        text.push(byte);
                    }
                    Some(byte) => text.push(byte),
                    None => {}
                },
                byte => text.push(byte),
            }
            is_first = false;
        }
    }
}
