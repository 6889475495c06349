//! Every server's own knowledge of the APIServices: it follows the log, asks the servers behind them for their documents, and
//! serves what comes of both.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use kontiki_kinds::apiservice::KIND;
use kontiki_model::{Revision, Scope, Status};
use kontiki_raft::{Event, EventKind, ListOptions, ReadError, WatchItem};
use serde_json::Value;
use tokio::time::MissedTickBehavior;

use super::{
    apis::{Api, Apis},
    documents::Documents,
    trusted,
};
use crate::{
    core::{Core, unreadable},
    limits,
};

/// Follows them for as long as the server runs.
pub(crate) async fn keep(core: Arc<Core>) {
    core.keep_up("the aggregated APIs", limits::AGGREGATION_INTERVAL, follow).await;
}

/// Ends without an error when the log does.
async fn follow(core: &Arc<Core>) -> Result<(), Status> {
    let scope = Scope { resource: KIND.storage_resource(), namespace: None };
    let page = core.log.list(&scope, ListOptions::default()).map_err(|error| unreadable(&error))?;
    let mut watch = core.log.watch(scope, page.revision).map_err(|error| unreadable(&error))?;
    let mut known = Known::default();
    page.items.iter().for_each(|stored| known.set(&stored.key.name, Some(&stored.body)));
    let mut asked = FuturesUnordered::new();
    let mut trust_seen = Revision::default();
    let mut ticks = tokio::time::interval(limits::AGGREGATION_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        if std::mem::take(&mut known.changed) {
            core.serve_apis(known.apis());
        }
        for (name, api, generation) in known.due(Instant::now()) {
            let asking = Documents::fetch(core.clone(), api);
            asked.push(async move { (name, generation, asking.await) });
        }
        tokio::select! {
            item = watch.next() => match item {
                Ok(WatchItem::Event(event)) => known.take_in(&event),
                Ok(WatchItem::Progress(_)) => {}
                Err(ReadError::Closed) => return Ok(()),
                Err(error) => return Err(unreadable(&error)),
            },
            Some((name, generation, documents)) = asked.next() => known.told(&name, generation, documents),
            _ = ticks.tick() => {
                if let Err(status) = trusted::tell(core, &mut trust_seen).await {
                    tracing::warn!(message = status.message, "servers of aggregated APIs are not told whom to believe");
                }
            }
        }
    }
}

/// What is known of each APIService, by name.
#[derive(Default)]
struct Known {
    held: BTreeMap<String, Held>,
    /// Counts what an APIService became: what was asked before does not count, also where one of its name was gone meanwhile.
    generations: u64,
    changed: bool,
}

struct Held {
    api: Arc<Api>,
    generation: u64,
    asking: bool,
    asked: Option<Instant>,
}

impl Known {
    fn apis(&self) -> Apis {
        Apis(self.held.values().map(|held| held.api.clone()).collect())
    }

    fn take_in(&mut self, event: &Event) {
        let body = match event.kind {
            EventKind::Created | EventKind::Updated => Some(&*event.object.body),
            EventKind::Deleted => None,
        };
        self.set(&event.object.key.name, body);
    }

    /// One that cannot be read counts as absent.
    fn set(&mut self, name: &str, body: Option<&[u8]>) {
        let read = body.and_then(|body| serde_json::from_slice::<Value>(body).ok()).and_then(|tree| Api::read(&tree));
        let Some(mut api) = read else {
            self.changed |= self.held.remove(name).is_some();
            return;
        };
        let before = self.held.get(name);
        if let Some(held) = before.filter(|held| held.api.backing == api.backing) {
            api.documents.clone_from(&held.api.documents);
            if *held.api == api {
                return;
            }
        }
        let asking = before.is_some_and(|held| held.asking);
        self.generations += 1;
        let generation = self.generations;
        self.held.insert(name.to_owned(), Held { api: Arc::new(api), generation, asking, asked: None });
        self.changed = true;
    }

    /// Those whose servers are to be asked now.
    fn due(&mut self, now: Instant) -> Vec<(String, Arc<Api>, u64)> {
        let mut due = Vec::new();
        for (name, held) in &mut self.held {
            let pause = match &held.api.documents {
                Some(documents) if !documents.stale => limits::AGGREGATED_DOCUMENTS_INTERVAL,
                Some(_) | None => limits::AGGREGATION_RETRY_INTERVAL,
            };
            let rested = |asked: Instant, pause: Duration| now.saturating_duration_since(asked) >= pause;
            if held.api.backing.is_some() && !held.asking && held.asked.is_none_or(|asked| rested(asked, pause)) {
                held.asking = true;
                due.push((name.clone(), held.api.clone(), held.generation));
            }
        }
        due
    }

    fn told(&mut self, name: &str, generation: u64, documents: Documents) {
        let Some(held) = self.held.get_mut(name) else { return };
        held.asking = false;
        if held.generation != generation {
            return;
        }
        held.asked = Some(Instant::now());
        if held.api.documents.as_deref() != Some(&documents) {
            let documents = Some(Arc::new(documents));
            held.api = Arc::new(Api { documents, ..Api::clone(&held.api) });
            self.changed = true;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn service(available: &str, port: u16) -> Vec<u8> {
        let object = json!({
            "metadata": {"name": "v1.example.com"},
            "spec": {"group": "example.com", "version": "v1", "service": {"namespace": "n", "name": "s", "port": port}},
            "status": {"conditions": [{"type": "Available", "status": available}]},
        });
        object.to_string().into_bytes()
    }

    #[test]
    fn a_server_is_asked_once_and_again_when_something_changed() {
        let mut known = Known::default();
        let start = Instant::now();
        let names = |due: Vec<(String, Arc<Api>, u64)>| {
            due.into_iter().map(|(_, _, generation)| generation).collect::<Vec<_>>()
        };
        known.set("v1.example.com", Some(&service("False", 443)));
        assert_eq!(names(known.due(start)), [1]);
        assert!(names(known.due(start)).is_empty(), "it is being asked");
        known.set("v1.example.com", Some(&service("True", 443)));
        known.told("v1.example.com", 1, Documents { stale: true, ..Documents::default() });
        assert_eq!(known.apis().0[0].documents, None, "what was asked before it changed does not count");
        assert_eq!(names(known.due(start)), [2]);
        let told = Documents { resources: vec![json!({"resource": "ones"})], ..Documents::default() };
        known.told("v1.example.com", 2, told.clone());
        assert_eq!(known.apis().0[0].documents.as_deref(), Some(&told));
        assert!(names(known.due(Instant::now())).is_empty());
        known.set("v1.example.com", Some(&service("False", 443)));
        assert_eq!(known.apis().0[0].documents.as_deref(), Some(&told), "what it said is kept while it is away");
        known.set("v1.example.com", Some(&service("True", 8443)));
        assert_eq!(known.apis().0[0].documents, None, "another server says something else");
        known.set("v1.example.com", None);
        assert_eq!(known.apis(), Apis::default());
    }

    #[test]
    fn what_was_asked_of_another_of_the_same_name_does_not_count() {
        let mut known = Known::default();
        known.set("v1.example.com", Some(&service("True", 443)));
        let [(name, _, generation)] = &known.due(Instant::now())[..] else { panic!("not asked") };
        known.set("v1.example.com", None);
        known.set("v1.example.com", Some(&service("True", 8443)));
        known.told(name, *generation, Documents::default());
        assert_eq!(known.apis().0[0].documents, None);
        assert_eq!(known.due(Instant::now()).len(), 1, "it is asked itself");
    }
}
