//! The program on each node: configuration, iperf3 as a child process, HTTP, metrics, and the loop that drives
//! the coordinator of [`mesh`]. IO lives here, decisions do not.
//!
//! Start reading at [`app`], one agent from its start to its end, and [`driver`], its loop.

pub mod api;
pub mod app;
pub mod board;
pub mod check;
pub mod cli;
pub mod client;
pub mod clock;
pub mod command;
pub mod config;
pub mod control;
pub mod discovery;
pub mod driver;
pub mod events;
pub mod heatmap;
pub mod http;
pub mod iperf;
pub mod listing;
pub mod local;
pub mod matrix;
pub mod metrics;
pub mod net;
pub mod plan;
pub mod row;
pub mod runs;
pub mod serve;
pub mod telemetry;
