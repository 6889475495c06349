//! One object of a cluster, as the commands about the past ask for it.

use anyhow::{Context, Result};
use serde_json::Value;

use super::{
    gone::{self, Gone},
    names::{self, Resource, encode},
};
use crate::{
    args::ObjectTarget,
    client::{Client, Refused},
};

const API: &str = "/apis/kontiki.dev/v1";
/// Events with their objects that one page holds: a page is bounded in bytes by the server.
const PAGE: usize = 100;

pub struct Object {
    pub client: Client,
    pub resources: Vec<Resource>,
    pub resource: Resource,
    /// Set where the kind is no more.
    pub gone: Option<Gone>,
    pub namespace: String,
    pub name: String,
}

impl Object {
    pub async fn find(target: &ObjectTarget) -> Result<Object> {
        let client = Client::open(&target.cluster).await?;
        let (kind, name) = target
            .object
            .split_once('/')
            .filter(|(kind, name)| !kind.is_empty() && !name.is_empty())
            .with_context(|| format!("{:?} is not KIND/NAME, as in deployment/web", target.object))?;
        let resources = names::resources(&client).await?;
        let (resource, gone) = gone::resource(&client, &resources, kind).await?;
        let namespace = target.namespace.clone().unwrap_or_else(|| client.namespace.clone());
        Ok(Object { client, resources, resource, gone, namespace, name: name.to_owned() })
    }

    /// As in `deployment.apps/web`.
    pub fn shown(&self) -> String {
        let kind = self.resource.kind.to_lowercase();
        match self.resource.group.as_str() {
            "" => format!("{kind}/{}", self.name),
            group => format!("{kind}.{group}/{}", self.name),
        }
    }

    pub fn path(&self) -> String {
        self.resource.path(&self.namespace, &self.name)
    }

    /// The object now; `None` if it is not there.
    pub async fn live(&self) -> Result<Option<Value>> {
        there(self.client.get(&self.path()).await)
    }

    /// The object at a revision or time; `None` if it was not there.
    pub async fn at(&self, moment: &str) -> Result<Option<Value>> {
        there(self.client.get(&format!("/at/{}{}", encode(moment), self.path())).await)
    }

    /// A form that history tells, which is as it was stored, in the version of the resource; `None` if that was not served then.
    pub async fn in_version(&self, stored: &Value, revision: u64) -> Result<Option<Value>> {
        if stored["apiVersion"] == self.resource.api_version() {
            return Ok(Some(stored.clone()));
        }
        self.at(&revision.to_string()).await
    }

    /// One page of its history, newest first.
    pub async fn history(&self, limit: usize, before: Option<u64>, objects: bool) -> Result<Value> {
        let before = before.map(|before| format!("&before={before}")).unwrap_or_default();
        let path = self.path();
        self.client.get(&format!("{API}/history{path}?limit={limit}&objects={objects}{before}")).await
    }

    /// Goes through its events, with their objects, newest first, until one gives something.
    pub async fn search<T>(&self, mut visit: impl FnMut(&Value) -> Result<Option<T>>) -> Result<Option<T>> {
        let mut before = None;
        loop {
            let page = match there(self.history(PAGE, before, true).await)? {
                Some(page) => page,
                None => return Ok(None),
            };
            for event in page["items"].as_array().into_iter().flatten() {
                if let Some(found) = visit(event)? {
                    return Ok(Some(found));
                }
            }
            before = page["before"].as_u64();
            if before.is_none() {
                return Ok(None);
            }
        }
    }

    pub async fn why(&self, revision: Option<u64>) -> Result<Value> {
        let revision = revision.map(|revision| format!("?revision={revision}")).unwrap_or_default();
        self.client.get(&format!("{API}/why{}{revision}", self.path())).await
    }
}

/// What is not there is an answer too; of a kind that was not there at a moment, nothing was.
pub fn there(answer: Result<Value>) -> Result<Option<Value>> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(error) => match error.downcast_ref::<Refused>() {
            Some(refused) if refused.code == 404 => Ok(None),
            _ => Err(error),
        },
    }
}
