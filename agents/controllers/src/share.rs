//! A count, or a share in percent. Pure.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// What becomes of a share that is no whole number.
#[derive(Clone, Copy)]
pub enum Rounding {
    Up,
    Down,
}

/// The count itself, or the share of `of`.
pub fn resolve(value: &IntOrString, of: i32, rounding: Rounding) -> i32 {
    match value {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            let product = percent.saturating_mul(i64::from(of));
            let rounded = match rounding {
                Rounding::Up => product.saturating_add(99) / 100,
                Rounding::Down => product / 100,
            };
            i32::try_from(rounded).unwrap_or(i32::MAX)
        }
    }
}
