//! CertificateApproval and CertificateSigning: who decides about a request for a certificate must be trusted with its signer.

use serde_json::Value;

use super::{Attributes, Operation};
use crate::{
    authz::{self, Question},
    rest::Refusal,
    route::{ResourceInfo, Target},
};

const GROUP: &str = "certificates.k8s.io";

/// The signer is that of the object as it was: who decides does not choose it.
pub fn decided(attributes: &Attributes<'_>, object: Option<&Value>, old: Option<&Value>) -> Result<(), Refusal> {
    let (Some(signed), Some(new), Some(old)) = (attributes.kind.signed, object, old) else { return Ok(()) };
    if attributes.operation != Operation::Update {
        return Ok(());
    }
    let signs = || signed.decisions.iter().any(|pointer| new.pointer(pointer) != old.pointer(pointer));
    let verb = match attributes.subresource {
        "approval" => "approve",
        "status" if signs() => "sign",
        _ => return Ok(()),
    };
    let signer = old.pointer(signed.signer).and_then(Value::as_str).unwrap_or_default();
    if may(attributes, verb, signer)? {
        return Ok(());
    }
    let why = format!("user not permitted to {verb} requests with signerName {signer:?}");
    Err(Refusal::Judged(attributes.forbidden(&why)))
}

/// By a rule about this signer, or about all of its domain: `example.com/*`.
fn may(attributes: &Attributes<'_>, verb: &str, signer: &str) -> Result<bool, Refusal> {
    let domain = signer.split('/').next().unwrap_or_default();
    for name in [signer.to_owned(), format!("{domain}/*")] {
        let target = Target::Resource(ResourceInfo {
            group: GROUP.to_owned(),
            version: "*".to_owned(),
            resource: "signers".to_owned(),
            name,
            ..ResourceInfo::default()
        });
        let question = Question { identity: attributes.identity, verb, target: &target, field_selector: "" };
        if authz::decide(attributes.call.core, question).map_err(Refusal::Judged)?.allowed {
            return Ok(true);
        }
    }
    Ok(false)
}
