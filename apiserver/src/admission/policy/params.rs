//! The objects that a binding gives its policy as parameters.

use kontiki_kinds::KindRef;
use kontiki_model::{Key, Scope};
use kontiki_raft::Stored;
use serde_json::Value;

use super::{
    about::About,
    compiled::{ParamKind, ParamRef, Which},
};
use crate::rest::{Refusal, View, conversion, object, read_failed};

/// What stands in the way of a policy that cannot be asked.
pub(super) type Hindrance = String;

/// The kind of a policy's parameters, if it has any.
pub(super) fn kind(about: &About<'_>, wanted: Option<&ParamKind>) -> Result<Option<KindRef>, Hindrance> {
    let Some(ParamKind { group, version, kind }) = wanted else { return Ok(None) };
    match about.attributes.view.kinds(about.attributes.call.core).by_gvk(group, version, kind) {
        Some(found) => Ok(Some(found)),
        None => Err(format!("failed to find resource referenced by paramKind: '{group}/{version}, Kind={kind}'")),
    }
}

/// The parameters, one object for each evaluation; null stands for none. The inner error is about the binding.
pub(super) async fn collect(
    about: &About<'_>,
    kind: Option<&KindRef>,
    reference: Option<&ParamRef>,
) -> Result<Result<Vec<Value>, Hindrance>, Refusal> {
    let (Some(kind), Some(reference)) = (kind, reference) else { return Ok(Ok(vec![Value::Null])) };
    let namespace = match (kind.namespaced, reference.namespace.as_str(), about.request.namespace()) {
        (false, "", _) => "",
        (false, _, _) => {
            return Ok(Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".to_owned()));
        }
        (true, "", "") => {
            let why = "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources";
            return Ok(Err(why.to_owned()));
        }
        (true, "", of_request) => of_request,
        (true, named, _) => named,
    };
    let found = stored(about.attributes.view, kind, namespace, &reference.which)?;
    if found.is_empty() && !reference.optional {
        return Ok(Err("no params found for policy binding with `Deny` parameterNotFoundAction".to_owned()));
    }
    let mut params = Vec::with_capacity(found.len());
    for stored in &found {
        let told = conversion::told(about.attributes.call.core, kind, stored).await?;
        params.push(object::open(&told)?);
    }
    Ok(Ok(params))
}

fn stored(view: &View<'_>, kind: &KindRef, namespace: &str, which: &Which) -> Result<Vec<Stored>, Refusal> {
    let resource = kind.storage_resource();
    let found = match which {
        Which::Named(name) => {
            view.get(&Key::new(resource, namespace, name.as_str())).map(|found| found.into_iter().collect())
        }
        Which::Selected(selector) => {
            let namespace = Some(namespace.to_owned()).filter(|_| kind.namespaced);
            view.list(&Scope { resource, namespace }).map(|mut found| {
                found.retain(|stored| selector.matches(&stored.head.labels));
                found
            })
        }
    };
    found.map_err(|error| read_failed(&error).into())
}
