//! The instants of the leases, whatever the network does.

use iperf3_mesh_core::{MARGIN, Protocol, QUIET_TIME, TIMEOUT_MAX, TestSpec};
use iperf3_mesh_core_testkit::{Delivery, Harness, MILLI, SECOND, cases, test_spec};
use proptest::prelude::*;

use super::{ASKER, GRANTER};

#[test]
fn quiet_time_is_longer_than_the_longest_lease() {
    assert_eq!(QUIET_TIME, TIMEOUT_MAX + MARGIN);
}

proptest! {
    #![proptest_config(cases(128))]

    /// The client is dead when the server's node is free again, however long each message takes,
    /// and although the clocks drift apart. (The harness checks that no process touches a free
    /// node.)
    #[test]
    fn server_holds_its_slot_until_the_client_is_dead(
        delays_ms in prop::collection::vec(0u32..4_000, 12),
        hanging in prop::collection::vec(any::<bool>(), 12),
        timeouts in [6u32..=60, 6u32..=60],
    ) {
        let mut harness = Harness::with(2, |node, settings| {
            let timeout = SECOND * timeouts[node];
            settings.tests = [Protocol::Tcp, Protocol::Udp]
                .map(|protocol| TestSpec { timeout, ..test_spec(protocol) })
                .into();
        });
        let mut next = 0;
        harness.on_message(move |_| {
            next += 1;
            Delivery::after(MILLI * delays_ms[next % delays_ms.len()])
        });
        harness.hang_tests(move |before| hanging[before as usize % hanging.len()]);
        harness.pass(400 * SECOND);
        for (client, server) in [(ASKER, GRANTER), (GRANTER, ASKER)] {
            let servers = harness.servers(server);
            for client in harness.clients(client) {
                prop_assert!(client.local <= client.start_by);
                prop_assert!(client.start_by < client.deadline);
                let server = servers
                    .iter()
                    .find(|it| it.meeting == client.meeting && it.port == client.remote.port())
                    .unwrap();
                // In true time, with drifting clocks: at most 500 ppm of a minute each.
                let client_until = client.at + client.deadline.since(client.local);
                let hold_until = server.at + (server.deadline + MARGIN).since(server.local);
                prop_assert!(client_until + MARGIN.mul_f64(0.9) <= hold_until);
                prop_assert!(client.at > server.at);
            }
        }
    }

    /// Three nodes, and a network that loses, duplicates, delays and reorders. The harness checks
    /// for overlaps.
    #[test]
    fn network_faults_cause_no_overlap_and_stop_no_sweep(
        faults in prop::collection::vec((0u8..10, 0u32..9_000, any::<bool>()), 64),
        hanging in prop::collection::vec(any::<bool>(), 16),
    ) {
        let mut harness = Harness::with(3, |_, settings| settings.interval = SECOND);
        let mut next = 0;
        harness.on_message(move |_| {
            next += 1;
            let (kind, delay_ms, is_reported) = faults[next % faults.len()];
            match kind {
                0 | 1 => Delivery::lost(is_reported),
                2 => Delivery::copies([MILLI, MILLI * delay_ms]),
                3 => Delivery::after(MILLI * delay_ms),
                4 => Delivery::uncertain(MILLI),
                _ => Delivery::after(MILLI * delay_ms / 100),
            }
        });
        harness.hang_tests(move |before| hanging[before as usize % hanging.len()]);
        harness.pass(600 * SECOND);
        prop_assert!(harness.is_swept(2), "{}", harness);
    }
}
