//! Whether there is an order in which a register's operations happened one at a time, each between its call and its return, such
//! that every answer was right (Herlihy and Wing 1990; the search is Wing and Gong's with Lowe's memory of where it has been).
//!
//! An operation without a return has an unknown outcome: it may have happened at any time after its call, or never.

use std::collections::HashSet;
use std::hash::Hash;

/// Operations on one register; more are split by register first, which loses nothing: linearizability is local.
pub const OPERATIONS_MAX: usize = 512;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation<V> {
    pub action: Action<V>,
    pub invoked: u64,
    pub returned: Option<u64>,
}

/// What was done and answered. A value of `None` is an object that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action<V> {
    Read(Option<V>),
    Write(Option<V>),
    /// Replaced exactly `expected`. Swaps that were refused are no operations.
    Swap {
        expected: Option<V>,
        value: Option<V>,
    },
}

/// There is no such order. `stuck` are the operations of which no other could come first, after the longest order found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation<V> {
    pub ordered: usize,
    pub register: Option<V>,
    pub stuck: Vec<Operation<V>>,
}

/// Judges the history of one register that began absent.
pub fn check<V: Clone + Eq + Hash>(history: &[Operation<V>]) -> Result<(), Violation<V>> {
    assert!(history.len() <= OPERATIONS_MAX, "a history is split before it is judged");
    let mut search = Search { history, visited: HashSet::new(), best: None };
    let mut path = vec![Node { done: Done::default(), register: None, next: 0 }];
    while let Some(node) = path.last_mut() {
        if search.complete(&node.done) {
            return Ok(());
        }
        match search.step(node) {
            Some(next) => path.push(next),
            None => drop(path.pop()),
        }
    }
    let (ordered, done, register) = search.best.clone().unwrap_or((0, Done::default(), None));
    let stuck = search.possible(&done).map(|position| history[position].clone()).collect();
    Err(Violation { ordered, register, stuck })
}

/// The operations that already happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Done([u64; OPERATIONS_MAX / 64]);

impl Done {
    fn has(&self, position: usize) -> bool {
        self.0[position / 64] & (1 << (position % 64)) != 0
    }

    fn with(&self, position: usize) -> Self {
        let mut next = self.clone();
        next.0[position / 64] |= 1 << (position % 64);
        next
    }

    fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }
}

/// A point of the search: what happened, what the register holds, and which operation is tried next.
struct Node<V> {
    done: Done,
    register: Option<V>,
    next: usize,
}

struct Search<'a, V> {
    history: &'a [Operation<V>],
    visited: HashSet<(Done, Option<V>)>,
    best: Option<(usize, Done, Option<V>)>,
}

impl<V: Clone + Eq + Hash> Search<'_, V> {
    /// Everything that was answered has happened.
    fn complete(&self, done: &Done) -> bool {
        self.history.iter().enumerate().all(|(position, operation)| operation.returned.is_none() || done.has(position))
    }

    /// What may happen next: called before anything that is still to happen had returned.
    fn possible(&self, done: &Done) -> impl Iterator<Item = usize> {
        let left = || self.history.iter().enumerate().filter(|(position, _)| !done.has(*position));
        let earliest = left().filter_map(|(_, operation)| operation.returned).min().unwrap_or(u64::MAX);
        let found: Vec<usize> =
            left().filter(|(_, operation)| operation.invoked <= earliest).map(|(position, _)| position).collect();
        found.into_iter()
    }

    fn step(&mut self, node: &mut Node<V>) -> Option<Node<V>> {
        let possible: Vec<usize> = self.possible(&node.done).collect();
        while let Some(position) = possible.get(node.next) {
            node.next += 1;
            let Some(register) = after(&node.register, &self.history[*position].action) else { continue };
            let done = node.done.with(*position);
            if self.visited.insert((done.clone(), register.clone())) {
                if self.best.as_ref().is_none_or(|(most, ..)| done.len() > *most) {
                    self.best = Some((done.len(), done.clone(), register.clone()));
                }
                return Some(Node { done, register, next: 0 });
            }
        }
        None
    }
}

/// What the register holds after an action; `None` if its answer is not possible now.
fn after<V: Clone + Eq>(register: &Option<V>, action: &Action<V>) -> Option<Option<V>> {
    match action {
        Action::Read(value) => (register == value).then(|| register.clone()),
        Action::Write(value) => Some(value.clone()),
        Action::Swap { expected, value } => (register == expected).then(|| value.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(invoked: u64, returned: impl Into<Option<u64>>, action: Action<u8>) -> Operation<u8> {
        Operation { action, invoked, returned: returned.into() }
    }

    use Action::{Read, Swap, Write};

    #[test]
    fn orders_that_exist_are_found_and_others_refused() {
        let swap = |expected, value| Swap { expected, value: Some(value) };
        let table: Vec<(&str, bool, Vec<Operation<u8>>)> = vec![
            ("nothing", true, vec![]),
            ("a read sees the write before it", true, vec![at(0, 1, Write(Some(1))), at(2, 3, Read(Some(1)))]),
            ("a stale read", false, vec![at(0, 1, Write(Some(1))), at(2, 3, Write(Some(2))), at(4, 5, Read(Some(1)))]),
            ("a lost write", false, vec![at(0, 1, Write(Some(1))), at(2, 3, Read(None))]),
            (
                "overlapping writes, either order",
                true,
                vec![at(0, 9, Write(Some(1))), at(0, 9, Write(Some(2))), at(10, 11, Read(Some(1)))],
            ),
            (
                "but not both orders",
                false,
                vec![
                    at(0, 9, Write(Some(1))),
                    at(0, 9, Write(Some(2))),
                    at(10, 11, Read(Some(1))),
                    at(12, 13, Read(Some(2))),
                ],
            ),
            (
                "an unknown write may happen late",
                true,
                vec![at(0, None, Write(Some(1))), at(1, 2, Read(None)), at(3, 4, Read(Some(1)))],
            ),
            ("or never", true, vec![at(0, None, Write(Some(1))), at(1, 2, Read(None))]),
            (
                "but not twice",
                false,
                vec![
                    at(0, None, Write(Some(1))),
                    at(1, 2, Read(Some(1))),
                    at(3, 4, Write(Some(2))),
                    at(5, 6, Read(Some(1))),
                ],
            ),
            ("nor before its call", false, vec![at(0, 1, Read(Some(1))), at(2, None, Write(Some(1)))]),
            ("of two swaps of one value, one fails", false, vec![at(0, 9, swap(None, 1)), at(0, 9, swap(None, 2))]),
            ("a chain of swaps", true, vec![at(0, 9, swap(Some(1), 2)), at(0, 9, swap(None, 1))]),
            ("a deletion", true, vec![at(0, 1, Write(Some(1))), at(2, 3, Write(None)), at(4, 5, Read(None))]),
        ];
        for (name, expected, history) in table {
            let verdict = check(&history);
            assert_eq!(verdict.is_ok(), expected, "{name}: {verdict:?}");
        }
    }

    #[test]
    fn a_violation_names_what_was_stuck() {
        let history = [at(0, 1, Write(Some(1))), at(2, 3, Read(Some(7)))];
        let stuck = vec![history[1].clone()];
        assert_eq!(check(&history), Err(Violation { ordered: 1, register: Some(1), stuck }));
    }

    #[test]
    fn many_unknown_outcomes_stay_cheap() {
        let mut history: Vec<_> = (0..40_u8).map(|number| at(u64::from(number), None, Write(Some(number)))).collect();
        history.extend((40..140_u8).map(|number| {
            let time = u64::from(number) * 2;
            at(time, time + 1, Write(Some(number)))
        }));
        assert_eq!(check(&history), Ok(()));
    }
}
