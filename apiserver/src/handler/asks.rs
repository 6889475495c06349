//! What a request asks for, as far as its head tells.

use std::sync::Arc;

use http::HeaderMap;
use kontiki_model::{Revision, Status};

use super::Incoming;
use crate::{
    aggregation, content,
    core::Core,
    kontiki::{
        self,
        at::{self, Moment},
    },
    metrics::RequestLabels,
    reviews,
    route::{RequestInfo, ResourceInfo, Target},
};

/// Paths that are no resource, and are counted by themselves.
const COUNTED_PATHS: &[&str] =
    &["/api", "/apis", "/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/readyz", "/version"];

/// What a request asks for, and the endpoint of kontiki's own API that it is for, if it is.
pub(super) struct Asks {
    pub info: RequestInfo,
    pub own: Option<kontiki::Found>,
    /// The moment it asks about, for paths below `/at/`; where it cannot be read, why.
    pub past: Option<Result<Moment, Status>>,
    /// As what its turn is decided, where that is not what it asks: no path of the past is as cheap as the same one of the present, which
    /// flow schemas may exempt.
    queued_as: Option<Target>,
}

impl Asks {
    /// Takes a moment of the past off the request's path: what is left is what is asked.
    pub fn read(incoming: &mut Incoming, query: &[(String, String)]) -> Result<Self, Status> {
        let split = at::split(&incoming.path);
        let (past, written) = split.map(|(moment, rest)| (moment, std::mem::replace(&mut incoming.path, rest))).unzip();
        let info = RequestInfo::read(&incoming.method, &incoming.path, query)?;
        let own = match past {
            None => kontiki::find(&incoming.method, &incoming.path, &info),
            Some(_) => None,
        };
        let queued_as = written.filter(|_| matches!(info.target, Target::Path(_))).map(Target::Path);
        Ok(Asks { info, own, past, queued_as })
    }

    /// What must be allowed; `None` where the endpoint itself judges.
    pub fn judged(&self) -> Option<&RequestInfo> {
        match &self.own {
            Some(own) => own.asks.as_ref(),
            None => Some(&self.info),
        }
    }

    /// The other server's API that it is for. The past is this server's own.
    pub fn served_elsewhere(&self, core: &Core) -> Option<Arc<aggregation::Api>> {
        let here = self.own.is_some() || self.past.is_some();
        if here { None } else { aggregation::find(core, &self.info.target) }
    }

    pub fn is_long(&self) -> bool {
        self.own.as_ref().map_or_else(|| self.info.is_long(), kontiki::Found::is_long)
    }

    /// Whether it is about all that was acknowledged before it came, not about whatever this server, which is at `newest`, has.
    pub fn is_about_present(&self, query: &[(String, String)], newest: Revision) -> bool {
        let says_when = || {
            let given = |(name, value): &(String, String)| match name.as_str() {
                "continue" => !value.is_empty(),
                // What is yet to come is waited for: by then, permissions may have ended.
                "resourceVersion" => value.parse().is_ok_and(|wanted: Revision| wanted <= newest),
                _ => false,
            };
            query.iter().any(given)
        };
        match &self.info.target {
            Target::Resource(_) if self.own.is_some() => true,
            Target::Resource(_) => !(matches!(self.info.verb, "get" | "list" | "watch") && says_when()),
            Target::Path(_) => false,
        }
    }

    /// What flow schemas are asked about.
    pub fn queued_as(&self) -> &Target {
        self.queued_as.as_ref().unwrap_or(&self.info.target)
    }

    /// Tunnels and streams take no seat; watches do while they begin.
    pub fn is_queued(&self) -> bool {
        !self.is_long() || self.info.verb == "watch"
    }

    /// Whether the body goes on as it comes.
    pub fn passes_through(&self) -> bool {
        let proxied = || matches!(&self.info.target, Target::Resource(info) if info.subresource == "proxy");
        self.own.as_ref().map_or_else(proxied, kontiki::Found::passes_through)
    }

    pub fn labels(&self, core: &Core, query: &[(String, String)], headers: &HeaderMap) -> RequestLabels {
        let applies = content::media_type(headers) == "application/apply-patch+yaml";
        let dry_run = if query.iter().any(|(name, _)| name == "dryRun") { "All" } else { "" };
        let plain = RequestLabels { dry_run, ..RequestLabels::of(&self.info, applies) };
        let Some(own) = &self.own else { return labels(core, &self.info, plain) };
        let topic = own.topic().unwrap_or_default().to_owned();
        RequestLabels { group: kontiki::GROUP.to_owned(), resource: topic, ..plain }
    }
}

/// Labels name resources that exist: what clients make up must not fill memory.
fn labels(core: &Core, info: &RequestInfo, plain: RequestLabels) -> RequestLabels {
    match &info.target {
        Target::Resource(resource) if is_known(core, resource) => RequestLabels {
            group: resource.group.clone(),
            version: resource.version.clone(),
            resource: resource.resource.clone(),
            subresource: resource.subresource.clone(),
            scope: match resource {
                ResourceInfo { name, .. } if !name.is_empty() || info.verb == "create" => "resource",
                ResourceInfo { namespace, .. } if !namespace.is_empty() => "namespace",
                _ => "cluster",
            },
            ..plain
        },
        Target::Path(path) if COUNTED_PATHS.contains(&path.as_str()) => {
            RequestLabels { subresource: path.clone(), ..plain }
        }
        _ => plain,
    }
}

fn is_known(core: &Core, resource: &ResourceInfo) -> bool {
    let kind = core.kinds().by_resource(&resource.group, &resource.version, &resource.resource);
    let subresource = resource.subresource.as_str();
    let declared = |kind: &kontiki_kinds::Kind| kind.subresources.iter().any(|one| one.name() == subresource);
    kind.is_some_and(|kind| subresource.is_empty() || declared(&kind)) || reviews::find(resource).is_some()
}
