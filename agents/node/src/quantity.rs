//! Resource quantities as numbers. The API server has validated them: what does not parse counts as nothing.

/// In thousandths, rounded up, as cpu is counted.
pub fn milli(text: &str) -> i64 {
    scaled(text, 1000)
}

/// In whole units, rounded up, as memory and pods are counted.
pub fn value(text: &str) -> i64 {
    scaled(text, 1)
}

/// How a quantity is written: by powers of 1024 or of 1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notation {
    Binary,
    Decimal,
}

impl Notation {
    pub fn of(text: &str) -> Notation {
        if text.ends_with('i') { Notation::Binary } else { Notation::Decimal }
    }
}

/// Whole units as the API writes them: with the largest suffix that leaves no fraction.
pub fn text(value: i64, notation: Notation) -> String {
    let (base, suffixes) = match notation {
        Notation::Binary => (1024, ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]),
        Notation::Decimal => (1000, ["", "k", "M", "G", "T", "P", "E"]),
    };
    let (mut value, mut at) = (value, 0);
    while value != 0 && value % base == 0 && at + 1 < suffixes.len() {
        (value, at) = (value / base, at + 1);
    }
    format!("{value}{}", suffixes[at])
}

fn scaled(text: &str, scale: i128) -> i64 {
    let Some((number, suffix)) = split(text) else { return 0 };
    let Some((numerator, denominator)) = multiplier(suffix) else { return 0 };
    let Some((digits, decimals)) = decimal(number) else { return 0 };
    let up = digits.saturating_mul(numerator).saturating_mul(scale);
    let down = denominator.saturating_mul(10i128.saturating_pow(decimals));
    let rounded = up.div_euclid(down) + i128::from(up.rem_euclid(down) != 0);
    rounded.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

fn split(text: &str) -> Option<(&str, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-'))).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// `1.25` as (125, 2).
fn decimal(number: &str) -> Option<(i128, u32)> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction}");
    let digits = digits.strip_prefix('+').unwrap_or(&digits);
    Some((digits.parse().ok()?, u32::try_from(fraction.len()).ok()?))
}

/// A suffix as a fraction.
fn multiplier(suffix: &str) -> Option<(i128, i128)> {
    let exponent = |text: &str| text.parse::<i32>().ok();
    Some(match suffix {
        "" => (1, 1),
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1_000),
        "k" => (1_000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        _ => match exponent(suffix.strip_prefix(['e', 'E'])?)? {
            power @ 0..=18 => (10i128.pow(power.unsigned_abs()), 1),
            power @ -18..0 => (1, 10i128.pow(power.unsigned_abs())),
            _ => return None,
        },
    })
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
            assert_eq!(text(value, Notation::of(like)), expected);
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
            ("", 0, 0),
            ("rubbish", 0, 0),
        ] {
            assert_eq!((milli(text), value(text)), (thousandths, whole), "{text}");
        }
    }
}
