//! The screen between the network and chitchat: what it lets in, and what it answers.

use std::net::SocketAddr;
use std::time::Duration;

use super::super::frame::{HEARTBEAT_STEP, Id};
use super::super::rejections::Rejection;
use super::super::roster::Own;
use super::super::udp::Received;
use super::address;
use super::forged::{Forged, challenge};
use super::node::{Node, forged};
use crate::AddressRules;

#[test]
fn answer_that_was_not_asked_for_is_refused() {
    let mut node = Node::new();
    let peer = address(2);
    let news = [Forged::default().node(), Forged::key("n", "a", 1, 0)].concat();
    for answer in [Forged::syn_ack(&[], &[]), Forged::ack(&news)] {
        assert!(node.receive(&answer, peer).is_none());
    }
    assert_eq!(node.refused(Rejection::Unsolicited), 2);
    node.contact(peer);
    let answer = Forged::syn_ack(&[Forged::at(peer)], &news);
    assert!(node.receive(&answer, peer).is_none(), "no proof");
    node.knows(&[peer]);
    assert!(node.receive(&answer, peer).is_some());
    assert!(node.receive(&answer, address(3)).is_none());
    node.now += Duration::from_secs(10);
    assert!(node.receive(&answer, peer).is_none(), "too late");
}

#[test]
fn news_of_the_receiver_itself_are_left_out() {
    let mut node = Node::new();
    node.knows(&[address(2)]);
    node.contact(address(2));
    let own = Forged {
        address: address(1),
        ..Forged::default()
    };
    let news = |of: &Forged| [of.node(), Forged::key("n", "a", 1, 0)].concat();
    let answer = Forged::syn_ack(
        &[own],
        &[news(&own), news(&Forged::at(address(2)))].concat(),
    );
    let message = node.receive(&answer, address(2)).unwrap();
    let text = format!("{message:?}");
    assert_eq!(text.matches("NodeDelta").count(), 1, "{text}");
    assert_eq!(node.refused(Rejection::OwnState), 1);
}

#[test]
fn address_that_the_rules_refuse_is_left_out() {
    let mut node = Node::new();
    node.prove(address(2));
    let before = node.shared.roster.len();
    let rules = AddressRules::new(address(1).ip(), []);
    node.shared.roster.set_rules(rules);
    let ids = [[127, 0, 0, 1], [10, 0, 0, 6]].map(|ip| Forged {
        address: SocketAddr::from((ip, 9877)),
        ..Forged::default()
    });
    node.receive(&Forged::syn(&ids), address(2));
    assert_eq!(node.shared.roster.len(), before + 1);
    assert_eq!(node.refused(Rejection::Address), 1);
}

#[test]
fn stranger_gets_an_introduction_and_then_everything() {
    let mut node = Node::new();
    let newcomer = Forged::at(address(4));
    let syn = Forged::syn(&[newcomer]);
    let first = node.introduction(&syn, address(4));
    assert!(first.len() <= 3 * syn.len(), "{}", first.len());
    assert_eq!(node.answer(1000, address(4)), None);
    assert_eq!(node.shared.roster.len(), 0);
    // The next SYN has the identity of this node, with the heartbeat of the introduction.
    node.prove(address(4));
    let second = node.answer(1000, address(4)).unwrap();
    assert!(second.len() > 5000, "{}", second.len());
}

#[test]
fn stranger_that_sends_from_another_address_is_refused() {
    let mut node = Node::new();
    let syn = Forged::syn(&[Forged::at(address(4))]);
    assert!(node.receive(&syn, address(5)).is_none());
    assert_eq!(node.refused(Rejection::Source), 1);
}

#[test]
fn forged_source_gets_no_large_message_whatever_it_says() {
    let mut node = Node::new();
    let victim = address(4);
    let own = |heartbeat| Forged {
        address: address(1),
        heartbeat,
        ..Forged::default()
    };
    let mut largest = 0;
    for guess in 0..2000 {
        node.now += Duration::from_millis(10);
        node.contact(victim);
        let heartbeat = HEARTBEAT_STEP * 100 + guess;
        let entries = [Forged::at(victim), own(heartbeat)];
        let news = [Forged::at(victim).node(), Forged::key("n", "a", 1, 0)].concat();
        let forged = [
            Forged::syn(&entries[..1]),
            Forged::syn(&entries),
            Forged::syn_ack(&entries, &[]),
            Forged::syn_ack(&entries, &news),
            Forged::ack(&news),
        ];
        for datagram in forged {
            let reply = match node.screen.receive(&datagram, victim, node.now) {
                Some(Received::Reply(reply)) => reply.concat().len(),
                Some(Received::Message(message)) => panic!("{message:?}"),
                None => 0,
            };
            largest = largest.max(reply);
        }
        assert_eq!(node.answer(1000, victim), None);
        assert!(node.contact(victim).len() < 100);
    }
    assert!((1..150).contains(&largest), "{largest} bytes");
}

#[test]
fn message_with_many_guesses_of_a_challenge_proves_nothing() {
    let mut node = Node::new();
    let victim = address(4);
    let told = challenge(&node.introduction(&Forged::syn(&[Forged::at(victim)]), victim));
    let guess = |heartbeat| Forged {
        heartbeat,
        ..Forged::at(address(1))
    };
    let mut entries = vec![Forged::at(victim)];
    entries.extend((told - 2..=told).map(guess));
    assert!(node.receive(&Forged::syn(&entries), victim).is_none());
    assert_eq!(node.refused(Rejection::Malformed), 1);
    assert!(!node.shared.roster.is_proven(victim));
    // Two entries are those of chitchat, and of the answer to an introduction.
    entries.remove(1);
    assert!(node.receive(&Forged::syn(&entries), victim).is_some());
}

#[test]
fn challenges_need_no_places() {
    let mut node = Node::new();
    let syn = Forged::syn(&[Forged::at(address(4))]);
    let first = challenge(&node.introduction(&syn, address(4)));
    for port in 1..=100 {
        for host in 100..=150 {
            node.now += Duration::from_micros(900);
            let source = SocketAddr::from(([10, 0, 0, host], port));
            node.introduction(&Forged::syn(&[Forged::at(source)]), source);
        }
    }
    let own = Forged {
        heartbeat: first,
        ..Forged::at(address(1))
    };
    let syn = Forged::syn(&[Forged::at(address(4)), own]);
    assert!(node.receive(&syn, address(4)).is_some(), "told before");
    node.prove(address(5));
}

#[test]
fn challenge_expires() {
    let mut node = Node::new();
    let syn = Forged::syn(&[Forged::at(address(4))]);
    let own = Forged {
        heartbeat: challenge(&node.introduction(&syn, address(4))),
        ..Forged::at(address(1))
    };
    node.now += Duration::from_secs(20);
    let syn = Forged::syn(&[Forged::at(address(4)), own]);
    assert!(node.receive(&syn, address(4)).is_none());
    assert!(!node.shared.roster.is_proven(address(4)));
}

#[test]
fn flood_of_proven_strangers_leaves_the_acks_of_members() {
    let mut node = Node::new();
    let member = address(2);
    node.knows(&[member]);
    for port in 1..=85 {
        for host in 100..150 {
            node.now += Duration::from_millis(2);
            let source = SocketAddr::from(([10, 0, 0, host], port));
            node.prove(source);
            node.answer(1, source);
        }
    }
    assert!(node.answer(10, member).is_some());
    assert!(node.receive(&Forged::ack(&[]), member).is_some());
}

#[test]
fn source_that_the_rules_refuse_gets_no_answer() {
    let mut node = Node::new();
    let within = "10.0.0.0/8".parse().unwrap();
    let rules = AddressRules::new(address(1).ip(), [within]);
    node.shared.roster.set_rules(rules);
    let outside = SocketAddr::from(([192, 0, 2, 1], 9877));
    let syn = Forged::syn(&[Forged::at(outside)]);
    assert!(node.screen.receive(&syn, outside, node.now).is_none());
    assert_eq!(node.refused(Rejection::Address), 1);
    node.prove(address(2));
}

#[test]
fn answer_without_news_is_no_introduction() {
    let mut node = Node::new();
    node.knows(&[address(2)]);
    node.contact(address(2));
    let entries = [Forged::at(address(2)), Forged::at(address(1))];
    let answer = Forged::syn_ack(&entries, &[]);
    assert!(node.receive(&answer, address(2)).is_some());
}

#[test]
fn proven_address_needs_a_new_proof_for_an_odd_word() {
    let mut node = Node::new();
    let (member, own) = (address(2), Forged::at(address(1)));
    node.knows(&[member]);
    let leap = Forged {
        heartbeat: 1 << 59,
        ..Forged::at(member)
    };
    let other = Forged {
        generation: 2000,
        ..Forged::at(member)
    };
    for odd in [leap, other] {
        let reply = node.introduction(&Forged::syn(&[odd, own]), member);
        assert!(reply.len() < 150, "{}", reply.len());
        node.contact(member);
        let answer = Forged::syn_ack(&[odd, own], &Forged::default().node());
        assert!(node.receive(&answer, member).is_none());
        node.prove(member);
    }
    node.now += Duration::from_secs(1);
    let next = Forged {
        heartbeat: 2 * HEARTBEAT_STEP,
        ..Forged::at(member)
    };
    assert!(node.receive(&Forged::syn(&[next, own]), member).is_some());
}

#[test]
fn strangers_displace_no_member_that_has_proven_its_path() {
    let mut node = Node::new();
    node.knows(&[address(2)]);
    for port in 1..=85 {
        for host in 100..150 {
            node.now += Duration::from_millis(2);
            node.prove(SocketAddr::from(([10, 0, 0, host], port)));
        }
    }
    assert!(node.shared.roster.is_proven(address(2)));
}

#[test]
fn flood_of_invented_members_leaves_members_their_budget() {
    let mut node = Node::new();
    let member = address(2);
    let invented: Vec<_> = (100..110).map(address).collect();
    node.knows(&[member]);
    node.invent(&invented);
    let message = Forged::syn(&(0..150).map(forged).collect::<Vec<_>>());
    for source in invented {
        for _ in 0..2000 {
            node.receive(&message, source);
        }
    }
    assert!(node.refused(Rejection::Budget) > 0);
    assert!(node.receive(&message, member).is_some());
}

#[test]
fn digest_goes_only_where_it_is_known_to_arrive() {
    let (mut one, mut other) = (Node::new(), Node::at(address(2)));
    let probe = one.contact(address(2));
    let reply = |node: &mut Node, datagram: &[u8], from| match node
        .screen
        .receive(datagram, from, node.now)
    {
        Some(Received::Reply(reply)) => reply.concat(),
        got => panic!("{got:?}"),
    };
    let introduction = reply(&mut other, &probe, address(1));
    let syn = reply(&mut one, &introduction, address(2));
    assert!(other.receive(&syn, address(1)).is_some());
    for (node, peer) in [(&one, address(2)), (&other, address(1))] {
        assert!(node.shared.roster.is_proven(peer));
    }
    assert!(other.answer(1000, address(1)).unwrap().len() > 5000);
    // A probe has one reply, so that two nodes never answer each other without end.
    let again = one.screen.receive(&introduction, address(2), one.now);
    assert!(again.is_none(), "{again:?}");
}

#[test]
fn moved_node_proves_its_path_to_peers_that_it_knows() {
    let (mut moved, mut peer) = (Node::new(), Node::at(address(2)));
    moved.knows(&[address(2)]);
    moved.contact(address(2));
    let introduction = peer.introduction(&Forged::syn(&[Forged::at(address(1))]), address(1));
    let syn = moved.introduction(&introduction, address(2));
    assert!(peer.receive(&syn, address(1)).is_some());
    assert!(peer.shared.roster.is_proven(address(1)));
}

#[test]
fn address_that_speaks_overrules_hearsay_about_it() {
    let mut node = Node::new();
    node.knows(&[address(2), address(3)]);
    let forged = Forged {
        generation: 2000,
        ..Forged::at(address(2))
    };
    let late = Forged {
        heartbeat: 1 << 50,
        ..Forged::at(address(2))
    };
    let own = Forged {
        generation: 2000,
        ..Forged::at(address(1))
    };
    let news = [late.node(), Forged::key("p", "leaving", 99, 0)].concat();
    let hears = |node: &mut Node| {
        node.contact(address(3));
        let entries = [Forged::at(address(3)), own, forged, late];
        let answer = Forged::syn_ack(&entries, &news);
        let message = node.receive(&answer, address(3)).unwrap();
        let text = format!("{message:?}");
        assert!(!text.contains("10.0.0.1:"), "the own address: {text}");
        text.contains("leaving") || text.contains("Heartbeat(1125") || text.contains("2000")
    };
    assert!(!hears(&mut node));
    node.now += Duration::from_secs(3);
    assert!(hears(&mut node), "the address is silent");
}

#[test]
fn anonymous_stranger_gets_no_answer() {
    let mut node = Node::new();
    let syn = Forged::syn(&[]);
    assert_eq!(syn.len(), 18);
    assert!(node.receive(&syn, address(4)).is_none());
    assert_eq!(node.answer(1000, address(4)), None);
    // An introduction of another node does not help.
    let other = Forged::syn(&[Forged::default()]);
    assert!(node.receive(&other, address(4)).is_none());
    assert_eq!(node.answer(1000, address(4)), None);
}

#[test]
fn answers_to_one_address_are_bounded() {
    let mut node = Node::new();
    node.knows(&[address(4)]);
    let mut bytes = 0;
    for _ in 0..1000 {
        let answer = node.answer(1000, address(4));
        bytes += answer.map_or(0, |answer| answer.len());
        node.now += Duration::from_millis(10);
    }
    assert!((300_000..500_000).contains(&bytes), "{bytes} bytes in 10 s");
    assert!(node.refused(Rejection::Answer) > 0);
    let other = node.answer(1000, address(5));
    assert_eq!(other, None, "a stranger");
    node.knows(&[address(4), address(5)]);
    assert!(node.answer(1000, address(5)).is_some(), "another member");
}

#[test]
fn flood_leaves_the_budget_of_members_alone() {
    let mut node = Node::new();
    let (flooder, member) = (address(2), address(3));
    node.knows(&[flooder, member]);
    let message = Forged::syn(&(0..150).map(forged).collect::<Vec<_>>());
    node.prove(address(9));
    let flood = |node: &mut Node, from: SocketAddr| {
        let before = node.refused(Rejection::Budget);
        let sent = 2000;
        for _ in 0..sent {
            node.receive(&message, from);
        }
        node.refused(Rejection::Budget) - before > sent / 10
    };
    assert!(flood(&mut node, flooder), "a member has a share");
    for last in 10..=255 {
        flood(&mut node, address(last));
    }
    assert!(node.receive(&message, address(9)).is_none(), "a stranger");
    assert!(node.receive(&message, member).is_some());
    node.now += Duration::from_secs(60);
    assert!(
        node.receive(&message, address(9)).is_some(),
        "a minute later"
    );
    assert!(node.receive(&message, flooder).is_some(), "a minute later");
}

#[test]
fn only_a_member_can_say_that_this_node_is_overtaken() {
    let mut node = Node::new();
    let own = Forged {
        address: address(1),
        heartbeat: 101,
        ..Forged::default()
    };
    node.prove(address(2));
    node.receive(&Forged::syn(&[own]), address(2)).unwrap();
    assert!(!node.shared.roster.is_overtaken(), "a stranger");
    node.knows(&[address(2)]);
    let same = Forged {
        heartbeat: 100,
        ..own
    };
    node.receive(&Forged::syn(&[same]), address(2)).unwrap();
    assert!(
        !node.shared.roster.is_overtaken(),
        "what this node has published"
    );
    node.receive(&Forged::syn(&[own]), address(2)).unwrap();
    assert!(node.shared.roster.is_overtaken());
    let id = Id::new("aa", 1001, address(1)).unwrap();
    node.shared.roster.set_own(Own {
        id,
        heartbeat: 1,
        version: 9,
    });
    assert!(!node.shared.roster.is_overtaken(), "a new identity");
}
