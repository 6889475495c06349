//! What an operator did to a cluster from outside, as the first entry of the log that came of it: told by the change stream
//! like any other event, with its author.

use kontiki_model::{Head, Key};
use kontiki_raft::{Author, Command, Mutation, backup::Stopped};
use serde_json::{Value, json};

use super::{GROUP, GROUP_VERSION, events::cluster_object};

/// Who did it, by what program, and when.
#[derive(Clone, Debug)]
pub struct By {
    pub user: String,
    pub program: String,
    pub verb: String,
    pub time_ms: i64,
}

/// The command that records it. `what` is the sort of thing done, in one word.
pub fn record(by: By, what: &str, details: &Value) -> Command {
    let By { user, program, verb, time_ms } = by;
    let id = uuid::Uuid::new_v4().to_string();
    let mut body = json!({"kind": what, "apiVersion": GROUP_VERSION, "metadata": {"name": id, "uid": id}});
    body["details"] = details.clone();
    let body = body.to_string();
    // The revision goes where it does in any object: behind the uid.
    let pattern = format!("\"uid\":\"{id}\"");
    let splice = body.find(&pattern).unwrap_or_default();
    let splice = u32::try_from(splice).unwrap_or_default();
    let key = Key::new(format!("records.{}", GROUP), "", id.as_str());
    let head = Head { uid: id.clone(), splice, ..Head::default() };
    Command {
        author: Author { user, user_agent: program, verb, request_id: id, ..Author::default() },
        time_ms,
        mutations: vec![Mutation::Put { key, head, body: body.into_bytes() }],
        ..Command::default()
    }
}

/// Which cluster a stopped server is of; empty if it has none of a cluster's objects yet.
pub fn cluster(server: &Stopped) -> String {
    server.head(&cluster_object()).map(|head| head.uid.clone()).unwrap_or_default()
}
