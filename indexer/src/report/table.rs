//! Tables for people.

use crate::report::output::printable;

/// Returns rows as lines with aligned columns, below a head. Control characters are escaped.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let rows: Vec<[String; N]> = std::iter::once(head.map(str::to_owned))
        .chain(rows)
        .map(|row| row.map(|cell| printable(if cell.is_empty() { "-" } else { &cell })))
        .collect();
    let widths: [usize; N] =
        std::array::from_fn(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or_default());
    let line = |row: &[String; N]| {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<String>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_an_empty_cell_is_a_dash() {
        let rows = [["é".to_owned(), "1\u{1b}".to_owned()], [String::new(), "22".to_owned()]];
        assert_eq!(table(["NAME", "N"], rows), "NAME  N\né     1\\u{1b}\n-     22");
    }
}
