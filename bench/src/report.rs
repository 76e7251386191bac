//! Where figures go: standard output, a JSON and a Markdown file.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;

use crate::machine::Machine;
use crate::table::ResultTable;

/// Prints the tables, and writes `NAME.json` and `NAME.md` into `directory`.
pub(crate) fn publish(directory: &Path, name: &str, command: &str, tables: &[ResultTable]) -> Result<()> {
    let machine = Machine::look();
    let text = tables.iter().map(ResultTable::markdown).collect::<Vec<_>>().join("\n");
    println!("\n{text}");
    let head = format!("# {name}\n\n{}\n\nCommand: `{command}`\n", machine.markdown());
    let values = json!({
        "bench": name,
        "command": command,
        "machine": machine.facts,
        "tables": tables.iter().map(ResultTable::json).collect::<Vec<_>>(),
    });
    fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
    for (ending, content) in [("md", format!("{head}\n{text}")), ("json", format!("{values:#}\n"))] {
        let path = directory.join(format!("{name}.{ending}"));
        fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
        println!("wrote {}", path.display());
    }
    Ok(())
}
