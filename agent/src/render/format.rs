//! Formats figures as short text.

/// Formats a bandwidth in bit/s, with three digits and a prefix of the unit.
pub(crate) fn bandwidth(mbps: f64) -> String {
    if mbps <= 0.0 {
        return "0".to_owned();
    }
    let prefixes = [("k", 1e-3), ("M", 1.0), ("G", 1e3)];
    // 999.5 would be rounded to a number with four digits.
    let fitting = prefixes
        .into_iter()
        .find(|(_, factor)| mbps / factor < 999.5);
    let (prefix, factor) = fitting.unwrap_or(("T", 1e6));
    let value = mbps / factor;
    let decimals = if value < 9.995 {
        2
    } else if value < 99.95 {
        1
    } else {
        0
    };
    format!("{value:.decimals$}{prefix}")
}

/// Formats a share of lost datagrams as a percentage. Small loss is never shown as none, and high
/// loss is never shown as total.
pub(crate) fn loss(ratio: f64) -> String {
    let percent = ratio * 100.0;
    if percent <= 0.0 {
        "0%".to_owned()
    } else if percent < 0.05 {
        "<.1%".to_owned()
    } else if percent < 9.95 {
        format!("{percent:.1}%")
    } else if (99.5..100.0).contains(&percent) {
        ">99%".to_owned()
    } else {
        format!("{percent:.0}%")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bandwidths_have_three_digits() {
        for (mbps, text) in [
            (0.0, "0"),
            (0.05, "50.0k"),
            (0.9994, "999k"),
            (0.9996, "1.00M"),
            (9.994, "9.99M"),
            (9.996, "10.0M"),
            (94.14, "94.1M"),
            (941.4, "941M"),
            (999.6, "1.00G"),
            (98_765.0, "98.8G"),
            (1_234_567.0, "1.23T"),
        ] {
            assert_eq!(bandwidth(mbps), text, "{mbps}");
        }
    }

    #[test]
    fn some_loss_looks_neither_like_none_nor_like_all() {
        for (ratio, text) in [
            (0.0, "0%"),
            (0.000_01, "<.1%"),
            (0.012, "1.2%"),
            (0.0999, "10%"),
            (0.5, "50%"),
            (0.9999, ">99%"),
            (1.0, "100%"),
        ] {
            assert_eq!(loss(ratio), text, "{ratio}");
        }
    }
}
