//! Events (`core/v1`): what an agent did and why, told where `kubectl describe` shows it. Repetitions are counted.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
};

use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
    core::ObjectMeta,
};
use tracing::debug;

/// Repetitions remembered; the oldest is forgotten first, which costs only a new event object.
const REMEMBERED_MAX: usize = 2048;

/// What to tell.
#[derive(Clone, Copy, Debug)]
pub struct Note<'a> {
    pub warning: bool,
    /// CamelCase, e.g. `SuccessfulCreate`.
    pub reason: &'a str,
    pub message: &'a str,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Repetition {
    uid: String,
    field_path: Option<String>,
    reason: String,
    message: String,
}

#[derive(Default)]
struct Remembered {
    events: HashMap<Repetition, (String, i32)>,
    order: VecDeque<Repetition>,
}

/// Writes events in the name of one component. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    client: Client,
    component: &'static str,
    host: Option<String>,
    remembered: Arc<Mutex<Remembered>>,
}

impl Recorder {
    pub fn new(client: Client, component: &'static str, host: Option<String>) -> Self {
        Recorder { client, component, host, remembered: Arc::default() }
    }

    /// Tells `note` about `object`. Events are best effort: a failure is logged and forgotten, as in Kubernetes.
    pub async fn record(&self, object: &ObjectReference, note: Note<'_>) {
        if let Err(error) = self.write(object, note).await {
            debug!(%error, reason = note.reason, "event not recorded");
        }
    }

    async fn write(&self, object: &ObjectReference, note: Note<'_>) -> Result<(), kube::Error> {
        let namespace =
            object.namespace.clone().filter(|name| !name.is_empty()).unwrap_or_else(|| "default".to_owned());
        let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        let now = Timestamp::now();
        let repetition = Repetition {
            uid: object.uid.clone().unwrap_or_default(),
            field_path: object.field_path.clone(),
            reason: note.reason.to_owned(),
            message: note.message.to_owned(),
        };
        if let Some((name, count)) = self.again(&repetition) {
            let patch = serde_json::json!({"count": count, "lastTimestamp": Time(now)});
            match api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await {
                // Events expire: then this one is told anew below.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                other => return other.map(|_| ()),
            }
        }
        let name = format!("{}.{:x}", object.name.as_deref().unwrap_or("unknown"), now.as_nanosecond());
        let event = Event {
            metadata: ObjectMeta { name: Some(name.clone()), namespace: Some(namespace), ..ObjectMeta::default() },
            involved_object: object.clone(),
            reason: Some(note.reason.to_owned()),
            message: Some(note.message.to_owned()),
            type_: Some(if note.warning { "Warning" } else { "Normal" }.to_owned()),
            count: Some(1),
            first_timestamp: Some(Time(now)),
            last_timestamp: Some(Time(now)),
            source: Some(EventSource { component: Some(self.component.to_owned()), host: self.host.clone() }),
            reporting_component: Some(self.component.to_owned()),
            reporting_instance: self.host.clone(),
            ..Event::default()
        };
        api.create(&PostParams::default(), &event).await?;
        self.remember(repetition, name);
        Ok(())
    }

    fn again(&self, repetition: &Repetition) -> Option<(String, i32)> {
        let mut remembered = self.remembered.lock().expect("nobody panics while holding the recorder's lock");
        let (name, count) = remembered.events.get_mut(repetition)?;
        *count += 1;
        Some((name.clone(), *count))
    }

    fn remember(&self, repetition: Repetition, name: String) {
        let mut remembered = self.remembered.lock().expect("nobody panics while holding the recorder's lock");
        if remembered.events.insert(repetition.clone(), (name, 1)).is_none() {
            remembered.order.push_back(repetition);
        }
        if remembered.order.len() > REMEMBERED_MAX
            && let Some(oldest) = remembered.order.pop_front()
        {
            remembered.events.remove(&oldest);
        }
    }
}
