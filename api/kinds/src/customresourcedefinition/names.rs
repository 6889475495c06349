//! What the server says of a definition: whether its names are free, and whether it is served.

use serde_json::{Value, json};

use crate::custom::is_true;
use crate::tree::{at, list, object, text};

/// What is to be written to a definition's status.
#[derive(Clone, Debug, PartialEq)]
pub struct Settled {
    pub definition: Value,
}

/// The names that one definition has been given, as another one may want them.
struct Taken<'a> {
    group: &'a str,
    accepted: &'a Value,
}

/// The definition with the status it must have beside the others; `None` if it has it already.
///
/// Names go to whoever was accepted first. A definition that was served stays so: what it lost it only no longer gains.
pub fn settle(definition: &Value, others: &[Value], now: &str) -> Option<Settled> {
    let group = text(definition, "/spec/group");
    let name = text(definition, "/metadata/name");
    let taken: Vec<Taken<'_>> = others
        .iter()
        .filter(|other| text(other, "/metadata/name") != name && text(other, "/spec/group") == group)
        .map(|other| Taken { group, accepted: at(other, "/status/acceptedNames") })
        .collect();
    let requested = at(definition, "/spec/names");
    let (accepted, conflict) = accept(requested, at(definition, "/status/acceptedNames"), &taken);
    let mut settled = definition.clone();
    object(&mut settled, "status")["acceptedNames"] = accepted;
    match &conflict {
        None => set_condition(&mut settled, "NamesAccepted", "True", "NoConflicts", "no conflicts found", now),
        Some((reason, message)) => set_condition(&mut settled, "NamesAccepted", "False", reason, message, now),
    }
    if !is_true(definition, "Established") {
        match &conflict {
            None => {
                let message = "the initial names have been accepted";
                set_condition(&mut settled, "Established", "True", "InitialNamesAccepted", message, now);
            }
            Some(_) => {
                let message = "not all names are accepted";
                set_condition(&mut settled, "Established", "False", "NotAccepted", message, now);
            }
        }
    }
    (settled != *definition).then_some(Settled { definition: settled })
}

/// The names that can be had: what is free of those asked for, else what was had before.
fn accept(requested: &Value, had: &Value, taken: &[Taken<'_>]) -> (Value, Option<(&'static str, String)>) {
    debug_assert!(taken.iter().all(|one| one.group == taken[0].group), "only names of one group meet");
    let resources: Vec<&str> = taken.iter().flat_map(|one| resource_names(one.accepted)).collect();
    let kinds: Vec<&str> = taken.iter().flat_map(|one| kind_names(one.accepted)).collect();
    let mut accepted = json!({});
    // As Kubernetes looks at them one by one, the last conflict is told.
    let mut conflict = None;
    let used = |name: &str, all: &[&str]| !name.is_empty() && all.contains(&name);
    let mut single = |member: &str, reason: &'static str, all: &[&str], conflict: &mut Option<_>| {
        let wanted = text(requested, &format!("/{member}"));
        let name = match used(wanted, all) {
            true => {
                *conflict = Some((reason, format!("{wanted:?} is already in use")));
                text(had, &format!("/{member}"))
            }
            false => wanted,
        };
        if !name.is_empty() || matches!(member, "plural" | "kind") {
            accepted[member] = name.into();
        }
    };
    single("plural", "PluralConflict", &resources, &mut conflict);
    single("singular", "SingularConflict", &resources, &mut conflict);
    let mut short = list(requested, "/shortNames");
    let taken: Vec<&str> = short.iter().filter_map(Value::as_str).filter(|name| used(name, &resources)).collect();
    if !taken.is_empty() {
        conflict = Some(("ShortNamesConflict", format!("{:?} is already in use", taken.join(", "))));
        short = list(had, "/shortNames");
    }
    single("kind", "KindConflict", &kinds, &mut conflict);
    single("listKind", "ListKindConflict", &kinds, &mut conflict);
    if !short.is_empty() {
        accepted["shortNames"] = short.into();
    }
    let categories = list(requested, "/categories");
    if !categories.is_empty() {
        accepted["categories"] = categories.into();
    }
    (accepted, conflict)
}

fn resource_names(accepted: &Value) -> impl Iterator<Item = &str> {
    let short = list(accepted, "/shortNames").iter().filter_map(Value::as_str);
    [text(accepted, "/plural"), text(accepted, "/singular")].into_iter().chain(short).filter(|name| !name.is_empty())
}

fn kind_names(accepted: &Value) -> impl Iterator<Item = &str> {
    [text(accepted, "/kind"), text(accepted, "/listKind")].into_iter().filter(|name| !name.is_empty())
}

/// Sets a condition; the time of its last change moves only with its status.
pub(super) fn set_condition(definition: &mut Value, kind: &str, status: &str, reason: &str, message: &str, now: &str) {
    let mut conditions = list(definition, "/status/conditions").to_vec();
    let wanted = |since: &str| json!({"type": kind, "status": status, "lastTransitionTime": since, "reason": reason, "message": message});
    match conditions.iter_mut().find(|one| text(one, "/type") == kind) {
        Some(one) => {
            let same = text(one, "/status") == status;
            let since = if same { text(one, "/lastTransitionTime").to_owned() } else { now.to_owned() };
            let observed = one.get("observedGeneration").cloned();
            *one = wanted(&since);
            if let Some(observed) = observed {
                one["observedGeneration"] = observed;
            }
        }
        None => conditions.push(wanted(now)),
    }
    object(definition, "status")["conditions"] = conditions.into();
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-01-01T00:00:00Z";

    fn definition(plural: &str, kind: &str, short: &[&str]) -> Value {
        json!({
            "metadata": {"name": format!("{plural}.example.com")},
            "spec": {"group": "example.com", "names": {
                "plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List"),
                "shortNames": short}},
            "status": {"conditions": null, "acceptedNames": {"plural": "", "kind": ""}},
        })
    }

    fn settled(definition: &Value, others: &[Value]) -> Value {
        settle(definition, others, NOW).expect("there is something to settle").definition
    }

    fn told(definition: &Value) -> Vec<String> {
        let conditions = list(definition, "/status/conditions").iter();
        conditions
            .map(|one| format!("{}={} {}", text(one, "/type"), text(one, "/status"), text(one, "/reason")))
            .collect()
    }

    #[test]
    fn names_that_are_free_are_accepted_and_then_nothing_is_left_to_settle() {
        let widgets = settled(&definition("widgets", "Widget", &["wd"]), &[]);
        assert_eq!(told(&widgets), ["NamesAccepted=True NoConflicts", "Established=True InitialNamesAccepted"]);
        assert_eq!(at(&widgets, "/status/acceptedNames"), at(&widgets, "/spec/names"));
        assert_eq!(settle(&widgets, std::slice::from_ref(&widgets), "later"), None);
    }

    #[test]
    fn names_go_to_whoever_came_first() {
        let first = settled(&definition("widgets", "Widget", &["wd"]), &[]);
        let table = [
            (definition("gadgets", "Widget", &[]), "ListKindConflict"),
            (definition("gadgets", "Gadget", &["wd"]), "ShortNamesConflict"),
            (definition("wd", "Gadget", &[]), "PluralConflict"),
        ];
        for (second, reason) in table {
            let second = settled(&second, std::slice::from_ref(&first));
            let expected = [format!("NamesAccepted=False {reason}"), "Established=False NotAccepted".to_owned()];
            assert_eq!(told(&second), expected);
        }
        let elsewhere = json!({"metadata": {"name": "x"}, "spec": {"group": "other.com"}, "status": first["status"]});
        let same = settled(&definition("widgets", "Widget", &["wd"]), &[elsewhere]);
        assert!(is_true(&same, "Established"));
    }

    #[test]
    fn what_is_served_stays_served_under_the_names_it_has() {
        let first = settled(&definition("widgets", "Widget", &["wd"]), &[]);
        let mut second = settled(&definition("gadgets", "Gadget", &["gd"]), std::slice::from_ref(&first));
        second["spec"]["names"]["shortNames"] = json!(["wd"]);
        let second = settled(&second, &[first]);
        assert!(is_true(&second, "Established") && !is_true(&second, "NamesAccepted"));
        assert_eq!(at(&second, "/status/acceptedNames/shortNames"), &json!(["gd"]));
    }
}
