//! A table's content as a value, and the script that turns one content into another. Pure; the words are nft's.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

/// The table this program owns, and nobody else.
pub const TABLE: &str = "ip kontiki";

/// What a table holds, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    pub chains: BTreeMap<String, Chain>,
    /// Sets and maps whose elements are given here.
    pub maps: BTreeMap<String, Map>,
    /// Sets that the packets themselves fill: name and declaration.
    pub dynamic_sets: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// `type … hook … priority …;` of a base chain.
    pub hook: Option<&'static str>,
    pub rules: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    pub kind: MapKind,
    /// What stands between the braces.
    pub declaration: &'static str,
    /// Keys, and for a map their values.
    pub elements: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapKind {
    Set,
    Map,
}

impl MapKind {
    fn word(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Map => "map",
        }
    }
}

/// Removes the table, whether it is there or not.
pub fn removal() -> String {
    format!("add table {TABLE}\ndelete table {TABLE}\n")
}

/// Replaces whatever the table held.
pub fn replacement(new: &Ruleset) -> String {
    format!("{}add table {TABLE}\n{}", removal(), change(&Ruleset::default(), new))
}

/// Turns `old` into `new` in one transaction; empty where there is no difference. What stays is not touched: dynamic sets keep
/// what packets put into them.
pub fn change(old: &Ruleset, new: &Ruleset) -> String {
    let mut script = String::new();
    let mut line = |words: &[&str]| {
        writeln!(script, "{}", words.join(" ")).expect("writing to a string cannot fail");
    };
    for (name, declaration) in new.dynamic_sets.iter().filter(|(name, _)| !old.dynamic_sets.contains_key(*name)) {
        line(&["add set", TABLE, name, "{", declaration, "}"]);
    }
    for (name, map) in new.maps.iter().filter(|(name, _)| !old.maps.contains_key(*name)) {
        line(&["add", map.kind.word(), TABLE, name, "{", map.declaration, "}"]);
    }
    for (name, chain) in new.chains.iter().filter(|(name, _)| !old.chains.contains_key(*name)) {
        match chain.hook {
            Some(hook) => line(&["add chain", TABLE, name, "{", hook, "}"]),
            None => line(&["add chain", TABLE, name]),
        }
    }
    // Elements go before what they point to, and come after it.
    for (name, map) in &old.maps {
        let keeps =
            |key: &String, value: &String| new.maps.get(name).is_some_and(|new| new.elements.get(key) == Some(value));
        let gone: Vec<&str> =
            map.elements.iter().filter(|(key, value)| !keeps(key, value)).map(|(key, _)| key.as_str()).collect();
        if !gone.is_empty() {
            line(&["delete element", TABLE, name, "{", &gone.join(", "), "}"]);
        }
    }
    let changed: BTreeSet<&String> =
        new.chains.iter().filter(|(name, chain)| old.chains.get(*name) != Some(chain)).map(|(name, _)| name).collect();
    let removed: Vec<&String> = old.chains.keys().filter(|name| !new.chains.contains_key(*name)).collect();
    for name in old.chains.keys().filter(|name| changed.contains(name) || !new.chains.contains_key(*name)) {
        line(&["flush chain", TABLE, name]);
    }
    for name in &changed {
        for rule in &new.chains[*name].rules {
            line(&["add rule", TABLE, name, rule]);
        }
    }
    for (name, map) in &new.maps {
        let had =
            |key: &String, value: &String| old.maps.get(name).is_some_and(|old| old.elements.get(key) == Some(value));
        let added: Vec<String> = map
            .elements
            .iter()
            .filter(|(key, value)| !had(key, value))
            .map(|(key, value)| match map.kind {
                MapKind::Set => key.clone(),
                MapKind::Map => format!("{key} : {value}"),
            })
            .collect();
        if !added.is_empty() {
            line(&["add element", TABLE, name, "{", &added.join(", "), "}"]);
        }
    }
    for name in removed {
        line(&["delete chain", TABLE, name]);
    }
    for name in old.dynamic_sets.keys().filter(|name| !new.dynamic_sets.contains_key(*name)) {
        line(&["delete set", TABLE, name]);
    }
    script
}
