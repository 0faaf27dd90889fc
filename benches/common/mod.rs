//! What the benchmarks have in common: how many rounds become one figure, and how figures are shown.

use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};

/// The value below which so large a part of the values lies.
pub(crate) fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    let index = (part * last as f64).round() as usize;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

/// The value that as many are below as are above.
pub(crate) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// Three digits after the point: more would be noise.
pub(crate) fn round(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED);
    table.set_header(header.to_vec());
    table
}

pub(crate) fn right(mut table: Table, columns: &[usize]) -> Table {
    for &column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// From here to there lie all values but this part at each end.
pub(crate) fn spread(values: &[f64], ends: f64, digits: usize) -> String {
    let (low, high) = (quantile(values, ends), quantile(values, 1.0 - ends));
    format!("{low:.digits$} .. {high:.digits$}")
}

/// For the table of targets.
pub(crate) fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}
