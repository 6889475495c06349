//! Names that arrive at run time, for declarations whose names live for ever.

use std::collections::HashSet;
use std::sync::{LazyLock, Mutex, PoisonError};

static NAMES: LazyLock<Mutex<HashSet<&'static str>>> = LazyLock::new(Mutex::default);
static LISTS: LazyLock<Mutex<HashSet<&'static [&'static str]>>> = LazyLock::new(Mutex::default);

/// The name, kept for the rest of the process: each distinct one once. Only for the few names of a definition.
pub fn name(text: &str) -> &'static str {
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = names.get(text) {
        return known;
    }
    let kept: &'static str = Box::leak(text.to_owned().into_boxed_str());
    names.insert(kept);
    kept
}

/// A list of names, likewise.
pub fn list(texts: &[&str]) -> &'static [&'static str] {
    let texts: Vec<&'static str> = texts.iter().map(|text| name(text)).collect();
    let mut lists = LISTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = lists.get(texts.as_slice()) {
        return known;
    }
    let kept: &'static [&'static str] = Box::leak(texts.into_boxed_slice());
    lists.insert(kept);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_is_kept_once() {
        let built = ["intern", "test"].join("-");
        assert!(std::ptr::eq(name("intern-test"), name(&built)));
        assert!(std::ptr::eq(list(&["a", "b"]), list(&["a", "b"])));
    }
}
