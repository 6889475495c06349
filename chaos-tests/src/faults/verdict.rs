//! What must hold of what the clients saw, whatever was done to the servers.

use std::collections::{BTreeMap, HashMap};

use super::storm::{Asked, Record, Seen};
use crate::linearizability::{Action, Operation, check};

/// Everything that is wrong; nothing, if all promises were kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    pub faults: Vec<String>,
}

impl Verdict {
    pub fn of(record: &Record) -> Self {
        let mut faults = record.oddities.clone();
        faults.extend(ordered(record));
        faults.extend(same_everywhere(record));
        faults.extend(complete(record));
        faults.extend(acknowledged(record));
        faults.extend(linearizable(record));
        Verdict { faults }
    }

    /// Fails the test that asked, and says why.
    pub fn assert_clean(&self) {
        let first: Vec<_> = self.faults.iter().take(10).collect();
        assert!(self.faults.is_empty(), "{} promises were broken, such as {first:#?}", self.faults.len());
    }
}

/// Each watcher's revisions rise: no event twice, none out of order.
fn ordered(record: &Record) -> Vec<String> {
    let pairs = record.watches.iter().flat_map(|seen| seen.windows(2));
    let wrong = pairs.filter(|pair| pair[1].revision <= pair[0].revision);
    wrong.map(|pair| format!("a watcher saw {:?} and then {:?}", pair[0], pair[1])).collect()
}

/// All watchers saw the same events, whichever servers they were at.
fn same_everywhere(record: &Record) -> Vec<String> {
    let Some((first, others)) = record.watches.split_first() else { return Vec::new() };
    let newest = |seen: &[Seen]| seen.last().map_or(0, |seen| seen.revision);
    let mut faults = Vec::new();
    for other in others {
        let common = newest(first).min(newest(other));
        let upto = |seen: &[Seen]| seen.iter().take_while(|seen| seen.revision <= common).cloned().collect::<Vec<_>>();
        let (one, two) = (upto(first), upto(other));
        if let Some((one, two)) = one.iter().zip(&two).find(|(one, two)| one != two) {
            faults.push(format!("one watcher saw {one:?} where another saw {two:?}"));
        } else if one.len() != two.len() {
            faults.push(format!("up to revision {common} one watcher saw {} events, another {}", one.len(), two.len()));
        }
    }
    faults
}

/// The events, one after the other, give what a consistent list shows at the end.
fn complete(record: &Record) -> Vec<String> {
    let mut faults = Vec::new();
    for seen in &record.watches {
        let mut state = BTreeMap::new();
        for Seen { revision, register, value } in seen.iter().filter(|seen| seen.register.starts_with("register-")) {
            match value {
                Some(value) => state.insert(register.clone(), (*revision, value.clone())),
                None => state.remove(register),
            };
        }
        let registers = record.last.keys().chain(state.keys());
        let wrong = registers.filter(|register| record.last.get(*register) != state.get(*register));
        faults.extend(wrong.take(3).map(|register| {
            let (list, watch) = (record.last.get(register), state.get(register));
            format!("{register}: the list has {list:?}, the watch ended with {watch:?}")
        }));
    }
    faults
}

/// Every acknowledged write is an event, at the revision it was told and with the value it wrote.
fn acknowledged(record: &Record) -> Vec<String> {
    let Some(seen) = record.watches.first() else { return Vec::new() };
    let events: HashMap<u64, &Seen> = seen.iter().map(|seen| (seen.revision, seen)).collect();
    let mut faults = Vec::new();
    for operation in &record.operations {
        let (Some(revision), Asked::Write(value) | Asked::Swap { value, .. }) = (operation.revision, &operation.asked)
        else {
            continue;
        };
        let event = events.get(&revision);
        let same = event.is_some_and(|seen| seen.register == operation.register && seen.value.as_ref() == Some(value));
        if !same {
            faults.push(format!("acknowledged: {operation:?}; in the log: {event:?}"));
        }
    }
    faults
}

/// Each register by itself has an order of its operations that explains every answer.
fn linearizable(record: &Record) -> Vec<String> {
    let mut histories: BTreeMap<&str, Vec<Operation<String>>> = BTreeMap::new();
    for done in &record.operations {
        let action = match done.asked.clone() {
            Asked::Read(value) => Action::Read(value),
            Asked::Write(value) => Action::Write(Some(value)),
            Asked::Swap { expected, value } => Action::Swap { expected, value: Some(value) },
        };
        let nanos = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let operation = Operation { action, invoked: nanos(done.invoked), returned: done.returned.map(nanos) };
        histories.entry(&done.register).or_default().push(operation);
    }
    let judged = histories.iter().filter_map(|(register, history)| Some((register, check(history).err()?)));
    judged.map(|(register, violation)| format!("{register} is not linearizable: {violation:?}")).collect()
}
