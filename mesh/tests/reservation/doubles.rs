//! Messages that come twice.

use super::*;

#[test]
fn every_message_twice_changes_nothing() {
    for delay in [MILLI, 100 * MILLI, SECOND, 6 * SECOND, 30 * SECOND] {
        let mut stage = both_protocols();
        stage.post = Box::new(move |_| Post::Arrives(vec![MILLI, MILLI + delay]));
        assert!(
            stage.until(60 * SECOND, |stage| stage.is_swept(1)),
            "{delay:?}: {stage}"
        );
        stage.pass(60 * SECOND);
        for node in [ASKER, GRANTER] {
            assert_eq!(stage.cells(node).len(), 2, "{delay:?}: {stage}");
            assert_eq!(successes(&stage, node), 2, "{delay:?}");
            assert_eq!(stage.servers(node).len(), 2, "{delay:?}: {stage}");
        }
    }
}

proptest! {
    #![proptest_config(cases(64))]

    /// Any message of a meeting, said again at any time during it or after, to whom it was said.
    #[test]
    fn a_replay_of_anything_at_any_time_changes_nothing(
        which in 0usize..10,
        after_ms in 0u32..25_000,
    ) {
        let mut stage = both_protocols();
        stage.until(60 * SECOND, |stage| {
            kinds(stage, ASKER).len() + kinds(stage, GRANTER).len() > which
        });
        let replayed = stage.log.iter().rev().find_map(|entry| match &entry.what {
            What::Got(message) => Some((entry.node, message.clone())),
            What::Did(_) => None,
        });
        let (node, message) = replayed.unwrap();
        stage.pass(MILLI * after_ms);
        stage.input(node, Input::Message(message));
        stage.pass(60 * SECOND);
        for node in [ASKER, GRANTER] {
            prop_assert_eq!(stage.cells(node).len(), 2, "{}", stage);
            prop_assert_eq!(successes(&stage, node), 2, "{}", stage);
            prop_assert_eq!(stage.servers(node).len(), 2, "{}", stage);
        }
    }
}
