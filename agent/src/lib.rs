//! The program that runs on each node: configuration, iperf3 as a child process, HTTP, metrics, and
//! the loop that drives the coordinator of [`iperf3_mesh_core`]. This crate does all I/O, and makes
//! no decisions about the mesh.
//!
//! The modules form layers, and each layer uses only the layers below it: first `commands` (one
//! file per command), then `runtime` (one running agent), then `http`, `discovery`, `iperf` and
//! `render`, then `state` and `metrics`, and then `config`, `cli`, `api` and the modules that use
//! no others. Start reading at `runtime`.

pub mod api;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod config;
pub mod discovery;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod http;
pub mod iperf;
pub mod keys;
pub mod memory;
pub mod metrics;
mod neighbours;
pub mod net;
pub mod own_address;
pub mod render;
mod resolver;
mod runtime;
pub mod sealing;
pub mod state;
mod telemetry;
mod text;
pub mod units;

/// The version of this program, as shown in its answers and metrics.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
