//! A count, or a share in percent: how many pods may be missing, or too many.

use kontiki_model::Faults;
use serde_json::Value;

const PERCENT_RULE: &str = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used \
    for validation is '[0-9]+%')";

/// Not negative, and a share where it is text. Nothing is valid.
pub fn validate(value: &Value, path: &str, faults: &mut Faults) {
    match (value.as_i64(), value.as_str()) {
        (Some(count), _) if count < 0 => faults.invalid(path, count, "must be greater than or equal to 0"),
        (None, Some(text)) if percent(text).is_none() => faults.invalid(path, text, PERCENT_RULE),
        _ => {}
    }
}

/// A share of more than all is refused.
pub fn validate_at_most_all(value: &Value, path: &str, faults: &mut Faults) {
    if let Some(text) = value.as_str().filter(|text| percent(text).is_some_and(|share| share > 100)) {
        faults.invalid(path, text, "must not be greater than 100%");
    }
}

/// No pods at all.
pub fn is_zero(value: &Value) -> bool {
    match value.as_str() {
        Some(text) => percent(text) == Some(0),
        None => value.as_i64().unwrap_or_default() == 0,
    }
}

/// As it is printed: `1`, `25%`.
pub fn to_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The number before a percent sign.
fn percent(text: &str) -> Option<u64> {
    let digits = text.strip_suffix('%')?;
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn counts_and_shares() {
        let cases = [
            (json!(0), true, vec![]),
            (json!(3), false, vec![]),
            (json!("0%"), true, vec![]),
            (json!("30%"), false, vec![]),
            (json!(-1), false, vec!["must be greater than or equal to 0"]),
            (json!("1"), false, vec![PERCENT_RULE]),
            (json!("x%"), false, vec![PERCENT_RULE]),
            (json!("101%"), false, vec!["must not be greater than 100%"]),
            (Value::Null, true, vec![]),
        ];
        for (value, zero, expected) in cases {
            let mut faults = Faults::default();
            validate(&value, "p", &mut faults);
            validate_at_most_all(&value, "p", &mut faults);
            let told: Vec<_> = faults.iter().map(|fault| fault.detail.as_str()).collect();
            assert_eq!((is_zero(&value), told), (zero, expected), "{value}");
        }
    }
}
