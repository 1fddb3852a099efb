//! The ports of an agent. They must be in range and all different. Whether they are free is checked
//! at the start and by `check`.

use std::ops::RangeInclusive;

use iperf3_mesh_core::PortRange;

use crate::cli::{PortArgs, option_name};
use crate::config::error::{ConfigErrors, OptionErrors};
use crate::units::{InvalidValue, number};

const IPERF_PORTS_MAX: u16 = 64;

/// The ports of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports {
    /// The TCP port for metrics, probes, page and read API.
    pub listen: u16,
    /// The TCP port for messages from other agents.
    pub control: u16,
    /// The UDP port for gossip.
    pub gossip: u16,
    /// The ports for iperf3, TCP and UDP. One of them is used at a time.
    pub iperf: RangeInclusive<u16>,
}

impl Ports {
    /// Returns the ports of the iperf3 servers in the form that the coordinator expects.
    pub fn iperf_range(&self) -> PortRange {
        let count = self.iperf.end() - self.iperf.start() + 1;
        PortRange {
            first: *self.iperf.start(),
            count,
        }
    }
}

impl TryFrom<&PortArgs> for Ports {
    type Error = ConfigErrors;

    fn try_from(args: &PortArgs) -> Result<Self, ConfigErrors> {
        let mut errors = OptionErrors::default();
        let given = [
            ("listen_port", &args.listen_port),
            ("control_port", &args.control_port),
            ("gossip_port", &args.gossip_port),
        ];
        let [listen, control, gossip] =
            given.map(|(id, text)| errors.read(id, text, |text| number(text, 1..=u16::MAX)));
        let count = errors.read("iperf_ports", &args.iperf_ports, |text| {
            number(text, 1..=IPERF_PORTS_MAX)
        });
        let iperf = errors.read("iperf_port", &args.iperf_port, |text| {
            iperf_range(text, count.unwrap_or(1))
        });

        let numbers = [listen, control, gossip];
        keep_apart(&mut errors, given.into_iter().zip(numbers), iperf.as_ref());
        let ports = || {
            Some(Self {
                listen: listen?,
                control: control?,
                gossip: gossip?,
                iperf: iperf?,
            })
        };
        errors.finish(ports())
    }
}

/// Adds an error for each port that an earlier option or iperf3 already uses. Ports that could not
/// be read are skipped.
fn keep_apart<'a>(
    errors: &mut OptionErrors,
    ports: impl Iterator<Item = ((&'static str, &'a String), Option<u16>)>,
    iperf: Option<&RangeInclusive<u16>>,
) {
    let mut taken: Vec<(&'static str, u16)> = Vec::new();
    for ((id, text), port) in ports {
        let Some(port) = port else { continue };
        if let Some((other, _)) = taken.iter().find(|(_, number)| *number == port) {
            errors.add(id, text, apart(&option_name(other)));
        } else if let Some(range) = iperf.filter(|range| range.contains(&port)) {
            let range = format!("{}-{} of iperf3", range.start(), range.end());
            errors.add(id, text, apart(&range));
        }
        taken.push((id, port));
    }
}

/// Returns the error for a port that is used twice. TCP and UDP ports must also differ from each
/// other: if a Service uses one number for both, a later `kubectl apply` changes the wrong port.
fn apart(other: &str) -> InvalidValue {
    InvalidValue::new(
        format!("a port other than {other}"),
        "Give each port its own number.",
    )
}

fn iperf_range(text: &str, count: u16) -> Result<RangeInclusive<u16>, InvalidValue> {
    let first = number(text, 1..=u16::MAX)?;
    let last = first.checked_add(count - 1).ok_or_else(|| {
        InvalidValue::new(
            format!(
                "at most {}, so that the range of {count} ports ends at 65535",
                u16::MAX - (count - 1)
            ),
            format!(
                "Lower it, or use fewer ports with {}.",
                option_name("iperf_ports")
            ),
        )
    })?;
    Ok(first..=last)
}
