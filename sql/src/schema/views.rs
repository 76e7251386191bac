//! The original darkserver's tables as views, for old SQL users: `dark_gnubuildid` (0.1-0.3) and `buildid_gnubuildid`
//! (2.0).
//!
//! A table of that name belongs to an old darkserver: it is not changed, because it can be imported.

use std::fmt::Write;

use sqlx::{AssertSqlSafe, MySqlPool};

/// The views: name, SQL.
const VIEWS: [(&str, &str); 2] = [
    ("dark_gnubuildid", include_str!("../../views/dark_gnubuildid.sql")),
    ("buildid_gnubuildid", include_str!("../../views/buildid_gnubuildid.sql")),
];

/// Returns the note about a table at the name of a view.
fn note(name: &str) -> String {
    format!(
        "table {name} exists and is left alone: it looks like an old darkserver's; \
         rename it and run `darkserver-import migrate` to have a view of that name"
    )
}

/// Creates the views. Returns those that were missing or had another definition, and notes on those that it did not
/// create.
pub(crate) async fn make(pool: &MySqlPool) -> sqlx::Result<(Vec<String>, Vec<String>)> {
    let (mut made, mut notes) = (Vec::new(), Vec::new());
    for (name, sql) in VIEWS {
        let is_table = is_table(pool, name).await?;
        if is_table && !is_placeholder(pool, name).await? {
            notes.push(note(name));
            continue;
        }
        let replaced = async {
            if is_table {
                sqlx::raw_sql(AssertSqlSafe(format!("drop table {name}"))).execute(pool).await?;
            }
            let before = definition(pool, name).await?;
            sqlx::raw_sql(sql).execute(pool).await?;
            Ok(before != definition(pool, name).await?)
        };
        match replaced.await {
            Ok(true) => made.push(name.to_owned()),
            Ok(false) => {}
            // A missing privilege or feature: only old SQL users need the view.
            Err(sqlx::Error::Database(error)) => notes.push(format!("view {name} could not be made: {error}")),
            Err(error) => return Err(error),
        }
    }
    Ok((made, notes))
}

/// True if a table, not a view, has this name.
async fn is_table(pool: &MySqlPool, name: &str) -> sqlx::Result<bool> {
    let tables: i64 = sqlx::query_scalar(
        "select count(*) from information_schema.tables \
         where table_schema = database() and table_name = ? and table_type <> 'VIEW'",
    )
    .bind(name)
    .fetch_one(pool)
    .await?;
    Ok(tables > 0)
}

/// True if a table is the placeholder that a dump creates for a view: every column is a `tinyint`, and there is no key.
/// An old darkserver's table has texts and a primary key.
async fn is_placeholder(pool: &MySqlPool, name: &str) -> sqlx::Result<bool> {
    let columns: i64 = sqlx::query_scalar(
        "select count(*) from information_schema.columns where table_schema = database() and table_name = ? \
         and not (data_type = 'tinyint' and column_key = '')",
    )
    .bind(name)
    .fetch_one(pool)
    .await?;
    Ok(columns == 0)
}

/// Returns the definition and security type of a view; `None` if there is none.
async fn definition(pool: &MySqlPool, name: &str) -> sqlx::Result<Option<(Vec<u8>, Vec<u8>)>> {
    sqlx::query_as(
        "select view_definition, security_type from information_schema.views \
         where table_schema = database() and table_name = ?",
    )
    .bind(name)
    .fetch_optional(pool)
    .await
}

/// Returns the same in SQL, for `createtable.sql`.
pub(crate) fn createtable() -> String {
    let mut text = String::from("\n-- The tables of the original darkserver, as views\n");
    for (name, sql) in VIEWS {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\nset @darkserver_tables = (select count(*) from information_schema.tables\n    \
             where table_schema = database() and table_name = '{name}' and table_type <> 'VIEW');\n\
             set @darkserver_statement = if(@darkserver_tables > 0,\n    {message},\n    {view});\n\
             prepare darkserver_statement from @darkserver_statement;\n\
             execute darkserver_statement;\n\
             deallocate prepare darkserver_statement;\n",
            message = literal(&format!("select {} as message", literal(&note(name)))),
            view = literal(sql.trim_end()),
        );
    }
    text
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}
