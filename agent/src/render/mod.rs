//! The matrix as text: heatmap, table, CSV and JSON.

mod format;
pub mod heatmap;
pub mod screen;
pub mod table;
