//! Kinds whose definition was deleted: nobody serves them, but the log still tells of their objects.

use std::collections::BTreeMap;

use anyhow::Result;
use bytes::{Buf, BytesMut};
use http::Method;
use serde_json::Value;

use super::{
    names::{self, Resource},
    show,
    tail::chunk,
};
use crate::client::{Client, Payload, Refused};

const DELETIONS: &str =
    "/apis/kontiki.dev/v1/events?from=start&resource=customresourcedefinitions.apiextensions.k8s.io";

/// A kind that is no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    pub resource: Resource,
    /// As in `widgets.example.com`, and the revision in which it was deleted.
    pub definition: String,
    pub revision: u64,
}

/// The resource of this name, and where its kind is no more what is known of that.
pub async fn resource(client: &Client, resources: &[Resource], name: &str) -> Result<(Resource, Option<Gone>)> {
    match names::find(resources, name) {
        Ok(resource) => Ok((resource.clone(), None)),
        Err(unknown) => {
            let gone = find(client, name).await?.ok_or(unknown)?;
            Ok((gone.resource.clone(), Some(gone)))
        }
    }
}

/// The kind of this name, if there was one.
async fn find(client: &Client, name: &str) -> Result<Option<Gone>> {
    let mut response = match client.send(Method::GET, DELETIONS, &[], Payload::Nothing).await {
        Ok(response) => response.into_body(),
        // Who may not read definitions is told what the server says of the name.
        Err(error) if error.downcast_ref::<Refused>().is_some() => return Ok(None),
        Err(error) => return Err(error),
    };
    let (mut pending, mut read) = (BytesMut::new(), Read::default());
    while !read.is_complete() && chunk(&mut response, &mut pending).await? {
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line = pending.split_to(end);
            pending.advance(1);
            read.take(&serde_json::from_slice(&line)?);
        }
    }
    Ok(read.named(name))
}

/// What the stream has told so far.
#[derive(Default)]
struct Read {
    /// What there was when the stream began.
    newest: Option<u64>,
    seen: u64,
    gone: BTreeMap<String, Gone>,
}

impl Read {
    fn is_complete(&self) -> bool {
        self.newest.is_some_and(|newest| self.seen >= newest)
    }

    fn take(&mut self, line: &Value) {
        let revision = line["revision"].as_u64().unwrap_or_default();
        match show::text(line, "/type") {
            "Begin" => {
                self.newest = Some(revision);
                self.seen = line["from"].as_u64().unwrap_or_default();
                return;
            }
            // No more will come.
            "Error" => self.newest = Some(0),
            "Deleted" => {
                let definition = show::text(line, "/resource/name").to_owned();
                if let Some(resource) = Resource::defined(&line["object"]) {
                    self.gone.insert(definition.clone(), Gone { resource, definition, revision });
                }
            }
            "Created" => _ = self.gone.remove(show::text(line, "/resource/name")),
            _ => {}
        }
        self.seen = self.seen.max(revision);
    }

    fn named(&self, name: &str) -> Option<Gone> {
        let resources: Vec<_> = self.gone.values().map(|gone| gone.resource.clone()).collect();
        let found = names::find(&resources, name).ok()?;
        self.gone.values().find(|gone| gone.resource == *found).cloned()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_kind_that_went_is_found_by_its_names_unless_it_came_back() {
        let event = |kind: &str, revision: u64, plural: &str, short: &str| {
            let version = |name: &str, storage: bool| json!({"name": name, "served": true, "storage": storage});
            let names = json!({"plural": plural, "singular": short, "kind": "Thing", "shortNames": [short]});
            json!({
                "type": kind, "revision": revision, "resource": {"name": format!("{plural}.ex.io")},
                "object": {"spec": {
                    "group": "ex.io", "scope": "Namespaced", "names": names,
                    "versions": [version("v1", false), version("v2", true)]}},
            })
        };
        let mut read = Read::default();
        read.take(&json!({"type": "Begin", "from": 3, "revision": 20}));
        for line in [
            event("Deleted", 5, "crons", "cr"),
            event("Deleted", 7, "widgets", "wd"),
            event("Created", 9, "widgets", "wd"),
        ] {
            read.take(&line);
            assert!(!read.is_complete());
        }
        let found = read.named("cr").expect("it went");
        assert_eq!((found.definition.as_str(), found.revision), ("crons.ex.io", 5));
        assert_eq!(found.resource.path("a", "b"), "/apis/ex.io/v2/namespaces/a/crons/b");
        assert_eq!(read.named("crons.ex.io"), read.named("cr"));
        assert_eq!(read.named("wd"), None);
        read.take(&json!({"type": "Progress", "revision": 20}));
        assert!(read.is_complete());
    }
}
