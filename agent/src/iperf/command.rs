//! The arguments of the iperf3 client and of the iperf3 server for a test.
//!
//! This module does no I/O. It handles neither processes nor deadlines nor reports, and it checks
//! no limits on the settings of a test: they have already been validated or agreed upon.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use iperf3_mesh_core::{Protocol, TestSpec};

use super::Version;
use super::plan::{Plan, seconds};

/// How long to wait for the control connection. After that, the peer counts as unreachable.
const CONNECT: Duration = Duration::from_secs(3);

/// How long to wait for a byte (receiver) or an acknowledgement (sender) before the other end
/// counts as gone. Waiting for the timeout of the test instead would make each such failure more
/// expensive.
const SILENCE: Duration = Duration::from_secs(5);

/// The payload of a UDP datagram, in bytes. With its headers, the datagram fits the minimum MTU of
/// IPv6 (1280 bytes), and therefore every link and overlay. A fragmented datagram is lost as soon
/// as any one of its fragments is lost.
const DATAGRAM: u64 = 1200;

/// The interval of a server's reports, in seconds: the shortest interval that iperf3 accepts. A
/// server writes its output, including the address of its client, only at these intervals
/// (`--forceflush` does not change that). The shortest interval therefore reveals an unexpected
/// client soonest.
const SERVER_INTERVAL: &str = "0.1";

/// The default block size of iperf3 in a TCP test, in bytes.
pub(super) const BLOCK: u64 = 128 * 1024;

/// The number of files that iperf3 has open beside the socket and the file of each stream.
const OPEN_FILES: u64 = 12;

/// The minimum number of blocks per second in a TCP test with a bitrate. iperf3 paces whole blocks:
/// a figure based on only a few blocks is coarse, and the gap between two blocks must stay far
/// below [`SILENCE`].
const BLOCKS_PER_SECOND: u64 = 50;

/// The number of samples of the round-trip time in one test. iperf3 takes one sample for each
/// interval that it reports, and each interval makes the report longer.
const SAMPLES: u64 = 10;

/// The longest interval that iperf3 accepts, in seconds.
const INTERVAL_MAX: u64 = 60;

/// Returns the arguments of the client. `buffer` is the size of the socket buffer for UDP, in
/// bytes.
pub(super) fn client(
    version: Version,
    buffer: u64,
    spec: &TestSpec,
    local: IpAddr,
    remote: SocketAddr,
) -> Vec<String> {
    let mut args = Args::default();
    args.with("-c", remote.ip())
        .with("-B", local)
        .with("-p", remote.port())
        .flag("-J");
    args.with("-t", seconds(spec.duration))
        .with("-i", interval(spec));
    args.with("--connect-timeout", CONNECT.as_millis());
    if version.has_snd_timeout() {
        args.with("--snd-timeout", SILENCE.as_millis());
    }
    // A client that only sends rejects this option.
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
    let block = block(spec);
    if block < BLOCK {
        args.with("-l", block);
    }
}

/// Returns the size of the blocks of a test, in bytes.
fn block(spec: &TestSpec) -> u64 {
    match (spec.protocol, spec.bitrate) {
        (Protocol::Udp, _) => DATAGRAM,
        (Protocol::Tcp, None) => BLOCK,
        (Protocol::Tcp, Some(bitrate)) => (bitrate / 8 / BLOCKS_PER_SECOND).clamp(DATAGRAM, BLOCK),
    }
}

/// The needs of one iperf3 of a test, whether it is the client or the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The number of its files in the directory for temporary files, one for each stream.
    pub files: u64,
    /// The size of each of these files, in bytes.
    pub file_size: u64,
    /// The number of files and sockets that it has open.
    pub open_files: u64,
}

/// Returns the needs of an iperf3 that can run any of these tests.
pub fn needs(tests: &[TestSpec]) -> Needs {
    tests.iter().fold(Needs::default(), |most, spec| {
        let streams = streams(spec);
        Needs {
            files: most.files.max(streams),
            file_size: most.file_size.max(block(spec)),
            open_files: most.open_files.max(2 * streams + OPEN_FILES),
        }
    })
}

/// Returns the number of streams of a test, in both directions.
pub(super) fn streams(spec: &TestSpec) -> u64 {
    u64::from(spec.streams) * if spec.bidir { 2 } else { 1 }
}

/// Adds the arguments of a UDP test. Without a bitrate, iperf3's default of 1 Mbit/s applies.
/// `omit` is not passed on: it is meant for TCP's slow start, which UDP does not have, and iperf3
/// before 3.14 counts the datagrams lost in the omitted time.
fn udp(args: &mut Args, buffer: u64) {
    args.flag("-u").with("-l", DATAGRAM).with("-w", buffer);
}

/// Returns the arguments of the server, which serves one client and then ends.
///
/// The server writes text rather than JSON: with `-J`, it would write nothing until its test is
/// over, but the agent must know earlier that it is ready and which address its client has.
pub(super) fn server(version: Version, spec: &TestSpec, local: IpAddr, port: u16) -> Vec<String> {
    let mut args = Args::default();
    args.flag("-s")
        .flag("-1")
        .with("-B", local)
        .with("-p", port);
    args.flag("--forceflush").with("-i", SERVER_INTERVAL);
    // The request of the client, which `plan` checks.
    args.flag("-V");
    if let Some(limit) = Plan::new(spec).bitrate_limit(block(spec)) {
        args.flag("--server-bitrate-limit").0.push(limit);
    }
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
    use crate::iperf::buffer::BUFFER;

    const NEW: Version = Version::new(3, 12, 0);
    const OLD: Version = Version::new(3, 9, 0);

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
        let remote = SocketAddr::from(([10, 0, 0, 2], 5203));
        client(version, BUFFER, spec, local, remote).join(" ")
    }

    #[test]
    fn a_tcp_client_gets_its_arguments() {
        assert_eq!(
            client_line(NEW, &spec(Protocol::Tcp)),
            "-c 10.0.0.2 -B 10.0.0.1 -p 5203 -J -t 5 -i 1 --connect-timeout 3000 --snd-timeout 5000"
        );
    }

    #[test]
    fn a_tcp_client_gets_every_option_that_is_set() {
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
    fn a_udp_client_gets_no_omit() {
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
    fn an_old_client_gets_no_option_unknown_to_it() {
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
    fn addresses_are_bare_literals_of_both_families() {
        let local: IpAddr = "fd77::1".parse().expect("a literal");
        let remote: SocketAddr = "[fd77::2]:5201".parse().expect("a literal");
        let line = client(NEW, BUFFER, &spec(Protocol::Tcp), local, remote).join(" ");
        assert!(line.starts_with("-c fd77::2 -B fd77::1 -p 5201 "), "{line}");
        let line = server(NEW, &spec(Protocol::Tcp), local, 5201).join(" ");
        assert!(line.starts_with("-s -1 -B fd77::1 -p 5201 "), "{line}");
    }

    #[test]
    fn a_server_gets_the_options_that_its_version_has() {
        let line = |minor| {
            let version = Version::new(3, minor, 0);
            server(
                version,
                &spec(Protocol::Udp),
                IpAddr::from([10, 0, 0, 2]),
                5203,
            )
            .join(" ")
        };
        let least = "-s -1 -B 10.0.0.2 -p 5203 --forceflush -i 0.1 -V \
                     --server-bitrate-limit 1935190/3";
        assert_eq!(line(9), least);
        let middle = format!("{least} --idle-timeout 10 --rcv-timeout 5000");
        assert_eq!(line(10), middle);
        assert_eq!(line(11), middle);
        assert_eq!(line(12), format!("{middle} --snd-timeout 5000"));
        assert_eq!(line(21), line(12));
    }

    #[test]
    fn a_zero_duration_becomes_one_second() {
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
    fn a_long_test_has_no_more_intervals_than_a_short_one() {
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
    fn slow_tcp_is_paced_in_smaller_blocks() {
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
