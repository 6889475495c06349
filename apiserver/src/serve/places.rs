//! Who has a connection. There is a place for everybody who connects: where all are taken, the eldest goes of those whose clients
//! have not proved who they are. Whoever did so keeps theirs, within bounds that leave room for newcomers.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use super::conversation::{Conversation, Ending};
use crate::limits::{CERTIFIED_CONNECTIONS_MAX, CONNECTIONS_MAX, KNOWN_CONNECTIONS_MAX, KNOWN_CONNECTIONS_OF_USER_MAX};

#[derive(Default)]
pub struct Places(Mutex<Held>);

#[derive(Default)]
struct Held {
    /// In the order in which they came.
    strangers: BTreeMap<u64, Arc<Conversation>>,
    /// All who are known, and how many connections each user has.
    known: usize,
    users: HashMap<Arc<str>, usize>,
    numbers: u64,
}

/// How a client proved who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proved {
    ByCertificate,
    ByToken,
}

/// A connection's place, until it is dropped. What has become a tunnel keeps it, and is not closed for others: tunnels have a bound of
/// their own.
pub struct Place {
    places: Arc<Places>,
    number: u64,
    /// Its client, who is known: it is not closed for another one.
    user: OnceLock<Arc<str>>,
    pub conversation: Arc<Conversation>,
}

impl Places {
    pub fn take(self: &Arc<Self>, conversation: Arc<Conversation>) -> Place {
        let mut held = self.lock();
        if held.strangers.len() + held.known >= CONNECTIONS_MAX {
            held.close_eldest();
        }
        held.numbers += 1;
        let number = held.numbers;
        held.strangers.insert(number, conversation.clone());
        Place { places: self.clone(), number, user: OnceLock::new(), conversation }
    }

    /// Makes room for others than these, such as where files run out.
    pub fn close_eldest(&self) {
        self.lock().close_eldest();
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn close_eldest(&mut self) {
        if let Some((_, eldest)) = self.strangers.pop_first() {
            eldest.end(Ending::AtOnce);
        }
    }

    /// The user's name, which all their connections share.
    fn enter(&mut self, user: &str) -> Arc<str> {
        self.known += 1;
        let user = self.users.get_key_value(user).map_or_else(|| Arc::from(user), |(user, _)| user.clone());
        *self.users.entry(user.clone()).or_default() += 1;
        user
    }

    fn leave(&mut self, user: &str) {
        self.known -= 1;
        if let Some(count) = self.users.get_mut(user) {
            *count -= 1;
            if *count == 0 {
                self.users.remove(user);
            }
        }
    }
}

impl Place {
    /// Its client has proved who they are. Where too many have, it counts as before.
    pub fn keep(&self, user: &str, proved: Proved) {
        if self.user.get().is_some() {
            return;
        }
        let most = match proved {
            Proved::ByCertificate => CERTIFIED_CONNECTIONS_MAX,
            Proved::ByToken => KNOWN_CONNECTIONS_MAX,
        };
        let mut held = self.places.lock();
        let of_user = held.users.get(user).copied().unwrap_or_default();
        // One that was closed for others is not there any more.
        if held.known < most && of_user < KNOWN_CONNECTIONS_OF_USER_MAX && held.strangers.remove(&self.number).is_some()
        {
            _ = self.user.set(held.enter(user));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.places.lock();
        match self.user.get() {
            Some(user) => held.leave(user),
            None => _ = held.strangers.remove(&self.number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fairness::Unsent;

    fn taken(places: &Arc<Places>, count: usize) -> Vec<Place> {
        (0..count).map(|_| places.take(Conversation::new(Unsent::default()))).collect()
    }

    fn is_closed(place: &Place) -> bool {
        place.conversation.told() == Some(Ending::AtOnce)
    }

    #[test]
    fn whoever_is_known_keeps_their_place() {
        let places = Arc::new(Places::default());
        let strangers = taken(&places, CONNECTIONS_MAX);
        strangers[0].keep("jane", Proved::ByToken);
        let newcomer = taken(&places, 1);
        assert_eq!([0, 1, 2].map(|index| is_closed(&strangers[index])), [false, true, false]);
        strangers[1].keep("jane", Proved::ByCertificate);
        let held = || {
            let held = places.lock();
            (held.known, held.strangers.len())
        };
        assert_eq!(held(), (1, CONNECTIONS_MAX - 1), "it is too late for it");
        drop((strangers, newcomer));
        assert_eq!(held(), (0, 0));
    }

    #[test]
    fn those_who_are_known_leave_room_for_others() {
        let places = Arc::new(Places::default());
        let all = taken(&places, CONNECTIONS_MAX);
        all.iter().for_each(|place| place.keep("greedy", Proved::ByToken));
        assert_eq!(places.lock().known, KNOWN_CONNECTIONS_OF_USER_MAX);
        let keep =
            |proved| all.iter().enumerate().for_each(|(number, place)| place.keep(&format!("{}", number % 7), proved));
        keep(Proved::ByToken);
        assert_eq!(places.lock().known, KNOWN_CONNECTIONS_MAX);
        keep(Proved::ByCertificate);
        assert_eq!(places.lock().known, CERTIFIED_CONNECTIONS_MAX);
        let newcomers = taken(&places, 2);
        let closed: Vec<_> = (0..all.len()).filter(|index| is_closed(&all[*index])).collect();
        assert_eq!(closed, [CERTIFIED_CONNECTIONS_MAX, CERTIFIED_CONNECTIONS_MAX + 1]);
        assert!(!newcomers.iter().any(is_closed));
        drop((all, newcomers));
        assert!(places.lock().users.is_empty());
    }
}
