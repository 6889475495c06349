//! ValidatingAdmissionPolicy: what is denied, what is warned of, what is noted.

use std::sync::Arc;

use kontiki_cel::{Budget, Composition, Value as Cel};
use kontiki_kinds::KindRef;
use kontiki_model::{Cause, Status};
use serde_json::{Value, json};

use super::{
    about::{About, Scene},
    compiled::{Binding, Hook, Policy, Rules, Validation},
    expressions::{Input, Trouble},
    limits::{ANNOTATION_BYTES_MAX, MESSAGE_BYTES_MAX, POLICY_COST_MAX},
    params,
    state::Sort,
};
use crate::{
    admission::{Attributes, Told, matching::Objects, request::Request},
    rest::Refusal,
};

/// Where the audit is told of what a binding audits.
const VALIDATION_FAILURE: &str = "validation.policy.admission.k8s.io/validation_failure";

/// Something that a policy holds against a request.
#[derive(Debug, PartialEq, Eq)]
struct Objection {
    message: String,
    /// Empty: Invalid.
    reason: String,
    /// Which of the policy's validations it was.
    index: usize,
}

impl Objection {
    fn new(message: impl Into<String>) -> Self {
        Objection { message: message.into(), reason: String::new(), index: 0 }
    }
}

/// What a policy has to say about a request.
#[derive(Debug, Default, PartialEq, Eq)]
struct Judgement {
    objections: Vec<Objection>,
    /// Annotations for the audit, by key; those that failed are held against the request.
    annotations: Vec<(String, String)>,
    failed: Vec<Objection>,
}

/// The first denial: of all, it is the one that is told.
#[derive(Default)]
struct Denied(Option<Objection>);

impl Denied {
    fn add(&mut self, policy: &Policy, binding: Option<&Binding>, objection: Objection) {
        let by = binding.map(|binding| format!(" with binding '{}'", binding.name)).unwrap_or_default();
        let message = format!("ValidatingAdmissionPolicy '{}'{by} denied request: {}", policy.name, objection.message);
        self.0.get_or_insert(Objection { message, ..objection });
    }

    /// What cannot be asked denies, unless failures are to be ignored.
    fn hindered(&mut self, policy: &Policy, binding: Option<&Binding>, why: &str) {
        let what = if binding.is_some() { "binding" } else { "policy" };
        if policy.strict {
            self.add(policy, binding, Objection::new(format!("failed to configure {what}: {why}")));
        }
    }
}

/// Asks every policy that is about the request.
pub(crate) async fn validate(
    attributes: &Attributes<'_>,
    objects: Objects<'_>,
    told: &mut Told,
) -> Result<(), Refusal> {
    let hooks = super::hooks(attributes, Sort::Validating)?;
    if hooks.is_empty() {
        return Ok(());
    }
    let request = Request::of(attributes);
    let forms = request.forms();
    let about = About::new(attributes, &request, request.asked(&forms));
    let mut denied = Denied::default();
    for Hook { policy, bindings } in &*hooks {
        let found = match about.found(&policy.criteria, objects) {
            Ok(None) => continue,
            Ok(Some(form)) => params::kind(&about, policy.param_kind.as_ref()).map(|kind| (form, kind)),
            Err(why) => Err(why),
        };
        match found {
            Ok((form, param_kind)) => {
                let case = Case { about: &about, policy, form, param_kind, objects };
                case.put(bindings, told, &mut denied).await?;
            }
            Err(why) => denied.hindered(policy, None, &why),
        }
    }
    match denied.0 {
        Some(objection) => Err(Refusal::Judged(denial(attributes, &objection))),
        None => Ok(()),
    }
}

/// A request and a policy that is about it.
struct Case<'a> {
    about: &'a About<'a>,
    policy: &'a Policy,
    form: usize,
    param_kind: Option<KindRef>,
    objects: Objects<'a>,
}

impl Case<'_> {
    /// Asks the policy with the parameters of each binding that is about the request too.
    async fn put(&self, bindings: &[Arc<Binding>], told: &mut Told, denied: &mut Denied) -> Result<(), Refusal> {
        let Case { about, policy, .. } = self;
        let mut scene = None;
        for binding in bindings {
            let params = match about.found(&binding.criteria, self.objects) {
                Ok(None) => continue,
                Ok(Some(_)) => params::collect(about, self.param_kind.as_ref(), binding.params.as_ref()).await?,
                Err(why) => Err(why),
            };
            let scene = match &mut scene {
                Some(made) => made,
                none => none.insert(about.scene(self.form, self.objects).await?),
            };
            match (params, scene) {
                (Ok(params), Ok(scene)) => {
                    for params in &params {
                        self.judge(binding, scene, params, told, denied);
                        // There may be many: the request's deadline and others come in between.
                        tokio::task::yield_now().await;
                    }
                }
                (Err(why), _) => denied.hindered(policy, Some(binding), &why),
                (Ok(_), Err(why)) => {
                    let why = format!("failed to convert object version: {why}");
                    denied.hindered(policy, Some(binding), &why);
                }
            }
        }
        Ok(())
    }

    fn judge(&self, binding: &Binding, scene: &Scene<'_>, params: &Value, told: &mut Told, denied: &mut Denied) {
        let judgement = match &self.policy.rules {
            Ok(rules) => judge(rules, self.policy.strict, scene.input(params)),
            Err(why) => Judgement::of_trouble(self.policy.strict, why.clone()),
        };
        tell(self.about, self.policy, binding, &judgement, told);
        let denies = binding.actions.iter().any(|action| action == "Deny");
        let objections = judgement.objections.into_iter().filter(|_| denies).chain(judgement.failed);
        objections.for_each(|objection| denied.add(self.policy, Some(binding), objection));
    }
}

/// Warnings go to the author, the rest to whoever reads the audit.
fn tell(about: &About<'_>, policy: &Policy, binding: &Binding, judgement: &Judgement, told: &mut Told) {
    let mut audited = Vec::new();
    for Objection { message, index, .. } in &judgement.objections {
        for action in &binding.actions {
            match action.as_str() {
                "Warn" => told.warnings.push(format!(
                    "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {message}",
                    policy.name, binding.name
                )),
                "Audit" => audited.push(json!({
                    "message": message, "policy": policy.name, "binding": binding.name, "expressionIndex": index,
                    "validationActions": binding.actions,
                })),
                _ => {}
            }
        }
    }
    let request = about.attributes.call.request;
    if !audited.is_empty() {
        request.annotate(VALIDATION_FAILURE, Value::Array(audited).to_string());
    }
    for (key, value) in &judgement.annotations {
        request.annotate(&format!("{}/{key}", policy.name), value);
    }
}

impl Judgement {
    /// Of a policy that could not be asked.
    fn of_trouble(strict: bool, why: String) -> Self {
        let objections = if strict { vec![Objection::new(why)] } else { Vec::new() };
        Judgement { objections, ..Judgement::default() }
    }
}

fn judge(rules: &Rules, strict: bool, input: Input<'_>) -> Judgement {
    match rules.conditions.hold(input) {
        Ok(true) => {}
        Ok(false) => return Judgement::default(),
        Err(why) => return Judgement::of_trouble(strict, why),
    }
    let seen = input.composed(&rules.variables);
    let mut budget = Budget::new(POLICY_COST_MAX);
    let mut found = Vec::new();
    for (index, validation) in rules.validations.iter().enumerate() {
        match validation.expression.run(&seen, &mut budget) {
            Ok(Cel::Bool(true)) => {}
            Ok(_) => found.push((index, Ok(validation))),
            Err(Trouble::Failed(why)) => found.push((index, Err(why))),
            Err(trouble @ Trouble::OutOfBudget) => return Judgement::of_trouble(strict, trouble.told()),
        }
    }
    let mut judgement = Judgement::default();
    // Messages have what the validations left of the budget.
    for (index, one) in found {
        let objection = match one {
            Ok(validation) => validation.objection(strict, &seen, &mut budget),
            Err(why) => strict.then(|| Objection::new(why)),
        };
        judgement.objections.extend(objection.map(|objection| Objection { index, ..objection }));
    }
    annotate(rules, strict, &seen, &mut judgement);
    judgement
}

impl Validation {
    /// What is told where it does not hold; nothing, if that cannot be said and does not matter.
    fn objection<'a>(&'a self, strict: bool, seen: &Composition<'a>, budget: &mut Budget) -> Option<Objection> {
        let said = self.message_expression.as_ref().map(|expression| expression.run(seen, budget));
        let said = match said {
            Some(Err(trouble @ Trouble::OutOfBudget)) => {
                let message = format!("failed messageExpression: {}", trouble.told());
                return strict.then(|| Objection::new(message));
            }
            Some(Ok(Cel::String(text))) => Some(text.trim().to_owned()),
            Some(Ok(_) | Err(Trouble::Failed(_))) | None => None,
        };
        let sound = |text: &String| !text.is_empty() && text.len() <= MESSAGE_BYTES_MAX && !text.contains('\n');
        let message = match (said.filter(sound), self.message.as_str()) {
            (Some(said), _) => said,
            (None, "") => format!("failed expression: {}", self.expression.text),
            (None, message) => message.to_owned(),
        };
        Some(Objection { reason: self.reason.clone(), ..Objection::new(message) })
    }
}

/// Annotations have a budget of their own.
fn annotate<'a>(rules: &'a Rules, strict: bool, seen: &Composition<'a>, judgement: &mut Judgement) {
    let mut budget = Budget::new(POLICY_COST_MAX);
    for annotation in &rules.annotations {
        match annotation.value.run(seen, &mut budget) {
            Ok(Cel::String(text)) => {
                let text = text.trim();
                let end = (0..=text.len().min(ANNOTATION_BYTES_MAX)).rev().find(|end| text.is_char_boundary(*end));
                if !text.is_empty() {
                    judgement.annotations.push((annotation.key.clone(), text[..end.unwrap_or_default()].to_owned()));
                }
            }
            Ok(_) => {}
            Err(trouble @ Trouble::OutOfBudget) => {
                *judgement = Judgement::of_trouble(strict, trouble.told());
                return;
            }
            Err(Trouble::Failed(why)) if strict => judgement.failed.push(Objection::new(why)),
            Err(Trouble::Failed(_)) => {}
        }
    }
}

fn denial(attributes: &Attributes<'_>, Objection { message, reason, .. }: &Objection) -> Status {
    let (reason, code) = match reason.as_str() {
        "Forbidden" => ("Forbidden", 403),
        "Unauthorized" => ("Unauthorized", 401),
        "RequestEntityTooLarge" => ("RequestEntityTooLarge", 413),
        _ => ("Invalid", 422),
    };
    let mut status = attributes.forbidden(message);
    let cause = Cause { message: message.clone(), ..Cause::default() };
    status.details.get_or_insert_default().causes.push(cause);
    Status { reason: reason.into(), code, ..status }
}
