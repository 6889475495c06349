//! How much an evaluation can cost at most, from the sizes that are declared.

use std::sync::Arc;

use crate::Environment;
use crate::ast::{Expr, Literal, Loop, Node};
use crate::types::Type;

/// How large a value can be: characters of a text, elements of a list, members of a map; and what is in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bound {
    pub size_max: Option<u64>,
    pub element: Option<Arc<Bound>>,
    /// Of a map.
    pub key: Option<Arc<Bound>>,
}

/// Where nothing is declared, what a request can hold at most.
const SIZE_MAX: u64 = 3 * 1024 * 1024;

impl Bound {
    pub fn of(size_max: u64) -> Self {
        Bound { size_max: Some(size_max), ..Bound::default() }
    }

    /// So large a map, of what keys and values.
    pub fn map(size_max: u64, key: Bound, value: Bound) -> Self {
        Bound { size_max: Some(size_max), element: Some(Arc::new(value)), key: Some(Arc::new(key)) }
    }

    fn size(&self) -> u64 {
        self.size_max.unwrap_or(SIZE_MAX)
    }

    fn inner(&self) -> Bound {
        self.element.as_deref().cloned().unwrap_or_default()
    }

    fn keys(&self) -> Bound {
        self.key.as_deref().cloned().unwrap_or_default()
    }
}

pub fn estimate(expr: &Expr, environment: &Environment) -> u64 {
    Estimate { environment, scopes: Vec::new() }.of(expr).cost
}

/// What an expression costs, and what is known of its value.
struct Known<'a> {
    cost: u64,
    bound: Bound,
    r#type: Option<&'a Type>,
}

struct Estimate<'a> {
    environment: &'a Environment,
    scopes: Vec<(String, Bound, Option<&'a Type>)>,
}

impl<'a> Estimate<'a> {
    fn of(&mut self, expr: &Expr) -> Known<'a> {
        match &expr.node {
            Node::Literal(literal) => Known { cost: 0, bound: Bound::of(size_of(literal)), r#type: None },
            Node::Ident(name) => {
                let (bound, found) = self.variable(name);
                Known { cost: 1, bound, r#type: found }
            }
            Node::Select { of, field, .. } => {
                let found = self.of(of);
                let cost = found.cost.saturating_add(1);
                match found.r#type {
                    Some(Type::Object(object)) => match object.fields.get(field) {
                        Some(field) => Known { cost, bound: field.bound.clone(), r#type: Some(&field.r#type) },
                        None => Known { cost, bound: Bound::default(), r#type: None },
                    },
                    Some(Type::Map(_, value)) => Known { cost, bound: found.bound.inner(), r#type: Some(value) },
                    _ => Known { cost, bound: found.bound.inner(), r#type: None },
                }
            }
            Node::Has { of, .. } => scalar(self.of(of).cost.saturating_add(1)),
            Node::Index { of, index, .. } => {
                let (found, by) = (self.of(of), self.of(index));
                let inner = match found.r#type {
                    Some(Type::List(list)) => Some(&list.of),
                    Some(Type::Map(_, of)) => Some(&**of),
                    _ => None,
                };
                let cost = found.cost.saturating_add(by.cost).saturating_add(1);
                Known { cost, bound: found.bound.inner(), r#type: inner }
            }
            Node::Call { target, name, args } => self.call(target.as_deref(), name, args),
            Node::List(items) => {
                let cost = items.iter().map(|item| self.of(&item.value).cost).fold(10, u64::saturating_add);
                Known { cost, bound: Bound::of(items.len() as u64), r#type: None }
            }
            Node::Map(entries) => {
                let both =
                    |entry: &crate::ast::Entry| self.of(&entry.key).cost.saturating_add(self.of(&entry.value).cost);
                let cost = entries.iter().map(both).fold(30, u64::saturating_add);
                Known { cost, bound: Bound::of(entries.len() as u64), r#type: None }
            }
            Node::Construct { fields, .. } => {
                let cost = fields.iter().map(|field| self.of(&field.value).cost).fold(40, u64::saturating_add);
                Known { cost, bound: Bound::of(fields.len() as u64), r#type: None }
            }
            Node::Loop(one) => self.repeat(one),
            Node::Bind { variable, value, body } => {
                let value = self.of(value);
                self.scopes.push((variable.clone(), value.bound, value.r#type));
                let body = self.of(body);
                self.scopes.pop();
                Known { cost: value.cost.saturating_add(body.cost), ..body }
            }
        }
    }

    fn variable(&self, name: &str) -> (Bound, Option<&'a Type>) {
        if let Some((_, bound, found)) = self.scopes.iter().rev().find(|(known, ..)| known == name) {
            return (bound.clone(), *found);
        }
        self.environment.variable(name).map_or_else(Default::default, |(found, bound)| (bound.clone(), Some(found)))
    }

    fn call(&mut self, target: Option<&Expr>, name: &str, args: &[Expr]) -> Known<'a> {
        let values: Vec<Known<'a>> = target.into_iter().chain(args).map(|arg| self.of(arg)).collect();
        let below = values.iter().map(|value| value.cost).fold(0, u64::saturating_add);
        let first = values.first().map_or(1, |value| value.bound.size());
        let second = values.get(1).map_or(1, |value| value.bound.size());
        let own = match name {
            "matches" | "find" | "findAll" => (first.div_ceil(10)).saturating_mul(second.div_ceil(4).max(1)),
            "contains" => first.div_ceil(10).saturating_mul(second.div_ceil(10).max(1)),
            "startsWith" | "endsWith" => second.div_ceil(10),
            "_==_" | "_!=_" => first.min(second).div_ceil(10),
            "_+_" => first.saturating_add(second).div_ceil(10),
            "@in" => second,
            "isSorted" | "sum" | "min" | "max" | "indexOf" | "lastIndexOf" | "join" | "sort" | "reverse"
            | "flatten" | "slice" => first,
            "distinct" => first.saturating_mul(first),
            "replace" | "split" | "lowerAscii" | "upperAscii" | "substring" | "trim" | "quantity" | "isQuantity"
            | "url" | "isURL" | "ip" | "isIP" | "cidr" | "isCIDR" | "semver" | "isSemver" => first.div_ceil(10),
            "sets.contains" | "sets.equivalent" | "sets.intersects" => first.saturating_mul(second),
            _ => 1,
        };
        let bound = match name {
            "_+_" => Bound::of(first.saturating_add(second)),
            "_?_:_" => values.last().map(|value| value.bound.clone()).unwrap_or_default(),
            "split" | "findAll" | "replace" | "lowerAscii" | "upperAscii" | "substring" | "trim" | "sort"
            | "distinct" | "reverse" => {
                Bound { element: values.first().and_then(|value| value.bound.element.clone()), ..Bound::of(first) }
            }
            _ => Bound::of(1),
        };
        Known { cost: below.saturating_add(own.max(1)), bound, r#type: None }
    }

    fn repeat(&mut self, one: &Loop) -> Known<'a> {
        let range = self.of(&one.range);
        let times = range.bound.size();
        let (element, key) = match range.r#type {
            Some(Type::List(list)) => (Some(&list.of), None),
            Some(Type::Map(key, value)) => (Some(&**value), Some(&**key)),
            _ => (None, None),
        };
        let before = self.scopes.len();
        match one.variables.as_slice() {
            // Of a map, it is the keys.
            [name] if key.is_some() => self.scopes.push((name.clone(), range.bound.keys(), key)),
            [name] => self.scopes.push((name.clone(), range.bound.inner(), element)),
            names => {
                let by = range.bound.key.as_deref().cloned().unwrap_or_else(|| Bound::of(1));
                let both = [(by, key), (range.bound.inner(), element)];
                let named = names.iter().cloned().zip(both).map(|(name, (bound, found))| (name, bound, found));
                self.scopes.extend(named);
            }
        }
        let filter = one.filter.as_ref().map_or(0, |filter| self.of(filter).cost);
        let body = self.of(&one.body);
        self.scopes.truncate(before);
        let each = body.cost.saturating_add(filter).saturating_add(2);
        let cost = range.cost.saturating_add(times.saturating_mul(each));
        Known { cost, bound: Bound { element: Some(Arc::new(body.bound)), ..Bound::of(times) }, r#type: None }
    }
}

fn scalar<'a>(cost: u64) -> Known<'a> {
    Known { cost, bound: Bound::of(1), r#type: None }
}

fn size_of(literal: &Literal) -> u64 {
    match literal {
        Literal::String(text) => text.len() as u64,
        Literal::Bytes(bytes) => bytes.len() as u64,
        Literal::Null | Literal::Bool(_) | Literal::Int(_) | Literal::Uint(_) | Literal::Double(_) => 1,
    }
}
