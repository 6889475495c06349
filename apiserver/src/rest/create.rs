//! POST to a collection.

use http::StatusCode;
use kontiki_kinds::metadata;
use kontiki_model::{Faults, Status};
use kontiki_raft::Expect;
use serde_json::Value;

use super::{
    call::{self, Call},
    claims::{self, Denied},
    conversion,
    decode::{self, Decoded},
    limits::NAME_ATTEMPTS_MAX,
    naming,
    object::{self, text},
    options::WriteOptions,
    ownership::{self, Managed},
    plan::{self, Change, Effect, Plan, Planned, Write},
    render,
    store::Refusal,
    view::View,
};
use crate::{
    admission::{self, Attributes, Operation, Told},
    failure,
    negotiate::{self, Offer},
    request::ApiResponse,
};

/// A new object, as its author wants it.
pub struct Creation {
    pub object: Value,
    /// What is to be told about it in any case.
    pub warnings: Vec<String>,
    pub managed: Managed,
}

pub async fn create(call: &Call<'_>) -> Result<ApiResponse, Status> {
    let form = negotiate::negotiate(call.request, Offer::Object)?;
    let options = WriteOptions::read(call.request, "CreateOptions")?;
    let creation = Creation::read(call, options)?;
    let name = text(&creation.object, "/metadata/name");
    let created = plan::carry_out(call, name, &creation, options.dry_run).await?;
    render::written(call, form, StatusCode::CREATED, &created.stored, created.warnings.iter())
}

impl Creation {
    pub fn read(call: &Call<'_>, options: WriteOptions) -> Result<Self, Status> {
        let Decoded { mut object, warnings } = decode::body(call, call.expected(), options.field_validation)?;
        decode::place(call, &mut object)?;
        if !text(&object, "/metadata/resourceVersion").is_empty() {
            return Err(failure::unexpected("resourceVersion should not be set on objects to be created"));
        }
        Ok(Creation { object, warnings, managed: Managed::ByChange })
    }
}

impl Write for Creation {
    /// Where a generated name is taken, another one is tried.
    fn plan<'a>(&'a self, call: &'a Call<'a>, view: &'a View<'a>) -> Planned<'a> {
        Box::pin(async move {
            let mut names_left = NAME_ATTEMPTS_MAX;
            loop {
                match attempt(call, view, self).await {
                    Ok(plan) => return Ok(Plan { warnings: [&*self.warnings, &*plan.warnings].concat(), ..plan }),
                    Err(Failed::Name(_)) if names_left > 1 => names_left -= 1,
                    Err(Failed::Name(status)) => return Err(Refusal::Final(status)),
                    Err(Failed::Refused(refusal)) => return Err(refusal),
                }
            }
        })
    }
}

enum Failed {
    /// The generated name is taken.
    Name(Status),
    Refused(Refusal),
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Self {
        Failed::Refused(refusal)
    }
}

impl From<Status> for Failed {
    fn from(status: Status) -> Self {
        Failed::Refused(Refusal::Final(status))
    }
}

async fn attempt(call: &Call<'_>, view: &View<'_>, creation: &Creation) -> Result<Plan, Failed> {
    let kind = call.kind;
    let mut object = creation.object.clone();
    let mut change = Change::default();
    let generated = naming::fill(&mut object);
    if kind.custom.as_ref().is_some_and(|custom| custom.terminating) {
        return Err(failure::terminating_definition().into());
    }
    kind.schema().default(&mut object);
    (kind.default)(&mut object);
    ownership::note(call, creation.managed.clone(), &mut object, None);
    let mut object = kind.to_stored(object);
    let name = text(&object, "/metadata/name").to_owned();
    let (attributes, mut told) = (Attributes::new(call, view, Operation::Create, &name), Told::default());
    admission::mutate(&attributes, Some(&mut object), None, &mut told).await?;
    (kind.prepare_create)(&mut object);
    // Of what will be stored, whoever made it so.
    admission::may_give(call, view, &object, None)?;
    (kind.stamp)(&mut object, None, call::now());
    if kind.generation {
        object::metadata(&mut object).insert("generation".to_owned(), 1.into());
    }
    let mut faults = Faults::default();
    metadata::validate(kind, &object, &mut faults);
    (kind.validate)(&object, &mut faults);
    (kind.validate_create)(&object, &mut faults);
    kind.validate_schema(&object, None, &mut faults);
    call.valid(&object, &faults)?;
    told.warnings.extend((kind.warnings)(&object, None));
    // Whoever was asked may have renamed it.
    let key = call.key(text(&object, "/metadata/name"));
    match claims::claim(view, &call.core.config, kind, &mut object, None, &mut change) {
        Ok(()) => {}
        Err(Denied::Faults(faults)) => {
            let status = failure::invalid(call.group_kind(), &key.name, &faults);
            return Err(Refusal::Judged(status).into());
        }
        Err(Denied::Exhausted(status)) => return Err(Refusal::Judged(status).into()),
    }
    let converted = conversion::to_stored(call.core, kind, &object, |_| false).await?;
    admission::validate(&attributes, Some(&object), None, &mut told, &mut change).await?;
    if let Some((_, head)) = view.head(&key) {
        let mut exists = failure::already_exists(call.resource(), &key.name);
        if head.deletion.is_some() {
            exists.message = format!("object is being deleted: {}", exists.message);
        }
        return Err(if generated { Failed::Name(exists) } else { Refusal::Judged(exists).into() });
    }
    object::settle(kind, &mut object);
    let sealed = conversion::seal(kind, object, converted)?;
    change.expect(&key, Expect::Absent);
    change.put(&key, &sealed.stored);
    let object = plan::uncommitted(key, 0, sealed.told);
    Ok(Plan { effect: Effect::Created, object, change, warnings: told.warnings })
}
