//! `resource.Quantity`: fixed-point numbers with a suffix, parsed, compared and printed as Kubernetes does.
//! The unit is the nano; finer input is rounded away from zero, as there.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde_json::Value;

const NANOS: i128 = 1_000_000_000;
/// Digits for which Kubernetes keeps the text of a decimal quantity as it was written.
const PLAIN_DIGITS_MAX: i32 = 18;

/// A number of something. Equality and order are by value; the notation only matters for printing.
#[derive(Clone, Debug)]
pub struct Quantity {
    nanos: i128,
    format: Format,
    /// The text as written, where Kubernetes prints it back unchanged.
    text: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// `1Ki`
    BinarySi,
    /// `1k`, `1m`
    DecimalSi,
    /// `1e3`
    DecimalExponent,
}

/// Why a text is no quantity, in Kubernetes' words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    #[error("unable to parse numeric part of quantity")]
    Number,
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

impl Quantity {
    pub const ZERO: Quantity = Quantity { nanos: 0, format: Format::DecimalSi, text: None };

    /// A whole number, printed with decimal suffixes.
    pub fn from_units(units: i64) -> Self {
        Quantity { nanos: i128::from(units) * NANOS, format: Format::DecimalSi, text: None }
    }

    /// Thousandths, printed with decimal suffixes: `from_milli(1500)` is `1500m`.
    pub fn from_milli(milli: i64) -> Self {
        Quantity { nanos: i128::from(milli) * (NANOS / 1000), format: Format::DecimalSi, text: None }
    }

    /// Bytes, printed with binary suffixes.
    pub fn from_bytes(bytes: i64) -> Self {
        Quantity { nanos: i128::from(bytes) * NANOS, format: Format::BinarySi, text: None }
    }

    /// A quantity of an object, which may be a number; `None` for what is none.
    pub fn from_json(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => text.parse().ok(),
            Value::Number(number) => number.to_string().parse().ok(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// The value in whole units, rounded away from zero.
    pub fn value(&self) -> i64 {
        saturate(round_away(self.nanos, NANOS) / NANOS)
    }

    /// The value in thousandths, rounded away from zero.
    pub fn milli_value(&self) -> i64 {
        saturate(round_away(self.nanos, NANOS / 1000) / (NANOS / 1000))
    }

    pub fn as_f64(&self) -> f64 {
        self.nanos as f64 / NANOS as f64
    }

    pub fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    pub fn is_negative(&self) -> bool {
        self.nanos < 0
    }

    /// The sum, in the notation of `self` (of `other` where `self` is zero).
    pub fn add(&self, other: &Quantity) -> Quantity {
        let format = if self.is_zero() { other.format } else { self.format };
        Quantity { nanos: self.nanos.saturating_add(other.nanos), format, text: None }
    }

    /// The difference, in the notation of `self` (of `other` where `self` is zero).
    pub fn sub(&self, other: &Quantity) -> Quantity {
        let format = if self.is_zero() { other.format } else { self.format };
        Quantity { nanos: self.nanos.saturating_sub(other.nanos), format, text: None }
    }

    /// Rounded away from zero to thousandths, and in canonical notation: what Kubernetes makes of every ResourceList.
    pub fn rounded_to_milli(&self) -> Quantity {
        Quantity { nanos: round_away(self.nanos, NANOS / 1000), format: self.format, text: None }
    }

    /// Rounded away from zero to whole units.
    pub fn rounded_to_units(&self) -> Quantity {
        Quantity { nanos: round_away(self.nanos, NANOS), format: self.format, text: None }
    }

    fn canonical(&self) -> String {
        if self.nanos == 0 {
            return "0".to_owned();
        }
        let small = self.nanos.abs() < 1024 * NANOS;
        match self.format {
            Format::BinarySi if !small && self.nanos % NANOS == 0 => binary(self.nanos / NANOS),
            Format::BinarySi | Format::DecimalSi => decimal(self.nanos, false),
            Format::DecimalExponent => decimal(self.nanos, true),
        }
    }
}

fn saturate(value: i128) -> i64 {
    value.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

/// The nearest multiple of `unit` that is not nearer to zero.
fn round_away(nanos: i128, unit: i128) -> i128 {
    let rest = nanos % unit;
    let nearer = nanos - rest;
    // The largest there is stays that.
    if rest == 0 { nanos } else { nearer.checked_add(unit * nanos.signum()).unwrap_or(nearer) }
}

fn binary(mut units: i128) -> String {
    const SUFFIXES: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let mut step = 0;
    while units % 1024 == 0 && step + 1 < SUFFIXES.len() {
        units /= 1024;
        step += 1;
    }
    format!("{units}{}", SUFFIXES[step])
}

fn decimal(nanos: i128, exponent_form: bool) -> String {
    const SUFFIXES: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
    let mut mantissa = nanos;
    let mut step = 0;
    while mantissa % 1000 == 0 && step + 1 < SUFFIXES.len() {
        mantissa /= 1000;
        step += 1;
    }
    match (exponent_form, step as i32 * 3 - 9) {
        (true, 0) => mantissa.to_string(),
        (true, exponent) => format!("{mantissa}e{exponent}"),
        (false, _) => format!("{mantissa}{}", SUFFIXES[step]),
    }
}

/// What a suffix multiplies with.
enum Scale {
    Binary(u32),
    Decimal(i32),
}

fn suffix(text: &str) -> Option<(Scale, Format)> {
    const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    const DECIMAL: [(&str, i32); 10] =
        [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
    if let Some(step) = BINARY.iter().position(|one| *one == text) {
        return Some((Scale::Binary(10 * (step as u32 + 1)), Format::BinarySi));
    }
    if let Some((_, exponent)) = DECIMAL.iter().find(|(one, _)| *one == text) {
        return Some((Scale::Decimal(*exponent), Format::DecimalSi));
    }
    let exponent = text.strip_prefix(['e', 'E'])?;
    Some((Scale::Decimal(exponent.parse().ok()?), Format::DecimalExponent))
}

/// `sign`, digits before and after the point, suffix.
fn split(text: &str) -> Result<(bool, &str, &str, &str), QuantityError> {
    let (negative, rest) = match text.as_bytes().first() {
        None => return Err(QuantityError::Format),
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        Some(_) => (false, text),
    };
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let (number, suffix) = rest.split_at(end);
    if number.is_empty() {
        return Err(QuantityError::Format);
    }
    let letters = suffix.trim_end_matches(|c: char| c.is_ascii_digit());
    let letters = letters.strip_suffix(['+', '-']).unwrap_or(letters);
    if !letters.chars().all(|c| "eEinumkKMGTP".contains(c)) {
        return Err(QuantityError::Format);
    }
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
        return Err(QuantityError::Number);
    }
    Ok((negative, whole, fraction, suffix))
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let (negative, whole, fraction, suffix_text) = split(text)?;
        let (scale, format) = suffix(suffix_text).ok_or(QuantityError::Suffix)?;
        let whole = whole.trim_start_matches('0');
        let fraction = fraction.trim_end_matches('0');
        let digits = (whole.len() + fraction.len()) as i32;
        let (mut nanos, plain) = match scale {
            Scale::Binary(bits) => {
                let places = 15 - digits - (f64::from(bits) * 0.3) as i32 - 1;
                let scaled = scaled_digits(whole, fraction, 9, 1i128 << bits);
                (scaled.min(i128::from(i64::MAX) * NANOS), fraction.is_empty() && places >= 0)
            }
            Scale::Decimal(exponent) => {
                let finest = exponent.saturating_sub(fraction.len() as i32);
                let nanos = scaled_digits(whole, fraction, exponent.saturating_add(9), 1);
                (nanos, digits <= PLAIN_DIGITS_MAX && finest >= -9)
            }
        };
        let format = if format == Format::BinarySi && nanos > 0 && nanos < NANOS { Format::DecimalSi } else { format };
        if negative {
            nanos = -nanos;
        }
        Ok(Quantity { nanos, format, text: plain.then(|| text.to_owned()) })
    }
}

/// `whole.fraction × factor × 10^exponent`, rounded up to an integer, saturating.
fn scaled_digits(whole: &str, fraction: &str, exponent: i32, factor: i128) -> i128 {
    let mut value: i128 = 0;
    let mut rest = false;
    // Digits beyond this place cannot reach the result except by rounding it up.
    let places = exponent.saturating_add(whole.len() as i32);
    let digits = whole.bytes().chain(fraction.bytes()).map(|digit| i128::from(digit - b'0'));
    if factor == 1 {
        for (place, digit) in digits.enumerate() {
            if (place as i32) < places {
                value = value.saturating_mul(10).saturating_add(digit);
            } else {
                rest |= digit != 0;
            }
        }
        let missing = places.saturating_sub((whole.len() + fraction.len()) as i32);
        for _ in 0..missing.clamp(0, 40) {
            value = value.saturating_mul(10);
        }
        return value.saturating_add(i128::from(rest));
    }
    for digit in digits {
        value = value.saturating_mul(10).saturating_add(digit);
    }
    value = value.saturating_mul(factor);
    for _ in 0..(exponent - fraction.len() as i32).max(0) {
        value = value.saturating_mul(10);
    }
    for _ in 0..(fraction.len() as i32 - exponent).max(0) {
        rest |= value % 10 != 0;
        value /= 10;
    }
    value.saturating_add(i128::from(rest))
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Some(text) => f.write_str(text),
            None => f.write_str(&self.canonical()),
        }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_in_canonical_form() {
        let cases = [
            ("0", "0"),
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1500m", "1500m"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("512", "512"),
            ("1023Ki", "1023Ki"),
            ("0.5Ki", "512"),
            ("1000Ki", "1000Ki"),
            ("1000", "1k"),
            ("1e3", "1e3"),
            ("1E", "1E"),
            ("12e6", "12e6"),
            ("100n", "1m"),
            ("-1", "-1"),
            ("1.0001", "1001m"),
            ("+2", "2"),
            (".5", "500m"),
            ("128974848", "128974848"),
        ];
        for (text, canonical) in cases {
            let quantity: Quantity = text.parse().unwrap();
            assert_eq!(quantity.rounded_to_milli().to_string(), canonical, "{text}");
        }
    }

    #[test]
    fn what_is_larger_than_anything_stays_large() {
        let largest = |text: &str| text.parse::<Quantity>().unwrap().rounded_to_milli();
        for text in ["1e30", "1e400", "999999999999999999999999999999"] {
            assert!(largest(text) > largest("1e28"), "{text}");
            assert!(largest(&format!("-{text}")) < largest("-1e28"), "-{text}");
            assert_eq!(
                largest(text).rounded_to_units().to_string().parse::<Quantity>().unwrap(),
                largest(text).rounded_to_units()
            );
        }
    }

    #[test]
    fn keeps_plain_text_and_canonicalises_the_rest() {
        for (text, printed) in [("1024Mi", "1024Mi"), ("1000m", "1000m"), ("1.5Gi", "1536Mi"), ("0.1n", "1n")] {
            assert_eq!(text.parse::<Quantity>().unwrap().to_string(), printed, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_quantity() {
        for (text, error) in [
            ("", QuantityError::Format),
            ("x", QuantityError::Format),
            ("1 Gi", QuantityError::Format),
            ("1Gb", QuantityError::Format),
            ("1.2.3", QuantityError::Number),
            ("1kk", QuantityError::Suffix),
            ("1e", QuantityError::Suffix),
            ("1i", QuantityError::Suffix),
        ] {
            assert_eq!(text.parse::<Quantity>().unwrap_err(), error, "{text}");
        }
    }

    #[test]
    fn values_round_up_and_order_by_value() {
        let parse = |text: &str| text.parse::<Quantity>().unwrap();
        assert_eq!(parse("1500m").value(), 2);
        assert_eq!(parse("1500u").milli_value(), 2);
        assert_eq!(parse("-1500m").value(), -2);
        assert_eq!(parse("1Gi").value(), 1 << 30);
        assert_eq!(parse("1000m"), parse("1"));
        assert!(parse("1Gi") > parse("1G"));
        assert_eq!(parse("1Gi").add(&parse("1Gi")).to_string(), "2Gi");
        assert_eq!(parse("0").add(&parse("1Gi")).to_string(), "1Gi");
        assert_eq!(parse("1").sub(&parse("100m")).to_string(), "900m");
        assert_eq!(parse("9999999999999999999999Ei").value(), i64::MAX);
    }
}
