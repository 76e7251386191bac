//! Prints `createtable.sql`: `cargo run -p sql --example createtable > sql/createtable.sql`.

use std::io::Write;

fn main() -> std::io::Result<()> {
    std::io::stdout().write_all(sql::createtable().as_bytes())
}
