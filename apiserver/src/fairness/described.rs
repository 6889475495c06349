//! A request that waits for a seat or has one, as whoever looks at the levels is told of it.

use chrono::{DateTime, SecondsFormat, Utc};

use super::schema::Asked;
use crate::route::Target;

pub(super) fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Nanos, true)
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Described {
    pub schema: String,
    /// What tells its flow from others of the schema.
    pub flow: String,
    arrived: DateTime<Utc>,
    user: String,
    verb: String,
    target: Target,
}

impl Described {
    pub fn of(schema: &str, flow: &str, Asked { identity, verb, target }: Asked<'_>) -> Self {
        Described {
            schema: schema.to_owned(),
            flow: flow.to_owned(),
            arrived: Utc::now(),
            user: identity.user.clone(),
            verb: verb.to_owned(),
            target: target.clone(),
        }
    }

    pub fn arrived(&self) -> String {
        time(self.arrived)
    }

    /// User, verb, path, namespace, name, version, resource and subresource.
    pub fn details(&self) -> [String; 8] {
        let (user, verb) = (self.user.clone(), self.verb.clone());
        match &self.target {
            Target::Path(path) => {
                let nothing = String::new;
                [user, verb, path.clone(), nothing(), nothing(), nothing(), nothing(), nothing()]
            }
            Target::Resource(info) => {
                let group = if info.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", info.group) };
                let mut path = format!("{group}/{}", info.version);
                if !info.namespace.is_empty() && info.resource != "namespaces" {
                    path.push_str(&format!("/namespaces/{}", info.namespace));
                }
                let name = if info.named { info.name.as_str() } else { "" };
                for part in [info.resource.as_str(), name, &info.subresource] {
                    if !part.is_empty() {
                        path.push('/');
                        path.push_str(part);
                    }
                }
                [
                    user,
                    verb,
                    path,
                    info.namespace.clone(),
                    info.name.clone(),
                    info.version.clone(),
                    info.resource.clone(),
                    info.subresource.clone(),
                ]
            }
        }
    }
}
