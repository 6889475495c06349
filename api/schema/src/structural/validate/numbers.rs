//! Numbers: whether their type and format can hold them, and what bounds them.

use kontiki_cel::print_double;
use kontiki_model::Faults;
use serde_json::Number;

use super::super::{JsonType, Limits, Node, path::Path};

/// What holds a number.
#[derive(Clone, Copy)]
enum Room {
    Int32,
    Int64,
    Float,
}

impl Room {
    fn of(node: &Node) -> Option<Self> {
        match (node.r#type?, node.limits.format.as_deref()) {
            (JsonType::Integer, Some("int32")) => Some(Room::Int32),
            (JsonType::Integer, _) => Some(Room::Int64),
            (JsonType::Number, Some("float")) => Some(Room::Float),
            (JsonType::Number | JsonType::Array | JsonType::Boolean | JsonType::Object | JsonType::String, _) => None,
        }
    }

    fn takes(self, number: f64) -> bool {
        let whole = number.fract() == 0.0;
        match self {
            Room::Int32 => whole && (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&number),
            // The largest of them is none of the numbers that a double can be.
            Room::Int64 => whole && (-TWO_TO_63..TWO_TO_63).contains(&number),
            Room::Float => (number as f32).is_finite(),
        }
    }
}

const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;

/// A number that its type and format cannot hold.
pub fn range(node: &Node, number: &Number, path: &Path<'_>, faults: &mut Faults) {
    let Some(room) = Room::of(node) else { return };
    let fits = match (room, number.as_i64()) {
        (Room::Int32, Some(number)) => i32::try_from(number).is_ok(),
        (Room::Int64 | Room::Float, Some(_)) => true,
        (room, None) => room.takes(value(number)),
    };
    if !fits {
        out_of_range("Checked", node, path, faults);
    }
}

/// Kubernetes does not tell where it found such a number but in its words.
fn out_of_range(what: &str, node: &Node, path: &Path<'_>, faults: &mut Faults) {
    let name = node.r#type.map_or("", JsonType::name);
    let format = match node.limits.format.as_deref() {
        Some(format @ ("int32" | "int64" | "float" | "double")) => format!("with format {format}"),
        Some(_) | None => "(default format)".to_owned(),
    };
    faults.invalid(path.place_of_whole(), "", format!("{what} value must be of type {name} {format} in {path}"));
}

/// `node` tells of alternatives what they are alternatives of.
pub fn check(limits: &Limits, node: &Node, number: &Number, path: &Path<'_>, faults: &mut Faults) {
    range(node, number, path, faults);
    let room = Room::of(node);
    let mut bound = |what: &str, bound: Option<f64>, wrong: fn(&Limits, f64, f64) -> Option<&'static str>| {
        let Some(bound) = bound else { return };
        if room.is_some_and(|room| !room.takes(bound)) {
            out_of_range(what, node, path, faults);
        }
        if let Some(words) = wrong(limits, value(number), bound) {
            let detail = format!("{path} in body should be {words} {}", shown(bound, number));
            faults.invalid(path.place(), number.clone(), detail);
        }
    };
    bound("MultipleOf", limits.multiple_of.filter(|factor| *factor != 0.0), |_, number, factor| {
        let quotient = number / factor;
        ((quotient - quotient.round()).abs() > 1e-9).then_some("a multiple of")
    });
    bound("Minimum boundary", limits.minimum, |limits, number, min| match limits.exclusive_minimum {
        true => (number <= min).then_some("greater than"),
        false => (number < min).then_some("greater than or equal to"),
    });
    bound("Maximum boundary", limits.maximum, |limits, number, max| match limits.exclusive_maximum {
        true => (number >= max).then_some("less than"),
        false => (number > max).then_some("less than or equal to"),
    });
}

fn value(number: &Number) -> f64 {
    number.as_f64().unwrap_or_default()
}

/// Beside a whole number a bound is shown as one.
fn shown(bound: f64, beside: &Number) -> String {
    if beside.is_i64() && bound.fract() == 0.0 { format!("{bound:.0}") } else { print_double(bound) }
}
