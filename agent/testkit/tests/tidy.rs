//! The house rules that neither rustfmt nor clippy checks, for every Rust file of the workspace.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

const COLUMNS_MAX: usize = 100;
const TEST_NAME_MAX: usize = 60;
const FILE_LINES_MAX: usize = 600;

/// Words that may start a question, but no statement: a statement starts with its subject.
const QUESTION_WORDS: [&str; 4] = ["Who", "Whose", "Of", "What"];

/// In two parts, so that this file passes.
const LEFTOVERS: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];

#[test]
fn rust_files_follow_the_house_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = root.canonicalize().expect("the workspace exists");
    let mut report = String::new();
    let mut count = 0;
    for path in rust_files(&root) {
        let text = fs::read_to_string(&path).expect("source files are UTF-8");
        let name = path.strip_prefix(&root).expect("it was found there");
        for (line, problem) in problems(&text) {
            writeln!(report, "{}:{line}: {problem}", name.display()).expect("a String grows");
            count += 1;
        }
    }
    assert!(count == 0, "{count} problems:\n{report}");
}

#[test]
fn long_line_is_a_problem_unless_it_has_a_literal_or_a_url() {
    let long = "x".repeat(101);
    assert_eq!(found(&long), ["1: line of 101 columns"]);
    assert!(found(&format!("\"{long}\"")).is_empty());
    assert!(found(&format!("// https://{long}")).is_empty());
}

#[test]
fn long_name_of_a_test_is_a_problem() {
    let name = "n".repeat(61);
    let expected = [format!("3: test name of 61 characters: {name}")];
    assert_eq!(
        found(&format!("#[test]\n#[ignore]\nfn {name}() {{")),
        expected
    );
    assert_eq!(
        found(&format!("#[tokio::test]\n\nasync fn {name}() {{")),
        expected
    );
    assert_eq!(found(&format!("\nlab_test!(\n    {name},\n")), expected);
    assert!(found(&format!("\n\nfn {name}() {{")).is_empty());
}

#[test]
fn statement_that_starts_with_a_question_word_is_a_problem() {
    let problem = |line: usize, word: &str| vec![format!("{line}: sentence starts with {word}")];
    assert_eq!(found("// Who asks waits."), problem(1, "Who"));
    assert_eq!(
        found("//! A node asks. What it asks\n//! varies."),
        problem(1, "What")
    );
    assert_eq!(
        found("/// Asks once.\n/// Of two nodes one asks."),
        problem(2, "Of")
    );
    assert!(found("// Who asks? Nobody who\n// What is asked for.").is_empty());
    assert!(found("// Who asks, and\n// when?").is_empty());
    assert!(found("// Whosoever asks waits.").is_empty());
}

#[test]
fn long_file_is_a_problem() {
    assert!(found(&"\n".repeat(600)).is_empty());
    assert_eq!(found(&"\n".repeat(601)), ["601: file of 601 lines"]);
}

#[test]
fn leftover_mark_is_a_problem() {
    for mark in LEFTOVERS {
        assert_eq!(
            found(&format!("\n// {mark}: later")),
            [format!("2: {mark}")]
        );
    }
}

fn found(text: &str) -> Vec<String> {
    problems(text)
        .into_iter()
        .map(|(line, problem)| format!("{line}: {problem}"))
        .collect()
}

/// All Rust files below `dir`, without those that cargo or git made, and those of others.
fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).expect("it is a directory") {
        let path = entry.expect("it can be listed").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && !matches!(&*name, "target" | "vendor") && !name.starts_with('.') {
            files.extend(rust_files(&path));
        } else if name.ends_with(".rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The problems of one file with their lines.
fn problems(text: &str) -> Vec<(usize, String)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (number, line) in (1..).zip(&lines) {
        let columns = line.chars().count();
        if columns > COLUMNS_MAX && !line.contains('"') && !line.contains("://") {
            found.push((number, format!("line of {columns} columns")));
        }
        for mark in LEFTOVERS.into_iter().filter(|mark| line.contains(mark)) {
            found.push((number, mark.to_owned()));
        }
    }
    if lines.len() > FILE_LINES_MAX {
        found.push((lines.len(), format!("file of {} lines", lines.len())));
    }
    found.extend(long_test_names(&lines));
    found.extend(question_words(&lines));
    found.sort();
    found
}

fn long_test_names(lines: &[&str]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut is_test = false;
    for (number, line) in (1..).zip(lines) {
        let line = line.trim_start();
        let name = if let Some((_, rest)) = line.split_once("fn ") {
            is_test.then_some(rest)
        } else if is_test && line.ends_with(',') {
            Some(line)
        } else {
            line.strip_prefix("lab_test!(").filter(|it| !it.is_empty())
        };
        let is_marked = line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        let is_attribute = line.starts_with("#[") || line.starts_with("//") || line.is_empty();
        is_test = is_marked || line == "lab_test!(" || (is_test && is_attribute);
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        let name = name.and_then(|name| name.split(|c| !is_part(c)).next());
        if let Some(name) = name.filter(|name| name.len() > TEST_NAME_MAX) {
            let length = name.len();
            found.push((number, format!("test name of {length} characters: {name}")));
        }
    }
    found
}

fn question_words(lines: &[&str]) -> Vec<(usize, String)> {
    let comments: Vec<Option<&str>> = lines.iter().map(|line| comment(line)).collect();
    let mut found = Vec::new();
    let mut starts_sentence = true;
    for (at, text) in comments.iter().enumerate() {
        let Some(text) = text.filter(|text| !text.is_empty()) else {
            starts_sentence = true;
            continue;
        };
        let mut words = text.split_whitespace().peekable();
        while let Some(word) = words.next() {
            if starts_sentence && QUESTION_WORDS.contains(&word) {
                let rest: Vec<&str> = words.clone().collect();
                let next_lines = comments[at + 1..].iter().map_while(|text| *text);
                let ends = rest
                    .into_iter()
                    .chain(next_lines.flat_map(str::split_whitespace));
                if !is_question(ends) {
                    found.push((at + 1, format!("sentence starts with {word}")));
                }
            }
            starts_sentence = word.ends_with(['.', '?', '!']);
        }
    }
    found
}

/// Whether the sentence that these words continue ends with a question mark.
fn is_question<'a>(mut words: impl Iterator<Item = &'a str>) -> bool {
    let end = words.find(|word| word.ends_with(['.', '?', '!']));
    end.is_some_and(|word| word.ends_with('?'))
}

/// The text of a line that is a comment.
fn comment(line: &str) -> Option<&str> {
    let text = line.trim_start().strip_prefix("//")?;
    Some(text.trim_start_matches(['/', '!']).trim())
}
