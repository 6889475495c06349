//! Where the content of a volume is: one source of several, each with what it must say. Volumes of pods and PersistentVolumes
//! have a table of them each.

use kontiki_model::Faults;
use serde_json::Value;

use crate::tree::at;

/// What a source must say; the path is its own.
pub type Rule = fn(&Value, &str, &mut Faults);

/// One source, and where Kubernetes tells of it: not always at its member.
pub struct Source {
    pub name: &'static str,
    rule: Rule,
    told_at: &'static str,
    /// `None`: beside another one it is no fault.
    second_at: Option<&'static str>,
}

impl Source {
    pub const fn new(name: &'static str, rule: Rule) -> Self {
        Source { name, rule, told_at: name, second_at: Some(name) }
    }

    /// Faults of it stand elsewhere.
    pub const fn told_at(self, told_at: &'static str) -> Self {
        Source { told_at, ..self }
    }

    /// That it is one too many stands elsewhere.
    pub const fn second_at(self, second_at: Option<&'static str>) -> Self {
        Source { second_at, ..self }
    }
}

/// One of the sources must be there: its name. The table has them in Kubernetes' order: of two, the later is the fault.
pub fn validate(holder: &Value, sources: &[Source], path: &str, faults: &mut Faults) -> Option<&'static str> {
    let mut first = None;
    for source in sources {
        let value = at(holder, &format!("/{}", source.name));
        if value.is_null() {
            continue;
        }
        match source.second_at.filter(|_| first.is_some()) {
            Some(place) => faults.forbidden(format!("{path}.{place}"), "may not specify more than 1 volume type"),
            None => (source.rule)(value, &format!("{path}.{}", source.told_at), faults),
        }
        first = first.or(Some(source.name));
    }
    if first.is_none() {
        faults.required(path, "must specify a volume type");
    }
    first
}
