//! Handles empty and misspelt environment variables of the options.

use std::fmt;

use clap::{Arg, CommandFactory};

use super::Cli;

/// The prefixes of this program's variables.
const PREFIXES: [&str; 2] = ["IPERF_", "MESH_"];

/// The minimum similarity (Jaro, 0 to 1) between a variable and the one that is suggested.
const SIMILAR: f64 = 0.8;

/// A variable that looks like one of this program's variables, but that no option reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadVariable {
    /// The name of the variable.
    pub name: String,
    /// The most similar variable that an option reads, if any is similar enough.
    pub similar: Option<String>,
}

impl fmt::Display for UnreadVariable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no option reads {}", self.name)?;
        match &self.similar {
            Some(similar) => write!(f, "; did you mean {similar}?"),
            None => Ok(()),
        }
    }
}

/// Returns the variables of this process that are probably misspelt, sorted by name.
pub fn unread_variables() -> Vec<UnreadVariable> {
    let cli = Cli::command();
    let read: Vec<String> = cli
        .get_subcommands()
        .flat_map(clap::Command::get_arguments)
        .filter_map(Arg::get_env)
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    let mut unread: Vec<String> = std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
        .filter(|name| !is_of_a_service(name))
        .filter(|name| !read.contains(name))
        .collect();
    unread.sort();
    unread
        .into_iter()
        .map(|name| UnreadVariable {
            similar: most_similar(&name, &read),
            name,
        })
        .collect()
}

/// Returns whether Kubernetes has set the variable `name` for a Service of the pod's namespace. A
/// Service such as `mesh-gateway` has `MESH_GATEWAY_SERVICE_HOST` and some more.
fn is_of_a_service(name: &str) -> bool {
    ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT"]
        .iter()
        .filter_map(|part| name.split_once(part))
        .any(|(service, _)| std::env::var_os(format!("{service}_SERVICE_HOST")).is_some())
}

fn most_similar(name: &str, known: &[String]) -> Option<String> {
    known
        .iter()
        .map(|candidate| (strsim::jaro(name, candidate), candidate))
        .filter(|(similarity, _)| *similarity >= SIMILAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate.clone())
}

/// Returns `command` without the variables that are empty or blank. Kubernetes passes an unset
/// value as an empty variable, which clap would interpret as a value.
pub(super) fn without_empty(command: clap::Command) -> clap::Command {
    command
        .mut_args(|arg| {
            let is_empty = arg
                .get_env()
                .and_then(std::env::var_os)
                .is_some_and(|value| value.to_string_lossy().trim().is_empty());
            if is_empty { arg.env(None) } else { arg }
        })
        .mut_subcommands(without_empty)
}
