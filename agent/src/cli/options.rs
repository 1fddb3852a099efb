//! Groups of options that several commands share.
//!
//! All values are texts here; [`crate::config`] reads and checks them.

use clap::Args;

/// The identity and address of this node.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Node")]
pub struct NodeArgs {
    /// Name of this node in the matrix [default: the host name]
    #[arg(long, env = "SOURCE_NODE_NAME", value_name = "NAME")]
    pub node_name: Option<String>,
    /// Zone of this node, shown in the matrix [default: empty]
    #[arg(long, env = "MESH_ZONE", default_value = "", hide_default_value = true)]
    pub zone: String,
    /// IP address at which other nodes reach this one, or several with commas, of which the first
    /// of the address family is used [default: detected, and logged]
    #[arg(long, env = "MESH_ADVERTISE_ADDRESS", value_name = "IP")]
    pub advertise_address: Option<String>,
    /// Address family to use where there are both: ipv4 or ipv6 [default: whichever comes first]
    #[arg(long, env = "MESH_IP_FAMILY", value_name = "FAMILY")]
    pub ip_family: Option<String>,
    /// Skip the 61 s quiet time after startup; safe only if no agent ran on this node within the
    /// last minute
    #[arg(long, env = "MESH_SKIP_QUIET_TIME", value_name = "BOOL", default_value = "false",
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub skip_quiet_time: String,
}

/// Discovery and departure of other nodes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Mesh")]
pub struct MeshArgs {
    /// Agents to join, repeatable or separated by commas; a DNS name stands for all its addresses
    /// [default: none]
    #[arg(
        long,
        env = "MESH_JOIN",
        value_name = "HOST[:PORT]",
        value_delimiter = ','
    )]
    pub join: Vec<String>,
    /// Networks that peers are in, repeatable or separated by commas; with kubernetes discovery,
    /// networks of peers that have no pod [default: any address that can be that of a host]
    #[arg(
        long,
        env = "MESH_PEER_CIDR",
        value_name = "CIDR",
        value_delimiter = ','
    )]
    pub peer_cidr: Vec<String>,
    /// How to find peers: kubernetes, dns or static [default: kubernetes inside a pod with a
    /// token, else static]
    #[arg(long, env = "MESH_DISCOVERY", value_name = "HOW")]
    pub discovery: Option<String>,
    /// Kubernetes namespace of the agents [default: the pod's own]
    #[arg(long, env = "IPERF_SERVER_NAMESPACE")]
    pub namespace: Option<String>,
    /// Label selector of the agents' pods
    #[arg(
        long,
        env = "IPERF_SERVER_LABEL_SELECTOR",
        value_name = "SELECTOR",
        default_value = "app.kubernetes.io/name=iperf3-mesh"
    )]
    pub label_selector: String,
    /// Silence after which a node counts as departed [default: 15m or two periods, whichever is
    /// longer]
    #[arg(long, env = "MESH_FORGET_AFTER", value_name = "DURATION")]
    pub forget_after: Option<String>,
    /// Maximum number of nodes in the mesh, 2 to 4096; the same on all nodes
    #[arg(
        long,
        env = "MESH_MEMBERS_MAX",
        value_name = "COUNT",
        default_value = "2048"
    )]
    pub members_max: String,
}

/// The keys of the mesh, and what is allowed without one.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Security")]
pub struct SecurityArgs {
    /// File with the keys of the mesh, one a line, newest first; `iperf3-mesh key generate` prints
    /// a line [default: none]
    #[arg(long, env = "MESH_KEY_FILE", value_name = "PATH")]
    pub key_file: Option<String>,
    /// Run without a key: everybody who reaches the ports can steer this node
    #[arg(long, env = "MESH_INSECURE", value_name = "BOOL", default_value = "false",
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub insecure: String,
    /// Messages to accept with a key: required (only sealed ones) or permissive (plain ones too,
    /// for 24 h after the start, while a mesh gets its first key)
    #[arg(
        long,
        env = "MESH_AUTH",
        value_name = "MODE",
        default_value = "required"
    )]
    pub auth: String,
    /// Name of the mesh; agents with another one are ignored, whatever key they have
    #[arg(
        long,
        env = "MESH_NAME",
        value_name = "NAME",
        default_value = "iperf3-mesh"
    )]
    pub mesh: String,
    /// Close page and read API to clients without a key
    #[arg(long, env = "MESH_PROTECT_READ", value_name = "BOOL", default_value = "false",
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub protect_read: String,
}

/// The ports of this node.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Ports")]
pub struct PortArgs {
    /// TCP port of metrics, probes, page and read API
    #[arg(long, env = "LISTEN_PORT", value_name = "PORT", default_value = "9876")]
    pub listen_port: String,
    /// TCP port for messages of other agents; may differ from node to node
    #[arg(
        long,
        env = "MESH_CONTROL_PORT",
        value_name = "PORT",
        default_value = "9878"
    )]
    pub control_port: String,
    /// UDP port of gossip
    #[arg(
        long,
        env = "MESH_GOSSIP_PORT",
        value_name = "PORT",
        default_value = "9877"
    )]
    pub gossip_port: String,
    /// First port of iperf3, TCP and UDP; open only during a meeting
    #[arg(
        long,
        env = "IPERF_SERVER_PORT",
        value_name = "PORT",
        default_value = "5201"
    )]
    pub iperf_port: String,
    /// Number of ports that iperf3 uses in turn, 1 to 64; with 1, a late client may reach the
    /// server of the next meeting
    #[arg(
        long,
        env = "IPERF_SERVER_PORTS",
        value_name = "COUNT",
        default_value = "8"
    )]
    pub iperf_ports: String,
}

/// The clients of the HTTP ports.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Ports")]
pub struct AccessArgs {
    /// More names by which clients may call this agent, such as that of an ingress, separated by
    /// commas; .example.com stands for all names below it, * for any name [default: none]
    #[arg(
        long,
        env = "MESH_ALLOWED_HOSTS",
        value_name = "HOST",
        default_value = "",
        hide_default_value = true
    )]
    pub allowed_hosts: String,
    /// Addresses of the host of this pod, separated by commas; its kubelet keeps its place at the
    /// port of the probes [default: none]
    #[arg(
        long,
        env = "MESH_HOST_IP",
        value_name = "IP",
        default_value = "",
        hide_default_value = true
    )]
    pub host_ip: String,
}

/// The tests and the pause between sweeps.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Tests")]
pub struct TestArgs {
    /// Protocol to test: tcp, udp or both
    #[arg(long, env = "IPERF_TEST_PROTOCOL", default_value = "tcp")]
    pub protocol: String,
    /// Measured part of a test, 1s to 50s, whole seconds
    #[arg(long, env = "IPERF_TEST_DURATION", default_value = "5s")]
    pub duration: String,
    /// Unmeasured start of a test, 0s to 50s, whole seconds; leaves out TCP's slow start
    #[arg(
        long,
        env = "IPERF_TEST_OMIT",
        value_name = "DURATION",
        default_value = "0s"
    )]
    pub omit: String,
    /// Pause after a sweep, at most 24h
    #[arg(
        long,
        env = "IPERF_TEST_INTERVAL",
        value_name = "DURATION",
        default_value = "300s"
    )]
    pub interval: String,
    /// Time after which a test is killed; at least omit + duration + 1s, at most 60s
    /// [default: omit + duration + 5s]
    #[arg(long, env = "IPERF_TEST_TIMEOUT", value_name = "DURATION")]
    pub timeout: Option<String>,
    /// Bitrate of a TCP test for each stream and direction; 0 is unlimited
    #[arg(
        long,
        env = "IPERF_BITRATE",
        value_name = "BITRATE",
        default_value = "0"
    )]
    pub bitrate: String,
    /// Bitrate of a UDP test for each stream and direction
    #[arg(
        long,
        env = "IPERF_UDP_BITRATE",
        value_name = "BITRATE",
        default_value = "2M"
    )]
    pub udp_bitrate: String,
    /// Parallel streams of a test, 1 to 128
    #[arg(long, env = "IPERF_STREAMS", value_name = "COUNT", default_value = "1")]
    pub streams: String,
    /// Test both directions at the same time: half the time, but they share the link (needs iperf3
    /// 3.11)
    #[arg(long, env = "IPERF_BIDIR", value_name = "BOOL", default_value = "false",
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub bidir: String,
}

/// The iperf3 program.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Tests")]
pub struct Iperf3Arg {
    /// The iperf3 program, version 3.9 or newer; a name without a slash is searched for on the
    /// PATH
    #[arg(long, env = "IPERF3", value_name = "PATH", default_value = "iperf3")]
    pub iperf3: String,
}

/// Metrics and log.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Bandwidth and jitter of a failed cell: zero or absent
    #[arg(
        long,
        env = "MESH_FAILED_CELLS",
        value_name = "HOW",
        default_value = "zero"
    )]
    pub failed_cells: String,
    /// Format of log lines: text or json
    #[arg(
        long,
        env = "LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text"
    )]
    pub log_format: String,
}
