//! Does an expression make sense? Gives its type, or the first thing that is wrong, worded as by the Go implementation.

use std::sync::Arc;

use regex::Regex;

use crate::ast::{Expr, FieldInit, Literal, Loop, LoopKind, Node};
use crate::construct;
use crate::declarations::overloads;
use crate::types::Type;
use crate::value::{duration, timestamp};
use crate::{Environment, Fault};

pub fn check(expr: &Expr, environment: &Environment) -> Result<Type, Fault> {
    Checker { environment, scopes: Vec::new() }.of(expr)
}

struct Checker<'e> {
    environment: &'e Environment,
    /// Variables of macros, the innermost last.
    scopes: Vec<(String, Type)>,
}

impl Checker<'_> {
    fn of(&mut self, expr: &Expr) -> Result<Type, Fault> {
        match &expr.node {
            Node::Literal(literal) => Ok(match literal {
                Literal::Null => Type::Null,
                Literal::Bool(_) => Type::Bool,
                Literal::Int(_) => Type::Int,
                Literal::Uint(_) => Type::Uint,
                Literal::Double(_) => Type::Double,
                Literal::String(_) => Type::String,
                Literal::Bytes(_) => Type::Bytes,
            }),
            Node::Ident(name) => self.variable(expr.at, name),
            Node::Select { of, field, optional } => {
                if let Some(found) = self.qualified(of, field) {
                    return Ok(found);
                }
                let found = self.select(expr.at, of, field)?;
                Ok(if *optional { optional_of(found) } else { found })
            }
            Node::Has { of, field } => self.select(expr.at, of, field).map(|_| Type::Bool),
            Node::Index { of, index, optional } => {
                let found = self.index(expr, of, index)?;
                Ok(if *optional { optional_of(found) } else { found })
            }
            Node::Call { target, name, args } => self.call(expr.at, target.as_deref(), name, args),
            Node::List(items) => {
                let mut of: Option<Type> = None;
                for item in items {
                    let found = self.of(&item.value)?;
                    let found = if item.optional { inner(found) } else { found };
                    of = Some(together(of, found, item.value.at)?);
                }
                Ok(Type::list(of.unwrap_or(Type::Dyn)))
            }
            Node::Map(entries) => {
                let (mut key, mut value): (Option<Type>, Option<Type>) = (None, None);
                for entry in entries {
                    key = Some(together(key, self.of(&entry.key)?, entry.key.at)?);
                    let found = self.of(&entry.value)?;
                    let found = if entry.optional { inner(found) } else { found };
                    value = Some(together(value, found, entry.value.at)?);
                }
                Ok(Type::map(key.unwrap_or(Type::Dyn), value.unwrap_or(Type::Dyn)))
            }
            Node::Construct { name, fields } => self.construct(expr.at, name, fields),
            Node::Loop(one) => self.repeat(one),
            Node::Bind { variable, value, body } => {
                let found = self.of(value)?;
                self.within(&[(variable.clone(), found)], |checker| checker.of(body))
            }
        }
    }

    fn within<T>(&mut self, variables: &[(String, Type)], inner: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.scopes.len();
        self.scopes.extend_from_slice(variables);
        let out = inner(self);
        self.scopes.truncate(before);
        out
    }

    fn variable(&self, at: usize, name: &str) -> Result<Type, Fault> {
        let own = self.scopes.iter().rev().find(|(known, _)| known == name).map(|(_, found)| found);
        if let Some(found) = own.or_else(|| self.environment.variable(name).map(|(found, _)| found)) {
            return Ok(found.clone());
        }
        match name {
            "bool" | "bytes" | "double" | "duration" | "int" | "list" | "map" | "null_type" | "string"
            | "timestamp" | "uint" => Ok(Type::Type),
            _ => Err(Fault::new(at, format!("undeclared reference to '{name}' (in container '')"))),
        }
    }

    /// A variable whose own name has a dot in it.
    fn qualified(&self, of: &Expr, field: &str) -> Option<Type> {
        let Node::Ident(first) = &of.node else { return None };
        let hidden = self.scopes.iter().any(|(known, _)| known == first);
        let found = || self.environment.variable(&format!("{first}.{field}"));
        if hidden { None } else { found().map(|(found, _)| found.clone()) }
    }

    fn construct(&mut self, at: usize, name: &str, fields: &[FieldInit]) -> Result<Type, Fault> {
        if !self.environment.constructs || !construct::exists(name) {
            return Err(Fault::new(at, format!("undeclared reference to '{name}' (in container '')")));
        }
        for field in fields {
            let Some(wanted) = construct::field(name, &field.name) else {
                return Err(Fault::new(field.at, format!("undefined field '{}'", field.name)));
            };
            let found = self.of(&field.value)?;
            let found = if field.optional { inner(found) } else { found };
            if !wanted.takes(&found, &mut Default::default()) {
                let message =
                    format!("expected type of field '{}' is '{wanted}' but provided type is '{found}'", field.name);
                return Err(Fault::new(field.at, message));
            }
        }
        Ok(Type::Made(name.into()))
    }

    fn select(&mut self, at: usize, of: &Expr, field: &str) -> Result<Type, Fault> {
        let found = self.of(of)?;
        let (found, optional) = match found {
            Type::Optional(of) => ((*of).clone(), true),
            plain => (plain, false),
        };
        let selected = match &found {
            Type::Object(object) => match object.fields.get(field) {
                Some(field) => field.r#type.clone(),
                None => return Err(Fault::new(at, format!("undefined field '{field}'"))),
            },
            Type::Map(_, value) => (**value).clone(),
            Type::Made(name) => match construct::field(name, field) {
                Some(found) => found,
                None => return Err(Fault::new(at, format!("undefined field '{field}'"))),
            },
            Type::Dyn | Type::Param(_) => Type::Dyn,
            other => return Err(Fault::new(at, format!("type '{other}' does not support field selection"))),
        };
        Ok(if optional { optional_of(selected) } else { selected })
    }

    fn index(&mut self, expr: &Expr, of: &Expr, index: &Expr) -> Result<Type, Fault> {
        let (found, by) = (self.of(of)?, self.of(index)?);
        let (found, optional) = match found {
            Type::Optional(of) => ((*of).clone(), true),
            plain => (plain, false),
        };
        let refused = || no_overload(expr.at, "_[_]", &[found.clone(), by.clone()]);
        let out = match (&found, &by) {
            (Type::List(of), Type::Int | Type::Uint | Type::Double | Type::Dyn) => (**of).clone(),
            (Type::Map(key, value), by) if key.takes(by, &mut Default::default()) => (**value).clone(),
            (Type::Dyn, _) => Type::Dyn,
            _ => return Err(refused()),
        };
        Ok(if optional { optional_of(out) } else { out })
    }

    fn call(&mut self, at: usize, target: Option<&Expr>, name: &str, args: &[Expr]) -> Result<Type, Fault> {
        let known = overloads(name);
        if known.is_empty() {
            return Err(Fault::new(at, format!("undeclared reference to '{name}' (in container '')")));
        }
        let mut given = Vec::new();
        for arg in target.into_iter().chain(args) {
            given.push(self.of(arg)?);
        }
        let mut results: Vec<Type> = Vec::new();
        for overload in known.iter().filter(|one| one.method == target.is_some() && one.args.len() == given.len()) {
            let mut params = <[Option<Type>; 4]>::default();
            if overload.args.iter().zip(&given).all(|(wanted, given)| wanted.takes(given, &mut params)) {
                results.push(overload.result.filled(&params));
            }
        }
        literals(name, args)?;
        // What is not known before it runs may be any of them.
        match results.as_slice() {
            [] => {
                let shown = if target.is_some() { method(&given) } else { plain(&given) };
                Err(Fault::new(at, format!("found no matching overload for '{name}' applied to '{shown}'")))
            }
            [first, rest @ ..] if rest.iter().all(|one| one == first) => Ok(first.clone()),
            _ => Ok(Type::Dyn),
        }
    }

    fn repeat(&mut self, one: &Loop) -> Result<Type, Fault> {
        let range = self.of(&one.range)?;
        let (key, value) = match &range {
            Type::List(of) => (Type::Int, (**of).clone()),
            Type::Map(key, value) => ((**key).clone(), (**value).clone()),
            Type::Dyn => (Type::Dyn, Type::Dyn),
            other => {
                let message = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                return Err(Fault::new(one.range.at, message));
            }
        };
        let element = if matches!(range, Type::Map(..)) { key.clone() } else { value.clone() };
        let variables: Vec<(String, Type)> = match one.variables.as_slice() {
            [name] => vec![(name.clone(), element)],
            names => names.iter().cloned().zip([key.clone(), value.clone()]).collect(),
        };
        let (filter, body) = self.within(&variables, |checker| {
            let filter = one.filter.as_ref().map(|filter| checker.of(filter)).transpose()?;
            Ok::<_, Fault>((filter, checker.of(&one.body)?))
        })?;
        let must_be_bool = |found: &Type, at: usize| match found {
            Type::Bool | Type::Dyn => Ok(()),
            other => Err(Fault::new(at, format!("expected type 'bool' but found '{other}'"))),
        };
        if let (Some(found), Some(filter)) = (&filter, &one.filter) {
            must_be_bool(found, filter.at)?;
        }
        match one.kind {
            LoopKind::All | LoopKind::Exists | LoopKind::ExistsOne => {
                must_be_bool(&body, one.body.at).map(|()| Type::Bool)
            }
            LoopKind::Filter => {
                must_be_bool(&body, one.body.at)?;
                Ok(match range {
                    Type::Map(key, _) => Type::List(key),
                    Type::Dyn => Type::list(Type::Dyn),
                    list => list,
                })
            }
            LoopKind::Map | LoopKind::TransformList => Ok(Type::list(body)),
            LoopKind::TransformMap => Ok(Type::Map(Arc::new(key), Arc::new(body))),
        }
    }
}

fn optional_of(found: Type) -> Type {
    match found {
        already @ Type::Optional(_) => already,
        plain => Type::optional(plain),
    }
}

fn inner(found: Type) -> Type {
    match found {
        Type::Optional(of) => (*of).clone(),
        plain => plain,
    }
}

/// The type of a collection that holds both: all that it holds must be alike.
fn together(of: Option<Type>, found: Type, at: usize) -> Result<Type, Fault> {
    match of {
        None => Ok(found),
        Some(known) if known == found => Ok(known),
        Some(known) if matches!(known, Type::Dyn) || matches!(found, Type::Dyn) => Ok(Type::Dyn),
        Some(known) if known.takes(&found, &mut Default::default()) => Ok(known),
        Some(known) => Err(Fault::new(at, format!("expected type '{known}' but found '{found}'"))),
    }
}

/// What a call is given literally must be what it takes.
fn literals(name: &str, args: &[Expr]) -> Result<(), Fault> {
    let [.., Expr { at, node: Node::Literal(Literal::String(text)) }] = args else { return Ok(()) };
    let sound = match name {
        "duration" => duration(text).is_some(),
        "timestamp" => timestamp(text).is_some(),
        "matches" => Regex::new(text).is_ok(),
        _ => true,
    };
    if sound { Ok(()) } else { Err(Fault::new(*at, format!("invalid {name} argument"))) }
}

fn plain(given: &[Type]) -> String {
    format!("({})", given.iter().map(Type::to_string).collect::<Vec<_>>().join(", "))
}

fn method(given: &[Type]) -> String {
    match given {
        [] => "()".to_owned(),
        [target, args @ ..] => format!("{target}.{}", plain(args)),
    }
}

fn no_overload(at: usize, name: &str, given: &[Type]) -> Fault {
    Fault::new(at, format!("found no matching overload for '{name}' applied to '{}'", plain(given)))
}
