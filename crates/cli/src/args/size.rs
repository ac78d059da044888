//! Sizes as docker takes them: `64m`, `1.5gb`, `10KiB`, powers of 1024.

/// Understands a size in bytes.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    bytes(text).ok_or_else(|| format!("{text:?} is no size: write bytes, or a number with k, m, g, t or p"))
}

fn bytes(text: &str) -> Option<u64> {
    let end = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ')?;
    let unit = text.get(end + 1..)?.to_ascii_lowercase();
    let number = text.get(..=end)?;
    let number = number.strip_suffix(' ').unwrap_or(number);
    let well_formed = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let shift = match unit.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return None,
    };
    let size = number.parse::<f64>().ok().filter(|_| well_formed)? * (1_u64 << shift) as f64;
    // More is beyond any memory, and beyond what Go can count.
    (size < i64::MAX as f64).then_some(size as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_in_docker() {
        let sizes = [
            ("0", 0),
            ("1", 1),
            ("1b", 1),
            ("1k", 1 << 10),
            ("1.5g", 3 << 29),
            ("64MB", 64 << 20),
            ("2 GiB", 2 << 30),
            ("1p", 1 << 50),
        ];
        for (text, expected) in sizes {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
        for text in ["", "m", "-1", "1x", "1mm", "1bb", "1ib", "1e3", "inf", "1.2.3", "1  k", "9999999p"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
