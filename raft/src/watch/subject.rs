//! What a watch follows: some objects, or the whole log.

use kontiki_model::{Key, Retention, Scope};

/// Which events a watch tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Those of one resource.
    Scope(Scope),
    /// Those of every resource, except objects of the short class (Leases, Events). It resumes from as far back as history
    /// reaches.
    Lasting,
    /// All. It resumes only from as far back as the short class reaches: what that one forgot would be a gap.
    Everything,
}

impl Subject {
    pub fn contains(&self, key: &Key, retention: Retention) -> bool {
        match self {
            Subject::Scope(scope) => scope.contains(key),
            Subject::Lasting => retention != Retention::Short,
            Subject::Everything => true,
        }
    }
}

impl From<Scope> for Subject {
    fn from(scope: Scope) -> Self {
        Subject::Scope(scope)
    }
}
