//! The names of the nodes at the edges of a table. They are shown in full if there is enough room,
//! otherwise without the parts that all names share, otherwise as numbers.

/// The maximum number of nodes with named columns. With more nodes, names would make the table too
/// wide to read.
const NAMED_COLUMNS_MAX: usize = 30;
/// The maximum length of a name at the head of a column.
const COLUMN_MAX: usize = 12;
/// The maximum length of a name at the beginning of a row. A longer name loses its middle part.
const ROW_MAX: usize = 40;

/// The labels of a table.
pub(super) struct Labels {
    rows: Vec<String>,
    columns: Vec<String>,
    row_width: usize,
    key: Option<String>,
}

impl Labels {
    /// Chooses the labels for `names`, in a table whose cells are `cell_width` wide.
    pub(super) fn new(names: &[&str], cell_width: usize) -> Self {
        let rows: Vec<_> = names.iter().map(|name| without_middle(name)).collect();
        let widest = |labels: &[&str]| labels.iter().map(|l| l.chars().count()).max().unwrap_or(0);
        let named = names.len() <= NAMED_COLUMNS_MAX;
        if named && widest(names) <= cell_width.max(COLUMN_MAX / 2 + 2) {
            let columns = names.iter().map(|name| (*name).to_owned()).collect();
            return Self::with(rows, columns, None);
        }
        let (prefix, suffix) = common(names);
        let cut: Vec<_> = names
            .iter()
            .map(|name| middle(name, prefix, suffix))
            .collect();
        if named && widest(&cut) <= COLUMN_MAX {
            let columns = cut.into_iter().map(str::to_owned).collect();
            let key = match (prefix, suffix) {
                ("", "") => None,
                (_, "") => Some(format!("columns: names without {prefix:?} in front")),
                ("", _) => Some(format!("columns: names without {suffix:?} at the end")),
                _ => Some(format!(
                    "columns: names without {prefix:?} in front and {suffix:?} at the end"
                )),
            };
            return Self::with(rows, columns, key);
        }
        let digits = names.len().to_string().len();
        let rows = rows
            .iter()
            .enumerate()
            .map(|(at, name)| format!("{:>digits$} {name}", at + 1))
            .collect();
        let columns = (1..=names.len()).map(|number| number.to_string()).collect();
        Self::with(rows, columns, None)
    }

    fn with(rows: Vec<String>, columns: Vec<String>, key: Option<String>) -> Self {
        let row_width = rows
            .iter()
            .map(|row| row.chars().count())
            .max()
            .unwrap_or(0)
            + 1;
        Self {
            rows,
            columns,
            row_width,
            key,
        }
    }

    /// Returns a sentence about the parts of the names that the column labels leave out.
    pub(super) fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    pub(super) fn row_width(&self) -> usize {
        self.row_width
    }

    pub(super) fn column_width(&self) -> usize {
        self.columns
            .iter()
            .map(|column| column.chars().count())
            .max()
            .unwrap_or(0)
    }

    /// Returns the label of a row, padded.
    pub(super) fn row(&self, at: usize) -> String {
        let label = self.rows.get(at).map_or("", String::as_str);
        format!("{label:<width$}", width = self.row_width)
    }

    pub(super) fn column(&self, at: usize) -> &str {
        self.columns.get(at).map_or("", String::as_str)
    }
}

/// Returns the common beginning and the common end of all names. Both stop at a separator, and
/// leave a part of every name.
fn common<'a>(names: &[&'a str]) -> (&'a str, &'a str) {
    let [first, others @ ..] = names else {
        return ("", "");
    };
    let begin = others.iter().fold(first.len(), |most, other| {
        let same = first
            .bytes()
            .zip(other.bytes())
            .take_while(|(a, b)| a == b)
            .count();
        same.min(most)
    });
    let separator = |byte: &u8| matches!(byte, b'-' | b'.' | b'_');
    let bytes = first.as_bytes();
    // The common beginning extends to the last separator, which is ASCII, so that no character is
    // cut in two. It is never the whole name.
    let begin = begin.min(first.len().saturating_sub(1));
    let prefix = (0..begin)
        .rev()
        .find(|at| bytes.get(*at).is_some_and(separator));
    let prefix = prefix.map_or("", |at| first.get(..=at).unwrap_or(""));

    let shortest = names.iter().map(|name| name.len()).min().unwrap_or(0);
    let room = shortest.saturating_sub(prefix.len() + 1);
    let end = others.iter().fold(room.min(first.len()), |most, other| {
        let pairs = first.bytes().rev().zip(other.bytes().rev());
        pairs.take_while(|(a, b)| a == b).count().min(most)
    });
    let suffix = (first.len() - end..first.len()).find(|at| bytes.get(*at).is_some_and(separator));
    let suffix = suffix.map_or("", |at| first.get(at..).unwrap_or(""));
    (prefix, suffix)
}

fn middle<'a>(name: &'a str, prefix: &str, suffix: &str) -> &'a str {
    let rest = name.strip_prefix(prefix).unwrap_or(name);
    rest.strip_suffix(suffix).unwrap_or(rest)
}

fn without_middle(name: &str) -> String {
    let length = name.chars().count();
    if length <= ROW_MAX {
        return name.to_owned();
    }
    let half = (ROW_MAX - 1) / 2;
    let begin: String = name.chars().take(half).collect();
    let end: String = name.chars().skip(length - half).collect();
    format!("{begin}…{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(names: &[&str]) -> Vec<String> {
        Labels::new(names, 5).columns
    }

    #[test]
    fn columns_leave_out_the_common_parts_of_the_names() {
        let names = ["ip-10-0-1-5.ec2.internal", "ip-10-0-1-17.ec2.internal"];
        assert_eq!(columns(&names), ["5", "17"]);
        let key = Labels::new(&names, 5).key.unwrap_or_default();
        assert!(
            key.contains("ip-10-0-1-") && key.contains(".ec2.internal"),
            "{key}"
        );
        assert_eq!(columns(&["node-1", "node-2"]), ["node-1", "node-2"]);
        assert_eq!(columns(&["a.example.org", "b.example.org"]), ["a", "b"]);
    }

    #[test]
    fn every_label_keeps_a_part_of_its_name() {
        assert_eq!(
            columns(&["rack-one-node", "rack-one-node-2"]),
            ["node", "node-2"]
        );
        assert_eq!(
            columns(&["worker.example", "big-worker.example"]),
            ["worker", "big-worker"]
        );
        assert_eq!(
            common(&["same-name-here", "same-name-here"]),
            ("same-name-", "")
        );
        assert_eq!(common(&[]), ("", ""));
        assert_eq!(common(&["näh-ä-a", "näh-ö-a"]), ("näh-", "-a"));
    }

    #[test]
    fn long_different_names_and_many_nodes_have_numbers() {
        let long = ["alpha-of-the-first-room", "omega_of_the_second_room"];
        assert_eq!(columns(&long), ["1", "2"]);
        let owned: Vec<_> = (0..31).map(|n| format!("n{n:02}")).collect();
        let names: Vec<_> = owned.iter().map(String::as_str).collect();
        let labels = Labels::new(&names, 5);
        assert_eq!(labels.column(30), "31");
        assert_eq!(labels.row(0), " 1 n00 ");
    }

    #[test]
    fn a_very_long_name_loses_its_middle() {
        let label = without_middle(&format!("begin{}end", "x".repeat(200)));
        assert_eq!(label.chars().count(), 39);
        assert!(
            label.starts_with("begin") && label.ends_with("end"),
            "{label}"
        );
    }
}
