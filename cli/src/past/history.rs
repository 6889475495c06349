//! `kontiki history`: what was changed of an object, by whom, why.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{object::Object, show};
use crate::args::{Form, History};

/// Events in one page.
const PAGE: usize = 200;

pub async fn history(arguments: History) -> Result<()> {
    let object = Object::find(&arguments.target).await?;
    let (mut items, mut before, mut floor) = (Vec::new(), None, Value::Null);
    let limit = arguments.limit as usize;
    while items.len() < limit {
        let page = object.history(PAGE.min(limit - items.len()), before, false).await?;
        items.extend(page["items"].as_array().cloned().unwrap_or_default());
        floor = page["floor"].clone();
        before = page["before"].as_u64();
        if before.is_none() {
            break;
        }
    }
    let whole = json!({"kind": "History", "apiVersion": "kontiki.dev/v1", "floor": floor, "items": items});
    match arguments.output {
        Form::Json => println!("{whole:#}"),
        Form::Yaml => print!("{}", serde_saphyr::to_string(&whole).context("writing YAML")?),
        Form::Table => {
            print!("{}", table(&items));
            if before.is_some() {
                println!("(older changes are not shown: --limit)");
            }
        }
    }
    Ok(())
}

fn table(items: &[Value]) -> String {
    let head = ["REVISION", "TIME", "VERB", "USER", "USER-AGENT", "CAUSE", "CHANGES"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(items.iter().map(|event| {
        vec![
            event["revision"].to_string(),
            show::time(event),
            show::verb(event),
            show::user(event),
            show::agent(event).to_owned(),
            event["cause"].as_u64().map_or_else(|| "-".to_owned(), |cause| cause.to_string()),
            show::summary(event),
        ]
    }));
    show::table(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_is_a_table() {
        let author = |user: &str, agent: &str, verb: &str| json!({"user": user, "userAgent": agent, "verb": verb});
        let items = [
            json!({"revision": 61, "time": "2026-11-21T11:35:03.5Z", "type": "Updated", "cause": 60,
                   "author": author("system:kube-controller-manager", "kontiki-controllers", "patch"),
                   "changes": {"fields": [{"field": "status.replicas", "from": 1, "to": 2}], "more": 0}}),
            json!({"revision": 9, "time": "2026-11-21T11:30:00.000Z", "type": "Created",
                   "author": author("alice", "kubectl/v1.36.0 (linux)", "create")}),
        ];
        expect_test::expect![[r#"
            REVISION   TIME                   VERB     USER                             USER-AGENT            CAUSE   CHANGES
            61         2026-11-21T11:35:03Z   patch    system:kube-controller-manager   kontiki-controllers   60      status.replicas 1 → 2
            9          2026-11-21T11:30:00Z   create   alice                            kubectl/v1.36.0       -       created
        "#]]
        .assert_eq(&table(&items));
    }
}
