//! What quotas bound: a kind that is built in, or one that is defined in the cluster and only counted.

use k8s_openapi::api::core::v1::ResourceQuota;
use kontiki_kinds::Kind;
use kube::{
    api::ApiResource,
    core::GroupVersionKind,
    discovery::{self, Scope},
};

use crate::{ControllerError, context::gone_is_fine};

/// How names begin that bound a number of objects.
pub const COUNT: &str = "count/";

#[derive(Clone)]
pub struct Subject {
    pub resource: ApiResource,
    /// `count/widgets.example.com`
    pub counted_as: String,
    builtin: Option<&'static Kind>,
}

impl Subject {
    pub fn builtin(kind: &'static Kind) -> Self {
        let gvk = GroupVersionKind::gvk(kind.group, kind.version, kind.kind);
        let resource = ApiResource::from_gvk_with_plural(&gvk, kind.resource);
        Subject { resource, counted_as: kind.count_name(), builtin: Some(kind) }
    }

    /// One that is only counted.
    pub fn named(counted_as: &str, resource: ApiResource) -> Self {
        Subject { resource, counted_as: counted_as.to_owned(), builtin: None }
    }

    /// Whether a quota bounds it.
    pub fn is_bounded_by(&self, quota: &ResourceQuota) -> bool {
        let mut names = quota.spec.iter().flat_map(|spec| spec.hard.iter().flatten()).map(|(name, _)| name);
        names.any(|name| match self.builtin {
            Some(kind) => kind.is_bounded_by(name),
            None => *name == self.counted_as,
        })
    }

    /// Whether a change of an object can change what is used.
    pub fn may_shrink(&self) -> bool {
        self.builtin.is_some_and(Kind::may_shrink)
    }

    /// The parts of all objects that are followed: what leaves one of them may use less.
    pub fn selectors(&self) -> Vec<Option<&'static str>> {
        let ended = self.builtin.and_then(|kind| kind.measure).and_then(|measure| measure.uses);
        [None].into_iter().chain(ended.map(Some)).collect()
    }
}

/// The kind whose number a name bounds, if it is served.
pub async fn custom(client: &kube::Client, name: &str) -> Result<Option<Subject>, ControllerError> {
    let Some((plural, group)) = name.strip_prefix(COUNT).and_then(|counted| counted.split_once('.')) else {
        return Ok(None);
    };
    let found = match discovery::group(client, group).await {
        Err(kube::Error::Discovery(_)) => None,
        other => gone_is_fine(other)?,
    };
    let served = found.into_iter().flat_map(|group| group.recommended_resources());
    let mut named = served.filter(|(one, of)| one.plural == plural && of.scope == Scope::Namespaced);
    Ok(named.next().map(|(resource, _)| Subject::named(name, resource)))
}
