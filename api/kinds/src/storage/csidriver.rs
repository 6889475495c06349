//! CSIDriver.

use kontiki_model::Faults;
use kontiki_schema::ids;
use serde_json::{Value, json};

use super::GROUP;
use crate::column::{self, text_column};
use crate::tree::{at, fill, flag, int, list, missing, object, text, texts};
use crate::{Column, Disabled, Kind, fields, metadata};

pub static KIND: Kind = Kind {
    group: GROUP,
    kind: "CSIDriver",
    resource: "csidrivers",
    singular: "csidriver",
    namespaced: false,
    type_name: "storage.v1.CSIDriver",
    delete_returns_object: true,
    unconditional_update: false,
    columns: COLUMNS,
    cells: |driver, now| {
        let joined = |all: Vec<&str>, none: &str| if all.is_empty() { none.to_owned() } else { all.join(",") };
        let audiences = list(driver, "/spec/tokenRequests").iter().map(|one| text(one, "/audience")).collect();
        vec![
            column::name(driver),
            (at(driver, "/spec/attachRequired") != &Value::Bool(false)).into(),
            flag(driver, "/spec/podInfoOnMount").into(),
            flag(driver, "/spec/storageCapacity").into(),
            joined(audiences, "<unset>").into(),
            flag(driver, "/spec/requiresRepublish").into(),
            joined(texts(driver, "/spec/volumeLifecycleModes").collect(), "<none>").into(),
            column::age(driver, now),
        ]
    },
    default,
    disabled: &[Disabled::new("VolumeLimitScaling", &[&["spec", "preventPodSchedulingIfMissing"]])],
    prepare_update: |new, old| {
        // Changes alone are counted: a new one has no generation.
        if at(new, "/spec") != at(old, "/spec") {
            object(new, "metadata")["generation"] = (int(old, "/metadata/generation") + 1).into();
        }
    },
    validate,
    validate_update: |new, old, faults| {
        metadata::validate_update(new, old, faults);
        let required = at(new, "/spec/attachRequired");
        if required != at(old, "/spec/attachRequired") {
            // Kubernetes spells this one field differently.
            faults.invalid("spec.attachedRequired", required.clone(), "field is immutable");
        }
        fields::immutable(new, old, "/spec/volumeLifecycleModes", faults);
    },
    ..Kind::BASE
};

const fn flag_column(name: &'static str, description: &'static str) -> Column {
    Column { r#type: "boolean", ..text_column(name, 0, description) }
}

const COLUMNS: &[Column] = &[
    column::NAME,
    flag_column("AttachRequired", "Whether volumes are attached to a node before they are mounted."),
    flag_column("PodInfoOnMount", "Whether the driver is told about the pod."),
    flag_column("StorageCapacity", "Whether pods are placed by what storage is left."),
    text_column("TokenRequests", 0, "Audiences of the tokens that the driver gets."),
    flag_column("RequiresRepublish", "Whether the driver is called again and again."),
    text_column("Modes", 0, "Kinds of volumes that the driver provides."),
    column::AGE,
];

const TOKEN_SECONDS_MIN: i64 = 10 * 60;
const TOKEN_SECONDS_MAX: i64 = 1 << 32;
const UPDATE_SECONDS_MIN: i64 = 10;

fn default(driver: &mut Value) {
    let spec = object(driver, "spec");
    fill(spec, "attachRequired", true);
    for member in ["podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"] {
        fill(spec, member, false);
    }
    fill(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    if list(spec, "/volumeLifecycleModes").is_empty() {
        spec["volumeLifecycleModes"] = json!(["Persistent"]);
    }
}

fn validate(driver: &Value, faults: &mut Faults) {
    let spec = at(driver, "/spec");
    if !missing(spec, "/fsGroupPolicy") {
        let field = (ids::STORAGE_V1_CSIDRIVERSPEC, "fsGroupPolicy");
        fields::known(text(spec, "/fsGroupPolicy"), field, "spec.fsGroupPolicy", faults);
    }
    let tokens = list(spec, "/tokenRequests");
    validate_tokens(tokens, faults);
    if flag(spec, "/serviceAccountTokenInSecrets") && tokens.is_empty() {
        let detail = "serviceAccountTokenInSecrets is set but no tokenRequests are specified";
        faults.invalid("spec.serviceAccountTokenInSecrets", true, detail);
    }
    for mode in texts(spec, "/volumeLifecycleModes") {
        fields::one_of(mode, "spec.volumeLifecycleModes", &["Persistent", "Ephemeral"], faults);
    }
    let period = at(spec, "/nodeAllocatableUpdatePeriodSeconds").as_i64();
    if let Some(period) = period.filter(|period| *period < UPDATE_SECONDS_MIN) {
        let detail = "must be greater than or equal to 10 seconds";
        faults.invalid("spec.nodeAllocatableUpdatePeriodSeconds", period, detail);
    }
}

/// One token for each audience.
fn validate_tokens(requests: &[Value], faults: &mut Faults) {
    let mut audiences = Vec::new();
    for (index, request) in requests.iter().enumerate() {
        let path = format!("spec.tokenRequests[{index}]");
        let audience = text(request, "/audience");
        if audiences.contains(&audience) {
            faults.duplicate(format!("{path}.audience"), audience);
            continue;
        }
        audiences.push(audience);
        let Some(seconds) = at(request, "/expirationSeconds").as_i64() else { continue };
        if seconds < TOKEN_SECONDS_MIN {
            let detail = "may not specify a duration less than 10 minutes";
            faults.invalid(format!("{path}.expirationSeconds"), seconds, detail);
        }
        if seconds > TOKEN_SECONDS_MAX {
            let detail = "may not specify a duration larger than 2^32 seconds";
            faults.invalid(format!("{path}.expirationSeconds"), seconds, detail);
        }
    }
}
