//! Lists and maps.

use std::cmp::Ordering;

use super::{Outcome, failed, no_overload, operators::arithmetic};
use crate::value::Value;

pub fn call<'a>(name: &str, values: &[Value<'a>]) -> Option<Outcome<'a>> {
    if let ("size", [value]) = (name, values)
        && (value.is_list()
            || matches!(value, Value::Map(_) | Value::JsonMap(..) | Value::Object(..) | Value::Bytes(_)))
    {
        return Some(Ok(Value::Int(i64::try_from(value.size()).unwrap_or(i64::MAX))));
    }
    let items = values.first()?.items()?;
    let place = |at: Option<usize>| Ok(Value::Int(at.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1)));
    Some(match (name, &values[1..]) {
        ("isSorted", []) => {
            Ok(Value::Bool(items.windows(2).all(|pair| pair[0].compare(&pair[1]).is_some_and(|order| order.is_le()))))
        }
        ("sum", []) => {
            let mut items = items.into_iter();
            let Some(first) = items.next() else { return Some(Ok(Value::Int(0))) };
            items.try_fold(first, |sum, item| arithmetic("_+_", &sum, &item))
        }
        ("min", []) => extreme(&items, Ordering::Less),
        ("max", []) => extreme(&items, Ordering::Greater),
        ("indexOf", [wanted]) => place(items.iter().position(|item| item.equals(wanted))),
        ("lastIndexOf", [wanted]) => place(items.iter().rposition(|item| item.equals(wanted))),
        ("join", []) => join(&items, ""),
        ("join", [Value::String(by)]) => join(&items, by),
        ("slice", [Value::Int(from), Value::Int(to)]) => {
            let range = usize::try_from(*from).ok().zip(usize::try_from(*to).ok());
            match range.and_then(|(from, to)| items.get(from..to)) {
                Some(part) => Ok(Value::list(part.to_vec())),
                None => failed(format!("cannot slice({from}, {to}), list is length {}", items.len())),
            }
        }
        ("flatten", []) => Ok(Value::list(flatten(items, 1))),
        ("flatten", [Value::Int(depth)]) => Ok(Value::list(flatten(items, *depth))),
        ("distinct", []) => {
            let mut out: Vec<Value<'a>> = Vec::new();
            for item in items {
                if !out.iter().any(|known| known.equals(&item)) {
                    out.push(item);
                }
            }
            Ok(Value::list(out))
        }
        ("sort", []) => {
            let mut items = items;
            items.sort_by(|one, other| one.compare(other).unwrap_or(Ordering::Equal));
            Ok(Value::list(items))
        }
        ("reverse", []) => Ok(Value::list(items.into_iter().rev().collect())),
        ("sets.contains", [other]) => {
            with(other, |other| other.iter().all(|one| items.iter().any(|item| item.equals(one))))
        }
        ("sets.intersects", [other]) => {
            with(other, |other| other.iter().any(|one| items.iter().any(|item| item.equals(one))))
        }
        ("sets.equivalent", [other]) => with(other, |other| {
            other.iter().all(|one| items.iter().any(|item| item.equals(one)))
                && items.iter().all(|one| other.iter().any(|item| item.equals(one)))
        }),
        _ => return None,
    })
}

fn with<'a>(other: &Value<'a>, test: impl FnOnce(&[Value<'a>]) -> bool) -> Outcome<'a> {
    other.items().map_or_else(no_overload, |other| Ok(Value::Bool(test(&other))))
}

fn extreme<'a>(items: &[Value<'a>], wanted: Ordering) -> Outcome<'a> {
    let mut items = items.iter();
    let Some(mut best) = items.next() else { return failed("min/max called on empty list") };
    for item in items {
        match item.compare(best) {
            Some(order) if order == wanted => best = item,
            Some(_) => {}
            None => return no_overload(),
        }
    }
    Ok(best.clone())
}

fn join<'a>(items: &[Value<'_>], by: &str) -> Outcome<'a> {
    let mut parts = Vec::with_capacity(items.len());
    for item in items {
        match item {
            Value::String(text) => parts.push(text.clone().into_owned()),
            _ => return no_overload(),
        }
    }
    Ok(Value::text(parts.join(by)))
}

fn flatten(items: Vec<Value<'_>>, depth: i64) -> Vec<Value<'_>> {
    let mut out = Vec::new();
    for item in items {
        match item.items().filter(|_| depth > 0) {
            Some(inner) => out.extend(flatten(inner, depth - 1)),
            None => out.push(item),
        }
    }
    out
}
