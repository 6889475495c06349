//! Pod Security: what the standards `baseline` and `restricted` forbid pods, in each of their versions, and what a namespace's
//! labels make of them. Pure; `apiserver/src/admission` asks it about writes.
//!
//! [`evaluate`] holds a pod against one level and version, [`Policy`] is which of them a namespace wants, [`Configuration`] what
//! holds where it says nothing, and [`Survey`] looks at the pods that are there when it changes its mind.

mod check;
mod checks;
mod configuration;
mod level;
mod policy;
mod subject;
mod survey;
mod update;
mod words;

pub use check::{Violations, evaluate};
pub use configuration::{Configuration, Exemptions};
pub use level::{Level, LevelVersion, Version};
pub use policy::{AUDIT_PREFIX, Policy};
pub use subject::Subject;
pub use survey::{Survey, in_order};
pub use update::is_significant;

/// What Pod Security has to do with objects of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodSecurity {
    /// They are pods: none is let in that its namespace forbids.
    Pod,
    /// Pods are made of the template at this JSON pointer: who writes one that makes forbidden pods is warned.
    Template(&'static str),
    /// Their labels say what is forbidden in them.
    Policy,
}

impl PodSecurity {
    /// Where the pods' spec stands, as a JSON pointer.
    pub fn pod_spec(self) -> Option<String> {
        match self {
            PodSecurity::Pod => Some("/spec".to_owned()),
            PodSecurity::Template(pointer) => Some(format!("{pointer}/spec")),
            PodSecurity::Policy => None,
        }
    }
}

#[cfg(test)]
mod tests;
