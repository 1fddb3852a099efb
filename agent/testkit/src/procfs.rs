//! The processes of the machine, as `/proc/<pid>/stat` shows them. Judges nothing.

use std::fs;

/// One process at one instant.
#[derive(Clone, Debug)]
pub struct Stat {
    /// Its id, which another process may have later.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// What it is doing: `R`, `S`, `T` (stopped), `Z` (dead, not reaped) …
    pub state: char,
    /// Whose child it is.
    pub parent: u32,
    /// When it began, in ticks: with its id, what tells it from every other process.
    pub began: u64,
}

/// All processes. They come and go while they are looked at; one that went is not there.
pub fn all() -> impl Iterator<Item = Stat> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?))
}

/// The dead children of `parent` that it has not reaped.
pub fn zombies(parent: u32) -> Vec<u32> {
    all()
        .filter(|it| it.parent == parent && it.state == 'Z')
        .map(|it| it.pid)
        .collect()
}

fn parse(line: &str) -> Option<Stat> {
    /// Which word after the name it is.
    const BEGAN: usize = 19;
    let (pid, rest) = line.split_once(" (")?;
    // The name may hold anything, brackets and blanks too.
    let (name, rest) = rest.rsplit_once(") ")?;
    let words: Vec<&str> = rest.split_whitespace().collect();
    Some(Stat {
        pid: pid.parse().ok()?,
        name: name.to_owned(),
        state: words.first()?.chars().next()?,
        parent: words.get(1)?.parse().ok()?,
        began: words.get(BEGAN)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_look_like_the_rest_of_the_line() {
        let line = "17 (a) R (b) T 4 17 17 0 -1 4194304 1 0 0 0 2 3 0 0 20 0 1 0 987654 1 2";
        let stat = parse(line).unwrap();
        assert_eq!(
            (stat.pid, stat.name.as_str(), stat.state),
            (17, "a) R (b", 'T')
        );
        assert_eq!((stat.parent, stat.began), (4, 987_654));
    }

    #[test]
    fn this_process_is_among_all() {
        assert!(all().any(|stat| stat.pid == std::process::id()));
    }
}
