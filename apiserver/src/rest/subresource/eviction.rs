//! `pods/eviction`: a DELETE that asks the disruption budgets of the namespace first. What it costs a budget is written with
//! the deletion, in one command: no budget is charged for a pod that stays, and none is overdrawn.

use http::StatusCode;
use kontiki_kinds::poddisruptionbudget::{self as budget, Objection, Verdict};
use kontiki_model::{Cause, Key, Scope, Status};
use kontiki_raft::{Expect, Stored};
use kontiki_schema::{Schema, ids};
use serde_json::{Value, json};

use super::{
    super::{
        call::{self, Call, Expected},
        decode,
        delete::{Removal, success},
        object::{self, text},
        options::{DeleteOptions, WriteOptions},
        plan::{self, Change, Planned, Write},
        store::{self, Refusal},
        view::View,
    },
    condition,
};
use crate::{
    admission::{self, Operation},
    content,
    failure::{self, Qualified},
    negotiate::Offer,
    request::ApiResponse,
};

/// What is posted.
fn eviction() -> Expected<'static> {
    Expected { group: "policy", version: "v1", kind: "Eviction", schema: Schema::builtin(ids::POLICY_V1_EVICTION) }
}

/// When to ask again where a controller has yet to look at a budget.
const UNOBSERVED_RETRY_S: i32 = 10;

pub async fn evict(call: &Call<'_>) -> Result<ApiResponse, Status> {
    let form = call.form(Offer::Document)?;
    let options = WriteOptions::read(call.request, "CreateOptions")?;
    let name = call.name()?;
    let mut eviction = decode::body(call, eviction(), options.field_validation)?.object;
    decode::place(call, &mut eviction)?;
    if text(&eviction, "/metadata/name") != name {
        return Err(failure::bad_request("name in URL does not match name in Eviction object"));
    }
    let warnings = admission::posted(call, Operation::Create, name, &mut eviction, options.dry_run).await?;
    let mut deletion = DeleteOptions::from_value(eviction.get("deleteOptions").unwrap_or(&json!({})))?;
    deletion.dry_run |= options.dry_run;
    let dry_run = deletion.dry_run;
    let removal = Removal { name, options: deletion, last_words: Some(disrupted) };
    plan::carry_out(call, name, &Eviction { removal }, dry_run).await?;
    let mut response = content::answer_value(StatusCode::CREATED, form, &success(None, Some(StatusCode::CREATED)))?;
    warnings.iter().for_each(|warning| content::warn(&mut response, warning));
    Ok(response)
}

struct Eviction<'a> {
    removal: Removal<'a>,
}

impl Write for Eviction<'_> {
    fn plan<'a>(&'a self, call: &'a Call<'a>, view: &'a View<'a>) -> Planned<'a> {
        Box::pin(async move {
            let mut plan = self.removal.plan(call, view).await?;
            self.charge(call, view, &mut plan.change)?;
            Ok(plan)
        })
    }
}

impl Eviction<'_> {
    /// Asks the budgets, and charges the one that allows it.
    fn charge(&self, call: &Call<'_>, view: &View<'_>, change: &mut Change) -> Result<(), Refusal> {
        let current = view.get(&call.key(self.removal.name)).map_err(|error| store::read_failed(&error))?;
        let current = current.ok_or_else(|| Refusal::Judged(call.not_found(self.removal.name)))?;
        let budgets = budgets(call, view)?;
        let forms = budgets.iter().map(object::open).collect::<Result<Vec<_>, _>>()?;
        match budget::judge(&object::open(&current)?, &forms, call::now()) {
            Verdict::Free => {}
            Verdict::Refused(objection) => return Err(Refusal::Judged(refused(objection))),
            Verdict::Charged(charged) => {
                let key = key(call, text(&charged, "/metadata/name"));
                let known = budgets.iter().find(|budget| budget.key == key);
                change.expect(&key, Expect::Revision(known.map_or(0, |budget| budget.revision)));
                change.put(&key, &object::seal(&budget::KIND, charged)?);
            }
        }
        Ok(())
    }
}

fn key(call: &Call<'_>, name: &str) -> Key {
    Key::new(budget::KIND.storage_resource(), call.namespace(), name)
}

/// The budgets of the namespace.
fn budgets(call: &Call<'_>, view: &View<'_>) -> Result<Vec<Stored>, Status> {
    let scope = Scope { resource: budget::KIND.storage_resource(), namespace: Some(call.namespace().to_owned()) };
    view.list(&scope).map_err(|error| store::read_failed(&error))
}

fn refused(objection: Objection) -> Status {
    let because = |message: String, retry_after_s: Option<i32>| {
        let cause = Cause { reason: "DisruptionBudget".to_owned(), message, field: String::new() };
        let message = "Cannot evict pod as it would violate the pod's disruption budget.";
        failure::too_many_disruptions(message, cause, retry_after_s)
    };
    match objection {
        Objection::Several => failure::unexpected(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
        ),
        Objection::Unobserved { budget } => {
            let message = format!("The disruption budget {budget} is still being processed by the server.");
            because(message, Some(UNOBSERVED_RETRY_S))
        }
        Objection::Exhausted { budget, needed, healthy } => because(
            format!("The disruption budget {budget} needs {needed} healthy pods and has {healthy} currently"),
            None,
        ),
        Objection::Broken { budget, why } => {
            failure::forbidden(Qualified { group: "policy", resource: "poddisruptionbudget" }, &budget, why)
        }
    }
}

/// The condition by which others know why the pod goes.
fn disrupted(pod: &mut Value) {
    let now = call::time_text(call::now());
    let evicted = json!({
        "type": "DisruptionTarget", "status": "True", "lastProbeTime": null, "lastTransitionTime": now,
        "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting",
    });
    condition::set(pod, evicted);
}
