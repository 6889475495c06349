//! How far back somebody may look. What is bound in a namespace opens the past of that namespace, not of one that had its name
//! before: that was somebody else's. To who holds no more than that, history begins with the namespace.

use kontiki_model::{Key, Revision, Status};
use kontiki_raft::{EventKind, ReadError};

use super::limits::{SEARCH_EVENTS_MAX, SEARCH_STEP_EVENTS};
use crate::{
    admission::NAMESPACES,
    authz::{self, Question},
    core::{Core, unreadable},
    failure,
    route::{ResourceInfo, Target},
};

/// The first revision that may be told of to somebody who was allowed this today: 0 where there is no bound.
pub(crate) fn of(core: &Core, question: Question<'_>) -> Result<Revision, Status> {
    let Target::Resource(resource) = question.target else { return Ok(0) };
    if resource.namespace.is_empty() {
        return Ok(0);
    }
    let everywhere = Target::Resource(ResourceInfo { namespace: String::new(), ..resource.clone() });
    if authz::decide(core, Question { target: &everywhere, ..question })?.allowed {
        return Ok(0);
    }
    beginning(core, &home(&resource.namespace)).map_err(|error| unreadable(&error))
}

/// Why a revision is not told of. To who asks it is as good as no longer retained, and clients know what to do then.
pub(crate) fn refusal(core: &Core, question: Question<'_>, revision: Revision) -> Result<Option<Status>, Status> {
    let Target::Resource(ResourceInfo { namespace, resource, .. }) = question.target else { return Ok(None) };
    // A namespace that has not changed since is the one that it was: most are told apart without their history.
    let is_same = || core.log.head(&home(namespace)).is_some_and(|(last, _)| last <= revision);
    if namespace.is_empty() || is_same() {
        return Ok(None);
    }
    let begins = of(core, question)?;
    let refused = || {
        failure::expired(format!(
            "too old resource version: {revision}: the namespace {namespace:?} of today was not there yet, and what was is told \
             to those who may {} {resource} in all namespaces",
            question.verb
        ))
    };
    Ok((revision < begins).then(refused))
}

fn home(namespace: &str) -> Key {
    Key::new(NAMESPACES.resource, "", namespace)
}

/// Since when a namespace has been there without a break. What is not there begins later than anything.
fn beginning(core: &Core, namespace: &Key) -> Result<Revision, ReadError> {
    if core.log.head(namespace).is_none() {
        return Ok(Revision::MAX);
    }
    let mut oldest = None;
    for _ in 0..SEARCH_EVENTS_MAX / SEARCH_STEP_EVENTS {
        let events = core.log.history(namespace, oldest, SEARCH_STEP_EVENTS)?;
        for event in &events {
            match event.kind {
                EventKind::Created => return Ok(event.revision()),
                // It went a moment ago.
                EventKind::Deleted => return Ok(Revision::MAX),
                EventKind::Updated => oldest = Some(event.revision()),
            }
        }
        if events.len() < SEARCH_STEP_EVENTS {
            // It is older than what is known of it.
            return Ok(core.log.floor_of(&namespace.resource));
        }
    }
    Ok(oldest.unwrap_or(Revision::MAX))
}
