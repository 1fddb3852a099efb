//! The package of the installed iperf3: distributions fix vulnerabilities without changing the
//! version that the program tells.
//!
//! Only Debian's packages are known. Their versions are in the database of dpkg, or, in an image
//! without a package manager, in a file for each package.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The package that contains the code of iperf3.
const PACKAGE: &str = "libiperf0";

/// The directory of dpkg's database.
const DATABASE: &str = "/var/lib/dpkg";

/// The place of Debian's iperf3. One in another place is of another origin.
const PROGRAM: &str = "/usr/bin/iperf3";

/// The most that is read of a database, in bytes.
const READ_MAX: u64 = 32 << 20;

/// A fix in a package: the vulnerability, the version up to its last number, and the least number
/// with the fix. Source: the changelogs of the packages.
const FIXES: [(&str, &str, u32); 5] = [
    ("CVE-2023-38403", "3.12-1+deb12u", 1),
    ("CVE-2025-54349", "3.12-1+deb12u", 2),
    ("CVE-2025-54350", "3.12-1+deb12u", 2),
    ("CVE-2025-54349", "3.18-2+deb13u", 1),
    ("CVE-2025-54350", "3.18-2+deb13u", 1),
];

/// The version of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageVersion(String);

impl PackageVersion {
    /// Finds the version of the package that contains `program`; `None` if it is unknown.
    pub(super) fn of(program: &Path) -> Option<Self> {
        let program = program.canonicalize().ok()?;
        (program == Path::new(PROGRAM)).then(|| Self::installed(Path::new(DATABASE)))?
    }

    fn installed(database: &Path) -> Option<Self> {
        let single = read(&database.join("status.d").join(PACKAGE));
        let text = single.or_else(|| read(&database.join("status")))?;
        let entry = text.split("\n\n").find(|entry| {
            entry
                .lines()
                .any(|line| line == format!("Package: {PACKAGE}"))
        })?;
        let version = entry
            .lines()
            .find_map(|line| line.strip_prefix("Version: "))?;
        // A version has a fixed set of characters, none of which hurts in a terminal.
        let is_plain = |c: char| c.is_ascii_alphanumeric() || ".+-~:".contains(c);
        version
            .chars()
            .all(is_plain)
            .then(|| Self(version.to_owned()))
    }

    /// Returns whether this package has a fix for a vulnerability of the version of iperf3.
    pub(super) fn fixes(&self, id: &str) -> bool {
        FIXES.iter().any(|(fixed, version, least)| {
            let number = self.0.strip_prefix(version);
            let number = number.and_then(|number| number.parse::<u32>().ok());
            *fixed == id && number.is_some_and(|number| number >= *least)
        })
    }

    /// Returns the version as the package manager shows it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn read(file: &Path) -> Option<String> {
    let mut text = Vec::new();
    let file = File::open(file).ok()?;
    file.take(READ_MAX).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn package(version: &str) -> PackageVersion {
        PackageVersion(version.to_owned())
    }

    #[test]
    fn package_of_debian_12_has_some_fixes() {
        let package = package("3.12-1+deb12u2");
        assert!(package.fixes("CVE-2023-38403") && package.fixes("CVE-2025-54350"));
        assert!(!package.fixes("CVE-2024-53580") && !package.fixes("CVE-2023-7250"));
    }

    #[test]
    fn earlier_or_foreign_package_has_no_fix() {
        for version in ["3.12-1", "3.12-1+deb12u1", "3.12-1+deb12u", "3.12-2", "x"] {
            assert!(!package(version).fixes("CVE-2025-54349"), "{version}");
        }
    }

    #[test]
    fn version_is_found_in_both_kinds_of_database() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path();
        assert_eq!(PackageVersion::installed(path), None);
        let entry = |name: &str, version: &str| format!("Package: {name}\nVersion: {version}\n");
        let status = [entry("libiperf", "1"), entry(PACKAGE, "3.12-1+deb12u2")].join("\n");
        fs::write(path.join("status"), status).expect("a file");
        assert_eq!(
            PackageVersion::installed(path),
            Some(package("3.12-1+deb12u2"))
        );
        fs::create_dir(path.join("status.d")).expect("a directory");
        fs::write(
            path.join("status.d").join(PACKAGE),
            entry(PACKAGE, "3.18-2"),
        )
        .expect("a file");
        assert_eq!(PackageVersion::installed(path), Some(package("3.18-2")));
    }
}
