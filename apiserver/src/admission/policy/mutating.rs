//! MutatingAdmissionPolicy: what is changed, one policy after the other, in the order of their names.

use std::sync::Arc;

use kontiki_cel::Budget;
use kontiki_model::{Cause, Status};
use serde_json::Value;

use super::{
    about::{About, Scene, told},
    compiled::{Binding, Hook, Mutation, Policy, Rules},
    limits::POLICY_COST_MAX,
    params, patches,
    state::Sort,
};
use crate::{
    admission::{Attributes, matching::Objects, request::Request, webhooks::Reinvocation},
    rest::Refusal,
};

/// A policy that is about the request, bound with one object of parameters.
struct Invocation {
    policy: Arc<Policy>,
    binding: Arc<Binding>,
    form: usize,
    params: Value,
}

/// Why a policy came to nothing.
struct Failure {
    strict: bool,
    message: String,
    reason: &'static str,
}

impl Failure {
    fn of(policy: &Policy, binding: &Binding, why: &str) -> Self {
        let message = format!("policy '{}' with binding '{}' denied request: {why}", policy.name, binding.name);
        Failure { strict: policy.strict, message, reason: "Invalid" }
    }

    /// It could not even be asked.
    fn hindered(policy: &Policy, binding: Option<&Binding>, why: &str) -> Self {
        match binding {
            Some(binding) => {
                let why = format!("failed to configure binding: {why}");
                Failure { reason: "Forbidden", ..Failure::of(policy, binding, &why) }
            }
            None => {
                let message = format!("policy {:?} denied request: failed to configure policy: {why}", policy.name);
                Failure { strict: policy.strict, message, reason: "Forbidden" }
            }
        }
    }
}

/// Asks the policies that are about the request to change the object; in a second round, those that want to be asked again.
pub(crate) async fn mutate(
    attributes: &Attributes<'_>,
    object: Option<&mut Value>,
    old: Option<&Value>,
    round: &mut Reinvocation,
) -> Result<(), Refusal> {
    let Some(object) = object else { return Ok(()) };
    let hooks = super::hooks(attributes, Sort::Mutating)?;
    if hooks.is_empty() {
        return Ok(());
    }
    let request = Request::of(attributes);
    let forms = request.forms();
    let about = About::new(attributes, &request, request.asked(&forms));
    let mut failures = Vec::new();
    let (mut patched, mut willing) = (false, false);
    for invocation in invocations(&about, &hooks, Objects { new: Some(object), old }, &mut failures).await? {
        let id = invocation.id();
        if !round.asks(&id) {
            continue;
        }
        let before = object.clone();
        patched |= invocation.run(&about, object, old, &mut failures).await?;
        if *object != before {
            round.replaced(&before);
        }
        if invocation.policy.rules.as_ref().is_ok_and(|rules| rules.again) {
            round.asked(&id);
            willing = true;
        }
    }
    // Whoever is willing counts every patch as a change, its own too, as in Kubernetes.
    if patched && willing {
        round.changed();
    }
    failures.retain(|failure| failure.strict);
    if failures.is_empty() { Ok(()) } else { Err(Refusal::Judged(denial(attributes, &failures))) }
}

/// Who is to be asked, judged by the object as it is before anybody changes it.
async fn invocations(
    about: &About<'_>,
    hooks: &[Hook],
    objects: Objects<'_>,
    failures: &mut Vec<Failure>,
) -> Result<Vec<Invocation>, Refusal> {
    let mut all = Vec::new();
    for Hook { policy, bindings } in hooks {
        let found = match about.found(&policy.criteria, objects) {
            Ok(None) => continue,
            Ok(Some(form)) => params::kind(about, policy.param_kind.as_ref()).map(|kind| (form, kind)),
            Err(why) => Err(why),
        };
        let (form, param_kind) = match found {
            Ok(found) => found,
            Err(why) => {
                failures.push(Failure::hindered(policy, None, &why));
                continue;
            }
        };
        for binding in bindings {
            let collected = match about.found(&binding.criteria, objects) {
                Ok(None) => continue,
                Ok(Some(_)) => params::collect(about, param_kind.as_ref(), binding.params.as_ref()).await?,
                Err(why) => Err(why),
            };
            let invocation = |params| Invocation { policy: policy.clone(), binding: binding.clone(), form, params };
            match collected {
                Ok(params) => all.extend(params.into_iter().map(invocation)),
                Err(why) => failures.push(Failure::hindered(policy, Some(binding), &why)),
            }
        }
    }
    Ok(all)
}

impl Invocation {
    fn id(&self) -> String {
        let of = |member: &str| self.params["metadata"][member].as_str().unwrap_or_default();
        format!("policy {} {} {}/{}", self.policy.name, self.binding.name, of("namespace"), of("name"))
    }

    /// Makes the policy's changes, one after the other; those that fail are told. True if any was made, whatever it came to.
    async fn run(
        &self,
        about: &About<'_>,
        object: &mut Value,
        old: Option<&Value>,
        failures: &mut Vec<Failure>,
    ) -> Result<bool, Refusal> {
        let scene = about.scene(self.form, Objects { new: Some(object), old }).await?;
        let asked = scene.and_then(|scene| Ok(self.rules(&scene)?.map(|rules| (rules, scene))));
        let (rules, mut scene) = match asked {
            Ok(Some(asked)) => asked,
            Ok(None) => return Ok(false),
            Err(why) => {
                failures.push(Failure::of(&self.policy, &self.binding, &why));
                return Ok(false);
            }
        };
        let patched = self.patch(about, rules, &mut scene, failures);
        if patched {
            *object = about.request.taken(self.form, object, scene.object).await?;
        }
        Ok(patched)
    }

    /// What the policy does, if its conditions hold.
    fn rules(&self, scene: &Scene<'_>) -> Result<Option<&Rules>, String> {
        let rules = self.policy.rules.as_ref().map_err(Clone::clone)?;
        let holds = rules.conditions.hold(scene.input(&self.params))?;
        Ok(holds.then_some(rules))
    }

    fn patch(&self, about: &About<'_>, rules: &Rules, scene: &mut Scene<'_>, failures: &mut Vec<Failure>) -> bool {
        let mut patched = false;
        for mutation in &rules.mutations {
            match self.patched(about, rules, mutation, scene) {
                Ok(object) => {
                    scene.object = object;
                    patched = true;
                }
                Err(why) => failures.push(Failure::of(&self.policy, &self.binding, &why)),
            }
        }
        patched
    }

    /// The object after one mutation, read as if it came from outside.
    fn patched(
        &self,
        about: &About<'_>,
        rules: &Rules,
        mutation: &Mutation,
        scene: &Scene<'_>,
    ) -> Result<Value, String> {
        let why = |refusal| told(refusal, about.attributes);
        let schema = about.request.schema(self.form).map_err(why)?;
        let seen = scene.input(&self.params).composed(&rules.variables);
        let changed = patches::changed(mutation, &seen, &mut Budget::new(POLICY_COST_MAX), &scene.object, schema)?;
        about.request.read_again(self.form, changed).map_err(why)
    }
}

/// The first failure is told, and each is a cause.
fn denial(attributes: &Attributes<'_>, failures: &[Failure]) -> Status {
    let mut status = attributes.forbidden("");
    let causes = failures.iter().map(|failure| Cause { message: failure.message.clone(), ..Cause::default() });
    status.details.get_or_insert_default().causes.extend(causes);
    match failures.first() {
        Some(first) => Status { message: first.message.clone(), reason: first.reason.into(), ..status },
        None => status,
    }
}
