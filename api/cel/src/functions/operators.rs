//! Comparison, membership and arithmetic.

use std::cmp::Ordering;

use chrono::TimeDelta;

use super::{Outcome, no_overload, overflow};
use crate::budget::failed;
use crate::types::Identity;
use crate::value::Value;

pub fn call<'a>(name: &str, values: &[Value<'a>]) -> Option<Outcome<'a>> {
    let order = |wanted: fn(Ordering) -> bool| match values {
        [left, right] => match left.compare(right) {
            Some(order) => Ok(Value::Bool(wanted(order))),
            None => no_overload(),
        },
        _ => no_overload(),
    };
    Some(match (name, values) {
        ("!_", [Value::Bool(value)]) => Ok(Value::Bool(!value)),
        ("-_", [Value::Int(value)]) => value.checked_neg().map_or_else(overflow, |value| Ok(Value::Int(value))),
        ("-_", [Value::Double(value)]) => Ok(Value::Double(-value)),
        ("_==_", [left, right]) => Ok(Value::Bool(left.equals(right))),
        ("_!=_", [left, right]) => Ok(Value::Bool(!left.equals(right))),
        ("_<_", _) => order(Ordering::is_lt),
        ("_<=_", _) => order(Ordering::is_le),
        ("_>_", _) => order(Ordering::is_gt),
        ("_>=_", _) => order(Ordering::is_ge),
        ("@in", [value, within]) => match (within.items(), within) {
            (Some(items), _) => Ok(Value::Bool(items.iter().any(|item| item.equals(value)))),
            (None, map) => match (map.entries(), value) {
                (Some(_), Value::String(name)) => Ok(Value::Bool(map.member(name).is_some())),
                (Some(entries), value) => Ok(Value::Bool(entries.iter().any(|(key, _)| key.equals(value)))),
                (None, _) => no_overload(),
            },
        },
        ("_+_" | "_-_" | "_*_" | "_/_" | "_%_", [left, right]) => arithmetic(name, left, right),
        ("!_" | "-_" | "_==_" | "_!=_" | "@in" | "_+_" | "_-_" | "_*_" | "_/_" | "_%_", _) => no_overload(),
        _ => return None,
    })
}

pub fn arithmetic<'a>(name: &str, left: &Value<'a>, right: &Value<'a>) -> Outcome<'a> {
    match (name, left, right) {
        (_, Value::Int(left), Value::Int(right)) => {
            let done = match name {
                "_+_" => left.checked_add(*right),
                "_-_" => left.checked_sub(*right),
                "_*_" => left.checked_mul(*right),
                "_/_" if *right == 0 => return failed("division by zero"),
                "_/_" => left.checked_div(*right),
                _ if *right == 0 => return failed("modulus by zero"),
                _ => left.checked_rem(*right),
            };
            done.map_or_else(overflow, |value| Ok(Value::Int(value)))
        }
        (_, Value::Uint(left), Value::Uint(right)) => {
            let done = match name {
                "_+_" => left.checked_add(*right),
                "_-_" => left.checked_sub(*right),
                "_*_" => left.checked_mul(*right),
                "_/_" if *right == 0 => return failed("division by zero"),
                "_/_" => left.checked_div(*right),
                _ if *right == 0 => return failed("modulus by zero"),
                _ => left.checked_rem(*right),
            };
            done.map_or_else(overflow, |value| Ok(Value::Uint(value)))
        }
        ("_+_", Value::Double(left), Value::Double(right)) => Ok(Value::Double(left + right)),
        ("_-_", Value::Double(left), Value::Double(right)) => Ok(Value::Double(left - right)),
        ("_*_", Value::Double(left), Value::Double(right)) => Ok(Value::Double(left * right)),
        ("_/_", Value::Double(left), Value::Double(right)) => Ok(Value::Double(left / right)),
        ("_+_", Value::String(left), Value::String(right)) => Ok(Value::text(format!("{left}{right}"))),
        ("_+_", Value::Bytes(left), Value::Bytes(right)) => Ok(Value::Bytes([&**left, &**right].concat().into())),
        ("_+_", Value::Timestamp(time), Value::Duration(nanos))
        | ("_+_", Value::Duration(nanos), Value::Timestamp(time)) => {
            let moved = time.checked_add_signed(TimeDelta::nanoseconds(*nanos));
            moved.map_or_else(overflow, |time| Ok(Value::Timestamp(time)))
        }
        ("_-_", Value::Timestamp(time), Value::Duration(nanos)) => {
            let moved = time.checked_sub_signed(TimeDelta::nanoseconds(*nanos));
            moved.map_or_else(overflow, |time| Ok(Value::Timestamp(time)))
        }
        ("_-_", Value::Timestamp(left), Value::Timestamp(right)) => {
            (*left - *right).num_nanoseconds().map_or_else(overflow, |nanos| Ok(Value::Duration(nanos)))
        }
        ("_+_", Value::Duration(left), Value::Duration(right)) => {
            left.checked_add(*right).map_or_else(overflow, |nanos| Ok(Value::Duration(nanos)))
        }
        ("_-_", Value::Duration(left), Value::Duration(right)) => {
            left.checked_sub(*right).map_or_else(overflow, |nanos| Ok(Value::Duration(nanos)))
        }
        ("_+_", left, right) => match (left.items(), right.items()) {
            (Some(items), Some(more)) => Ok(match left.identity() {
                Identity::Place => Value::list([items, more].concat()),
                identity => Value::Merged(identity.merged(items, more).into(), identity),
            }),
            _ => no_overload(),
        },
        _ => no_overload(),
    }
}
