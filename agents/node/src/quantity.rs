//! Resource quantities as numbers. The API server has validated them: what does not parse counts as nothing.

use kontiki_model::Quantity;

/// In thousandths, rounded up, as cpu is counted.
pub fn milli(text: &str) -> i64 {
    text.parse().map_or(0, |quantity: Quantity| quantity.milli_value())
}

/// In whole units, rounded up, as memory and pods are counted.
pub fn value(text: &str) -> i64 {
    text.parse().map_or(0, |quantity: Quantity| quantity.value())
}

/// Whole units as the API writes them, by powers of 1024 where `like` is, else of 1000.
pub fn text(value: i64, like: &str) -> String {
    let quantity = if like.ends_with('i') { Quantity::from_bytes(value) } else { Quantity::from_units(value) };
    quantity.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_as_the_api_does() {
        for (value, like, expected) in [
            (3 << 20, "1Mi", "3Mi"),
            (1536 << 20, "1Gi", "1536Mi"),
            (1_500_000, "1M", "1500k"),
            (1_000_001, "1Gi", "1000001"),
            (0, "1Gi", "0"),
        ] {
            assert_eq!(text(value, like), expected);
        }
    }

    #[test]
    fn reads_what_the_api_writes() {
        for (text, thousandths, whole) in [
            ("100m", 100, 1),
            ("1", 1_000, 1),
            ("0.1", 100, 1),
            ("1.5", 1_500, 2),
            ("64Mi", (64 << 20) * 1000, 64 << 20),
            ("1Gi", (1 << 30) * 1000, 1 << 30),
            ("1e3", 1_000_000, 1_000),
            ("12E", i64::MAX, i64::MAX),
            ("250u", 1, 1),
            ("1e21", i64::MAX, i64::MAX),
            ("0.0000000000000000000001", 1, 1),
            ("", 0, 0),
            ("rubbish", 0, 0),
        ] {
            assert_eq!((milli(text), value(text)), (thousandths, whole), "{text}");
        }
    }
}
