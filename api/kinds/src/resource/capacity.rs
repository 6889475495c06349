//! What a device has of something, and in which amounts it gives it away.

use kontiki_model::{Faults, Quantity};
use serde_json::Value;

use crate::pod::quantity;
use crate::tree::{at, list, missing};

const VALUES_MAX: usize = 10;

/// `shared`: several claims may share the device.
pub fn validate(capacity: &Value, shared: bool, path: &str, faults: &mut Faults) {
    let path = format!("{path}.requestPolicy");
    let policy = at(capacity, "/requestPolicy");
    if policy.is_null() {
        return;
    }
    if !shared {
        faults.forbidden(path, "allowMultipleAllocations must be true");
        return;
    }
    let Some(whole) = quantity(at(capacity, "/value")) else { return };
    let (values, range) = (list(policy, "/validValues"), at(policy, "/validRange"));
    let preset = quantity(at(policy, "/default"));
    match (values.is_empty(), range.is_null(), preset) {
        (false, false, _) => {
            let detail = "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time";
            faults.forbidden(path, detail);
        }
        (false, true, None) => faults.required(format!("{path}.default"), "required when validValues is defined"),
        (true, false, None) => faults.required(format!("{path}.default"), "required when validRange is defined"),
        (false, true, Some(preset)) => validate_values(values, &whole, &preset, &format!("{path}.validValues"), faults),
        (true, false, Some(preset)) => validate_range(range, &whole, &preset, &format!("{path}.validRange"), faults),
        (true, true, _) => {}
    }
}

fn validate_values(values: &[Value], whole: &Quantity, preset: &Quantity, path: &str, faults: &mut Faults) {
    let amounts: Vec<Quantity> = values.iter().filter_map(quantity).collect();
    for (index, pair) in amounts.windows(2).enumerate().filter(|(_, pair)| pair[0] > pair[1]) {
        let path = format!("{path}[{}]", index + 1);
        faults.invalid(path, pair[1].to_string(), "values must be sorted in ascending order");
    }
    if amounts.len() > VALUES_MAX {
        faults.too_many(path, amounts.len(), VALUES_MAX);
    } else {
        for (index, amount) in amounts.iter().enumerate() {
            let path = format!("{path}[{index}]");
            if amount > whole {
                let detail = format!("option is larger than capacity value: {whole}");
                faults.invalid(path.as_str(), amount.to_string(), detail);
            }
            if amounts[..index].contains(amount) {
                faults.duplicate(path, amount.to_string());
            }
        }
    }
    if !amounts.contains(preset) {
        faults.invalid(path, preset.to_string(), "default value is not valid according to the requestPolicy");
    }
}

fn validate_range(range: &Value, whole: &Quantity, preset: &Quantity, path: &str, faults: &mut Faults) {
    let part = |member: &str| quantity(&range[member]);
    let Some(min) = part("min") else {
        faults.required(format!("{path}.min"), "required when validRange is defined");
        return;
    };
    let larger = |member: &str, is: &Quantity, than: &Quantity, why: String, faults: &mut Faults| {
        if is > than {
            faults.invalid(format!("{path}.{member}"), is.to_string(), why);
        }
    };
    larger("min", &min, whole, format!("min is larger than capacity value: {whole}"), faults);
    if *preset < min {
        faults.invalid(format!("{path}.default"), preset.to_string(), format!("default is less than min: {min}"));
    }
    if let Some(max) = part("max") {
        larger("max", &min, &max, format!("min is larger than max: {max}"), faults);
        larger("max", &max, whole, format!("max is larger than capacity value: {whole}"), faults);
        larger("default", preset, &max, format!("default is more than max: {max}"), faults);
    }
    if !missing(range, "/step") {
        validate_step(range, &min, whole, preset, path, faults);
    }
}

/// Amounts are the least plus a number of steps.
fn validate_step(range: &Value, min: &Quantity, whole: &Quantity, preset: &Quantity, path: &str, faults: &mut Faults) {
    let path = format!("{path}.step");
    let Some(step) = quantity(&range["step"]) else { return };
    if step.is_zero() || step.is_negative() {
        faults.invalid(path, step.to_string(), "must be greater than zero");
        return;
    }
    let one = min.add(&step);
    if one > *whole {
        let detail = format!("one step {one} is larger than capacity value: {whole}");
        faults.invalid(path.as_str(), step.to_string(), detail);
    }
    for amount in [Some(preset.clone()), quantity(&range["max"])].into_iter().flatten() {
        let steps = amount.milli_value().checked_sub(min.milli_value());
        if steps.is_some_and(|steps| steps % step.milli_value().max(1) != 0) {
            let detail = format!("value is not a multiple of a given step ({step}) from ({min})");
            faults.invalid(path.as_str(), amount.to_string(), detail);
        }
    }
}
