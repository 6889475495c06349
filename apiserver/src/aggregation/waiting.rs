//! Connections to the server of an API that wait for the next request. Each takes one request at a time, and waits again when that one's
//! answer has been read to its end.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use crate::{
    core::Core,
    limits::{WAITING_CONNECTION_TIME_MAX, WAITING_CONNECTIONS_MAX},
    proxy::Sender,
    services::Address,
};

/// A connection, and where it leads.
pub(super) struct Connection {
    pub sender: Sender,
    pub address: Address,
}

/// Those of one server, made under one identity.
#[derive(Default)]
pub(super) struct Waiting(Mutex<Vec<(Connection, Instant)>>);

impl Waiting {
    /// One that leads to somebody who is behind the Service now: the one that was used last, so that others may end.
    pub fn take(&self, addresses: &[Address]) -> Option<Connection> {
        let mut waiting = self.lock();
        waiting.retain(|(one, since)| {
            let fresh = since.elapsed() < WAITING_CONNECTION_TIME_MAX;
            fresh && !one.sender.is_closed() && addresses.contains(&one.address)
        });
        waiting.pop().map(|(connection, _)| connection)
    }

    /// Keeps a connection for when it is free again; one that ends before is forgotten.
    pub fn keep(self: &Arc<Self>, core: &Core, mut connection: Connection) {
        let waiting = self.clone();
        let keeping = async move {
            if connection.sender.ready().await.is_ok() {
                let mut waiting = waiting.lock();
                if waiting.len() < WAITING_CONNECTIONS_MAX {
                    waiting.push((connection, Instant::now()));
                }
            }
        };
        core.tunnels.spawn(core.stopping.clone().run_until_cancelled_owned(keeping));
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Connection, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
