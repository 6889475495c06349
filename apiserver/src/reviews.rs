//! Kinds that are questions, not objects: who am I, may I, may they, is this token good. Answered and forgotten.

mod attributes;

use std::sync::Arc;

use chrono::{SecondsFormat, Utc};
use http::StatusCode;
use kontiki_model::Status;
use serde_json::{Map, Value, json};

use crate::{
    authn,
    authz::{self, Decision, Holding, Question},
    content,
    core::Core,
    failure::{self, Qualified},
    negotiate::{Offer, negotiate},
    request::{ApiRequest, ApiResponse, Identity},
    rest,
    route::{ResourceInfo, Target},
};
use attributes::Scope;

const AUTHENTICATION: &str = "authentication.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";

/// One kind of question.
#[derive(Debug)]
pub(crate) struct Review {
    pub group: &'static str,
    pub resource: &'static str,
    pub singular: &'static str,
    pub kind: &'static str,
    pub namespaced: bool,
    pub type_name: &'static str,
    asks: Asks,
}

#[derive(Clone, Copy, Debug)]
enum Asks {
    WhoAmI,
    MayI,
    WhatMayI,
    MayThey,
    WhoHoldsToken,
}

/// In alphabetical order of group and resource.
pub(crate) static REVIEWS: &[Review] = &[
    Review {
        group: AUTHENTICATION,
        resource: "selfsubjectreviews",
        singular: "selfsubjectreview",
        kind: "SelfSubjectReview",
        namespaced: false,
        type_name: "authentication.v1.SelfSubjectReview",
        asks: Asks::WhoAmI,
    },
    Review {
        group: AUTHENTICATION,
        resource: "tokenreviews",
        singular: "tokenreview",
        kind: "TokenReview",
        namespaced: false,
        type_name: "authentication.v1.TokenReview",
        asks: Asks::WhoHoldsToken,
    },
    Review {
        group: AUTHORIZATION,
        resource: "localsubjectaccessreviews",
        singular: "localsubjectaccessreview",
        kind: "LocalSubjectAccessReview",
        namespaced: true,
        type_name: "authorization.v1.LocalSubjectAccessReview",
        asks: Asks::MayThey,
    },
    Review {
        group: AUTHORIZATION,
        resource: "selfsubjectaccessreviews",
        singular: "selfsubjectaccessreview",
        kind: "SelfSubjectAccessReview",
        namespaced: false,
        type_name: "authorization.v1.SelfSubjectAccessReview",
        asks: Asks::MayI,
    },
    Review {
        group: AUTHORIZATION,
        resource: "selfsubjectrulesreviews",
        singular: "selfsubjectrulesreview",
        kind: "SelfSubjectRulesReview",
        namespaced: false,
        type_name: "authorization.v1.SelfSubjectRulesReview",
        asks: Asks::WhatMayI,
    },
    Review {
        group: AUTHORIZATION,
        resource: "subjectaccessreviews",
        singular: "subjectaccessreview",
        kind: "SubjectAccessReview",
        namespaced: false,
        type_name: "authorization.v1.SubjectAccessReview",
        asks: Asks::MayThey,
    },
];

pub(crate) fn find(asked: &ResourceInfo) -> Option<&'static Review> {
    let is = |one: &&Review| one.group == asked.group && one.resource == asked.resource && asked.version == "v1";
    REVIEWS.iter().find(is)
}

pub(crate) async fn answer(
    core: &Arc<Core>,
    review: &Review,
    verb: &str,
    asked: &ResourceInfo,
    request: &ApiRequest,
) -> Result<ApiResponse, Status> {
    if asked.namespace.is_empty() == review.namespaced || !asked.subresource.is_empty() {
        return Err(failure::no_such_resource());
    }
    if verb != "create" || asked.named {
        return Err(failure::method_not_allowed());
    }
    let form = negotiate(request, Offer::Posted)?;
    let mut body = read(review, request)?;
    rest::place_in(&asked.namespace, &mut body)?;
    let spec = &body["spec"];
    match review.asks {
        // Whoever may do all comes here without that.
        Asks::MayI | Asks::WhatMayI | Asks::MayThey => _ = core.reach_present().await?,
        Asks::WhoAmI | Asks::WhoHoldsToken => {}
    }
    let status = match review.asks {
        Asks::WhoAmI => json!({"userInfo": user_info(&request.identity)}),
        Asks::MayI => {
            valid(&body, Scope::Myself)?;
            may(core, &request.identity, spec)?
        }
        Asks::WhatMayI => rules(core, &request.identity, spec)?,
        Asks::MayThey => {
            let within = Scope::SomebodyIn { namespace: &asked.namespace };
            valid(&body, if review.namespaced { within } else { Scope::Somebody })?;
            may(core, &subject(spec), spec)?
        }
        Asks::WhoHoldsToken => token_holder(core, spec).await?,
    };
    let mut answer = json!({
        "kind": review.kind,
        "apiVersion": format!("{}/v1", review.group),
        "metadata": body.get("metadata").cloned().unwrap_or_else(|| json!({})),
    });
    match review.asks {
        Asks::WhoAmI => {
            let now = Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true);
            answer["metadata"]["creationTimestamp"] = json!(now);
        }
        _ => answer["spec"] = if spec.is_null() { json!({}) } else { spec.clone() },
    }
    answer["status"] = status;
    rest::posted(form, StatusCode::CREATED, review.group, &answer)
}

/// The question, checked against its type and without unknown fields.
fn read(review: &Review, request: &ApiRequest) -> Result<Value, Status> {
    content::typed_value(request, review.group, "v1", review.kind)
}

fn may(core: &Core, identity: &Identity, spec: &Value) -> Result<Value, Status> {
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let (verb, target) = if resource.is_null() {
        (text(&path["verb"]), Target::Path(text(&path["path"])))
    } else {
        let target = Target::Resource(ResourceInfo {
            group: text(&resource["group"]),
            version: text(&resource["version"]),
            namespace: text(&resource["namespace"]),
            resource: text(&resource["resource"]),
            subresource: text(&resource["subresource"]),
            name: text(&resource["name"]),
            ..ResourceInfo::default()
        });
        (text(&resource["verb"]), target)
    };
    let field_selector = text(&resource["fieldSelector"]["rawSelector"]);
    let question = Question { identity, verb: &verb, target: &target, field_selector: &field_selector };
    let Decision { allowed, reason } = authz::decide(core, question)?;
    let mut status = json!({"allowed": allowed});
    if !reason.is_empty() {
        status["reason"] = reason.into();
    }
    Ok(status)
}

fn valid(review: &Value, scope: Scope<'_>) -> Result<(), Status> {
    let faults = attributes::validate(review, scope);
    match faults.is_empty() {
        true => Ok(()),
        false => Err(failure::invalid(Qualified { group: AUTHORIZATION, resource: "" }, "", &faults)),
    }
}

/// About whom a (local) SubjectAccessReview asks.
fn subject(spec: &Value) -> Identity {
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let user = spec["user"].as_str().unwrap_or("").to_owned();
    let groups = texts(&spec["groups"]);
    let extra = spec["extra"].as_object().into_iter().flatten().map(|(key, values)| (key.clone(), texts(values)));
    let uid = spec["uid"].as_str().unwrap_or("").to_owned();
    Identity { user, uid, groups, extra: extra.collect(), ..Identity::default() }
}

fn rules(core: &Core, identity: &Identity, spec: &Value) -> Result<Value, Status> {
    let namespace = spec["namespace"].as_str().unwrap_or("");
    if namespace.is_empty() {
        return Err(failure::bad_request("no namespace on request"));
    }
    let Holding { rules, incomplete } = authz::holding(core, identity, namespace)?;
    let (mut resources, mut paths) = (Vec::new(), Vec::new());
    for rule in &rules {
        if !rule.resources.is_empty() {
            let mut told = json!({"verbs": rule.verbs, "apiGroups": rule.groups, "resources": rule.resources});
            if !rule.names.is_empty() {
                told["resourceNames"] = json!(rule.names);
            }
            resources.push(told);
        }
        if !rule.paths.is_empty() {
            paths.push(json!({"verbs": rule.verbs, "nonResourceURLs": rule.paths}));
        }
    }
    let mut status =
        json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": !incomplete.is_empty()});
    if !incomplete.is_empty() {
        status["evaluationError"] = authz::told(incomplete).into();
    }
    Ok(status)
}

async fn token_holder(core: &Core, spec: &Value) -> Result<Value, Status> {
    let token = spec["token"].as_str().unwrap_or("");
    if token.is_empty() {
        return Err(failure::bad_request("token is required for TokenReview in authentication"));
    }
    let audiences: Vec<String> =
        spec["audiences"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    let own = &core.config.token_audiences;
    let wanted = if audiences.is_empty() { own } else { &audiences };
    if let Some(identity) = core.static_tokens.find(token) {
        let good: Vec<&String> = wanted.iter().filter(|one| own.contains(one)).collect();
        if !good.is_empty() {
            return Ok(json!({"authenticated": true, "user": user_info(&identity), "audiences": good}));
        }
    }
    if let Some(identity) = authn::bootstrapping(core, token).await? {
        let good: Vec<&String> = wanted.iter().filter(|one| own.contains(one)).collect();
        if !good.is_empty() {
            return Ok(json!({"authenticated": true, "user": user_info(&identity), "audiences": good}));
        }
    }
    // An issuer's tokens are for this server: what it answers to is what they are good for.
    if let Some(judged) = core.authentication.believe(token, Utc::now().timestamp()).await {
        let good: Vec<&String> = wanted.iter().filter(|one| own.contains(one)).collect();
        return Ok(match judged.map(authn::with_authenticated) {
            Ok(identity) if !good.is_empty() => {
                json!({"authenticated": true, "user": user_info(&identity), "audiences": good})
            }
            Ok(_) => json!({"user": {}}),
            Err(fault) => json!({"user": {}, "error": format!("[invalid bearer token, oidc: {fault}]")}),
        });
    }
    Ok(match authn::believe(core, token, wanted).await? {
        Ok(believed) => {
            let (user, audiences) = (user_info(&believed.identity), believed.audiences);
            json!({"authenticated": true, "user": user, "audiences": audiences})
        }
        Err(fault) => json!({"user": {}, "error": format!("[invalid bearer token, {fault}]")}),
    })
}

/// A user as `authentication.k8s.io` tells one.
pub(crate) fn user_info(identity: &Identity) -> Value {
    let mut info = Map::new();
    let mut tell = |name: &str, value: Value| info.insert(name.to_owned(), value);
    if !identity.user.is_empty() {
        tell("username", json!(identity.user));
    }
    if !identity.uid.is_empty() {
        tell("uid", json!(identity.uid));
    }
    if !identity.groups.is_empty() {
        tell("groups", json!(identity.groups));
    }
    if !identity.extra.is_empty() {
        let extra: Map<String, Value> =
            identity.extra.iter().map(|(key, values)| (key.clone(), json!(values))).collect();
        tell("extra", Value::Object(extra));
    }
    Value::Object(info)
}
