//! The entry point of [`crate::fuzzing`] for the parts of a request that this crate parses itself.
//! hyper parses the rest.

use hyper::Request;
use hyper::header::ACCEPT_ENCODING;

use super::hosts::{Hosts, name, requested};
use super::{GZIP, Route, accepts_gzip};
use crate::config::{Access, AllowedHosts};

/// Reads `bytes` as a line for `--allowed-hosts`, a line with a method and a target, and a line for
/// each header. Returns the request if hyper could have read it, too.
///
/// # Panics
/// Panics if a property of [`crate::fuzzing::http_request`] does not hold.
pub(crate) fn request(bytes: &[u8]) -> Option<Request<()>> {
    let mut lines = bytes.split(|&byte| byte == b'\n');
    let allowed = String::from_utf8_lossy(lines.next()?).into_owned();
    let mut first = lines.next()?.splitn(2, |&byte| byte == b' ');
    let mut request = Request::builder().method(first.next()?).uri(first.next()?);
    for line in lines.filter(|line| !line.is_empty()) {
        let at = line.iter().position(|&byte| byte == b':')?;
        request = request.header(&line[..at], line[at + 1..].trim_ascii());
    }
    let request = request.body(()).ok()?;
    assert_eq!(
        Route::of(request.uri().path()).is_some(),
        is_known(&request)
    );
    if accepts_gzip(request.headers()) {
        let mut values = request.headers().get_all(ACCEPT_ENCODING).iter();
        let has_gzip = |value: &[u8]| value.windows(GZIP.len()).any(is_gzip);
        assert!(values.any(|value| has_gzip(value.as_bytes())));
    }
    let names = requested(&request).unwrap_or_default();
    for name in names.into_iter().filter_map(name) {
        check_name(&name, &allowed);
    }
    Some(request)
}

fn is_gzip(bytes: &[u8]) -> bool {
    bytes.eq_ignore_ascii_case(GZIP.as_bytes())
}

fn is_known(request: &Request<()>) -> bool {
    let path = request.uri().path();
    matches!(path, "/" | "/metrics" | "/healthz" | "/readyz")
        || path.strip_prefix("/api/v1/").is_some_and(|rest| {
            ["row", "matrix", "matrix.bin", "members", "schedule"].contains(&rest)
        })
}

/// Checks who may use `name`, which came in the header Host.
fn check_name(name: &str, allowed: &str) {
    assert!(
        !name.bytes().any(|byte| byte.is_ascii_uppercase()),
        "{name:?}"
    );
    let is_local = !name.contains('.') || name.ends_with(".localhost") || name.ends_with(".svc");
    assert_eq!(Hosts::default().has(name), is_local, "{name:?}");
    let Ok(allowed_hosts) = AllowedHosts::read(allowed) else {
        return;
    };
    let mut patterns = allowed
        .split(',')
        .map(|one| one.trim().trim_end_matches('.'));
    let is_listed = patterns.any(|pattern| {
        let pattern = pattern.to_ascii_lowercase();
        let is_below = pattern.starts_with('.') && name.ends_with(&pattern);
        pattern == "*" || (!pattern.is_empty() && pattern == name) || is_below
    });
    let access = Access {
        allowed_hosts,
        ..Access::default()
    };
    assert_eq!(
        Hosts::with(access).has(name),
        is_local || is_listed,
        "{name:?} with {allowed:?}"
    );
}
