//! What a selector says of a device, in CEL.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use kontiki_cel::{Bound, Environment, FieldType, ObjectType, Type};
use kontiki_model::Faults;

use super::IDENTIFIER_LENGTH_MAX;
use super::device::{ATTRIBUTES_AND_CAPACITIES_MAX, VALUE_LENGTH_MAX};
use crate::fields;

const BYTES_MAX: usize = 10 * 1024;
/// About a tenth of a second for each device.
const COST_MAX: u64 = 1_000_000;

/// It compiles, may come to a boolean, and is cheap. Attributes have any type, so it may be one of them.
pub fn validate(text: &str, path: &str, faults: &mut Faults) {
    if text.len() > BYTES_MAX {
        faults.too_long(path, BYTES_MAX);
        return;
    }
    match kontiki_cel::compile(text, &ENVIRONMENT) {
        Err(why) => faults.invalid(path, text, format!("compilation failed: {why}")),
        Ok(program) if !matches!(program.result(), Type::Bool | Type::Dyn) => {
            let detail = format!("must evaluate to bool or the unknown type, not {}", program.result());
            faults.invalid(path, text, detail);
        }
        Ok(program) if program.estimate() > COST_MAX => faults.forbidden(path, "too complex, exceeds cost limit"),
        Ok(_) => {}
    }
}

/// `device`: attributes and capacities are found by their domain, then by their name.
static ENVIRONMENT: LazyLock<Environment> = LazyLock::new(|| {
    let by_domain = |of: Type, bound: Bound| {
        let named = Bound::map(ATTRIBUTES_AND_CAPACITIES_MAX as u64, Bound::of(IDENTIFIER_LENGTH_MAX as u64), bound);
        let bound =
            Bound::map(ATTRIBUTES_AND_CAPACITIES_MAX as u64, Bound::of(fields::DRIVER_NAME_LENGTH_MAX as u64), named);
        (Type::map(Type::String, Type::map(Type::String, of)), bound)
    };
    let members = [
        ("driver", (Type::String, Bound::of(fields::DRIVER_NAME_LENGTH_MAX as u64))),
        ("attributes", by_domain(Type::Dyn, Bound::of(VALUE_LENGTH_MAX as u64))),
        ("capacity", by_domain(Type::Opaque("Quantity"), Bound::of(1))),
        ("allowMultipleAllocations", (Type::Bool, Bound::of(1))),
    ];
    let field = |(name, (r#type, bound)): (&str, (Type, Bound))| {
        (name.to_owned(), FieldType { json: name.to_owned(), r#type, bound })
    };
    let fields: BTreeMap<_, _> = members.into_iter().map(field).collect();
    let device = ObjectType { name: "kubernetes.DRADevice".to_owned(), fields };
    Environment::default().with("device", Type::Object(Arc::new(device)), Bound::default())
});
