//! What a test is to iperf3: the arguments of its client and of its server.
//!
//! Pure. It knows nothing of processes, deadlines or reports, and checks no caps: the settings of a
//! test were validated or agreed upon before.

use std::net::IpAddr;
use std::time::Duration;

use iperf3_mesh_core::{Protocol, TestSpec};

use super::Version;

/// The control connection is up within this time, or the peer is out of reach.
const CONNECT: Duration = Duration::from_secs(3);

/// This long without a byte (receiver) or an acknowledgement (sender), and the other end is gone.
/// Waiting for the test's timeout instead would make each such failure dearer.
const SILENCE: Duration = Duration::from_secs(5);

/// Payload of a UDP datagram in bytes: with its headers it fits IPv6's least MTU of 1280, and so
/// every link and overlay. A datagram that is sent in fragments is lost with each one of them and
/// counts for all.
const DATAGRAM: u64 = 1200;

/// The socket buffer of a UDP test in bytes. Too small a one loses datagrams at the receiver that
/// the network had delivered. iperf3 takes what the kernel doubles: 2 × `rmem_max` is the most that
/// it does not refuse, and this is that of a kernel with its default limit. The same value is
/// imposed on the peer, whose limit is not known here; hence no more, even where this kernel would
/// allow it.
pub(super) const BUFFER: u64 = 2 * 212_992;

/// A server writes what it has to say at each of its intervals, its client's address too;
/// `--forceflush` changes nothing of that. The shortest interval that iperf3 accepts, in seconds,
/// shows a stranger soonest.
const LOOK: &str = "0.1";

/// iperf3's own block of a TCP test, in bytes.
const BLOCK: u64 = 128 * 1024;

/// Blocks a second at least in a TCP test with a bitrate, as whole blocks are what iperf3 paces: a
/// figure made of a handful of them is coarse, and the gap between two must stay far below
/// [`SILENCE`].
const BLOCKS_PER_SECOND: u64 = 50;

/// Samples of the round-trip time in one test: iperf3 takes one for each interval that it reports,
/// and every interval makes the report longer.
const SAMPLES: u64 = 10;

/// The longest interval that iperf3 accepts, in seconds.
const INTERVAL_MAX: u64 = 60;

/// The arguments of the client. `buffer` is the socket buffer for UDP in bytes.
pub(super) fn client(
    version: Version,
    buffer: u64,
    spec: &TestSpec,
    local: IpAddr,
    remote: IpAddr,
    port: u16,
) -> Vec<String> {
    let mut args = Args::default();
    args.with("-c", remote)
        .with("-B", local)
        .with("-p", port)
        .flag("-J");
    args.with("-t", seconds(spec.duration))
        .with("-i", interval(spec));
    args.with("--connect-timeout", CONNECT.as_millis());
    if version.has_snd_timeout() {
        args.with("--snd-timeout", SILENCE.as_millis());
    }
    // Refused by a client that only sends.
    if spec.bidir && version.has_rcv_timeout() {
        args.with("--rcv-timeout", SILENCE.as_millis());
    }
    if spec.streams > 1 {
        args.with("-P", spec.streams);
    }
    if let Some(bitrate) = spec.bitrate {
        args.with("-b", bitrate);
    }
    if spec.bidir {
        args.flag("--bidir");
    }
    match spec.protocol {
        Protocol::Tcp => tcp(&mut args, spec),
        Protocol::Udp => udp(&mut args, buffer),
    }
    args.0
}

fn tcp(args: &mut Args, spec: &TestSpec) {
    if !spec.omit.is_zero() {
        args.with("-O", seconds(spec.omit));
    }
    let block = spec
        .bitrate
        .map_or(BLOCK, |bitrate| bitrate / 8 / BLOCKS_PER_SECOND);
    if block < BLOCK {
        args.with("-l", block.max(DATAGRAM));
    }
}

/// Without a bitrate it is iperf3's own, 1 Mbit/s. `omit` is left out: it is there for TCP's slow
/// start, which UDP does not have, and iperf3 before 3.14 counts the datagrams lost in the omitted
/// time.
fn udp(args: &mut Args, buffer: u64) {
    args.flag("-u").with("-l", DATAGRAM).with("-w", buffer);
}

/// The arguments of the server: it serves one client and ends.
///
/// It writes text, as a server with `-J` is silent until its test is over, and its readiness and
/// the address of its client must be known before.
pub(super) fn server(version: Version, spec: &TestSpec, local: IpAddr, port: u16) -> Vec<String> {
    let mut args = Args::default();
    args.flag("-s")
        .flag("-1")
        .with("-B", local)
        .with("-p", port);
    args.flag("--forceflush").with("-i", LOOK);
    if version.has_idle_timeout() {
        args.with("--idle-timeout", seconds(spec.timeout));
    }
    if version.has_rcv_timeout() {
        args.with("--rcv-timeout", SILENCE.as_millis());
    }
    if version.has_snd_timeout() {
        args.with("--snd-timeout", SILENCE.as_millis());
    }
    args.0
}

/// Whole seconds, rounded up. At least one: iperf3 takes zero for "without end".
fn seconds(duration: Duration) -> u64 {
    let whole = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    whole.max(1)
}

fn interval(spec: &TestSpec) -> u64 {
    seconds(spec.duration).div_ceil(SAMPLES).min(INTERVAL_MAX)
}

#[derive(Default)]
struct Args(Vec<String>);

impl Args {
    fn flag(&mut self, name: &str) -> &mut Self {
        self.0.push(name.to_owned());
        self
    }

    fn with(&mut self, name: &str, value: impl ToString + Copy) -> &mut Self {
        self.flag(name);
        self.0.push(value.to_string());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Version = Version {
        major: 3,
        minor: 12,
    };
    const OLD: Version = Version { major: 3, minor: 9 };

    fn spec(protocol: Protocol) -> TestSpec {
        TestSpec {
            protocol,
            duration: Duration::from_secs(5),
            omit: Duration::ZERO,
            timeout: Duration::from_secs(10),
            bitrate: None,
            streams: 1,
            bidir: false,
        }
    }

    fn client_line(version: Version, spec: &TestSpec) -> String {
        let local = IpAddr::from([10, 0, 0, 1]);
        let remote = IpAddr::from([10, 0, 0, 2]);
        client(version, BUFFER, spec, local, remote, 5203).join(" ")
    }

    #[test]
    fn the_client_of_a_tcp_test() {
        assert_eq!(
            client_line(NEW, &spec(Protocol::Tcp)),
            "-c 10.0.0.2 -B 10.0.0.1 -p 5203 -J -t 5 -i 1 --connect-timeout 3000 --snd-timeout 5000"
        );
    }

    #[test]
    fn the_client_of_a_tcp_test_with_everything() {
        let spec = TestSpec {
            duration: Duration::from_millis(20_500),
            omit: Duration::from_secs(2),
            bitrate: Some(40_000_000),
            streams: 8,
            bidir: true,
            ..spec(Protocol::Tcp)
        };
        assert_eq!(
            client_line(NEW, &spec),
            "-c 10.0.0.2 -B 10.0.0.1 -p 5203 -J -t 21 -i 3 --connect-timeout 3000 --snd-timeout 5000 \
             --rcv-timeout 5000 -P 8 -b 40000000 --bidir -O 2 -l 100000"
        );
    }

    #[test]
    fn the_client_of_a_udp_test_omits_nothing() {
        let spec = TestSpec {
            omit: Duration::from_secs(2),
            bitrate: Some(2_000_000),
            ..spec(Protocol::Udp)
        };
        assert_eq!(
            client_line(NEW, &spec),
            "-c 10.0.0.2 -B 10.0.0.1 -p 5203 -J -t 5 -i 1 --connect-timeout 3000 --snd-timeout 5000 \
             -b 2000000 -u -l 1200 -w 425984"
        );
    }

    #[test]
    fn an_old_client_gets_no_option_that_it_does_not_know() {
        assert_eq!(
            client_line(
                OLD,
                &TestSpec {
                    bidir: true,
                    ..spec(Protocol::Tcp)
                }
            ),
            "-c 10.0.0.2 -B 10.0.0.1 -p 5203 -J -t 5 -i 1 --connect-timeout 3000 --bidir"
        );
    }

    #[test]
    fn addresses_are_bare_literals_of_either_family() {
        let local: IpAddr = "fd77::1".parse().expect("a literal");
        let remote: IpAddr = "fd77::2".parse().expect("a literal");
        let line = client(NEW, BUFFER, &spec(Protocol::Tcp), local, remote, 5201).join(" ");
        assert!(line.starts_with("-c fd77::2 -B fd77::1 -p 5201 "), "{line}");
        let line = server(NEW, &spec(Protocol::Tcp), local, 5201).join(" ");
        assert!(line.starts_with("-s -1 -B fd77::1 -p 5201 "), "{line}");
    }

    #[test]
    fn the_server_of_every_version() {
        let line = |minor| {
            let version = Version { major: 3, minor };
            server(
                version,
                &spec(Protocol::Udp),
                IpAddr::from([10, 0, 0, 2]),
                5203,
            )
            .join(" ")
        };
        let least = "-s -1 -B 10.0.0.2 -p 5203 --forceflush -i 0.1";
        assert_eq!(line(9), least);
        let middle = format!("{least} --idle-timeout 10 --rcv-timeout 5000");
        assert_eq!(line(10), middle);
        assert_eq!(line(11), middle);
        assert_eq!(line(12), format!("{middle} --snd-timeout 5000"));
        assert_eq!(line(21), line(12));
    }

    #[test]
    fn no_duration_means_without_end() {
        let line = client_line(
            NEW,
            &TestSpec {
                duration: Duration::ZERO,
                ..spec(Protocol::Tcp)
            },
        );
        assert!(line.contains(" -t 1 -i 1 "), "{line}");
    }

    #[test]
    fn the_report_stays_short_however_long_the_test() {
        let line = client_line(
            NEW,
            &TestSpec {
                duration: Duration::from_secs(3600),
                ..spec(Protocol::Tcp)
            },
        );
        assert!(line.contains(" -t 3600 -i 60 "), "{line}");
    }

    #[test]
    fn slow_tcp_is_paced_in_small_blocks_and_fast_tcp_in_iperfs_own() {
        let line = |bitrate| {
            client_line(
                NEW,
                &TestSpec {
                    bitrate: Some(bitrate),
                    ..spec(Protocol::Tcp)
                },
            )
        };
        assert!(line(1_000_000).ends_with("-b 1000000 -l 2500"));
        assert!(line(1_000).ends_with("-b 1000 -l 1200"));
        assert!(line(1_000_000_000).ends_with("-b 1000000000"));
    }
}
