//! Events: what an agent did and why, told where `kubectl describe` shows it. Repetitions are counted. As in Kubernetes they are
//! of the form of core/v1 (with a source), and those of the scheduler of that of events.k8s.io/v1 (with an action).

use std::{
    borrow::Cow,
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{MicroTime, Time},
    jiff::Timestamp,
};
use kube::{
    Api, Client, Resource,
    api::{Patch, PatchParams, PostParams},
    core::ObjectMeta,
};
use serde_json::json;
use tokio::time::Instant;
use tracing::debug;

use crate::caused_by;

/// Repetitions remembered; the oldest is forgotten first, which costs only a new event object.
const REMEMBERED_MAX: usize = 2048;
/// Events about one object that may follow each other at once, and how long it takes until one more may: an object that
/// fails again and again must not fill the log (the figures of client-go's spam filter).
const BURST_MAX: u32 = 25;
const REFILL: Duration = Duration::from_secs(300);
/// Of a DNS subdomain, which an event's name is.
const NAME_LENGTH_MAX: usize = 253;
/// Of the message of an event with an action; a longer one is cut.
const MESSAGE_LENGTH_MAX: usize = 1024;
const CUT: &str = " ...";

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
    action: Option<&'static str>,
    reason: String,
    message: String,
}

#[derive(Default)]
struct Remembered {
    events: HashMap<Repetition, (String, i32)>,
    order: VecDeque<Repetition>,
    told: HashMap<String, Allowance>,
}

/// How much may be told about one object.
#[derive(Clone, Copy)]
struct Allowance {
    left: u32,
    /// When the last refill was counted.
    since: Instant,
}

impl Remembered {
    /// Takes one event about the object with this uid from its allowance; `false` if there is none left.
    fn allow(&mut self, uid: &str, now: Instant) -> bool {
        if self.told.len() >= REMEMBERED_MAX && !self.told.contains_key(uid) {
            // Those with a full allowance by now need no entry; of an even larger crowd everybody begins anew.
            self.told.retain(|_, one| now.duration_since(one.since) < REFILL * (BURST_MAX - one.left));
            if self.told.len() >= REMEMBERED_MAX {
                self.told.clear();
            }
        }
        let one = self.told.entry(uid.to_owned()).or_insert(Allowance { left: BURST_MAX, since: now });
        let refills = now.duration_since(one.since).as_secs() / REFILL.as_secs();
        let refills = u32::try_from(refills).unwrap_or(BURST_MAX);
        one.since = if one.left + refills.min(BURST_MAX) >= BURST_MAX { now } else { one.since + REFILL * refills };
        one.left = (one.left + refills.min(BURST_MAX)).min(BURST_MAX);
        let allowed = one.left > 0;
        one.left = one.left.saturating_sub(1);
        allowed
    }
}

/// The name of an event about the object of this name, which may be as long as a name can be.
fn name_of(object: &str, now: Timestamp) -> String {
    let moment = format!(".{:x}", now.as_nanosecond());
    let kept = object.get(..NAME_LENGTH_MAX - moment.len()).unwrap_or(object);
    format!("{}{moment}", kept.trim_end_matches(['.', '-']))
}

/// The message as far as an event with an action can hold it.
fn shortened(message: &str) -> Cow<'_, str> {
    if message.len() <= MESSAGE_LENGTH_MAX {
        return message.into();
    }
    let end = message.floor_char_boundary(MESSAGE_LENGTH_MAX - CUT.len());
    format!("{}{CUT}", &message[..end]).into()
}

/// Writes events in the name of one component. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    client: Client,
    component: &'static str,
    /// The machine or the process that it runs as.
    instance: Option<String>,
    remembered: Arc<Mutex<Remembered>>,
}

/// What an event about `object` refers to: this version of it, which is the event's cause.
pub fn reference<K: Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
    ObjectReference { resource_version: object.meta().resource_version.clone(), ..object.object_ref(&()) }
}

impl Recorder {
    pub fn new(client: Client, component: &'static str, instance: Option<String>) -> Self {
        Recorder { client, component, instance, remembered: Arc::default() }
    }

    /// Tells `note` about `object`. Events are best effort: a failure is logged and forgotten, as in Kubernetes.
    /// More than [`BURST_MAX`] about one object are left out.
    pub async fn record(&self, object: &ObjectReference, note: Note<'_>) {
        self.tell(object, None, note).await;
    }

    /// The same with the action that was taken or tried, e.g. `Binding`: it takes a recorder that knows its instance.
    pub async fn record_action(&self, object: &ObjectReference, action: &'static str, note: Note<'_>) {
        self.tell(object, Some(action), Note { message: &shortened(note.message), ..note }).await;
    }

    async fn tell(&self, object: &ObjectReference, action: Option<&'static str>, note: Note<'_>) {
        let uid = object.uid.as_deref().unwrap_or_default();
        if !self.lock().allow(uid, Instant::now()) {
            debug!(uid, reason = note.reason, "too many events about this object");
            return;
        }
        if let Err(error) = self.write(object, action, note).await {
            debug!(%error, reason = note.reason, "event not recorded");
        }
    }

    async fn write(
        &self,
        object: &ObjectReference,
        action: Option<&'static str>,
        note: Note<'_>,
    ) -> Result<(), kube::Error> {
        let namespace =
            object.namespace.clone().filter(|name| !name.is_empty()).unwrap_or_else(|| "default".to_owned());
        let client = caused_by(&self.client, object.resource_version.as_deref());
        let api: Api<Event> = Api::namespaced(client, &namespace);
        let now = Timestamp::now();
        let repetition = Repetition {
            uid: object.uid.clone().unwrap_or_default(),
            field_path: object.field_path.clone(),
            action,
            reason: note.reason.to_owned(),
            message: note.message.to_owned(),
        };
        if let Some((name, count)) = self.again(&repetition) {
            let patch = match action {
                Some(_) => json!({"series": {"count": count, "lastObservedTime": MicroTime(now)}}),
                None => json!({"count": count, "lastTimestamp": Time(now)}),
            };
            match api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await {
                // Events expire: then this one is told anew below.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                other => return other.map(|_| ()),
            }
        }
        let name = name_of(object.name.as_deref().unwrap_or("unknown"), now);
        let told = Event {
            metadata: ObjectMeta { name: Some(name.clone()), namespace: Some(namespace), ..ObjectMeta::default() },
            involved_object: object.clone(),
            reason: Some(note.reason.to_owned()),
            message: Some(note.message.to_owned()),
            type_: Some(if note.warning { "Warning" } else { "Normal" }.to_owned()),
            reporting_component: Some(self.component.to_owned()),
            reporting_instance: self.instance.clone(),
            ..Event::default()
        };
        let event = match action {
            Some(action) => Event { action: Some(action.to_owned()), event_time: Some(MicroTime(now)), ..told },
            None => Event {
                count: Some(1),
                first_timestamp: Some(Time(now)),
                last_timestamp: Some(Time(now)),
                source: Some(EventSource { component: Some(self.component.to_owned()), host: self.instance.clone() }),
                ..told
            },
        };
        api.create(&PostParams::default(), &event).await?;
        self.remember(repetition, name);
        Ok(())
    }

    fn again(&self, repetition: &Repetition) -> Option<(String, i32)> {
        let mut remembered = self.lock();
        let (name, count) = remembered.events.get_mut(repetition)?;
        *count += 1;
        Some((name.clone(), *count))
    }

    fn remember(&self, repetition: Repetition, name: String) {
        let mut remembered = self.lock();
        if remembered.events.insert(repetition.clone(), (name, 1)).is_none() {
            remembered.order.push_back(repetition);
        }
        if remembered.order.len() > REMEMBERED_MAX
            && let Some(oldest) = remembered.order.pop_front()
        {
            remembered.events.remove(&oldest);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Remembered> {
        self.remembered.lock().expect("nobody panics while holding the recorder's lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_that_fails_for_ever_does_not_fill_the_log() {
        let (mut remembered, start) = (Remembered::default(), Instant::now());
        let mut tell = |uid: &str, after: Duration| remembered.allow(uid, start + after);
        let told = (0..100).filter(|_| tell("a", Duration::ZERO)).count();
        assert_eq!(told, 25);
        assert!(tell("b", Duration::ZERO), "another object has its own allowance");
        assert!(!tell("a", REFILL - Duration::from_secs(1)));
        assert!(tell("a", REFILL));
        assert!(!tell("a", REFILL));
        let later = (0..100).filter(|_| tell("a", REFILL * 1000)).count();
        assert_eq!(later, 25);
    }

    #[test]
    fn an_event_about_a_long_name_has_a_name() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        assert_eq!(name_of("web", now), "web.17979cfe362a0000");
        let long = name_of(&"a".repeat(253), now);
        assert_eq!((long.len(), long.ends_with("a.17979cfe362a0000")), (253, true));
        let cut_at_a_dot = name_of(&format!("{}.{}", "a".repeat(235), "b".repeat(17)), now);
        assert_eq!(cut_at_a_dot, format!("{}.17979cfe362a0000", "a".repeat(235)));
    }

    #[test]
    fn a_message_beside_an_action_is_as_long_as_may_be() {
        assert_eq!(shortened("0/1 nodes are available"), "0/1 nodes are available");
        assert_eq!(shortened(&"n".repeat(1024)).len(), 1024);
        assert_eq!(shortened(&"n".repeat(1025)), format!("{} ...", "n".repeat(1020)));
        // A letter of two bytes is not cut in two.
        assert_eq!(shortened(&"ö".repeat(513)), format!("{} ...", "ö".repeat(510)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut remembered, now) = (Remembered::default(), Instant::now());
        assert!((0..3 * REMEMBERED_MAX).all(|n| remembered.allow(&n.to_string(), now)));
        assert!(remembered.told.len() <= REMEMBERED_MAX);
    }
}
