//! The command `migrate`.

use std::process::ExitCode;

use crate::cli::Common;
use crate::report::failure::Result;
use crate::report::output::print;
use crate::settings;

/// Migrates the schema, and prints what was done.
pub(crate) async fn run(common: &Common) -> Result<ExitCode> {
    let database = settings::database(common)?;
    let index = super::connect(common, &database).await?;
    let migration = index.migrate().await?;
    index.checkpoint().await;
    if common.json {
        let sql::Migration { applied, views, notes } = &migration;
        let database = database.to_string();
        print(&serde_json::json!({ "database": database, "applied": applied, "views": views, "notes": notes }))?;
    } else {
        match (migration.applied.as_slice(), migration.views.as_slice()) {
            ([], []) => print(&format_args!("{database}: the schema is up to date"))?,
            ([], views) => {
                let views = views.join(", ");
                print(&format_args!(
                    "{database}: the tables are up to date; made views that were missing or differed: {views}"
                ))?;
            }
            (applied, _) => {
                let applied: Vec<String> = applied.iter().map(i64::to_string).collect();
                print(&format_args!("{database}: applied schema version {}", applied.join(", ")))?;
            }
        }
        for note in &migration.notes {
            print(note)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
