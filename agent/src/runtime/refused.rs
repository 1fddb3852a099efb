//! Whatever gossip presents as a member, and this node has nothing to do with: shown in the
//! metrics, and logged.

use std::collections::BTreeMap;
use std::time::Duration;

use iperf3_mesh_core::{AddressProblem, RefusedMember, Time};

use crate::cli::option_name;
use crate::metrics::Metrics;
use crate::text::short;

/// How long a member must be refused before the log mentions it. Kubernetes tells of a new pod a
/// moment after its agent has started.
const LASTING: Duration = Duration::from_secs(10);
/// The shortest time between two lines about the same reason.
const LOG_PAUSE: Duration = Duration::from_secs(60);

/// The refused members of this node's view.
#[derive(Debug, Default)]
pub(super) struct RefusedMembers {
    members: Vec<RefusedMember>,
    /// The reasons with members, each with the time of its last change and of its last line.
    reasons: BTreeMap<AddressProblem, Reason>,
}

#[derive(Debug)]
struct Reason {
    changed: Time,
    logged: Option<Time>,
}

impl RefusedMembers {
    /// Takes the refused members of a new view, which are sorted by reason.
    pub(super) fn update(&mut self, members: &[RefusedMember], now: Time, metrics: &Metrics) {
        if self.members == members {
            return;
        }
        for &problem in AddressProblem::ALL {
            let (before, present) = (of(&self.members, problem), of(members, problem));
            metrics.show_refused_members(problem, present.len());
            if present.is_empty() {
                // The time of the last line stays: members may come and go.
                continue;
            }
            let reason = self.reasons.entry(problem).or_insert(Reason {
                changed: now,
                logged: None,
            });
            if before != present {
                reason.changed = now;
            }
        }
        self.members = members.to_vec();
    }

    /// Logs the members that have been refused for some time, a line for each reason and change.
    pub(super) fn log(&mut self, now: Time) {
        for (problem, reason) in &mut self.reasons {
            let members = of(&self.members, *problem);
            let Some(first) = members.first() else {
                continue;
            };
            if reason.is_due(now) {
                reason.logged = Some(now);
                tracing::warn!(
                    reason = %problem,
                    members = members.len(),
                    node = short(first.name.as_str()),
                    address = %first.address,
                    "gossip presents members at addresses that this node does not accept, and it \
                     sends them nothing: {}",
                    hint(*problem)
                );
            }
        }
    }
}

impl Reason {
    fn is_due(&self, now: Time) -> bool {
        match self.logged {
            None => now >= self.changed + LASTING,
            Some(logged) => logged < self.changed && now >= logged + LOG_PAUSE,
        }
    }
}

/// Returns the members with this reason.
fn of(members: &[RefusedMember], problem: AddressProblem) -> &[RefusedMember] {
    let begin = members.partition_point(|member| member.problem < problem);
    let end = members.partition_point(|member| member.problem <= problem);
    &members[begin..end]
}

fn hint(problem: AddressProblem) -> String {
    match problem {
        AddressProblem::Unlisted => format!(
            "no pod of that node has that address; if it is an agent outside the cluster, set {}",
            option_name("peer_cidr")
        ),
        AddressProblem::OutsidePeerCidr => {
            format!(
                "if it is an agent of this mesh, add it to {}",
                option_name("peer_cidr")
            )
        }
        AddressProblem::OtherFamily => {
            format!(
                "give all agents one family with {}",
                option_name("ip_family")
            )
        }
        _ => format!(
            "if it is an agent of this mesh, set its {} to an address of its host",
            option_name("advertise_address")
        ),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use iperf3_mesh_core::{NodeName, Protocol};

    use super::*;
    use crate::config::FailedCells;
    use crate::metrics::Settings;

    #[test]
    fn refused_member_is_logged_once_it_lasts_and_after_changes() {
        let metrics = metrics();
        let mut refused = RefusedMembers::default();
        let start = Time::default();
        let at = |seconds| start + Duration::from_secs(seconds);
        let is_due = |refused: &RefusedMembers, seconds| {
            refused.reasons[&AddressProblem::Unlisted].is_due(at(seconds))
        };
        refused.update(&[member("a")], at(0), &metrics);
        assert!(!is_due(&refused, 9));
        assert!(is_due(&refused, 10));
        refused.log(at(10));
        assert!(!is_due(&refused, 1000), "nothing has changed");
        refused.update(&[member("a"), member("b")], at(20), &metrics);
        assert!(!is_due(&refused, 69));
        assert!(is_due(&refused, 70));
    }

    #[test]
    fn metric_counts_the_members_that_are_refused_now() {
        let metrics = metrics();
        let mut refused = RefusedMembers::default();
        let now = Time::default();
        refused.update(&[member("a"), member("b")], now, &metrics);
        let line = "iperf_mesh_refused_members{reason=\"unlisted\"}";
        assert!(metrics.text().unwrap().contains(&format!("{line} 2\n")));
        refused.update(&[], now, &metrics);
        assert!(metrics.text().unwrap().contains(&format!("{line} 0\n")));
    }

    fn member(name: &str) -> RefusedMember {
        RefusedMember {
            problem: AddressProblem::Unlisted,
            name: NodeName::new(name).unwrap(),
            address: ([198, 18, 0, 9], 9878).into(),
        }
    }

    fn metrics() -> Metrics {
        Metrics::new(Settings {
            source: NodeName::new("me").unwrap(),
            protocols: vec![Protocol::Tcp],
            failed_cells: FailedCells::Zero,
            pause: Duration::from_secs(1),
            iperf3_version: String::new(),
            landlock: String::new(),
        })
        .unwrap()
    }
}
