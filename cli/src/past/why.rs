//! `kontiki why`: from an object back to the person who set it off.

use std::fmt::Write as _;

use anyhow::Result;
use serde_json::Value;

use super::{object::Object, show};
use crate::args::{Why, WhyForm};

pub async fn why(arguments: Why) -> Result<()> {
    let object = Object::find(&arguments.target).await?;
    let answer = object.why(arguments.revision).await?;
    match arguments.output {
        WhyForm::Json => println!("{answer:#}"),
        WhyForm::Text => print!("{}", told(&object.shown(), &answer)),
    }
    Ok(())
}

fn told(shown: &str, answer: &Value) -> String {
    let mut out = String::new();
    let items = answer["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (place, item) in items.iter().enumerate() {
        if place > 0 {
            out.push('\n');
        }
        let what = match show::text(item, "/about") {
            "created" => "was created".to_owned(),
            "changed" => "was last changed, but for its status".to_owned(),
            "deleted" => "was deleted".to_owned(),
            _ => "changed".to_owned(),
        };
        // Writing to a String cannot fail.
        _ = writeln!(out, "{shown} {what}:");
        let links = item["links"].as_array().map(Vec::as_slice).unwrap_or_default();
        for link in links {
            _ = writeln!(out, "  {}", line(link));
        }
        _ = writeln!(out, "  {}", end(item, links.last()));
    }
    out
}

fn line(link: &Value) -> String {
    let event = &link["event"];
    let because = match show::text(link, "/because") {
        "asked" => "",
        "content" => "← the state that was last set by ",
        "deletion" => "← the deletion that was asked for by ",
        "owner" => "← its owner: ",
        _ => "← in reaction to ",
    };
    if link["hidden"] == true {
        return format!("{because}revision {}: an object you may not get", event["revision"]);
    }
    let of = if show::text(event, "/author/subresource").is_empty() { "" } else { " of" };
    format!(
        "{because}revision {}, {}: {}{of} {} by {}: {}",
        event["revision"],
        show::time(event),
        show::verb(event),
        show::object(event),
        show::author(event),
        show::summary(event),
    )
}

fn end(item: &Value, last: Option<&Value>) -> String {
    let user = last.map(|last| show::user(&last["event"])).unwrap_or_default();
    match show::text(item, "/end/reason") {
        "person" if user.is_empty() => "which somebody asked for".to_owned(),
        "person" => format!("which {user} asked for"),
        "system" if user.is_empty() => "which the system did by itself".to_owned(),
        "system" => format!("which {user} did by itself"),
        "forgotten" => format!("in reaction to revision {}, which is no longer retained", item["end"]["revision"]),
        _ => "and so on: the chain is too long".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_chain_reads_from_the_object_to_the_person() {
        let event = |revision: u64, resource: &str, user: &str, agent: &str| {
            json!({"revision": revision, "time": "2026-11-21T11:00:00.000Z", "type": "Created",
                   "resource": {"resource": resource, "namespace": "default", "name": "web"},
                   "author": {"user": user, "userAgent": agent, "verb": "create"}})
        };
        let answer = json!({"items": [{"about": "created", "end": {"reason": "person"}, "links": [
            {"because": "asked", "event": event(12, "pods", "system:kube-controller-manager", "kontiki-controllers")},
            {"because": "content", "hidden": true, "event": {"revision": 10}},
            {"because": "reactedTo", "event": event(9, "deployments.apps", "alice", "kubectl/v1.36.0 (linux)")},
        ]}]});
        expect_test::expect![[r#"
            pod/web was created:
              revision 12, 2026-11-21T11:00:00Z: create pods/web -n default by system:kube-controller-manager (kontiki-controllers): created
              ← the state that was last set by revision 10: an object you may not get
              ← in reaction to revision 9, 2026-11-21T11:00:00Z: create deployments.apps/web -n default by alice (kubectl/v1.36.0): created
              which alice asked for
        "#]]
        .assert_eq(&told("pod/web", &answer));
    }
}
