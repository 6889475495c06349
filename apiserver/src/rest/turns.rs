//! Turns: writes that are charged to the quotas of one namespace are decided and committed one after another on a server. Without
//! an order each would overtake all others that were decided on the same state, and most of many would be decided again and again.
//! Turns only save work: that no quota is overdrawn is what the preconditions of the commands are for, across servers too.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::{Mutex as Place, OwnedMutexGuard};

use super::limits::{TURN_WAIT_MAX, TURNS_SWEPT_AT};

/// One write's turn in a namespace; it ends when this is dropped.
pub type Turn = OwnedMutexGuard<()>;

#[derive(Default)]
pub struct Turns {
    places: Mutex<HashMap<String, Weak<Place<()>>>>,
}

impl Turns {
    /// Waits in line, but not for ever: whoever has the turn may be waiting for this write itself, through a webhook.
    pub async fn wait(&self, namespace: &str) -> Option<Turn> {
        tokio::time::timeout(TURN_WAIT_MAX, self.place(namespace).lock_owned()).await.ok()
    }

    /// The turn, if nobody has it.
    pub fn take_free(&self, namespace: &str) -> Option<Turn> {
        self.place(namespace).try_lock_owned().ok()
    }

    fn place(&self, namespace: &str) -> Arc<Place<()>> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = places.get(namespace).and_then(Weak::upgrade) {
            return place;
        }
        if places.len() >= TURNS_SWEPT_AT {
            places.retain(|_, place| place.strong_count() > 0);
        }
        let place = Arc::new(Place::new(()));
        places.insert(namespace.to_owned(), Arc::downgrade(&place));
        place
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let turns = Turns::default();
        let turn = turns.wait("a").await.unwrap();
        assert!(turns.wait("a").await.is_none());
        drop(turn);
        assert!(turns.wait("a").await.is_some());
    }

    #[tokio::test]
    async fn a_turn_is_one_writes_at_a_time() {
        let turns = Turns::default();
        let turn = turns.wait("a").await.unwrap();
        assert!(turns.take_free("a").is_none());
        assert!(turns.take_free("b").is_some(), "of another namespace");
        drop(turn);
        assert!(turns.take_free("a").is_some());
    }

    #[tokio::test]
    async fn namespaces_that_nobody_writes_to_are_forgotten() {
        let turns = Turns::default();
        let held = turns.wait("held").await.unwrap();
        for number in 0..TURNS_SWEPT_AT * 2 {
            drop(turns.wait(&number.to_string()).await.unwrap());
        }
        assert!(turns.places.lock().is_ok_and(|places| places.len() <= TURNS_SWEPT_AT));
        assert!(turns.take_free("held").is_none());
        drop(held);
    }
}
