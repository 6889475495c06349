//! One of several things that a request asks for at once: judged and recorded as the request that it would be by itself.

use kontiki_model::Status;

use crate::{
    audit::Entry,
    authn,
    authz::{self, Question},
    core::Core,
    request::ApiRequest,
    route::RequestInfo,
};

/// Begins to record it, if the policy of the audit wants that.
pub(crate) fn record(core: &Core, request: &ApiRequest, part: &RequestInfo) -> Option<Entry> {
    core.audit.as_ref().and_then(|audit| audit.begin_part(request, part))
}

/// Whether its author may do this, and who acts as that author may do it so.
pub(crate) fn judge(
    core: &Core,
    request: &ApiRequest,
    part: &RequestInfo,
    entry: Option<&Entry>,
) -> Result<(), Status> {
    if let Some(real) = &request.real
        && let Some(wanted) = authn::requested(&request.headers)?
    {
        authz::check_impersonation(core, real, &wanted, part)?;
    }
    let RequestInfo { verb, target } = part;
    let question = Question { identity: &request.identity, verb, target, field_selector: "" };
    let decision = authz::decide(core, question)?;
    if let Some(entry) = entry {
        entry.decided(&decision);
    }
    authz::enforce(core, question, &decision)
}
