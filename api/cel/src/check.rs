//! Does an expression make sense? Gives its type, or everything that is wrong, worded as by the Go implementation.
//!
//! What is wrong somewhere may be anything to what is around it, so that it is not blamed again there.

use std::sync::Arc;

use crate::ast::{Expr, FieldInit, Item, Literal, Loop, LoopKind, Node};
use crate::construct;
use crate::declarations::overloads;
use crate::duration::duration;
use crate::functions::formatting;
use crate::types::Type;
use crate::value::timestamp;
use crate::{Environment, Fault, regexp};

pub fn check(expr: &Expr, environment: &Environment) -> Result<Type, Vec<Fault>> {
    let mut checker =
        Checker { environment, scopes: Vec::new(), faults: Vec::new(), literals: Vec::new(), in_format: false };
    let found = checker.of(expr);
    let Checker { mut faults, literals, .. } = checker;
    // Literals are looked at once the types are right.
    if faults.is_empty() {
        faults = literals;
    }
    // As Go does, in the order of the text.
    faults.sort_by_key(|fault| fault.at);
    if faults.is_empty() { Ok(found) } else { Err(faults) }
}

struct Checker<'e> {
    environment: &'e Environment,
    /// Variables of macros, the innermost last.
    scopes: Vec<(String, Type)>,
    faults: Vec<Fault>,
    /// What is wrong with the text that a function is given literally.
    literals: Vec<Fault>,
    /// Within a call of `format`: what it is given may differ in type.
    in_format: bool,
}

impl Checker<'_> {
    /// Something is wrong: to what is around it, it may be anything.
    fn wrong(&mut self, fault: Fault) -> Type {
        self.faults.push(fault);
        Type::Dyn
    }

    fn of(&mut self, expr: &Expr) -> Type {
        match &expr.node {
            Node::Literal(literal) => match literal {
                Literal::Null => Type::Null,
                Literal::Bool(_) => Type::Bool,
                Literal::Int(_) => Type::Int,
                Literal::Uint(_) => Type::Uint,
                Literal::Double(_) => Type::Double,
                Literal::String(_) => Type::String,
                Literal::Bytes(_) => Type::Bytes,
            },
            Node::Ident(name) => self.variable(expr.at, name),
            Node::Select { of, field, optional } => {
                if let Some(found) = self.qualified(of, field) {
                    return found;
                }
                let found = self.select(expr.at, of, field);
                if *optional { optional_of(found) } else { found }
            }
            Node::Has { of, field } => {
                self.select(expr.at, of, field);
                Type::Bool
            }
            Node::Index { of, index, optional } => {
                let found = self.index(expr, of, index);
                if *optional { optional_of(found) } else { found }
            }
            Node::Call { target, name, args } => self.call(expr.at, target.as_deref(), name, args),
            Node::List(items) => self.list(items).0,
            Node::Map(entries) => {
                let (mut key, mut value): (Option<Type>, Option<Type>) = (None, None);
                for entry in entries {
                    let found = self.of(&entry.key);
                    key = Some(self.together(key, found, entry.key.at));
                    let found = self.of(&entry.value);
                    let found = if entry.optional { inner(found) } else { found };
                    value = Some(self.together(value, found, entry.value.at));
                }
                Type::map(key.unwrap_or(Type::Dyn), value.unwrap_or(Type::Dyn))
            }
            Node::Construct { name, fields } => self.construct(expr.at, name, fields),
            Node::Loop(one) => self.repeat(one),
            Node::Bind { variable, value, body } => {
                let found = self.of(value);
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

    fn variable(&mut self, at: usize, name: &str) -> Type {
        let own = self.scopes.iter().rev().find(|(known, _)| known == name).map(|(_, found)| found);
        if let Some(found) = own.or_else(|| self.environment.variable(name).map(|(found, _)| found)) {
            return found.clone();
        }
        match name {
            "bool" | "bytes" | "double" | "duration" | "int" | "list" | "map" | "null_type" | "string"
            | "timestamp" | "uint" => Type::Type,
            _ => self.wrong(Fault::new(at, format!("undeclared reference to '{name}' (in container '')"))),
        }
    }

    /// A variable whose own name has a dot in it.
    fn qualified(&self, of: &Expr, field: &str) -> Option<Type> {
        let Node::Ident(first) = &of.node else { return None };
        let hidden = self.scopes.iter().any(|(known, _)| known == first);
        let found = || self.environment.variable(&format!("{first}.{field}"));
        if hidden { None } else { found().map(|(found, _)| found.clone()) }
    }

    fn construct(&mut self, at: usize, name: &str, fields: &[FieldInit]) -> Type {
        if !self.environment.constructs || !construct::exists(name) {
            return self.wrong(Fault::new(at, format!("undeclared reference to '{name}' (in container '')")));
        }
        for field in fields {
            let found = self.of(&field.value);
            let Some(wanted) = construct::field(name, &field.name) else {
                self.wrong(Fault::new(field.at, format!("undefined field '{}'", field.name)));
                continue;
            };
            let found = if field.optional { inner(found) } else { found };
            if !wanted.takes(&found, &mut Default::default()) {
                let message =
                    format!("expected type of field '{}' is '{wanted}' but provided type is '{found}'", field.name);
                self.wrong(Fault::new(field.at, message));
            }
        }
        Type::Made(name.into())
    }

    fn select(&mut self, at: usize, of: &Expr, field: &str) -> Type {
        let found = self.of(of);
        let (found, optional) = match found {
            Type::Optional(of) => ((*of).clone(), true),
            plain => (plain, false),
        };
        let selected = match &found {
            Type::Object(object) => match object.fields.get(field) {
                Some(field) => field.r#type.clone(),
                None => self.wrong(Fault::new(at, format!("undefined field '{field}'"))),
            },
            Type::Map(_, value) => (**value).clone(),
            Type::Made(name) => match construct::field(name, field) {
                Some(found) => found,
                None => self.wrong(Fault::new(at, format!("undefined field '{field}'"))),
            },
            Type::Dyn | Type::Param(_) => Type::Dyn,
            other => self.wrong(Fault::new(at, format!("type '{other}' does not support field selection"))),
        };
        if optional { optional_of(selected) } else { selected }
    }

    /// The type of a list that is written out, and those of its elements.
    fn list(&mut self, items: &[Item]) -> (Type, Vec<Type>) {
        let (mut of, mut each) = (None, Vec::with_capacity(items.len()));
        for item in items {
            let found = self.of(&item.value);
            let found = if item.optional { inner(found) } else { found };
            each.push(found.clone());
            of = Some(self.together(of, found, item.value.at));
        }
        (Type::list(of.unwrap_or(Type::Dyn)), each)
    }

    fn index(&mut self, expr: &Expr, of: &Expr, index: &Expr) -> Type {
        let (found, by) = (self.of(of), self.of(index));
        let (found, optional) = match found {
            Type::Optional(of) => ((*of).clone(), true),
            plain => (plain, false),
        };
        let out = match (&found, &by) {
            (Type::List(list), Type::Int | Type::Uint | Type::Double | Type::Dyn) => list.of.clone(),
            (Type::Map(key, value), by) if key.takes(by, &mut Default::default()) => (**value).clone(),
            (Type::Dyn, _) => Type::Dyn,
            _ => self.wrong(no_overload(expr.at, "_[_]", &[found.clone(), by.clone()])),
        };
        if optional { optional_of(out) } else { out }
    }

    fn call(&mut self, at: usize, target: Option<&Expr>, name: &str, args: &[Expr]) -> Type {
        let around = self.in_format;
        self.in_format |= name == "format";
        let (mut given, mut formatted) = (Vec::with_capacity(args.len() + 1), None);
        for arg in target.into_iter().chain(args) {
            given.push(match &arg.node {
                Node::List(items) if name == "format" => {
                    let (list, each) = self.list(items);
                    formatted = Some((items, each));
                    list
                }
                _ => self.of(arg),
            });
        }
        self.in_format = around;
        let known = if self.is_declared(name) { overloads(name) } else { &[] };
        if known.is_empty() {
            return self.wrong(Fault::new(at, format!("undeclared reference to '{name}' (in container '')")));
        }
        let mut results: Vec<Type> = Vec::new();
        for overload in known.iter().filter(|one| one.method == target.is_some() && one.args.len() == given.len()) {
            let mut params = <[Option<Type>; 4]>::default();
            if overload.args.iter().zip(&given).all(|(wanted, given)| wanted.takes(given, &mut params)) {
                results.push(overload.result.filled(&params));
            }
        }
        self.literals.extend(literal(name, args));
        if let (Some(Expr { node: Node::Literal(Literal::String(text)), .. }), Some((items, each))) =
            (target, formatted)
        {
            self.literals.extend(formatting::check(at, text, items, &each));
        }
        // What is not known before it runs may be any of them.
        match results.as_slice() {
            [] => {
                let shown = if target.is_some() { method(&given) } else { plain(&given) };
                self.wrong(Fault::new(at, format!("found no matching overload for '{name}' applied to '{shown}'")))
            }
            [first, rest @ ..] if rest.iter().all(|one| one == first) => first.clone(),
            _ => Type::Dyn,
        }
    }

    /// What makes patches is known where patches are made.
    fn is_declared(&self, name: &str) -> bool {
        self.environment.constructs || !name.starts_with("jsonpatch.")
    }

    fn repeat(&mut self, one: &Loop) -> Type {
        let mut range = self.of(&one.range);
        if !matches!(range, Type::List(_) | Type::Map(..) | Type::Dyn) {
            let message = format!(
                "expression of type '{range}' cannot be range of a comprehension (must be list, map, or dynamic)"
            );
            range = self.wrong(Fault::new(one.range.at, message));
        }
        let (key, value) = match &range {
            Type::List(list) => (Type::Int, list.of.clone()),
            Type::Map(key, value) => ((**key).clone(), (**value).clone()),
            dynamic => (dynamic.clone(), dynamic.clone()),
        };
        let element = if matches!(range, Type::Map(..)) { key.clone() } else { value.clone() };
        let variables: Vec<(String, Type)> = match one.variables.as_slice() {
            [name] => vec![(name.clone(), element)],
            names => names.iter().cloned().zip([key.clone(), value.clone()]).collect(),
        };
        let (filter, body) = self.within(&variables, |checker| {
            let filter = one.filter.as_ref().map(|filter| checker.of(filter));
            (filter, checker.of(&one.body))
        });
        if let (Some(found), Some(filter)) = (&filter, &one.filter) {
            self.must_be_bool(found, filter.at);
        }
        match one.kind {
            LoopKind::All | LoopKind::Exists | LoopKind::ExistsOne => {
                self.must_be_bool(&body, one.body.at);
                Type::Bool
            }
            LoopKind::Filter => {
                self.must_be_bool(&body, one.body.at);
                match range {
                    Type::Map(key, _) => Type::list((*key).clone()),
                    Type::Dyn => Type::list(Type::Dyn),
                    list => list,
                }
            }
            LoopKind::Map | LoopKind::TransformList => Type::list(body),
            LoopKind::TransformMapEntry => match body {
                made @ (Type::Map(..) | Type::Dyn) => made,
                other => {
                    self.wrong(no_overload(one.body.at, "cel.@mapInsert", &[Type::map(Type::Dyn, Type::Dyn), other]))
                }
            },
            LoopKind::TransformMap => Type::Map(Arc::new(key), Arc::new(body)),
        }
    }

    fn must_be_bool(&mut self, found: &Type, at: usize) {
        if !matches!(found, Type::Bool | Type::Dyn) {
            self.wrong(Fault::new(at, format!("expected type 'bool' but found '{found}'")));
        }
    }

    /// The type of a collection that holds both: all that it holds must be alike, unless it is to be formatted.
    fn together(&mut self, of: Option<Type>, found: Type, at: usize) -> Type {
        match of {
            None => found,
            Some(known) if known == found => known,
            Some(known) if matches!(known, Type::Dyn) || matches!(found, Type::Dyn) => Type::Dyn,
            Some(known) if known.takes(&found, &mut Default::default()) => known,
            Some(_) if self.in_format => Type::Dyn,
            Some(known) => {
                self.wrong(Fault::new(at, format!("expected type '{known}' but found '{found}'")));
                known
            }
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

/// What is wrong with what a call is given literally.
fn literal(name: &str, args: &[Expr]) -> Option<Fault> {
    let [.., Expr { at, node: Node::Literal(Literal::String(text)), .. }] = args else { return None };
    let sound = match name {
        "duration" => duration(text).is_some(),
        "timestamp" => timestamp(text).is_some(),
        "matches" => regexp::compile(text).is_ok(),
        _ => true,
    };
    (!sound).then(|| Fault::new(*at, format!("invalid {name} argument")))
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
