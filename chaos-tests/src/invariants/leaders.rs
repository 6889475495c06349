//! A term has one leader, whatever happened to the servers that elected it.

use std::collections::BTreeMap;

use super::{Violation, violated};

/// Who led which term, as far as anybody acted on it.
#[derive(Clone, Debug, Default)]
pub struct Leaders(BTreeMap<u64, u64>);

impl Leaders {
    pub fn saw(&mut self, term: u64, leader: u64) -> Result<(), Violation> {
        let known = *self.0.entry(term).or_insert(leader);
        if known == leader {
            return Ok(());
        }
        violated("a term has one leader", format!("servers {known} and {leader} lead term {term}"))
    }
}
