//! A look at the pods that are there when their namespace begins to forbid more: they stay, and whoever changed it is told.

use std::collections::{BTreeMap, HashSet};

use super::check::evaluate;
use super::level::LevelVersion;
use super::subject::Subject;

/// What was found so far.
pub struct Survey {
    enforce: LevelVersion,
    looked_at: usize,
    /// By what they violate: the first pod by name, and how many there are.
    found: BTreeMap<String, (String, usize)>,
}

impl Survey {
    pub fn new(enforce: LevelVersion) -> Self {
        Survey { enforce, looked_at: 0, found: BTreeMap::new() }
    }

    pub fn look_at(&mut self, name: &str, pod: Subject<'_>) {
        self.looked_at += 1;
        let violations = evaluate(self.enforce, pod);
        if violations.is_empty() {
            return;
        }
        let (first, count) = self.found.entry(violations.reasons()).or_insert_with(|| (name.to_owned(), 0));
        if name < first.as_str() {
            name.clone_into(first);
        }
        *count += 1;
    }

    /// What to tell, `total` being how many pods there are.
    pub fn warnings(self, namespace: &str, total: usize) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.looked_at < total {
            warnings.push(format!(
                "new PodSecurity enforce level only checked against the first {} of {total} existing pods",
                self.looked_at
            ));
        }
        if !self.found.is_empty() {
            let enforce = self.enforce.to_string();
            warnings.push(format!(
                "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level {enforce:?}"
            ));
        }
        let told = self.found.into_iter().map(|(violated, (first, count))| match count {
            1 => format!("{first}: {violated}"),
            2 => format!("{first} (and 1 other pod): {violated}"),
            count => format!("{first} (and {} other pods): {violated}", count - 1),
        });
        let mut told: Vec<String> = told.collect();
        told.sort_unstable();
        warnings.extend(told);
        warnings
    }
}

/// The order to look in: one pod of each controller first, since its others are most likely alike. `controller` tells its uid.
pub fn in_order<T>(pods: Vec<T>, controller: impl Fn(&T) -> Option<String>) -> Vec<T> {
    let mut seen = HashSet::new();
    let (mut first, alike): (Vec<T>, Vec<T>) =
        pods.into_iter().partition(|pod| controller(pod).is_none_or(|uid| seen.insert(uid)));
    first.extend(alike);
    first
}
