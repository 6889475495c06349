//! CertificateApproval and CertificateSigning: who decides about a request for a certificate must be trusted with its signer.

use kontiki_kinds::Signed;
use serde_json::Value;

use super::{
    Attributes, Operation,
    metrics::{Phase, Step},
};
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
    let (plugin, verb) = match attributes.subresource {
        "approval" => ("CertificateApproval", "approve"),
        "status" if signs() => ("CertificateSigning", "sign"),
        _ => return Ok(()),
    };
    Step::of(attributes, plugin, Phase::Validate).ended(trusted(attributes, signed, verb, old))
}

fn trusted(attributes: &Attributes<'_>, signed: Signed, verb: &str, old: &Value) -> Result<(), Refusal> {
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
