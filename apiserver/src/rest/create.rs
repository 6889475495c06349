//! POST to a collection.

use http::StatusCode;
use kontiki_kinds::metadata;
use kontiki_model::{Faults, Status};
use kontiki_raft::{Expect, Stored};
use kontiki_schema::builtin;
use serde_json::Value;

use super::{
    admission,
    call::Call,
    claims::{self, Denied},
    decode,
    limits::NAME_ATTEMPTS_MAX,
    naming,
    object::{self, text},
    options::WriteOptions,
    render,
    store::{self, Attempts, Change, Refusal},
};
use crate::{
    failure,
    negotiate::{self, Offer},
    request::ApiResponse,
};

/// A new object and the warnings to its author.
#[derive(Debug)]
pub struct Created {
    pub stored: Stored,
    pub warnings: Vec<String>,
}

pub async fn create(call: &Call<'_>) -> Result<ApiResponse, Status> {
    let form = negotiate::negotiate(call.request, Offer::Object)?;
    let options = WriteOptions::read(call.request, "CreateOptions")?;
    let mut decoded = decode::body(call, call.expected(), options.field_validation)?;
    decode::place(call, &mut decoded.object)?;
    if !text(&decoded.object, "/metadata/resourceVersion").is_empty() {
        return Err(failure::unexpected("resourceVersion should not be set on objects to be created"));
    }
    let created = insert(call, &decoded.object, options.dry_run).await?;
    let warnings = decoded.warnings.iter().chain(&created.warnings);
    render::written(call, form, StatusCode::CREATED, &created.stored, warnings)
}

/// Creates an object from a decoded body.
pub async fn insert(call: &Call<'_>, body: &Value, dry_run: bool) -> Result<Created, Status> {
    let name = text(body, "/metadata/name");
    let mut attempts = Attempts::new(call, name);
    let mut names_left = NAME_ATTEMPTS_MAX;
    loop {
        match attempt(call, body, dry_run).await {
            Ok(created) => return Ok(created),
            Err(Failed::Name(_)) if names_left > 1 => names_left -= 1,
            Err(Failed::Name(status)) => return Err(status),
            Err(Failed::Refused(refusal)) => attempts.again(refusal).await?,
        }
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

async fn attempt(call: &Call<'_>, body: &Value, dry_run: bool) -> Result<Created, Failed> {
    let kind = call.kind;
    let mut object = body.clone();
    let mut change = Change::default();
    let generated = naming::fill(&mut object);
    builtin().default(object::type_of(kind), &mut object);
    (kind.default)(&mut object);
    admission::namespace(call, &object, &mut change)?;
    admission::admit(call, &mut object)?;
    (kind.prepare_create)(&mut object);
    if kind.generation {
        object::metadata(&mut object).insert("generation".to_owned(), 1.into());
    }
    let mut faults = Faults::default();
    metadata::validate(kind, &object, &mut faults);
    (kind.validate)(&object, &mut faults);
    (kind.validate_create)(&object, &mut faults);
    call.valid(&object, &faults)?;
    let warnings = (kind.warnings)(&object, None);
    let key = call.key(text(&object, "/metadata/name"));
    let log = &call.core.log;
    if let Some((_, head)) = log.head(&key) {
        let mut exists = failure::already_exists(call.resource(), &key.name);
        if head.deletion.is_some() {
            exists.message = format!("object is being deleted: {}", exists.message);
        }
        return Err(if generated { Failed::Name(exists) } else { Refusal::Judged(exists).into() });
    }
    match claims::claim(log, &call.core.config, kind, &mut object, None, &mut change) {
        Ok(()) => {}
        Err(Denied::Faults(faults)) => {
            let status = failure::invalid(call.group_kind(), &key.name, &faults);
            return Err(Refusal::Judged(status).into());
        }
        Err(Denied::Exhausted(status)) => return Err(Refusal::Judged(status).into()),
    }
    let sealed = object::seal(kind, object)?;
    if dry_run {
        return Ok(Created { stored: store::uncommitted(key, 0, sealed), warnings });
    }
    change.expect(&key, Expect::Absent);
    change.put(&key, &sealed);
    let stored = store::commit(call, &key, change).await?;
    Ok(Created { stored, warnings })
}
