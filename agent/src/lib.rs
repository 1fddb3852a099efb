//! The program on each node: configuration, iperf3 as a child process, HTTP, metrics, and the loop
//! that drives the coordinator of [`iperf3_mesh_core`]. IO lives here, decisions do not.
//!
//! Modules form rings that point inwards only: `commands` (one file per command), then `runtime`
//! (one running agent), then `http`, `discovery`, `iperf` and `render`, then `state` and `metrics`,
//! then `config`, `cli`, `api` and the leaves. Start reading at `runtime`.

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
pub mod metrics;
pub mod net;
pub mod render;
mod runtime;
pub mod state;
mod telemetry;
mod text;
pub mod units;

/// The version of this program, as its answers and metrics name it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
