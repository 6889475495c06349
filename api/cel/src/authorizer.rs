//! Questions to an authorizer, put together call by call: `authorizer.group('').resource('pods').check('create').allowed()`.

use std::fmt;
use std::sync::Arc;

use kontiki_model::names;

use crate::budget::{RunError, failed};
use crate::value::Value;

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// Namespace and name of the service account that is asked about; otherwise it is whoever makes the request.
    pub service_account: Option<(String, String)>,
    /// Set where it is about a path that is no resource.
    pub path: Option<String>,
    pub verb: String,
    pub group: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    pub field_selector: String,
    pub label_selector: String,
}

/// What is answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    pub reason: String,
    pub error: Option<String>,
}

/// Who answers. Asked while an expression runs, so it must not wait for anybody.
pub trait Authorizer: fmt::Debug + Send + Sync {
    fn decide(&self, question: &Question) -> Decision;
}

/// A question as far as it was put.
#[derive(Clone, Debug)]
pub struct Check<'a> {
    authorizer: &'a dyn Authorizer,
    question: Question,
    about: About,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    Nothing,
    Path,
    Group,
    Resource,
}

/// What it costs to ask.
pub const COST: u64 = 350_000;

impl<'a> Value<'a> {
    /// The variable `authorizer`.
    pub fn authorizer(authorizer: &'a dyn Authorizer) -> Self {
        let question = Question::default();
        Value::Check(Arc::new(Check { authorizer, question, about: About::Nothing }))
    }

    /// The variable `authorizer.requestResource`: a question that lacks only its verb.
    pub fn resource_check(authorizer: &'a dyn Authorizer, question: Question) -> Self {
        Value::Check(Arc::new(Check { authorizer, question, about: About::Resource }))
    }
}

impl Check<'_> {
    pub fn type_name(&self) -> &'static str {
        match self.about {
            About::Nothing => "kubernetes.authorization.Authorizer",
            About::Path => "kubernetes.authorization.PathCheck",
            About::Group => "kubernetes.authorization.GroupCheck",
            About::Resource => "kubernetes.authorization.ResourceCheck",
        }
    }
}

/// The methods of questions and answers.
pub fn call<'a>(name: &str, values: &[Value<'a>]) -> Option<Result<Value<'a>, RunError>> {
    if let [Value::Decision(decision)] = values {
        return Some(Ok(match name {
            "allowed" => Value::Bool(decision.allowed),
            "reason" => Value::text(decision.reason.as_str()),
            "errored" => Value::Bool(decision.error.is_some()),
            "error" => Value::text(decision.error.as_deref().unwrap_or_default()),
            _ => return None,
        }));
    }
    let (check, given) = match values {
        [Value::Check(check), given @ ..] => (check, given),
        _ => return None,
    };
    let put = |about: About, change: &dyn Fn(&mut Question)| {
        let mut question = check.question.clone();
        change(&mut question);
        Some(Ok(Value::Check(Arc::new(Check { authorizer: check.authorizer, question, about }))))
    };
    match (check.about, name, given) {
        (About::Nothing, "path", [Value::String(path)]) if path.is_empty() => Some(failed("path must not be empty")),
        (About::Nothing, "path", [Value::String(path)]) => put(About::Path, &|question| {
            question.path = Some(path.clone().into_owned());
        }),
        (About::Nothing, "group", [Value::String(group)]) => put(About::Group, &|question| {
            question.group = group.clone().into_owned();
        }),
        (About::Nothing, "serviceAccount", [Value::String(namespace), Value::String(account)]) => {
            if !names::label(namespace).is_empty() {
                return Some(failed("Invalid service account namespace"));
            }
            if !names::subdomain(account).is_empty() {
                return Some(failed("Invalid service account name"));
            }
            put(About::Nothing, &|question| {
                question.service_account = Some((namespace.clone().into_owned(), account.clone().into_owned()));
            })
        }
        (About::Group, "resource", [Value::String(resource)]) if resource.is_empty() => {
            Some(failed("resource must not be empty"))
        }
        (About::Group, "resource", [Value::String(resource)]) => put(About::Resource, &|question| {
            question.resource = resource.clone().into_owned();
        }),
        (
            About::Resource,
            "subresource" | "namespace" | "name" | "fieldSelector" | "labelSelector",
            [Value::String(text)],
        ) => put(About::Resource, &|question| {
            let part = match name {
                "subresource" => &mut question.subresource,
                "namespace" => &mut question.namespace,
                "name" => &mut question.name,
                "fieldSelector" => &mut question.field_selector,
                _ => &mut question.label_selector,
            };
            *part = text.clone().into_owned();
        }),
        (About::Path | About::Resource, "check", [Value::String(verb)]) => {
            let question = Question { verb: verb.clone().into_owned(), ..check.question.clone() };
            Some(Ok(Value::Decision(Arc::new(check.authorizer.decide(&question)))))
        }
        _ => None,
    }
}
