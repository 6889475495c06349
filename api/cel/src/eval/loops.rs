//! Macros that go through a list or a map.

use std::collections::HashSet;

use super::{Outcome, Run};
use crate::ast::{Loop, LoopKind};
use crate::budget::{RunError, failed};
use crate::functions::print;
use crate::value::Value;

impl<'a> Run<'a, '_> {
    pub(super) fn repeat(&mut self, one: &'a Loop) -> Outcome<'a> {
        let range = self.of(&one.range)?;
        let is_map = range.items().is_none();
        let pairs: Vec<(Value<'a>, Value<'a>)> = match (range.items(), range.entries()) {
            (Some(items), _) => (0..).map(Value::Int).zip(items).collect(),
            (None, Some(entries)) => entries,
            (None, None) => return failed("no such overload"),
        };
        let mut folded = Folded::new(one.kind);
        for (key, value) in pairs {
            self.budget.spend(1)?;
            let before = self.scopes.len();
            let element = if is_map { key.clone() } else { value.clone() };
            match one.variables.as_slice() {
                [name] => self.scopes.push((name, element.clone())),
                names => self.scopes.extend(names.iter().map(String::as_str).zip([key.clone(), value])),
            }
            let step = self.step(one, &mut folded, key, element);
            self.scopes.truncate(before);
            if step? {
                break;
            }
        }
        folded.result()
    }

    /// One element; true ends the loop.
    fn step(
        &mut self,
        one: &'a Loop,
        folded: &mut Folded<'a>,
        key: Value<'a>,
        element: Value<'a>,
    ) -> Result<bool, RunError> {
        if let Some(filter) = &one.filter {
            match self.of(filter)? {
                Value::Bool(true) => {}
                Value::Bool(false) => return Ok(false),
                _ => return failed("no such overload"),
            }
        }
        let found = match (self.of(&one.body), one.kind) {
            (Err(RunError::Failed(message)), LoopKind::All | LoopKind::Exists) => {
                folded.error.get_or_insert(message);
                return Ok(false);
            }
            (found, _) => found?,
        };
        let truth = match found {
            Value::Bool(truth) => Some(truth),
            _ => None,
        };
        match (one.kind, truth) {
            (LoopKind::All, Some(true)) | (LoopKind::Exists, Some(false)) => Ok(false),
            (LoopKind::All, Some(false)) | (LoopKind::Exists, Some(true)) => {
                folded.decided = true;
                Ok(true)
            }
            (LoopKind::ExistsOne, Some(truth)) => {
                folded.count += usize::from(truth);
                Ok(false)
            }
            (LoopKind::Filter, Some(truth)) => {
                if truth {
                    folded.items.push(element);
                }
                Ok(false)
            }
            (LoopKind::Map | LoopKind::TransformList, _) => {
                folded.items.push(found);
                Ok(false)
            }
            (LoopKind::TransformMap, _) => {
                folded.entries.push((key, found));
                Ok(false)
            }
            (LoopKind::TransformMapEntry, _) => {
                let Some(entries) = found.entries() else { return failed("no such overload") };
                for (key, value) in entries {
                    self.budget.spend(1)?;
                    if !folded.keys.insert((key.type_name(), print(&key))) {
                        return failed(format!("insert failed: key {} already exists", print(&key)));
                    }
                    folded.entries.push((key, value));
                }
                Ok(false)
            }
            (LoopKind::All | LoopKind::Exists | LoopKind::ExistsOne | LoopKind::Filter, None) => {
                failed("no such overload")
            }
        }
    }
}

/// What a loop has come to.
struct Folded<'a> {
    kind: LoopKind,
    decided: bool,
    count: usize,
    items: Vec<Value<'a>>,
    entries: Vec<(Value<'a>, Value<'a>)>,
    /// Of entries that elements gave, each by its type and its text.
    keys: HashSet<(&'static str, String)>,
    /// Told only where no element decided.
    error: Option<String>,
}

impl<'a> Folded<'a> {
    fn new(kind: LoopKind) -> Self {
        let (items, entries, keys) = (Vec::new(), Vec::new(), HashSet::new());
        Folded { kind, decided: false, count: 0, items, entries, keys, error: None }
    }

    fn result(self) -> Outcome<'a> {
        match (self.kind, self.error) {
            (LoopKind::All | LoopKind::Exists, Some(error)) if !self.decided => Err(RunError::Failed(error)),
            (LoopKind::All, _) => Ok(Value::Bool(!self.decided)),
            (LoopKind::Exists, _) => Ok(Value::Bool(self.decided)),
            (LoopKind::ExistsOne, _) => Ok(Value::Bool(self.count == 1)),
            (LoopKind::Filter | LoopKind::Map | LoopKind::TransformList, _) => Ok(Value::list(self.items)),
            (LoopKind::TransformMap | LoopKind::TransformMapEntry, _) => Ok(Value::Map(self.entries.into())),
        }
    }
}
