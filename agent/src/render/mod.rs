//! The matrix as text: heatmap, table, CSV and JSON.

pub mod heatmap;
pub mod table;
