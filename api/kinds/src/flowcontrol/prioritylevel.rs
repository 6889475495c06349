//! PriorityLevelConfiguration.

use kontiki_model::Faults;
use serde_json::{Value, json};

use super::{GROUP, initial, stamp, validate_status};
use crate::column::{self, text_column};
use crate::tree::{at, fill, int, keep, missing, object, object_mut, text};
use crate::{Column, Kind, Subresource, fields};

pub static KIND: Kind = Kind {
    group: GROUP,
    kind: "PriorityLevelConfiguration",
    resource: "prioritylevelconfigurations",
    singular: "prioritylevelconfiguration",
    namespaced: false,
    type_name: "flowcontrol.v1.PriorityLevelConfiguration",
    generation: true,
    subresources: &[Subresource::Status],
    status_resets: Kind::ALL_BUT_STATUS,
    columns: COLUMNS,
    cells: |level, now| {
        let number = |pointer: &str| match at(level, pointer) {
            Value::Null => "<none>".into(),
            number => number.clone(),
        };
        vec![
            column::name(level),
            text(level, "/spec/type").into(),
            number("/spec/limited/nominalConcurrencyShares"),
            number("/spec/limited/limitResponse/queuing/queues"),
            number("/spec/limited/limitResponse/queuing/handSize"),
            number("/spec/limited/limitResponse/queuing/queueLengthLimit"),
            column::age(level, now),
        ]
    },
    default,
    prepare_create: |level| level["status"] = json!({}),
    prepare_update: |new, old| keep(new, old, "status"),
    stamp,
    validate,
    validate_status: |new, _, faults| validate_status(new, faults),
    initial: initial::priority_levels,
    ..Kind::BASE
};

const COLUMNS: &[Column] = &[
    column::NAME,
    text_column("Type", 0, "Whether its requests are limited at all."),
    text_column("NominalConcurrencyShares", 0, "Its share of what the server does at once."),
    text_column("Queues", 0, "How many queues there are for requests that wait."),
    text_column("HandSize", 0, "How many queues a flow may use."),
    text_column("QueueLengthLimit", 0, "How many requests may wait in a queue."),
    column::AGE,
];

const EXEMPT: &str = "exempt";
const QUEUES_MAX: i64 = 10_000_000;
/// Bits of the hash that deals a flow its queues.
const HASH_BITS_MAX: i64 = 60;

fn default(level: &mut Value) {
    object(level, "status");
    for (form, shares) in [("limited", 30), ("exempt", 0)] {
        if let Some(form) = object_mut(level, &format!("/spec/{form}")) {
            fill(form, "nominalConcurrencyShares", shares);
            fill(form, "lendablePercent", 0);
        }
    }
    if let Some(queuing) = object_mut(level, "/spec/limited/limitResponse/queuing") {
        for (member, number) in [("queues", 64), ("handSize", 8), ("queueLengthLimit", 50)] {
            if int(queuing, &format!("/{member}")) == 0 {
                queuing[member] = number.into();
            }
        }
    }
}

fn validate(level: &Value, faults: &mut Faults) {
    let (name, spec) = (text(level, "/metadata/name"), at(level, "/spec"));
    let kind = text(spec, "/type");
    if (name == EXEMPT) != (kind == "Exempt") {
        faults.invalid("spec.type", kind, "type must be 'Exempt' if and only if name is 'exempt'");
    }
    match kind {
        "Exempt" => {
            if !missing(spec, "/limited") {
                faults.forbidden("spec.limited", "must be nil if the type is not Limited");
            }
            validate_shares(at(spec, "/exempt"), "spec.exempt", faults);
        }
        "Limited" => {
            if !missing(spec, "/exempt") {
                faults.forbidden("spec.exempt", "must be nil if the type is Limited");
            }
            match at(spec, "/limited") {
                Value::Null => faults.required("spec.limited", "must not be empty when type is Limited"),
                limited => validate_limited(limited, "spec.limited", faults),
            }
        }
        other => faults.not_supported("spec.type", other, &["Exempt", "Limited"]),
    }
    initial::validate_fixed(level, initial::fixed_priority_level, faults);
    validate_status(level, faults);
}

fn validate_shares(form: &Value, path: &str, faults: &mut Faults) {
    let (shares, percent) = (int(form, "/nominalConcurrencyShares"), int(form, "/lendablePercent"));
    if shares < 0 {
        faults.invalid(format!("{path}.nominalConcurrencyShares"), shares, "must be a non-negative integer");
    }
    if !(0..=100).contains(&percent) {
        faults.invalid(format!("{path}.lendablePercent"), percent, "must be between 0 and 100, inclusive");
    }
}

fn validate_limited(limited: &Value, path: &str, faults: &mut Faults) {
    validate_shares(limited, path, faults);
    let percent = int(limited, "/borrowingLimitPercent");
    if percent < 0 {
        let detail = "if specified, must be a non-negative integer";
        faults.invalid(format!("{path}.borrowingLimitPercent"), percent, detail);
    }
    let (path, queuing) = (format!("{path}.limitResponse"), at(limited, "/limitResponse/queuing"));
    match (text(limited, "/limitResponse/type"), queuing) {
        ("Reject", Value::Null) => {}
        ("Reject", _) => {
            let detail = "must be nil if limited.limitResponse.type is not Limited";
            faults.forbidden(format!("{path}.queuing"), detail);
        }
        ("Queue", Value::Null) => {
            let detail = "must not be empty if limited.limitResponse.type is Limited";
            faults.required(format!("{path}.queuing"), detail);
        }
        ("Queue", queuing) => validate_queuing(queuing, &format!("{path}.queuing"), faults),
        (other, _) => fields::one_of(other, format!("{path}.type"), &["Queue", "Reject"], faults),
    }
}

fn validate_queuing(queuing: &Value, path: &str, faults: &mut Faults) {
    let number = |member: &str| int(queuing, &format!("/{member}"));
    let (length, queues, hand) = (number("queueLengthLimit"), number("queues"), number("handSize"));
    if length <= 0 {
        faults.invalid(format!("{path}.queueLengthLimit"), length, "must be positive");
    }
    if queues <= 0 {
        faults.invalid(format!("{path}.queues"), queues, "must be positive");
    } else if queues > QUEUES_MAX {
        faults.invalid(format!("{path}.queues"), queues, format!("must not be greater than {QUEUES_MAX}"));
    }
    let path = format!("{path}.handSize");
    if hand <= 0 {
        faults.invalid(path, hand, "must be positive");
    } else if hand > queues {
        faults.invalid(path, hand, format!("should not be greater than queues ({queues})"));
    } else if entropy_bits(queues, hand) > HASH_BITS_MAX {
        let detail = format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {HASH_BITS_MAX}"
        );
        faults.invalid(path, hand, detail);
    }
}

/// Bits that it takes to deal this hand out of this deck.
fn entropy_bits(deck: i64, hand: i64) -> i64 {
    ((deck as f64).log2() * hand as f64).ceil() as i64
}
