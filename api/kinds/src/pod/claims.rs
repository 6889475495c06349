//! The resource claims of a pod, and which of them a container refers to (`validatePodResourceClaims`).

use std::collections::{BTreeSet, HashMap, HashSet};

use kontiki_model::{FaultKind, Faults};
use serde_json::Value;

use crate::names::{label, report, subdomain};
use crate::tree::{at, text};

/// `spec.resourceClaims`.
pub fn validate(claims: &[Value], path: &str, faults: &mut Faults) {
    let mut seen = HashSet::new();
    for (index, claim) in claims.iter().enumerate() {
        let path = format!("{path}[{index}]");
        match text(claim, "/name") {
            "" => faults.required(format!("{path}.name"), ""),
            name if !seen.insert(name) => faults.duplicate(format!("{path}.name"), name),
            name => report(label(name), name, &format!("{path}.name"), faults),
        }
        let mut said = 0;
        for member in ["resourceClaimName", "resourceClaimTemplateName"] {
            if let Some(name) = at(claim, &format!("/{member}")).as_str() {
                said += 1;
                report(subdomain(name), name, &format!("{path}.{member}"), faults);
            }
        }
        match said {
            0 => {
                let detail = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`";
                faults.invalid(path, claim.clone(), detail);
            }
            1 => {}
            _ => {
                let detail = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified";
                faults.invalid(path, claim.clone(), detail);
            }
        }
    }
}

/// How many of the pod's claims a fault names.
const NAMES_TOLD_MAX: usize = 32;

/// `resources.claims` of a container: names of the pod's claims, whole or by request, none covered twice.
pub fn validate_references(references: &[Value], of_pod: &BTreeSet<&str>, path: &str, faults: &mut Faults) {
    let mut seen: HashMap<&str, HashSet<&str>> = HashMap::new();
    for (index, reference) in references.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let (name, request) = (text(reference, "/name"), text(reference, "/request"));
        if name.is_empty() {
            faults.required(path, "");
            continue;
        }
        let requests = seen.entry(name).or_default();
        if requests.contains("") || request.is_empty() && !requests.is_empty() {
            faults.duplicate(path.as_str(), name);
        } else {
            if !request.is_empty() {
                report(label(request), request, &format!("{path}.request"), faults);
            }
            if requests.contains(request) {
                faults.duplicate(path.as_str(), format!("{name}/{request}"));
            }
        }
        requests.insert(request);
        if !of_pod.contains(name) {
            let names: Vec<&str> = of_pod.iter().take(NAMES_TOLD_MAX).copied().collect();
            let which = match names.join(", ") {
                names if names.is_empty() => " which is empty".to_owned(),
                names => format!(": {names}"),
            };
            let detail = format!("must be one of the names in pod.spec.resourceClaims{which}");
            faults.add(FaultKind::NotFound, path, Some(name.into()), detail);
        }
    }
}
