//! PodSecurity: what a namespace's labels forbid pods, held against each write that makes pods or says how they are made, and
//! against the labels themselves. What is forbidden is `kontiki_kinds::podsecurity`'s affair.

use std::{collections::BTreeMap, time::Instant};

use kontiki_kinds::podsecurity::{
    self, AUDIT_PREFIX, Configuration, LevelVersion, PodSecurity, Policy, Subject, Survey,
};
use kontiki_model::{Faults, Head, Key, Revision, Scope, Status};
use kontiki_raft::{Expect, Stored};
use serde_json::Value;

use super::{Attributes, Operation, Told, metrics::Mode};
use crate::{
    failure::{self, Qualified},
    limits::{NAMESPACE_PODS_AT_ONCE, NAMESPACE_PODS_MAX, NAMESPACE_PODS_TIME_MAX},
    rest::{Change, Refusal, object},
};

const NAMESPACES: Qualified<'static> = Qualified { group: "", resource: "namespaces" };
const PODS: &str = "pods";
/// What is served below a pod and does not change what runs in it. Anything else is looked at.
const HARMLESS: [&str; 8] = ["attach", "binding", "eviction", "exec", "log", "portforward", "proxy", "status"];

pub async fn validate(
    attributes: &Attributes<'_>,
    object: Option<&Value>,
    old: Option<&Value>,
    told: &mut Told,
    change: &mut Change,
) -> Result<(), Refusal> {
    let (Some(role), Some(object)) = (attributes.kind.stored().pod_security, object) else { return Ok(()) };
    let itself = attributes.subresource.is_empty();
    match role {
        PodSecurity::Policy if itself => policy(attributes, object, old, told).await,
        PodSecurity::Pod if !HARMLESS.contains(&attributes.subresource) => {
            if old.is_none_or(|old| podsecurity::is_significant(object, old)) {
                pod(attributes, object, told, change)?;
            }
            Ok(())
        }
        PodSecurity::Template(pointer) if itself => template(attributes, object.pointer(pointer), told),
        PodSecurity::Policy | PodSecurity::Pod | PodSecurity::Template(_) => Ok(()),
    }
}

fn configuration<'a>(attributes: &Attributes<'a>) -> &'a Configuration {
    &attributes.call.core.config.admission.pod_security
}

/// Why it is not looked at, if it is not: whose write it is, where it is or how it is run.
fn exemption(attributes: &Attributes<'_>, subject: Subject<'_>) -> Option<&'static str> {
    let exempt = &configuration(attributes).exemptions;
    let named = |names: &[String], name: &str| names.iter().any(|one| one == name);
    match () {
        () if named(&exempt.namespaces, attributes.namespace) => Some("namespace"),
        () if named(&exempt.usernames, &attributes.identity.user) => Some("user"),
        () if runs_exempt(attributes, subject) => Some("runtimeClass"),
        () => None,
    }
}

fn is_exempt(attributes: &Attributes<'_>, subject: Subject<'_>) -> bool {
    let exemption = exemption(attributes, subject);
    if let Some(why) = exemption {
        annotate(attributes, "exempt", why);
        attributes.call.core.metrics.admission.exempted(attributes);
    }
    exemption.is_some()
}

fn runs_exempt(attributes: &Attributes<'_>, subject: Subject<'_>) -> bool {
    configuration(attributes).exemptions.runtime_classes.iter().any(|class| class == subject.runtime_class())
}

/// Says something where the request is recorded.
fn annotate(attributes: &Attributes<'_>, key: &str, value: &str) {
    attributes.call.request.annotate(&format!("{AUDIT_PREFIX}{key}"), value);
}

/// The namespace that the object is in, as this write finds it.
fn home(attributes: &Attributes<'_>) -> Result<(Key, Revision, std::sync::Arc<Head>), Refusal> {
    let key = Key::new(NAMESPACES.resource, "", attributes.namespace);
    match attributes.view.head(&key) {
        Some((revision, head)) => Ok((key, revision, head)),
        None => Err(Refusal::Judged(failure::not_found(NAMESPACES, attributes.namespace))),
    }
}

fn pod(attributes: &Attributes<'_>, pod: &Value, told: &mut Told, change: &mut Change) -> Result<(), Refusal> {
    let subject = Subject::of(pod);
    if is_exempt(attributes, subject) {
        return Ok(());
    }
    let (key, revision, namespace) = home(attributes)?;
    let policy = noted(attributes, &namespace, subject);
    let enforce = policy.enforce;
    annotate(attributes, "enforce-policy", &enforce.to_string());
    let violations = podsecurity::evaluate(enforce, subject);
    evaluated(attributes, enforce, Mode::Enforce, violations.is_empty());
    if !violations.is_empty() {
        let why = format!("violates PodSecurity {:?}: {}", enforce.to_string(), violations.details());
        return Err(Refusal::Judged(attributes.forbidden(&why)));
    }
    // For new pods NamespaceLifecycle sees to it that the namespace is the same when the write is applied.
    if attributes.operation == Operation::Update && !attributes.view.is_pending(&key) {
        change.expect(&key, Expect::Revision(revision));
    }
    warn(attributes, policy, subject, told);
    Ok(())
}

/// Nobody is kept from writing down how pods are made: those are refused when they are.
fn template(attributes: &Attributes<'_>, template: Option<&Value>, told: &mut Told) -> Result<(), Refusal> {
    let Some(subject) = template.filter(|template| template.is_object()).map(Subject::of) else { return Ok(()) };
    if is_exempt(attributes, subject) {
        return Ok(());
    }
    let (_, _, namespace) = home(attributes)?;
    warn(attributes, noted(attributes, &namespace, subject), subject, told);
    Ok(())
}

/// The policy of a namespace, and what it has recorded of a pod.
fn noted(attributes: &Attributes<'_>, namespace: &Head, subject: Subject<'_>) -> Policy {
    let (policy, faults) = Policy::of_labels(&namespace.labels, configuration(attributes).defaults);
    let recorded = attributes.call.request.annotations.is_some();
    if recorded && !faults.is_empty() {
        annotate(attributes, "error", &format!("Failed to parse policy: {}", aggregate(&faults)));
    }
    let violations = podsecurity::evaluate(policy.audit, subject);
    if !violations.is_empty() {
        evaluated(attributes, policy.audit, Mode::Audit, false);
        if recorded {
            let (audit, details) = (policy.audit.to_string(), violations.details());
            annotate(attributes, "audit-violations", &format!("would violate PodSecurity {audit:?}: {details}"));
        }
    }
    policy
}

fn evaluated(attributes: &Attributes<'_>, level: LevelVersion, mode: Mode, allowed: bool) {
    attributes.call.core.metrics.admission.evaluated(attributes, level, mode, allowed);
}

/// As Go tells several errors.
fn aggregate(faults: &Faults) -> String {
    let told: Vec<String> = faults.iter().map(|fault| format!("{}: {}", fault.field, fault.message())).collect();
    match told.as_slice() {
        [one] => one.clone(),
        several => format!("[{}]", several.join(", ")),
    }
}

fn warn(attributes: &Attributes<'_>, policy: Policy, subject: Subject<'_>, told: &mut Told) {
    let violations = podsecurity::evaluate(policy.warn, subject);
    if !violations.is_empty() {
        evaluated(attributes, policy.warn, Mode::Warn, false);
        let warning = format!("would violate PodSecurity {:?}: {}", policy.warn.to_string(), violations.details());
        told.warnings.push(warning);
    }
}

/// A namespace's labels must say something, and who makes them say more is told which pods that are there would not be let in.
async fn policy(
    attributes: &Attributes<'_>,
    namespace: &Value,
    old: Option<&Value>,
    told: &mut Told,
) -> Result<(), Refusal> {
    let (labels, defaults) = (labels(namespace), configuration(attributes).defaults);
    let (policy, faults) = Policy::of_labels(&labels, defaults);
    let before = old.map(|old| Policy::of_labels(&self::labels(old), defaults));
    let as_before = before.as_ref().is_some_and(|(_, before)| *before == faults);
    if !faults.is_empty() && !as_before {
        let status: Status = failure::invalid(attributes.call.group_kind(), attributes.name, &faults);
        return Err(Refusal::Final(status));
    }
    if before.as_ref().is_some_and(|(before, _)| !policy.tightens(before)) {
        return Ok(());
    }
    if configuration(attributes).exemptions.namespaces.iter().any(|exempt| exempt == attributes.name) {
        if !policy.fully_privileged() && !policy.equivalent(&defaults) {
            told.warnings.push(format!(
                "namespace {:?} is exempt from Pod Security, and the policy ({}) will be ignored",
                attributes.name,
                policy.stated(&labels)
            ));
        }
    } else if before.is_some() {
        told.warnings.extend(survey(attributes, &policy).await);
    }
    Ok(())
}

fn labels(object: &Value) -> BTreeMap<String, String> {
    let labels = object.pointer("/metadata/labels").and_then(Value::as_object).into_iter().flatten();
    labels.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

/// Looks at the pods of a namespace, as many as there are and time is for.
async fn survey(attributes: &Attributes<'_>, policy: &Policy) -> Vec<String> {
    let started = Instant::now();
    let scope = Scope { resource: PODS.to_owned(), namespace: Some(attributes.name.to_owned()) };
    let pods = match attributes.view.list(&scope) {
        Ok(pods) => pods,
        Err(error) => {
            tracing::error!(namespace = attributes.name, %error, "the pods of a namespace could not be listed");
            return vec!["failed to list pods while checking new PodSecurity enforce level".to_owned()];
        }
    };
    let controller =
        |pod: &Stored| pod.head.owners.iter().find(|owner| owner.controller).map(|owner| owner.uid.clone());
    let mut total = pods.len();
    let mut survey = Survey::new(policy.enforce);
    for (index, stored) in podsecurity::in_order(pods, controller).iter().take(NAMESPACE_PODS_MAX).enumerate() {
        match object::open(stored) {
            Ok(pod) if !runs_exempt(attributes, Subject::of(&pod)) => {
                survey.look_at(&stored.key.name, Subject::of(&pod));
            }
            Ok(_) => total -= 1,
            Err(status) => tracing::error!(pod = stored.key.name, error = status.message, "a pod cannot be read"),
        }
        if started.elapsed() > NAMESPACE_PODS_TIME_MAX {
            break;
        }
        if index % NAMESPACE_PODS_AT_ONCE == NAMESPACE_PODS_AT_ONCE - 1 {
            tokio::task::yield_now().await;
        }
    }
    survey.warnings(attributes.name, total)
}
