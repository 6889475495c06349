//! What policies ask this server's authorizer, about whoever makes the request or about a service account.

use std::fmt;

use kontiki_cel::{Authorizer, Decision, Question};

use crate::{
    authz,
    core::Core,
    request::Identity,
    route::{ResourceInfo, Target},
};

pub(crate) struct Asking<'a> {
    pub core: &'a Core,
    pub identity: &'a Identity,
}

impl fmt::Debug for Asking<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Asking({:?})", self.identity.user)
    }
}

impl Authorizer for Asking<'_> {
    fn decide(&self, question: &Question) -> Decision {
        let account = question.service_account.as_ref().map(|(namespace, name)| Identity::of_account(namespace, name));
        let target = match &question.path {
            Some(path) => Target::Path(path.clone()),
            None => Target::Resource(ResourceInfo {
                group: question.group.clone(),
                version: "*".to_owned(),
                namespace: question.namespace.clone(),
                resource: question.resource.clone(),
                subresource: question.subresource.clone(),
                name: question.name.clone(),
                named: !question.name.is_empty(),
                ..ResourceInfo::default()
            }),
        };
        let asked = authz::Question {
            identity: account.as_ref().unwrap_or(self.identity),
            verb: &question.verb,
            target: &target,
            field_selector: &question.field_selector,
        };
        match authz::decide(self.core, asked) {
            Ok(authz::Decision { allowed, reason }) => Decision { allowed, reason, error: None },
            Err(status) => Decision { allowed: false, reason: String::new(), error: Some(status.message) },
        }
    }
}
