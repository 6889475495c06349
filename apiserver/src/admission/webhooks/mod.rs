//! MutatingAdmissionWebhook and ValidatingAdmissionWebhook: whom a write concerns is asked, one after the other or all at once.
//!
//! Nothing is locked meanwhile: a webhook may well write to this server.

mod call;
mod hooks;
mod patch;
mod reinvocation;
mod review;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::join_all;
use kontiki_model::Key;
use serde_json::{Value, json};

use self::{
    call::{Failed, Shown},
    hooks::{Hook, Phase},
    review::{Answer, GroupVersionKind, GroupVersionResource},
};
use super::{
    Attributes, Told,
    matching::{Asked, Objects},
    metrics::{self, Outcome},
    namespace::NAMESPACES,
    policy::About,
    request::Request,
};
use crate::{
    failure,
    rest::{Refusal, read_failed},
};

pub(crate) use self::{hooks::Hooks, reinvocation::Reinvocation};

/// Those of a phase that are there at all. None for what configures them, or nobody could take a wrong one back; and none for what
/// this server itself writes, or it might wait for itself.
fn all(attributes: &Attributes<'_>, phase: Phase) -> Result<Arc<[Arc<Hook>]>, Refusal> {
    if attributes.kind.decides_writes || attributes.identity.is_this_server() {
        return Ok(Arc::new([]));
    }
    let core = attributes.call.core;
    core.hooks.ask(&core.log, |hooks| hooks.of(phase)).map_err(|error| read_failed(&error).into())
}

/// The form under which the request concerns a webhook, if it does.
async fn concerns(
    attributes: &Attributes<'_>,
    request: &Request<'_>,
    asked: &Asked<'_>,
    hook: &Hook,
    objects: Objects<'_>,
) -> Result<Option<usize>, Refusal> {
    let labels = || {
        let namespace = request.namespace();
        let found = attributes.view.head(&Key::new(NAMESPACES.resource, "", namespace));
        let found = found.ok_or_else(|| Refusal::Judged(failure::not_found(NAMESPACES, namespace)))?;
        Ok::<_, Refusal>(found.1.labels.clone())
    };
    let Some(form) = hook.criteria.matches(asked, objects, labels)? else { return Ok(None) };
    let about = About::new(attributes, request, *asked);
    match about.holds(&hook.conditions, form, objects).await? {
        Ok(true) => Ok(Some(form)),
        Ok(false) => Ok(None),
        Err(_) if hook.ignores_failures => Ok(None),
        Err(why) => Err(Refusal::Judged(attributes.forbidden(&why))),
    }
}

/// What a webhook is shown, in the form that its rules name.
struct Forms {
    object: Option<Value>,
    old: Option<Value>,
    options: Option<Value>,
}

impl Forms {
    async fn of(request: &Request<'_>, form: usize, objects: Objects<'_>) -> Result<Self, Refusal> {
        let shown = async |object: Option<&Value>| match object {
            Some(object) => request.shown(form, object).await.map(Some),
            None => Ok(None),
        };
        Ok(Forms { object: shown(objects.new).await?, old: shown(objects.old).await?, options: request.options()? })
    }

    fn shown<'s>(&'s self, request: &'s Request<'_>, form: usize) -> Shown<'s> {
        let kind = |form: usize| {
            let (group, version, kind) = request.object_kind(form);
            GroupVersionKind { group, version, kind }
        };
        let resource = |form: usize| {
            let kind = request.kind(form);
            GroupVersionResource { group: kind.group, version: kind.version, resource: kind.resource }
        };
        Shown {
            kind: kind(form),
            resource: resource(form),
            request_kind: kind(0),
            request_resource: resource(0),
            namespace: request.namespace(),
            object: self.object.as_ref(),
            old: self.old.as_ref(),
            options: self.options.as_ref(),
        }
    }
}

/// A request as a review tells it, but for its objects.
pub(super) fn told(attributes: &Attributes<'_>, request: &Request<'_>, form: usize) -> Result<Value, Refusal> {
    let forms = Forms { object: None, old: None, options: request.options()? };
    let question = call::question(attributes, &forms.shown(request, form), &attributes.call.request.request_id);
    serde_json::to_value(question).map_err(|error| failure::internal(error).into())
}

/// Asks those that may change the object, each about what the ones before made of it.
pub(crate) async fn mutate(
    attributes: &Attributes<'_>,
    mut object: Option<&mut Value>,
    old: Option<&Value>,
    told: &mut Told,
    round: &mut Reinvocation,
) -> Result<(), Refusal> {
    let hooks = all(attributes, Phase::Mutating)?;
    if hooks.is_empty() {
        return Ok(());
    }
    let request = Request::of(attributes);
    let forms = request.forms();
    let asked = request.asked(&forms);
    round.begin_webhooks(object.as_deref());
    for (index, hook) in hooks.iter().enumerate() {
        let objects = Objects { new: object.as_deref(), old };
        let Some(form) = concerns(attributes, &request, &asked, hook, objects).await? else { continue };
        if !round.asks(&hook.id) {
            continue;
        }
        let forms = Forms::of(&request, form, objects).await?;
        let asking = Asking::of(hook, Phase::Mutating);
        let answer = call::ask(attributes, hook, &forms.shown(&request, form), true, told).await;
        let asking = asking.answered();
        let patched = answer.and_then(|answer| patch::apply(&hook.name, forms.object.as_ref(), answer.patch.as_ref()));
        let place = format!("mutation.webhook.admission.k8s.io/round_{}_index_{index}", round.number());
        let mut mutated = false;
        if let (Some(Some(patched)), Some(object)) = (decided(attributes, &asking, &place, patched)?, &mut object) {
            let patched = request.read_again(form, patched)?;
            mutated = forms.object.as_ref() != Some(&patched);
            if mutated {
                let taken = request.taken(form, object, patched).await?;
                round.replaced(&std::mem::replace(&mut **object, taken));
            }
        }
        let configuration = hook.configuration();
        let noted = json!({"configuration": configuration, "webhook": hook.name, "mutated": mutated});
        attributes.call.request.annotate(&place, noted.to_string());
        if hook.reinvoked {
            round.asked(&hook.id);
        }
    }
    round.end_webhooks(object.as_deref());
    Ok(())
}

/// Asks those that only judge, all at the same time.
pub(crate) async fn validate(
    attributes: &Attributes<'_>,
    object: Option<&Value>,
    old: Option<&Value>,
    told: &mut Told,
) -> Result<(), Refusal> {
    let hooks = all(attributes, Phase::Validating)?;
    if hooks.is_empty() {
        return Ok(());
    }
    let (request, objects) = (Request::of(attributes), Objects { new: object, old });
    let forms = request.forms();
    let asked = request.asked(&forms);
    let mut concerned = Vec::new();
    for (index, hook) in hooks.iter().enumerate() {
        if let Some(form) = concerns(attributes, &request, &asked, hook, objects).await? {
            concerned.push((index, hook, form, Forms::of(&request, form, objects).await?));
        }
    }
    let answers = concerned.iter().map(|(index, hook, form, forms)| async {
        let (mut told, asking) = (Told::default(), Asking::of(hook, Phase::Validating));
        let answer = call::ask(attributes, hook, &forms.shown(&request, *form), false, &mut told).await;
        (*index, asking.answered(), answer, told)
    });
    let mut verdict = Ok(());
    for (index, asking, answer, one) in join_all(answers).await {
        told.warnings.extend(one.warnings);
        let place = format!("validating.webhook.admission.k8s.io/round_0_index_{index}");
        verdict = verdict.and(decided(attributes, &asking, &place, answer.map(|_: Answer| ())).map(drop));
    }
    verdict
}

/// A webhook that is asked, and how long that took.
struct Asking<'a> {
    hook: &'a Hook,
    phase: Phase,
    since: Instant,
    took: Duration,
}

impl<'a> Asking<'a> {
    fn of(hook: &'a Hook, phase: Phase) -> Self {
        Asking { hook, phase, since: Instant::now(), took: Duration::ZERO }
    }

    fn answered(self) -> Self {
        Asking { took: self.since.elapsed(), ..self }
    }
}

/// What becomes of a webhook's answer: a failure to ask counts as its configuration says. `place` is where the audit finds it.
fn decided<T>(
    attributes: &Attributes<'_>,
    asking: &Asking<'_>,
    place: &str,
    answer: Result<T, Failed>,
) -> Result<Option<T>, Refusal> {
    let Asking { hook, phase, took, .. } = *asking;
    let outcome = match &answer {
        Ok(_) => Outcome::Allowed,
        Err(Failed::Denied(Refusal::Final(status) | Refusal::Judged(status))) => Outcome::Denied(status.code),
        Err(Failed::Unasked { code, .. }) => Outcome::Unasked { code: *code, ignored: hook.ignores_failures },
        Err(Failed::Denied(Refusal::Raced) | Failed::Internal(_)) => Outcome::Internal,
    };
    let phase = match phase {
        Phase::Mutating => metrics::Phase::Admit,
        Phase::Validating => metrics::Phase::Validate,
    };
    attributes.call.core.metrics.admission.asked(attributes, (&hook.name, phase), outcome, took);
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(Failed::Denied(refusal) | Failed::Internal(refusal)) => Err(refusal),
        Err(Failed::Unasked { why, .. }) if hook.ignores_failures => {
            tracing::warn!(webhook = hook.name, why, "a webhook could not be asked, and is ignored");
            attributes.call.request.annotate(&format!("failed-open.{place}"), hook.name.as_str());
            Ok(None)
        }
        Err(Failed::Unasked { why, .. }) => {
            let name = &hook.name;
            Err(Refusal::Final(failure::internal(format!("failed calling webhook {name:?}: {why}"))))
        }
    }
}
