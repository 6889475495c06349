//! Whether the quotas of a namespace let a write pass, and what they note of it. The bounds that hold are those in the status:
//! what the quota controller has taken over, together with what is used.

use chrono::{DateTime, Utc};
use kontiki_model::Resources;
use serde_json::{Value, json};

use crate::Kind;
use crate::tree::{at, text};

/// One write of one object, in the form that is stored.
#[derive(Clone, Copy)]
pub struct Charge<'a> {
    pub kind: &'a Kind,
    pub new: &'a Value,
    /// What it changes; nothing for a new object.
    pub old: Option<&'a Value>,
    /// What the world has come to, which nobody can refuse (a status): it is noted also where it goes beyond the bounds.
    pub is_fact: bool,
    pub now: DateTime<Utc>,
}

/// Whether a quota bounds, or is going to bound, anything of a kind.
pub fn concerns(quota: &Value, kind: &Kind) -> bool {
    let bounds = |pointer: &str| at(quota, pointer).as_object().into_iter().flatten();
    bounds("/spec/hard").chain(bounds("/status/hard")).any(|(name, _)| kind.is_bounded_by(name))
}

/// The status of each quota as it is after the write, `None` where it stays; or why the write is refused.
pub fn charge(quotas: &[Value], charge: &Charge<'_>) -> Result<Vec<Option<Value>>, String> {
    let mut subject_to = Vec::with_capacity(quotas.len());
    for quota in quotas {
        subject_to.push(is_subject_to(quota, charge)?);
    }
    let usage = charge.kind.usage(charge.new, charge.now);
    let negative = usage.only(|name| usage.get(name).is_some_and(|amount| amount.is_negative()));
    if !negative.is_empty() {
        return Err(format!("quota usage is negative for resource(s): {}", joined(&negative)));
    }
    let grown = charge.old.map(|old| usage.beyond(&charge.kind.usage(old, charge.now)));
    let judged = quotas.iter().zip(subject_to).map(|(quota, subject)| {
        if !subject {
            return Ok(None);
        }
        // What comes into the quota's scopes by the change is new to it.
        let knew = |old: &&Value| charge.kind.is_subject_to(quota, &hard(quota), old);
        let more = match charge.old.filter(knew) {
            Some(_) => grown.as_ref().unwrap_or(&usage),
            None => &usage,
        };
        note(quota, &more.without_zeros(), charge.is_fact)
    });
    judged.collect()
}

fn hard(quota: &Value) -> Resources {
    Resources::from_json(at(quota, "/status/hard"))
}

/// Whether the quota is about the object. It must know what is used by now, and the object must say what is measured.
fn is_subject_to(quota: &Value, charge: &Charge<'_>) -> Result<bool, String> {
    let Charge { kind, new, .. } = charge;
    let hard = hard(quota);
    let Some(measure) = kind.measure.filter(|_| kind.is_subject_to(quota, &hard, new)) else { return Ok(false) };
    let name = text(quota, "/metadata/name");
    let bounded: Vec<&str> = hard.names().filter(|name| kind.is_bounded_by(name)).collect();
    (measure.must_say)(new, &bounded).map_err(|why| format!("failed quota: {name}: {why}"))?;
    let known = Resources::from_json(at(quota, "/status/used"));
    if !bounded.iter().all(|name| known.has(name)) {
        return Err(format!("status unknown for quota: {name}, resources: {}", bounded.join(",")));
    }
    Ok(true)
}

/// The quota's status with this much more used.
fn note(quota: &Value, more: &Resources, is_fact: bool) -> Result<Option<Value>, String> {
    let hard = hard(quota);
    let requested = more.only(|name| hard.has(name));
    if requested.is_empty() {
        return Ok(None);
    }
    let before = Resources::from_json(at(quota, "/status/used"));
    let mut after = before.clone();
    after.add(&requested);
    let exceeded = requested.only(|name| match (after.get(name), hard.get(name)) {
        (Some(after), Some(bound)) => after > bound,
        (None, _) | (_, None) => false,
    });
    if !exceeded.is_empty() && !is_fact {
        let (used, limited) = (before.only(|name| exceeded.has(name)), hard.only(|name| exceeded.has(name)));
        let name = text(quota, "/metadata/name");
        return Err(format!("exceeded quota: {name}, requested: {exceeded}, used: {used}, limited: {limited}"));
    }
    Ok(Some(json!({"hard": at(quota, "/status/hard"), "used": after.to_json()})))
}

fn joined(resources: &Resources) -> String {
    resources.names().collect::<Vec<_>>().join(",")
}
