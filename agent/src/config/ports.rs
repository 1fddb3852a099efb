//! Where an agent listens: ports that exist and are apart. Whether they are free is found out
//! elsewhere.

use std::ops::RangeInclusive;

use iperf3_mesh_core::PortRange;

use super::number;
use crate::cli::{PortArgs, option_name};
use crate::config::error::{ConfigErrors, InvalidValue, OptionErrors};

const IPERF_PORTS_MAX: u16 = 64;

/// Where an agent listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports {
    /// TCP: metrics, probes, page, read API.
    pub listen: u16,
    /// TCP: the other agents.
    pub control: u16,
    /// UDP: gossip.
    pub gossip: u16,
    /// TCP and UDP: iperf3, one of them at a time.
    pub iperf: RangeInclusive<u16>,
}

impl Ports {
    /// The ports of the iperf3 servers, as the coordinator takes them.
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
        let mut problems = OptionErrors::default();
        let given = [
            ("listen_port", &args.listen.listen_port),
            ("control_port", &args.control_port),
            ("gossip_port", &args.gossip_port),
        ];
        let [listen, control, gossip] =
            given.map(|(id, text)| problems.read(id, text, |text| number(text, 1..=u16::MAX)));
        let count = problems.read("iperf_ports", &args.iperf_ports, |text| {
            number(text, 1..=IPERF_PORTS_MAX)
        });
        let iperf = problems.read("iperf_port", &args.iperf_port, |text| {
            iperf_range(text, count.unwrap_or(1))
        });

        let numbers = [listen, control, gossip];
        keep_apart(
            &mut problems,
            given.into_iter().zip(numbers),
            iperf.as_ref(),
        );
        let ports = || {
            Some(Self {
                listen: listen?,
                control: control?,
                gossip: gossip?,
                iperf: iperf?,
            })
        };
        problems.finish(ports())
    }
}

/// Keeps a problem for each port that is taken by one before it, or by iperf3. What could not be
/// read is passed over.
fn keep_apart<'a>(
    problems: &mut OptionErrors,
    ports: impl Iterator<Item = ((&'a str, &'a String), Option<u16>)>,
    iperf: Option<&RangeInclusive<u16>>,
) {
    let mut taken: Vec<(&str, u16)> = Vec::new();
    for ((id, text), port) in ports {
        let Some(port) = port else { continue };
        if let Some((other, _)) = taken.iter().find(|(_, number)| *number == port) {
            problems.add(id, text, apart(&option_name(other)));
        } else if let Some(range) = iperf.filter(|range| range.contains(&port)) {
            let range = format!("iperf3's {}-{}", range.start(), range.end());
            problems.add(id, text, apart(&range));
        }
        taken.push((id, port));
    }
}

/// Two of the ports are one. Even TCP and UDP must differ: in a Service with one number for both, a
/// later `kubectl apply` changes the wrong one.
fn apart(other: &str) -> InvalidValue {
    InvalidValue::new(
        format!("a port other than {other}"),
        "Give each its own number.",
    )
}

fn iperf_range(text: &str, count: u16) -> Result<RangeInclusive<u16>, InvalidValue> {
    let first = number(text, 1..=u16::MAX)?;
    let last = first.checked_add(count - 1).ok_or_else(|| {
        InvalidValue::new(
            format!(
                "at most {}, so that {count} ports from it on end at 65535",
                u16::MAX - (count - 1)
            ),
            format!(
                "Lower it, or take fewer ports with {}.",
                option_name("iperf_ports")
            ),
        )
    })?;
    Ok(first..=last)
}
