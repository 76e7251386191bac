//! The original's tables on a MySQL or MariaDB server. Only SELECT is needed, and nothing is locked: rows are read in
//! pages by the primary key.

use std::time::Duration;

use sqlx::mysql::MySqlRow;
use sqlx::{MySql, QueryBuilder, Row};

use super::{Column, MAX_VALUE_BYTES, OriginalRow, OriginalTable, OriginalValue, REQUIRED};
use crate::connect::db::Db;
use crate::{Access, DatabaseUrl, Error, Index, Result};

/// Number of rows of a page.
const PAGE_ROWS: i64 = 10_000;
/// Character sets whose bytes are read as they are. Old servers have UTF-8 in columns of latin1, which a conversion
/// would encode twice.
const PLAIN_CHARSETS: [&str; 6] = ["utf8", "utf8mb3", "utf8mb4", "latin1", "ascii", "binary"];

/// The database of an original darkserver.
pub struct OriginalDatabase {
    // A handle for connections and retries alone: its schema is another one.
    connections: Index,
}

/// A table of the original in a database.
#[derive(Clone, Debug)]
pub struct SourceTable {
    /// Which table.
    pub table: OriginalTable,
    /// Its name on the server, whose case can differ.
    name: String,
    /// The column of the primary key, and those that are read.
    key: String,
    columns: Vec<SourceColumn>,
}

#[derive(Clone, Debug)]
struct SourceColumn {
    column: Column,
    name: String,
    /// True if the server has to convert it to UTF-8.
    is_converted: bool,
}

/// Rows of a table, with the value of the primary key of each.
#[derive(Clone, Debug, Default)]
pub struct OriginalPage {
    /// The rows, by primary key.
    pub rows: Vec<(i64, OriginalRow)>,
}

/// A column as `information_schema` describes it, in bytes: servers return text or binary strings.
type Described = (Vec<u8>, Option<Vec<u8>>, Vec<u8>);

impl OriginalDatabase {
    /// Returns the database of this URL, and retries as long during an outage. Connections are made by queries.
    ///
    /// # Errors
    /// [`Error::Url`] for an SQLite file.
    pub fn open(url: &DatabaseUrl, retry_timeout: Duration) -> Result<Self> {
        if url.is_sqlite() {
            return Err(Error::Url {
                expected: "mysql://USER:PASSWORD@HOST:PORT/DATABASE (of an SQLite file: the output of `sqlite3 FILE \
                           .dump`)",
                found: url.to_string(),
            });
        }
        let connections = Index::open(url, Access::ReadWrite)?.with_retry_timeout(retry_timeout);
        Ok(Self { connections })
    }

    /// Connects once: if the server is down, the reason is known at once.
    ///
    /// # Errors
    /// As [`Index::check_connection`].
    pub async fn check_connection(&self) -> Result<()> {
        self.connections.check_connection().await
    }

    /// Returns the URL without its password.
    pub fn redacted_url(&self) -> &str {
        self.connections.redacted_url()
    }

    /// Returns the tables that this user can read. A database can have both.
    ///
    /// # Errors
    /// [`Error::Value`] if there is none, a view has its name (as in an index of this darkserver), or columns are
    /// missing.
    pub async fn tables(&self) -> Result<Vec<SourceTable>> {
        let names: Vec<(Vec<u8>, Vec<u8>)> = self
            .connections
            .retry_query("listing the tables of an original database", || async {
                let Db::MySql(pool) = &self.connections.db else { return Ok(Vec::new()) };
                sqlx::query_as(
                    "select cast(table_name as binary), cast(table_type as binary) from information_schema.tables \
                     where table_schema = database() and lower(table_name) in ('dark_gnubuildid', \
                     'buildid_gnubuildid')",
                )
                .fetch_all(pool)
                .await
            })
            .await?;
        let mut tables = Vec::new();
        for (name, kind) in names {
            let name = text(name);
            let Some(table) = OriginalTable::of_name(&name) else { continue };
            if text(kind).eq_ignore_ascii_case("view") {
                return Err(Error::Value {
                    what: "the original's database",
                    expected: "a table of an original darkserver, in a database of its own",
                    found: format!("{}: a view {name}, as an index of this darkserver has it", self.redacted_url()),
                });
            }
            tables.push(self.describe(table, name).await?);
        }
        if tables.is_empty() {
            return Err(Error::Value {
                what: "the original's database",
                expected: "a table dark_gnubuildid or buildid_gnubuildid that the user may select from",
                found: format!("{}: neither", self.redacted_url()),
            });
        }
        tables.sort_by_key(|table| table.table);
        Ok(tables)
    }

    async fn describe(&self, table: OriginalTable, name: String) -> Result<SourceTable> {
        let described: Vec<Described> = self
            .connections
            .retry_query("reading the columns of an original table", || async {
                let Db::MySql(pool) = &self.connections.db else { return Ok(Vec::new()) };
                sqlx::query_as(
                    "select cast(column_name as binary), cast(character_set_name as binary), cast(column_key as \
                     binary) from information_schema.columns where table_schema = database() and table_name = ? order \
                     by ordinal_position",
                )
                .bind(&name)
                .fetch_all(pool)
                .await
            })
            .await?;
        let mut keys = Vec::new();
        let mut columns = Vec::new();
        let mut all = Vec::new();
        for (column_name, charset, key) in described {
            let column_name = text(column_name);
            if text(key) == "PRI" {
                keys.push(column_name.clone());
            }
            if let Some(column) = Column::of_name(&column_name) {
                let charset = charset.map(text);
                let is_converted = charset.is_some_and(|charset| !PLAIN_CHARSETS.contains(&charset.as_str()));
                columns.push(SourceColumn { column, name: column_name.clone(), is_converted });
            }
            all.push(column_name);
        }
        let refuse = |expected: &'static str| {
            let found = format!("{}: table {name} with {}", self.redacted_url(), all.join(", "));
            Err(Error::Value { what: "the original's database", expected, found })
        };
        if !Column::are_enough(&columns.iter().map(|column| Some(column.column)).collect::<Vec<_>>()) {
            return refuse(REQUIRED);
        }
        match keys.as_slice() {
            [key] if key.eq_ignore_ascii_case("id") => {
                let key = key.clone();
                Ok(SourceTable { table, name, key, columns })
            }
            _ => refuse("a primary key id, by which its rows can be read in parts (a dump needs none)"),
        }
    }

    /// Returns the rows of a table whose key is above `after`, at most 10,000. An empty page is the end.
    ///
    /// # Errors
    /// [`Error::Database`] if the server refuses or fails longer than the retry timeout.
    pub async fn read_page(&self, table: &SourceTable, after: Option<i64>) -> Result<OriginalPage> {
        self.connections
            .retry_query("reading an original table", || async {
                let Db::MySql(pool) = &self.connections.db else { return Ok(OriginalPage::default()) };
                let mut query = table.select(after);
                let rows = query.build().fetch_all(pool).await?;
                let rows = rows.iter().map(|row| table.read_row(row)).collect::<sqlx::Result<_>>()?;
                Ok(OriginalPage { rows })
            })
            .await
    }
}

impl SourceTable {
    /// Every value as bytes, cut one byte behind the limit.
    fn select(&self, after: Option<i64>) -> QueryBuilder<MySql> {
        let mut query = QueryBuilder::new("select cast(");
        query.push(quoted(&self.key)).push(" as signed)");
        for column in &self.columns {
            query.push(", substring(cast(");
            if column.is_converted {
                query.push("convert(").push(quoted(&column.name)).push(" using utf8mb4)");
            } else {
                query.push(quoted(&column.name));
            }
            query.push(format_args!(" as binary), 1, {})", MAX_VALUE_BYTES + 1));
        }
        query.push(" from ").push(quoted(&self.name));
        if let Some(after) = after {
            query.push(" where ").push(quoted(&self.key)).push(" > ").push_bind(after);
        }
        query.push(" order by ").push(quoted(&self.key)).push(format_args!(" limit {PAGE_ROWS}"));
        query
    }

    fn read_row(&self, row: &MySqlRow) -> sqlx::Result<(i64, OriginalRow)> {
        let mut original = OriginalRow::default();
        for (at, column) in self.columns.iter().enumerate() {
            let value = match row.try_get::<Option<Vec<u8>>, _>(at + 1)? {
                None => OriginalValue::Null,
                Some(bytes) if bytes.len() > MAX_VALUE_BYTES => OriginalValue::TooLong,
                Some(bytes) => OriginalValue::Bytes(bytes),
            };
            original.set(column.column, value);
        }
        Ok((row.try_get(0)?, original))
    }
}

/// Returns a name in the quotes of MySQL.
fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}
