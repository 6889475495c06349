//! What a DELETE makes of an object: nothing yet, marked, or gone. Pure; Kubernetes' `BeforeDelete` and the registry's
//! finalizer rules, as one decision.

use chrono::{DateTime, TimeDelta, Utc};
use kontiki_kinds::{Deletion, Kind};
use serde_json::Value;

use super::{
    call::time_text,
    limits::GRACE_PERIOD_S_MAX,
    object::{self, text},
    options::{DeleteOptions, Propagation},
};

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// What happens to the object.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It is on its way out already, and this request changes nothing.
    Already,
    /// It stays for now, in this form.
    Mark(Value),
    /// It goes now; this is its last form, if that differs from what is stored.
    Remove(Option<Value>),
}

pub fn decide(kind: &Kind, object: &Value, options: &DeleteOptions, now: DateTime<Utc>) -> Verdict {
    let mut marked = object.clone();
    let finalizers = finalizers_after(kind, object, options.propagation);
    if finalizers != finalizers_of(object) {
        set_finalizers(&mut marked, &finalizers);
    }
    match kind.deletion {
        Deletion::Graceful => graceful(kind, object, marked, options, now, finalizers.is_empty()),
        Deletion::SpecFinalizers if spec_finalizers(object) => {
            if !is_marked(object) {
                object::metadata(&mut marked).insert("deletionTimestamp".to_owned(), time_text(now).into());
            } else {
                // Finalizers cannot be chosen any more once the deletion has begun.
                marked = object.clone();
            }
            marked["status"]["phase"] = "Terminating".into();
            changed(object, marked)
        }
        Deletion::Immediate | Deletion::SpecFinalizers if finalizers.is_empty() => Verdict::Remove(None),
        Deletion::Immediate | Deletion::SpecFinalizers => {
            mark(&mut marked, now, 0);
            changed(object, marked)
        }
    }
}

fn graceful(
    kind: &Kind,
    object: &Value,
    mut marked: Value,
    options: &DeleteOptions,
    now: DateTime<Utc>,
    unheld: bool,
) -> Verdict {
    let period = if is_marked(object) {
        // A second request may only shorten the period.
        let current = object.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64);
        let current = current.unwrap_or(0).clamp(0, GRACE_PERIOD_S_MAX);
        match options.grace_period_s {
            Some(period) if period < current => {
                let shortened = deletion_time(object, now) - TimeDelta::seconds(current - period);
                let metadata = object::metadata(&mut marked);
                metadata.insert("deletionTimestamp".to_owned(), time_text(shortened).into());
                metadata.insert("deletionGracePeriodSeconds".to_owned(), period.into());
                period
            }
            _ if current > 0 => return Verdict::Already,
            _ => 0,
        }
    } else {
        let asked = options.grace_period_s.unwrap_or_else(|| (kind.grace_period)(object)).min(GRACE_PERIOD_S_MAX);
        let period = if (kind.removable_now)(object) { 0 } else { asked };
        mark(&mut marked, now, period);
        period
    };
    if period == 0 && unheld {
        return Verdict::Remove((marked != *object).then_some(marked));
    }
    changed(object, marked)
}

/// Sets deletion time and grace period; the generation tells controllers that something is new.
fn mark(object: &mut Value, now: DateTime<Utc>, period: i64) {
    let fresh = !is_marked(object);
    let metadata = object::metadata(object);
    if fresh {
        if let Some(generation) =
            metadata.get("generation").and_then(Value::as_i64).filter(|generation| *generation > 0)
        {
            metadata.insert("generation".to_owned(), (generation + 1).into());
        }
        let time = time_text(now + TimeDelta::seconds(period));
        metadata.insert("deletionTimestamp".to_owned(), time.into());
    }
    metadata.insert("deletionGracePeriodSeconds".to_owned(), period.into());
}

fn changed(object: &Value, marked: Value) -> Verdict {
    if marked == *object { Verdict::Already } else { Verdict::Mark(marked) }
}

fn is_marked(object: &Value) -> bool {
    !text(object, "/metadata/deletionTimestamp").is_empty()
}

fn deletion_time(object: &Value, now: DateTime<Utc>) -> DateTime<Utc> {
    let time = DateTime::parse_from_rfc3339(text(object, "/metadata/deletionTimestamp"));
    time.map_or(now, |time| time.to_utc())
}

fn spec_finalizers(object: &Value) -> bool {
    object.pointer("/spec/finalizers").and_then(Value::as_array).is_some_and(|finalizers| !finalizers.is_empty())
}

fn finalizers_of(object: &Value) -> Vec<String> {
    let finalizers = object.pointer("/metadata/finalizers").and_then(Value::as_array);
    finalizers.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The propagation policy becomes a finalizer that the garbage collector acts on; without a policy, finalizers stay, and if
/// none of them says what should happen, the kind does.
fn finalizers_after(kind: &Kind, object: &Value, propagation: Option<Propagation>) -> Vec<String> {
    let mut finalizers = finalizers_of(object);
    let wanted = match propagation {
        None if kind.orphans.is_some() && !finalizers.iter().any(|one| one == ORPHAN || one == FOREGROUND) => {
            Some(ORPHAN)
        }
        None => return finalizers,
        Some(_) if !kind.has_dependents => None,
        Some(Propagation::Background) => None,
        Some(Propagation::Foreground) => Some(FOREGROUND),
        Some(Propagation::Orphan) => Some(ORPHAN),
    };
    finalizers.retain(|one| (one != ORPHAN && one != FOREGROUND) || Some(one.as_str()) == wanted);
    if let Some(wanted) = wanted
        && !finalizers.iter().any(|one| one == wanted)
    {
        finalizers.push(wanted.to_owned());
    }
    finalizers
}

fn set_finalizers(object: &mut Value, finalizers: &[String]) {
    let metadata = object::metadata(object);
    match finalizers {
        [] => metadata.shift_remove("finalizers"),
        all => metadata.insert("finalizers".to_owned(), all.into()),
    };
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use kontiki_kinds::by_gvk;
    use serde_json::json;

    use super::*;

    const NOW: &str = "2026-01-01T00:00:30Z";

    fn verdict(kind: &str, object: Value, options: DeleteOptions) -> Verdict {
        let now = DateTime::parse_from_rfc3339(NOW).unwrap().to_utc();
        decide(by_gvk("", "v1", kind).unwrap(), &object, &options, now)
    }

    fn grace(seconds: i64) -> DeleteOptions {
        DeleteOptions { grace_period_s: Some(seconds), ..DeleteOptions::default() }
    }

    fn policy(propagation: Propagation) -> DeleteOptions {
        DeleteOptions { propagation: Some(propagation), ..DeleteOptions::default() }
    }

    #[test]
    fn objects_go_at_once_unless_finalizers_hold_them() {
        let plain = || DeleteOptions::default();
        assert_eq!(verdict("ConfigMap", json!({"metadata": {}}), plain()), Verdict::Remove(None));
        let held = json!({"metadata": {"generation": 3, "finalizers": ["x/y"]}});
        let marked = json!({"metadata": {
            "generation": 4, "finalizers": ["x/y"], "deletionTimestamp": NOW, "deletionGracePeriodSeconds": 0}});
        assert_eq!(verdict("ConfigMap", held, plain()), Verdict::Mark(marked.clone()));
        assert_eq!(verdict("ConfigMap", marked, plain()), Verdict::Already);
    }

    #[test]
    fn a_propagation_policy_becomes_a_finalizer() {
        let held = |finalizer: &str| {
            Verdict::Mark(json!({"metadata": {
                "finalizers": [finalizer], "deletionTimestamp": NOW, "deletionGracePeriodSeconds": 0}}))
        };
        let plain = || json!({"metadata": {}});
        assert_eq!(verdict("ConfigMap", plain(), policy(Propagation::Foreground)), held(FOREGROUND));
        assert_eq!(verdict("ConfigMap", plain(), policy(Propagation::Orphan)), held(ORPHAN));
        assert_eq!(verdict("ConfigMap", plain(), policy(Propagation::Background)), Verdict::Remove(None));
        for ignored in [Propagation::Foreground, Propagation::Orphan] {
            assert_eq!(verdict("Event", plain(), policy(ignored)), Verdict::Remove(None), "nothing depends on it");
        }
        // A later request with another policy takes it back.
        let waiting = json!({"metadata": {"finalizers": [FOREGROUND], "deletionTimestamp": "x"}});
        assert_eq!(verdict("ConfigMap", waiting, policy(Propagation::Background)), Verdict::Remove(None));
    }

    #[test]
    fn pods_get_their_grace_period() {
        let pod = |node: &str| json!({"metadata": {"generation": 1}, "spec": {"nodeName": node, "terminationGracePeriodSeconds": 30}});
        let marked = |seconds: i64, time: &str| {
            let mut marked = pod("n");
            marked["metadata"] =
                json!({"generation": 2, "deletionTimestamp": time, "deletionGracePeriodSeconds": seconds});
            marked
        };
        let plain = DeleteOptions::default();
        assert_eq!(verdict("Pod", pod("n"), plain.clone()), Verdict::Mark(marked(30, "2026-01-01T00:01:00Z")));
        assert_eq!(verdict("Pod", pod("n"), grace(5)), Verdict::Mark(marked(5, "2026-01-01T00:00:35Z")));
        assert_eq!(verdict("Pod", pod("n"), grace(0)), Verdict::Remove(Some(marked(0, NOW))));
        assert!(matches!(verdict("Pod", pod(""), plain.clone()), Verdict::Remove(Some(_))));
        // Only shorter periods count for one that is on its way.
        let going = marked(30, "2026-01-01T00:01:00Z");
        assert_eq!(verdict("Pod", going.clone(), plain), Verdict::Already);
        assert_eq!(verdict("Pod", going.clone(), grace(40)), Verdict::Already);
        assert_eq!(verdict("Pod", going.clone(), grace(7)), Verdict::Mark(marked(7, "2026-01-01T00:00:37Z")));
        assert_eq!(verdict("Pod", going, grace(0)), Verdict::Remove(Some(marked(0, NOW))));
    }

    #[test]
    fn no_grace_period_is_too_long_to_be_told() {
        let pod = json!({"metadata": {}, "spec": {"nodeName": "n", "terminationGracePeriodSeconds": i64::MAX}});
        for options in [DeleteOptions::default(), grace(i64::MAX)] {
            let Verdict::Mark(going) = verdict("Pod", pod.clone(), options) else { panic!("not marked") };
            assert_eq!(going["metadata"]["deletionGracePeriodSeconds"], GRACE_PERIOD_S_MAX);
            let Verdict::Mark(sooner) = verdict("Pod", going, grace(7)) else { panic!("not shortened") };
            assert_eq!(sooner["metadata"]["deletionTimestamp"], "2026-01-01T00:00:37Z");
        }
    }

    #[test]
    fn namespaces_wait_for_their_content() {
        let active = json!({"metadata": {}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
        let Verdict::Mark(ending) = verdict("Namespace", active, DeleteOptions::default()) else {
            panic!("not marked")
        };
        assert_eq!(ending["metadata"], json!({"deletionTimestamp": NOW}));
        assert_eq!(ending["status"]["phase"], "Terminating");
        assert_eq!(verdict("Namespace", ending, policy(Propagation::Foreground)), Verdict::Already);
        let emptied = json!({"metadata": {"deletionTimestamp": NOW}, "spec": {}});
        assert_eq!(verdict("Namespace", emptied, DeleteOptions::default()), Verdict::Remove(None));
    }
}
