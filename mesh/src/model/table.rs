//! `make model`: larger bounds and all broken variants, as a table. It takes minutes.

#![allow(clippy::disallowed_methods, reason = "it prints how long it took")]
#![allow(clippy::print_stdout, reason = "it is for people to read")]

use std::time::Instant;

use super::explore::{Report, explore};
use super::variants::{beyond_assumption, one_way, two_ports, two_protocols, two_way};
use super::{BrokenAssumption, Model};
use super::{Flaw, variants::flawed};

#[test]
#[ignore = "takes minutes: make model"]
fn protocol_breaks_no_rule_within_larger_bounds() {
    println!("\nThe protocol as it is\n");
    head();
    let variants = [
        ("one way", one_way(2, 2, 0)),
        ("one way, two ports", two_ports(2, 2, 0)),
        ("one way, two protocols", two_protocols(2, 2, 0)),
        ("two way", two_way(2, 2, 0)),
        ("one way, a restart", one_way(2, 1, 1)),
        ("two way, a restart", two_way(2, 2, 1)),
        ("two way, a restart", two_way(3, 1, 1)),
        ("two way", two_way(3, 2, 0)),
        ("one way", one_way(3, 2, 0)),
    ];
    for (name, model) in variants {
        assert!(row(name, &model).is_none(), "a rule is broken");
    }
}

#[test]
#[ignore = "takes a minute: make model"]
fn broken_variants_of_the_protocol_break_a_rule() {
    println!(
        "\nWithout a rule of the protocol, or beyond its assumptions: each must break a rule\n"
    );
    head();
    let mut variants =
        Vec::from(BrokenAssumption::ALL.map(|it| (format!("{it:?}"), beyond_assumption(it))));
    variants.extend(Flaw::ALL.iter().map(|&it| (format!("{it:?}"), flawed(it))));
    for (name, model) in variants {
        assert!(row(&name, &model).is_some(), "{name} breaks no rule");
    }
}

fn head() {
    println!("| variant | nodes | requests | restarts | states | steps | seconds | verdict |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |");
}

fn row(name: &str, model: &Model) -> Option<String> {
    let began = Instant::now();
    let Report {
        states,
        depth,
        violation,
        ..
    } = explore(model);
    let Model {
        nodes,
        asks,
        restarts,
        ..
    } = model;
    let seconds = began.elapsed().as_secs_f64();
    let verdict = violation
        .as_deref()
        .and_then(|text| text.lines().next())
        .unwrap_or("safe");
    println!(
        "| {name} | {nodes} | {asks} | {restarts} | {states} | {depth} | {seconds:.1} | {verdict} |"
    );
    violation
}
