//! What a namespace's labels say.

use std::collections::BTreeMap;

use kontiki_model::Faults;

use super::level::{Level, LevelVersion, Version};

/// Before the labels of a namespace, and the annotations of audit events.
pub const AUDIT_PREFIX: &str = "pod-security.kubernetes.io/";

/// What is done about pods, by level and version: refuse those that violate `enforce`, note in the audit log those that
/// violate `audit`, warn whoever writes what violates `warn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    pub enforce: LevelVersion,
    pub audit: LevelVersion,
    pub warn: LevelVersion,
}

/// One of the three, and whether a level that cannot be read means that nothing is forbidden: what only tells does not get
/// into the way.
struct Mode {
    name: &'static str,
    open: bool,
    of: fn(&mut Policy) -> &mut LevelVersion,
}

const MODES: [Mode; 3] = [
    Mode { name: "enforce", open: false, of: |policy| &mut policy.enforce },
    Mode { name: "audit", open: true, of: |policy| &mut policy.audit },
    Mode { name: "warn", open: true, of: |policy| &mut policy.warn },
];

impl Policy {
    pub const PRIVILEGED: Policy =
        Policy { enforce: LevelVersion::PRIVILEGED, audit: LevelVersion::PRIVILEGED, warn: LevelVersion::PRIVILEGED };

    /// What these labels say, above what holds where they say nothing. A level that cannot be read forbids as much as
    /// possible; a version that cannot be read is the latest. The faults say which could not.
    pub fn of_labels(labels: &BTreeMap<String, String>, defaults: Policy) -> (Policy, Faults) {
        let (mut policy, mut faults) = (defaults, Faults::default());
        for mode in MODES {
            let stated = (mode.of)(&mut policy);
            let mut label = |suffix: &str, set: &mut dyn FnMut(&str) -> Result<(), &'static str>| {
                let name = format!("{AUDIT_PREFIX}{}{suffix}", mode.name);
                if let Some(value) = labels.get(&name)
                    && let Err(why) = set(value)
                {
                    faults.invalid(format!("metadata.labels[{name}]"), value.as_str(), why);
                }
            };
            label("", &mut |value| {
                let read = Level::parse(value);
                stated.level = read.unwrap_or(if mode.open { Level::Privileged } else { Level::Restricted });
                read.map(drop)
            });
            label("-version", &mut |value| {
                let read = Version::parse(value);
                stated.version = read.unwrap_or(Version::Latest);
                read.map(drop)
            });
        }
        (policy, faults)
    }

    /// Nothing is forbidden, noted or warned of.
    pub fn fully_privileged(&self) -> bool {
        [self.enforce, self.audit, self.warn].iter().all(|one| one.level == Level::Privileged)
    }

    /// Whether both allow the same.
    pub fn equivalent(&self, other: &Policy) -> bool {
        self.enforce.equivalent(other.enforce) && self.audit.equivalent(other.audit) && self.warn.equivalent(other.warn)
    }

    /// Whether pods that `old` let in may violate this one, and should be looked at.
    pub fn tightens(&self, old: &Policy) -> bool {
        let (new, old) = (self.enforce, old.enforce);
        new != old && new.level != Level::Privileged && (new.version != old.version || new.level > old.level)
    }

    /// What the labels it was read of ask for, without what forbids nothing: `enforce=baseline:latest, warn=restricted:v1.30`.
    pub fn stated(mut self, labels: &BTreeMap<String, String>) -> String {
        let has = |name: String| labels.contains_key(&name);
        let stated = MODES.iter().filter_map(|mode| {
            let (name, asked) = (mode.name, *(mode.of)(&mut self));
            let said = has(format!("{AUDIT_PREFIX}{name}")) || has(format!("{AUDIT_PREFIX}{name}-version"));
            (said && asked.level != Level::Privileged).then(|| format!("{name}={asked}"))
        });
        stated.collect::<Vec<_>>().join(", ")
    }
}
