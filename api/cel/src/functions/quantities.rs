//! Quantities and versions: what is read from text, and has an order.

use std::cmp::Ordering;
use std::sync::Arc;

use kontiki_model::Quantity;

use super::{Outcome, no_overload, overflow};
use crate::budget::{RunError, failed};
use crate::network::Semver;
use crate::value::Value;

pub fn call<'a>(name: &str, values: &[Value<'a>]) -> Option<Outcome<'a>> {
    let sign = |order: Ordering| Ok(Value::Int(order as i64));
    let made = |made: Result<Value<'a>, String>| made.map_err(RunError::Failed);
    Some(match (name, values) {
        ("quantity", [Value::String(given)]) => made(
            given
                .parse()
                .map(|quantity| Value::Quantity(Arc::new(quantity)))
                .map_err(|error: kontiki_model::QuantityError| error.to_string()),
        ),
        ("isQuantity", [Value::String(given)]) => Ok(Value::Bool(given.parse::<Quantity>().is_ok())),
        ("isInteger", [Value::Quantity(quantity)]) => Ok(Value::Bool(is_whole(quantity))),
        ("asInteger", [Value::Quantity(quantity)]) if is_whole(quantity) => Ok(Value::Int(quantity.value())),
        ("asInteger", [Value::Quantity(_)]) => failed("cannot convert value to integer"),
        ("asApproximateFloat", [Value::Quantity(quantity)]) => Ok(Value::Double(quantity.as_f64())),
        ("sign", [Value::Quantity(quantity)]) => sign((**quantity).cmp(&Quantity::ZERO)),
        ("add", [Value::Quantity(one), Value::Quantity(other)]) => Ok(Value::Quantity(Arc::new(one.add(other)))),
        ("add", [Value::Quantity(one), Value::Int(other)]) => {
            Ok(Value::Quantity(Arc::new(one.add(&Quantity::from_units(*other)))))
        }
        ("sub", [Value::Quantity(one), Value::Quantity(other)]) => Ok(Value::Quantity(Arc::new(one.sub(other)))),
        ("sub", [Value::Quantity(one), Value::Int(other)]) => {
            Ok(Value::Quantity(Arc::new(one.sub(&Quantity::from_units(*other)))))
        }
        ("isGreaterThan", [one @ (Value::Quantity(_) | Value::Semver(_)), other]) => {
            one.compare(other).map_or_else(no_overload, |order| Ok(Value::Bool(order.is_gt())))
        }
        ("isLessThan", [one @ (Value::Quantity(_) | Value::Semver(_)), other]) => {
            one.compare(other).map_or_else(no_overload, |order| Ok(Value::Bool(order.is_lt())))
        }
        ("compareTo", [one @ (Value::Quantity(_) | Value::Semver(_)), other]) => {
            one.compare(other).map_or_else(no_overload, sign)
        }
        ("semver", [Value::String(given)]) => {
            made(Semver::parse(given).map(|version| Value::Semver(Arc::new(version))))
        }
        ("semver", [Value::String(given), Value::Bool(lenient)]) => {
            made(Semver::parse_as(given, *lenient).map(|version| Value::Semver(Arc::new(version))))
        }
        ("isSemver", [Value::String(given)]) => Ok(Value::Bool(Semver::parse(given).is_ok())),
        ("isSemver", [Value::String(given), Value::Bool(lenient)]) => {
            Ok(Value::Bool(Semver::parse_as(given, *lenient).is_ok()))
        }
        ("major" | "minor" | "patch", [Value::Semver(version)]) => {
            let at = ["major", "minor", "patch"].iter().position(|part| *part == name).unwrap_or_default();
            i64::try_from(version.numbers[at]).map_or_else(|_| overflow(), |number| Ok(Value::Int(number)))
        }
        _ => return None,
    })
}

fn is_whole(quantity: &Quantity) -> bool {
    Quantity::from_units(quantity.value()) == *quantity
}
