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
    definition,
    limits::NAME_ATTEMPTS_MAX,
    naming,
    object::{self, text},
    options::WriteOptions,
    owners::{self, Named},
    ownership::{self, Managed},
    plan::{self, Change, Effect, Plan, Planned, Write},
    render,
    store::Refusal,
    view::View,
};
use crate::{
    admission::{self, Attributes, Operation, Told},
    failure,
    negotiate::Offer,
    request::ApiResponse,
};

/// A new object, as its author wants it.
pub struct Creation {
    pub object: Value,
    /// What is to be told about it in any case.
    pub warnings: Vec<String>,
    pub managed: Managed,
    /// Why its author may not create it, if so: who changes objects is told when all else is in order.
    pub allowed: Result<(), Status>,
}

pub async fn create(call: &Call<'_>) -> Result<ApiResponse, Status> {
    let form = call.form(Offer::Object)?;
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
        refuse_version(&object)?;
        Ok(Creation { object, warnings, managed: Managed::ByChange, allowed: Ok(()) })
    }
}

/// Only what is a version of something says that the object is there already.
pub fn refuse_version(object: &Value) -> Result<(), Status> {
    match text(object, "/metadata/resourceVersion").parse::<u64>() {
        Ok(1..) => Err(failure::unexpected("resourceVersion should not be set on objects to be created")),
        Ok(0) | Err(_) => Ok(()),
    }
}

impl Write for Creation {
    /// Where a generated name is taken, another one is tried; who may change the object is not asked again.
    fn plan<'a>(&'a self, call: &'a Call<'a>, view: &'a View<'a>) -> Planned<'a> {
        Box::pin(async move {
            let admitted = admit(call, view, self).await?;
            if naming::is_open(&admitted.object) {
                for left in (0..NAME_ATTEMPTS_MAX).rev() {
                    match decide(call, view, admitted.clone(), &self.allowed).await {
                        Err(Failed::Taken(_)) if left > 0 => {}
                        Err(Failed::Taken(status)) => return Err(Refusal::Final(status)),
                        decided => return Ok(decided?),
                    }
                }
            }
            Ok(decide(call, view, admitted, &self.allowed).await?)
        })
    }
}

/// A new object as all want it who may change it. Its name may be open.
#[derive(Clone)]
struct Admitted {
    object: Value,
    told: Told,
}

enum Failed {
    /// There is an object of this name.
    Taken(Status),
    Refused(Refusal),
}

impl From<Failed> for Refusal {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Taken(status) => Refusal::Judged(status),
            Failed::Refused(refusal) => refusal,
        }
    }
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

async fn admit(call: &Call<'_>, view: &View<'_>, creation: &Creation) -> Result<Admitted, Refusal> {
    let kind = call.kind;
    let mut object = creation.object.clone();
    naming::clear(&mut object);
    if kind.custom.as_ref().is_some_and(|custom| custom.terminating) {
        return Err(failure::terminating_definition().into());
    }
    let mut told = Told { warnings: creation.warnings.clone() };
    owners::dedup(&mut object, Named::ByRequest, &mut told.warnings);
    kind.schema().default(&mut object);
    (kind.default)(&mut object);
    ownership::note(call, creation.managed.clone(), &mut object, None).await;
    let mut object = kind.to_stored(object);
    let [name, prefix] = ["name", "generateName"].map(|member| object["metadata"][member].as_str().unwrap_or_default());
    let (name, called) = (name.to_owned(), if name.is_empty() { prefix } else { name }.to_owned());
    let attributes = Attributes { called: &called, ..Attributes::new(call, view, Operation::Create, &name) };
    admission::mutate(&attributes, Some(&mut object), None, &mut told).await?;
    owners::dedup(&mut object, Named::ByMutation, &mut told.warnings);
    Ok(Admitted { object, told })
}

async fn decide(
    call: &Call<'_>,
    view: &View<'_>,
    admitted: Admitted,
    allowed: &Result<(), Status>,
) -> Result<Plan, Failed> {
    let kind = call.kind;
    let Admitted { mut object, mut told } = admitted;
    let mut change = Change::default();
    naming::fill(&mut object);
    kind.drop_disabled(&mut object, None);
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
    allowed.clone()?;
    told.warnings.extend((kind.warnings)(&object, None));
    let name = text(&object, "/metadata/name").to_owned();
    let key = call.key(&name);
    let attributes = Attributes::new(call, view, Operation::Create, &name);
    match claims::claim(view, &call.core.config, kind, &mut object, None, &mut change) {
        Ok(()) => {}
        Err(Denied::Faults(faults)) => {
            let status = failure::invalid(call.group_kind(), &key.name, &faults);
            return Err(Refusal::Judged(status).into());
        }
        Err(Denied::Failed(status)) => return Err(Refusal::Judged(status).into()),
    }
    let converted = conversion::to_stored(call.core, kind, &object, |_| false).await?;
    admission::validate(&attributes, Some(&object), None, &mut told, &mut change).await?;
    if let Some((_, head)) = view.head(&key) {
        let mut exists = match text(&object, "/metadata/generateName") {
            "" => failure::already_exists(call.resource(), &key.name),
            _ => failure::generated_name_exists(call.resource(), &key.name),
        };
        if head.deletion.is_some() {
            exists.message = format!("object is being deleted: {}", exists.message);
        }
        return Err(Failed::Taken(exists));
    }
    object::settle(kind, &mut object);
    let sealed = conversion::seal(kind, object, converted)?;
    change.expect(&key, Expect::Absent);
    definition::stays(kind, &mut change);
    change.put(&key, &sealed.stored);
    let object = plan::uncommitted(key, 0, sealed.told);
    Ok(Plan { effect: Effect::Created, object, change, warnings: told.warnings })
}
