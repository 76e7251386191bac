//! The statements of a dump: which tables have which columns, and the rows of INSERT.

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::ControlFlow;

use super::lexer::{Dialect, Lexer, Token};
use super::{DumpError, DumpSummary, Position, Result};
use crate::legacy::{Column, OriginalRow, OriginalTable, OriginalValue, REQUIRED};

/// Maximum number of columns of a table: that of MySQL.
const MAX_COLUMNS: usize = 4096;

/// The columns of a table in order; `None` for those that are not read.
pub(super) type Columns = Vec<Option<Column>>;

/// A dump that is being read.
pub(super) struct Dump<'s, R, F> {
    pub(super) lexer: Lexer<R>,
    pub(super) summary: &'s mut DumpSummary,
    each: F,
    /// The columns that CREATE TABLE states.
    columns: BTreeMap<OriginalTable, Columns>,
}

impl<'s, R: Read, F: FnMut(OriginalRow, Position) -> ControlFlow<()>> Dump<'s, R, F> {
    pub(super) fn new(input: R, summary: &'s mut DumpSummary, each: F) -> Self {
        Self { lexer: Lexer::new(input), summary, each, columns: BTreeMap::new() }
    }

    /// Reads all statements.
    pub(super) fn read(mut self) -> Result<()> {
        self.check_start()?;
        loop {
            let flow = self.statement();
            self.summary.bytes = self.lexer.position().byte;
            match flow? {
                ControlFlow::Continue(true) => {}
                ControlFlow::Continue(false) => break,
                ControlFlow::Break(()) => return Ok(()),
            }
        }
        match self.lexer.awaited_mark {
            Some(mark) => Err(self.lexer.unexpected_end(format!("the comment \"-- {mark}\""))),
            None => Ok(()),
        }
    }

    /// Refuses files that are no text.
    fn check_start(&mut self) -> Result<()> {
        let mut start = Vec::new();
        while start.len() < 16
            && let Some(byte) = self.lexer.source.peek_at(start.len())?
        {
            start.push(byte);
        }
        let found = match start.as_slice() {
            start if start.starts_with(b"PGDMP") => "pg_dump's custom format: convert it with `pg_restore -f - FILE`",
            start if start.starts_with(b"SQLite format 3") => "an SQLite file: convert it with `sqlite3 FILE .dump`",
            start if start.starts_with(b"\xff\xfe") || start.starts_with(b"\xfe\xff") => "text in UTF-16",
            start if start.starts_with(b"\xef\xbb\xbf") => {
                (0..3).for_each(|_| self.lexer.source.pass());
                return Ok(());
            }
            start if start.contains(&0) => "a binary file",
            _ => return Ok(()),
        };
        Err(self.lexer.error_at(self.lexer.position(), "the SQL of a dump", found))
    }

    /// Reads a statement. `Continue(false)` at the end of the file.
    fn statement(&mut self) -> Result<ControlFlow<(), bool>> {
        let word = match self.lexer.token(false)? {
            Token::End => return Ok(ControlFlow::Continue(false)),
            Token::StatementEnd => return Ok(ControlFlow::Continue(true)),
            // A command of the client psql, as \connect.
            Token::Symbol(b'\\') => {
                self.lexer.skip_line()?;
                return Ok(ControlFlow::Continue(true));
            }
            Token::Word(word) => word.to_ascii_uppercase(),
            _ => String::new(),
        };
        match word.as_str() {
            "CREATE" => self.create()?,
            "INSERT" | "REPLACE" => return Ok(map(self.insert()?)),
            "COPY" => return Ok(map(self.copy()?)),
            "DELIMITER" => self.lexer.read_delimiter()?,
            // SQLite.
            "PRAGMA" => {
                self.lexer.dialect = Dialect::Standard;
                self.lexer.skip_statement()?;
            }
            "SET" => self.set()?,
            _ => self.lexer.skip_statement()?,
        }
        Ok(ControlFlow::Continue(true))
    }

    /// Reads `SET standard_conforming_strings = on`, as `pg_dump` writes it.
    fn set(&mut self) -> Result<()> {
        let mut is_setting = false;
        loop {
            match self.lexer.token(false)? {
                Token::StatementEnd => return Ok(()),
                Token::End => return Err(self.lexer.unexpected_end("the end of a statement (;)")),
                Token::Word(word) if word.eq_ignore_ascii_case("standard_conforming_strings") => is_setting = true,
                Token::Word(word) if is_setting && word.eq_ignore_ascii_case("on") => {
                    self.lexer.dialect = Dialect::Standard;
                }
                _ => {}
            }
        }
    }

    /// Reads `CREATE TABLE [IF NOT EXISTS] NAME (...)`, and passes what else is created.
    fn create(&mut self) -> Result<()> {
        let mut is_table = false;
        let name = loop {
            let token = self.lexer.token(true)?;
            match &token {
                Token::Word(word) if !is_table => match word.to_ascii_uppercase().as_str() {
                    "TABLE" => is_table = true,
                    "TEMPORARY" | "TEMP" | "GLOBAL" | "LOCAL" | "UNLOGGED" | "FOREIGN" | "OR" | "REPLACE" => {}
                    _ => return self.lexer.skip_statement(),
                },
                Token::Word(word) if ["IF", "NOT", "EXISTS"].iter().any(|other| word.eq_ignore_ascii_case(other)) => {}
                Token::StatementEnd => return Ok(()),
                Token::End => return Err(self.lexer.unexpected_end("the name of a table")),
                _ if is_table => break self.qualified_name(token)?,
                _ => return self.lexer.skip_statement(),
            }
        };
        let (name, next) = name;
        let Some(table) = OriginalTable::of_name(&name) else {
            self.summary.other_tables += 1;
            return self.skip_rest(next);
        };
        if next != Token::Symbol(b'(') {
            // CREATE TABLE ... AS, LIKE, PARTITION OF: nothing states the columns here.
            return self.skip_rest(next);
        }
        let at = self.lexer.position();
        let names = self.column_definitions()?;
        let columns: Columns = names.iter().map(|name| Column::of_name(name)).collect();
        if !Column::are_enough(&columns) {
            let found = names.join(", ");
            return Err(self.lexer.error_at(at, REQUIRED, format!("{}: {}", table.name(), short(&found))));
        }
        self.columns.insert(table, columns);
        self.count(table, 0);
        self.lexer.skip_statement()
    }

    /// Passes the rest of a statement, whose next token was read already.
    fn skip_rest(&mut self, next: Token) -> Result<()> {
        match next {
            Token::StatementEnd => Ok(()),
            Token::End => Err(self.lexer.unexpected_end("the end of a statement (;)")),
            _ => self.lexer.skip_statement(),
        }
    }

    /// Reads the definitions of a table to their closing parenthesis; returns the names of the columns.
    fn column_definitions(&mut self) -> Result<Vec<String>> {
        const NO_COLUMNS: [&str; 12] = [
            "PRIMARY",
            "KEY",
            "UNIQUE",
            "INDEX",
            "CONSTRAINT",
            "FOREIGN",
            "FULLTEXT",
            "SPATIAL",
            "CHECK",
            "EXCLUDE",
            "PERIOD",
            "LIKE",
        ];
        let (mut names, mut depth, mut is_first) = (Vec::new(), 0_usize, true);
        loop {
            let token = self.lexer.token(is_first && depth == 0)?;
            match token {
                Token::End | Token::StatementEnd => {
                    return Err(self.lexer.unexpected_end("the end of the columns of a table: )"));
                }
                Token::Symbol(b'(') => depth += 1,
                Token::Symbol(b')') if depth == 0 => return Ok(names),
                Token::Symbol(b')') => depth -= 1,
                Token::Symbol(b',') if depth == 0 => {
                    is_first = true;
                    continue;
                }
                Token::Word(word)
                    if is_first && depth == 0 && !NO_COLUMNS.iter().any(|other| word.eq_ignore_ascii_case(other)) =>
                {
                    names.push(word);
                }
                Token::Quoted(b'`' | b'"', OriginalValue::Bytes(name)) if is_first && depth == 0 => {
                    names.push(String::from_utf8_lossy(&name).into_owned());
                }
                _ => {}
            }
            is_first = false;
            if names.len() > MAX_COLUMNS {
                let at = self.lexer.position();
                return Err(self.lexer.error_at(at, format!("at most {MAX_COLUMNS} columns"), "more"));
            }
        }
    }

    /// Reads the rest of a name whose first part is known: `schema.table` is `table`. Returns the token behind it, too.
    pub(super) fn qualified_name(&mut self, first: Token) -> Result<(String, Token)> {
        let mut name = self.name(first)?;
        loop {
            let mut next = self.lexer.token(true)?;
            if next != Token::Symbol(b'.') {
                // PostgreSQL's `ONLY public.table`.
                if name.eq_ignore_ascii_case("only") && matches!(next, Token::Word(_) | Token::Quoted(..)) {
                    name = self.name(next)?;
                    continue;
                }
                return Ok((name, next));
            }
            next = self.lexer.token(true)?;
            name = self.name(next)?;
        }
    }

    fn name(&mut self, token: Token) -> Result<String> {
        match token {
            Token::Word(word) => Ok(word),
            Token::Quoted(b'`' | b'"', OriginalValue::Bytes(name)) => Ok(String::from_utf8_lossy(&name).into_owned()),
            Token::End => Err(self.lexer.unexpected_end("a name")),
            other => Err(self.lexer.error_at(self.lexer.position(), "a name", describe(&other))),
        }
    }

    /// Reads `(a, b, ...)` behind its opening parenthesis.
    pub(super) fn column_list(&mut self, table: OriginalTable) -> Result<Columns> {
        let at = self.lexer.position();
        let mut names = Vec::new();
        loop {
            let token = self.lexer.token(true)?;
            names.push(self.name(token)?);
            match self.lexer.token(false)? {
                Token::Symbol(b',') if names.len() < MAX_COLUMNS => {}
                Token::Symbol(b')') => break,
                Token::End => return Err(self.lexer.unexpected_end("the end of a list of columns: )")),
                other => {
                    let at = self.lexer.position();
                    return Err(self.lexer.error_at(at, "`,` or `)` in a list of columns", describe(&other)));
                }
            }
        }
        let columns: Columns = names.iter().map(|name| Column::of_name(name)).collect();
        if Column::are_enough(&columns) {
            return Ok(columns);
        }
        Err(self.lexer.error_at(at, REQUIRED, format!("{}: {}", table.name(), short(&names.join(", ")))))
    }

    /// Returns the columns of a table without a list of columns.
    pub(super) fn created_columns(&self, table: OriginalTable, at: Position) -> Result<Columns> {
        self.columns.get(&table).cloned().ok_or_else(|| {
            let name = table.name();
            let expected = format!("CREATE TABLE {name} before its rows, or a list of columns");
            self.lexer.error_at(at, expected, "rows without either: dump with --complete-insert, or with the tables")
        })
    }

    /// Reads `INSERT [IGNORE] INTO NAME [(columns)] VALUES (...), (...);`.
    fn insert(&mut self) -> Result<ControlFlow<()>> {
        let at = self.lexer.position();
        let first = loop {
            match self.lexer.token(true)? {
                Token::Word(word)
                    if ["INTO", "IGNORE", "LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY", "OR", "REPLACE"]
                        .iter()
                        .any(|other| word.eq_ignore_ascii_case(other)) => {}
                token => break token,
            }
        };
        let (name, mut next) = self.qualified_name(first)?;
        let Some(table) = OriginalTable::of_name(&name) else {
            self.summary.other_tables += 1;
            return self.skip_rest(next).map(ControlFlow::Continue);
        };
        let columns = if next == Token::Symbol(b'(') {
            let columns = self.column_list(table)?;
            next = self.lexer.token(true)?;
            columns
        } else {
            self.created_columns(table, at)?
        };
        self.count(table, 0);
        // `OVERRIDING SYSTEM VALUE` can stand before.
        loop {
            match &next {
                Token::Word(word) if word.eq_ignore_ascii_case("VALUES") => break,
                Token::Word(word)
                    if ["OVERRIDING", "SYSTEM", "USER", "VALUE"]
                        .iter()
                        .any(|other| word.eq_ignore_ascii_case(other)) => {}
                Token::End => return Err(self.lexer.unexpected_end("VALUES")),
                other => return Err(self.lexer.error_at(self.lexer.position(), "VALUES", describe(other))),
            }
            next = self.lexer.token(true)?;
        }
        self.rows(table, &columns)
    }

    /// Reads rows in parentheses to the end of the statement.
    fn rows(&mut self, table: OriginalTable, columns: &Columns) -> Result<ControlFlow<()>> {
        loop {
            let at = self.lexer.position();
            match self.lexer.token(false)? {
                Token::Symbol(b'(') => {}
                Token::End => return Err(self.lexer.unexpected_end("a row: (")),
                other => return Err(self.lexer.error_at(at, "a row: (", describe(&other))),
            }
            let at = self.lexer.position();
            let row = self.row(columns, at)?;
            self.count(table, 1);
            if (self.each)(row, at).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            match self.lexer.token(false)? {
                Token::Symbol(b',') => {}
                Token::StatementEnd => return Ok(ControlFlow::Continue(())),
                Token::End => return Err(self.lexer.unexpected_end("`,` or `;` behind a row")),
                // `ON CONFLICT DO NOTHING`, `ON DUPLICATE KEY UPDATE ...`, `AS new`
                Token::Word(_) => return self.lexer.skip_statement().map(ControlFlow::Continue),
                other => {
                    let at = self.lexer.position();
                    return Err(self.lexer.error_at(at, "`,` or `;` behind a row", describe(&other)));
                }
            }
        }
    }

    /// Reads a row behind its opening parenthesis.
    fn row(&mut self, columns: &Columns, at: Position) -> Result<OriginalRow> {
        let mut row = OriginalRow::default();
        let mut count = 0;
        loop {
            let column = columns.get(count).copied().flatten();
            let value = self.value(column.is_some())?;
            count += 1;
            if let Some(column) = column {
                row.set(column, value);
            }
            match self.lexer.token(false)? {
                Token::Symbol(b',') => {}
                Token::Symbol(b')') => break,
                Token::End => return Err(self.lexer.unexpected_end("`,` or `)` behind a value")),
                other => {
                    let at = self.lexer.position();
                    return Err(self.lexer.error_at(at, "`,` or `)` behind a value", describe(&other)));
                }
            }
        }
        if count == columns.len() { Ok(row) } else { Err(self.wrong_count(at, columns.len(), count)) }
    }

    pub(super) fn wrong_count(&self, at: Position, expected: usize, found: usize) -> DumpError {
        self.lexer.error_at(at, format!("a row of {expected} values, one for each column"), format!("{found} values"))
    }

    /// Reads a value: a string, a number, hex digits, NULL.
    fn value(&mut self, is_wanted: bool) -> Result<OriginalValue> {
        let value = match self.lexer.token(is_wanted)? {
            Token::Quoted(b'\'' | b'"' | b'$', value) | Token::Hex(value) => value,
            Token::Word(word) if word.eq_ignore_ascii_case("NULL") => OriginalValue::Null,
            // The character set of the string that follows: _binary 'x', N'x'.
            Token::Word(word) if word.starts_with('_') || word.eq_ignore_ascii_case("n") => {
                match self.lexer.token(is_wanted)? {
                    Token::Quoted(b'\'' | b'"', value) | Token::Hex(value) => value,
                    other => return Err(self.no_value(&other)),
                }
            }
            Token::Word(word) if word.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) => {
                OriginalValue::Bytes(word.into_bytes())
            }
            Token::Word(word) if ["TRUE", "FALSE", "DEFAULT"].iter().any(|other| word.eq_ignore_ascii_case(other)) => {
                OriginalValue::Null
            }
            other => return Err(self.no_value(&other)),
        };
        self.skip_cast()?;
        Ok(value)
    }

    /// Passes PostgreSQL's `::text`.
    fn skip_cast(&mut self) -> Result<()> {
        while self.lexer.source.peek()? == Some(b':') && self.lexer.source.peek_at(1)? == Some(b':') {
            (0..2).for_each(|_| self.lexer.source.pass());
            let token = self.lexer.token(true)?;
            self.name(token)?;
        }
        Ok(())
    }

    fn no_value(&self, found: &Token) -> DumpError {
        let expected = "a value: a string, a number, hex digits or NULL";
        match found {
            Token::End => self.lexer.unexpected_end(expected),
            found => self.lexer.error_at(self.lexer.position(), expected, describe(found)),
        }
    }

    /// Counts rows of a table.
    pub(super) fn count(&mut self, table: OriginalTable, rows: u64) {
        let tables = &mut self.summary.tables;
        match tables.iter_mut().find(|(counted, _)| *counted == table) {
            Some((_, count)) => *count += rows,
            None => tables.push((table, rows)),
        }
    }

    /// Passes a row on.
    pub(super) fn pass_on(&mut self, row: OriginalRow, at: Position) -> ControlFlow<()> {
        (self.each)(row, at)
    }
}

fn map(flow: ControlFlow<()>) -> ControlFlow<(), bool> {
    match flow {
        ControlFlow::Continue(()) => ControlFlow::Continue(true),
        ControlFlow::Break(()) => ControlFlow::Break(()),
    }
}

/// Describes a token for a message, without what can be a secret.
pub(super) fn describe(token: &Token) -> String {
    match token {
        Token::Word(_) => "a word".to_owned(),
        Token::Quoted(..) => "a string".to_owned(),
        Token::Hex(_) => "hex digits".to_owned(),
        Token::Symbol(byte) => format!("{:?}", char::from(*byte)),
        Token::StatementEnd => "the end of the statement".to_owned(),
        Token::End => "the end of the file".to_owned(),
    }
}

/// Shortens a list of names for a message.
fn short(text: &str) -> String {
    text.chars().take(300).collect()
}
