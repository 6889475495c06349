//! What the declared functions do. Methods get their target as the first value.

mod collections;
mod conversions;
mod formats;
pub mod formatting;
mod network;
mod operators;
mod optionals;
mod patterns;
mod print;
mod quantities;
mod strings;
mod times;

pub use patterns::{Compiled, Patterns};
pub use print::{print, print_double};

use crate::authorizer;
use crate::budget::{RunError, failed};
use crate::value::Value;

type Outcome<'a> = Result<Value<'a>, RunError>;

/// What a call costs: one, and more where it looks through what it is given.
pub fn cost(name: &str, values: &[Value<'_>], compiled: &Compiled<'_>) -> u64 {
    if let Some(cost) = patterns::cost(name, values, compiled) {
        return cost;
    }
    let tenth = |value: Option<&Value<'_>>| value.map_or(0, Value::size).div_ceil(10);
    match name {
        "check" if matches!(values.first(), Some(Value::Check(_))) => authorizer::COST,
        "contains" | "replace" | "split" | "indexOf" | "lastIndexOf" | "startsWith" | "endsWith" | "lowerAscii"
        | "upperAscii" | "substring" | "trim" | "quantity" | "isQuantity" | "url" | "isURL" | "ip" | "isIP"
        | "cidr" | "isCIDR" | "semver" | "isSemver" => 1 + tenth(values.first()),
        "_+_" | "_==_" | "_!=_" | "_<_" | "_<=_" | "_>_" | "_>=_" => {
            let all = values.iter().map(Value::size).max().unwrap_or_default();
            1 + all / 10
        }
        "@in" => 1 + values.get(1).filter(|value| value.items().is_some()).map_or(0, Value::size),
        "distinct" => 1 + values.first().map_or(0, |list| list.size().saturating_mul(list.size())),
        "isSorted" | "sum" | "min" | "max" | "sort" | "flatten" | "join" | "reverse" | "slice" | "first" | "last"
        | "optional.unwrap" | "unwrapOpt" => 1 + values.first().map_or(0, Value::size),
        "sets.contains" | "sets.equivalent" | "sets.intersects" => 1 + values.iter().map(Value::size).product::<u64>(),
        _ => 1,
    }
}

fn overflow<'a>() -> Outcome<'a> {
    failed("return error for overflow")
}

fn no_overload<'a>() -> Outcome<'a> {
    failed("no such overload")
}

/// What knows a function by its name and what it is given.
type Library = for<'a> fn(&str, &[Value<'a>]) -> Option<Outcome<'a>>;

/// In the order in which they are asked.
const LIBRARIES: &[Library] = &[
    strings::call,
    collections::call,
    times::call,
    authorizer::call,
    optionals::call,
    network::call,
    quantities::call,
    formats::call,
];

pub fn call<'a>(name: &str, method: bool, values: &[Value<'a>], compiled: &mut Compiled<'_>) -> Outcome<'a> {
    let known = operators::call(name, values).or_else(|| patterns::call(name, values, compiled));
    if let Some(done) = known.or_else(|| LIBRARIES.iter().find_map(|library| library(name, values))) {
        return done;
    }
    match conversions::call(name, values) {
        Some(done) if !method => done,
        Some(_) | None => no_overload(),
    }
}
