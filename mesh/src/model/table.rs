//! `make model`: larger bounds, and what each broken variant comes to, as a table. Takes minutes.

#![allow(clippy::disallowed_methods, reason = "it tells how long it took")]
#![allow(clippy::print_stdout, reason = "it is for people to read")]

use std::time::Instant;

use super::explore::{Report, explore};
use super::variants::{one_way, troubled, two_ports, two_protocols, two_way};
use super::{BrokenAssumption, Model};
use super::{Flaw, variants::flawed};

#[test]
#[ignore = "takes minutes: make model"]
fn the_protocol() {
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
fn what_breaks_it() {
    println!("\nWithout one of its rules, or beyond what it is built for: each has to be found\n");
    head();
    let mut variants = Vec::from(BrokenAssumption::ALL.map(|it| (format!("{it:?}"), troubled(it))));
    variants.extend(Flaw::ALL.map(|it| (format!("{it:?}"), flawed(it))));
    for (name, model) in variants {
        assert!(row(&name, &model).is_some(), "{name} is not found");
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
