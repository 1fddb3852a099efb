//! The instants of the leases, under whatever the network does.

use super::*;

proptest! {
    #![proptest_config(cases(128))]

    /// However long each message is under way: when the server's node is free again, the client is dead, though
    /// their clocks drift apart. (That no process is left when a node is free is the stage's own look.)
    #[test]
    fn the_server_holds_longer_than_the_client_lives(
        delays_ms in prop::collection::vec(0u32..4_000, 12),
        hanging in prop::collection::vec(any::<bool>(), 12),
        timeout in 6u32..=60,
    ) {
        let mut stage = Stage::with(2, |_, settings| {
            let timeout = SECOND * timeout;
            settings.tests =
                [Protocol::Tcp, Protocol::Udp].map(|p| TestSpec { timeout, ..spec(p) }).into();
        });
        let mut next = 0;
        stage.post = Box::new(move |_| {
            next += 1;
            Post::Arrives(vec![MILLI * delays_ms[next % delays_ms.len()]])
        });
        stage.hangs = Box::new(move |&before| hanging[before as usize % hanging.len()]);
        stage.pass(400 * SECOND);
        for (client, server) in [(ASKER, GRANTER), (GRANTER, ASKER)] {
            for (started, start) in stage.clients(client) {
                prop_assert!(started.local <= start.start_by && start.start_by < start.deadline);
                let (opened, serving) = stage
                    .servers(server)
                    .into_iter()
                    .find(|(_, serving)| serving.meeting == start.meeting && serving.port == start.remote.port())
                    .unwrap();
                // In true time, with drifting clocks: at most 500 ppm of a minute each.
                let client_until = started.at + start.deadline.since(started.local);
                let hold_until = opened.at + (serving.deadline + MARGIN).since(opened.local);
                prop_assert!(client_until + MARGIN.mul_f64(0.9) <= hold_until);
                prop_assert!(started.at > opened.at);
            }
        }
    }

    /// Three nodes, and a network that loses, doubles, delays and reorders: see the stage for what is checked.
    #[test]
    fn nothing_that_the_network_does_makes_two_meetings_overlap(
        faults in prop::collection::vec((0u8..10, 0u32..9_000, any::<bool>()), 64),
        hanging in prop::collection::vec(any::<bool>(), 16),
    ) {
        let mut stage = Stage::with(3, |_, settings| settings.interval = SECOND);
        let mut next = 0;
        stage.post = Box::new(move |_| {
            next += 1;
            let (kind, delay, told) = faults[next % faults.len()];
            match kind {
                0 | 1 => Post::Lost { told },
                2 => Post::Arrives(vec![MILLI, MILLI * delay]),
                4 => Post::Doubted,
                3 => Post::Arrives(vec![MILLI * delay]),
                _ => Post::Arrives(vec![MILLI * delay / 100]),
            }
        });
        stage.hangs = Box::new(move |&before| hanging[before as usize % hanging.len()]);
        stage.pass(600 * SECOND);
        prop_assert!((0..3).all(|node| stage.outputs(node).any(
            |(_, output)| matches!(output, Output::SweepEnded(report) if report.number > 1)
        )), "{}", stage);
    }
}

#[test]
fn a_restarted_node_is_quiet_for_longer_than_the_longest_lease() {
    let longest = TestSpec {
        timeout: iperf3_mesh_core::TIMEOUT_MAX,
        ..spec(Protocol::Tcp)
    };
    assert_eq!(iperf3_mesh_core::QUIET_TIME, longest.timeout + MARGIN);
}
