//! `format`: a text with places for values, read when it is compiled and when it is run.

use super::{Outcome, failed, print, print::two_digits};
use crate::Fault;
use crate::ast::{Expr, Item, Node};
use crate::types::Type;
use crate::value::Value;

/// A precision makes much of little.
const FORMATTED_MAX: usize = 4 << 20;
const DIGITS: usize = 6;
const DIGITS_MAX: usize = u16::MAX as usize;

enum Piece<'t> {
    Text(&'t str),
    Place(Clause),
}

struct Clause {
    verb: Verb,
    /// How many decimals.
    digits: Option<usize>,
}

#[derive(Clone, Copy)]
enum Verb {
    Binary,
    Decimal,
    Fixed,
    HexLower,
    HexUpper,
    Octal,
    Scientific,
    String,
}

impl Verb {
    fn of(char: char) -> Option<Self> {
        Some(match char {
            'b' => Verb::Binary,
            'd' => Verb::Decimal,
            'e' => Verb::Scientific,
            'f' => Verb::Fixed,
            'o' => Verb::Octal,
            's' => Verb::String,
            'x' => Verb::HexLower,
            'X' => Verb::HexUpper,
            _ => return None,
        })
    }

    fn takes(self, given: &Type) -> bool {
        let numbers = matches!(given, Type::Int | Type::Uint);
        matches!(given, Type::Dyn | Type::Param(_))
            || match self {
                Verb::Binary => numbers || matches!(given, Type::Bool),
                Verb::Decimal | Verb::Octal => numbers,
                // A text may be one of `NaN` and `Infinity`.
                Verb::Fixed | Verb::Scientific => matches!(given, Type::Double | Type::String),
                Verb::HexLower | Verb::HexUpper => numbers || matches!(given, Type::String | Type::Bytes),
                Verb::String => !matches!(given, Type::Object(_) | Type::Optional(_) | Type::Opaque(_) | Type::Made(_)),
            }
    }

    fn wants(self) -> &'static str {
        match self {
            Verb::Binary => "only integers and bools can be formatted as binary",
            Verb::Decimal => "decimal clause can only be used on integers",
            Verb::Fixed => "fixed-point clause can only be used on doubles",
            Verb::HexLower | Verb::HexUpper => "only integers, byte buffers, and strings can be formatted as hex",
            Verb::Octal => "octal clause can only be used on integers",
            Verb::Scientific => "scientific clause can only be used on doubles",
            Verb::String => {
                "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, \
                 and timestamps"
            }
        }
    }

    fn refuses(self, given: &str) -> String {
        format!("error during formatting: {}, was given {given}", self.wants())
    }
}

/// The first piece of a text, and what is behind it.
fn piece(text: &str) -> Result<(Piece<'_>, &str), String> {
    let Some(clause) = text.strip_prefix('%') else {
        let (plain, rest) = text.split_at(text.find('%').unwrap_or(text.len()));
        return Ok((Piece::Text(plain), rest));
    };
    if clause.starts_with('%') {
        let (percent, rest) = clause.split_at(1);
        return Ok((Piece::Text(percent), rest));
    }
    let wrong = |why: String| format!("could not parse formatting clause: {why}");
    let (digits, rest) = match clause.strip_prefix('.') {
        None => (None, clause),
        Some(behind) => {
            let precision = |why: String| wrong(format!("error while parsing precision: {why}"));
            let end = behind.find(|next: char| !next.is_ascii_digit());
            let end = end.ok_or_else(|| precision("could not find end of precision specifier".to_owned()))?;
            let (number, rest) = behind.split_at(end);
            let digits = number.parse::<usize>().map_err(|_| {
                let why = if number.is_empty() { "invalid syntax" } else { "value out of range" };
                precision(format!(
                    "error while converting precision to integer: strconv.Atoi: parsing {number:?}: {why}"
                ))
            })?;
            (Some(digits), rest)
        }
    };
    let mut chars = rest.chars();
    let char = chars.next().ok_or("unexpected end of string")?;
    let verb = Verb::of(char).ok_or_else(|| wrong(format!("unrecognized formatting clause \"{char}\"")))?;
    Ok((Piece::Place(Clause { verb, digits }), chars.as_str()))
}

/// What is wrong with a literal text that is given a literal list, whose elements have these types.
pub fn check(at: usize, text: &str, items: &[Item], types: &[Type]) -> Option<Fault> {
    let (mut rest, mut given) = (text, items.iter().zip(types));
    let mut seen = 0;
    while !rest.is_empty() {
        let (found, behind) = match piece(rest) {
            Ok(found) => found,
            Err(why) => return Some(Fault::new(at, why)),
        };
        rest = behind;
        let Piece::Place(Clause { verb, .. }) = found else { continue };
        let Some((item, found)) = given.next() else {
            return Some(Fault::new(at, format!("index {seen} out of range")));
        };
        seen += 1;
        if let Some(wrong) = refused(verb, &item.value, found) {
            return Some(Fault::new(item.value.at, verb.refuses(&type_name(wrong))));
        }
    }
    (items.len() > seen).then(|| {
        let count = items.len();
        let message = format!("too many arguments supplied to string.format (expected {seen}, got {count})");
        Fault::new(at, message)
    })
}

/// The type that a clause does not take: that of an element, too, where the list is written out.
fn refused<'t>(verb: Verb, given: &Expr, found: &'t Type) -> Option<&'t Type> {
    if !verb.takes(found) {
        return Some(found);
    }
    match (found, &given.node) {
        (Type::List(list), Node::List(_)) => Some(&list.of).filter(|of| !verb.takes(of)),
        (Type::Map(key, value), Node::Map(_)) => [&**key, &**value].into_iter().find(|of| !verb.takes(of)),
        _ => None,
    }
}

/// Without what it is made of.
fn type_name(found: &Type) -> String {
    match found {
        Type::Timestamp => "google.protobuf.Timestamp".to_owned(),
        Type::Duration => "google.protobuf.Duration".to_owned(),
        Type::Null => "null_type".to_owned(),
        other => other.to_string().split('(').next().unwrap_or_default().to_owned(),
    }
}

/// The text with the values in their places.
pub fn format<'a>(text: &str, values: &[Value<'_>]) -> Outcome<'a> {
    let (mut out, mut rest, mut values) = (String::new(), text, values.iter().enumerate());
    let count = values.len();
    while !rest.is_empty() {
        let (found, behind) = match piece(rest) {
            Ok(found) => found,
            Err(why) => return failed(why),
        };
        rest = behind;
        match found {
            Piece::Text(plain) => out.push_str(plain),
            Piece::Place(Clause { digits: Some(digits), .. }) if digits > DIGITS_MAX => {
                return failed(format!("precision {digits} is too large"));
            }
            Piece::Place(clause) => {
                let Some((_, value)) = values.next() else { return failed(format!("index {count} out of range")) };
                match written(&clause, value) {
                    Some(text) => out.push_str(&text),
                    None => return failed(clause.verb.refuses(value.type_name())),
                }
            }
        }
        if out.len() > FORMATTED_MAX {
            return failed(format!("the formatted text is longer than {FORMATTED_MAX} bytes"));
        }
    }
    Ok(Value::text(out))
}

fn written(clause: &Clause, value: &Value<'_>) -> Option<String> {
    let digits = clause.digits.unwrap_or(DIGITS);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    Some(match (clause.verb, value) {
        (Verb::String, value) => print(value),
        (Verb::Decimal, Value::Int(_) | Value::Uint(_)) => print(value),
        (Verb::Fixed, Value::Double(number)) => fixed(*number, digits),
        (Verb::Scientific, Value::Double(number)) if number.is_finite() => two_digits(&format!("{number:.digits$e}")),
        (Verb::Scientific, Value::Double(number)) => fixed(*number, digits),
        (Verb::Fixed | Verb::Scientific, Value::String(text)) if is_no_number(text) => text.clone().into_owned(),
        (Verb::Binary, Value::Bool(value)) => u8::from(*value).to_string(),
        (Verb::Binary, Value::Int(number)) if *number < 0 => format!("-{:b}", number.unsigned_abs()),
        (Verb::Binary, Value::Int(number)) => format!("{number:b}"),
        (Verb::Binary, Value::Uint(number)) => format!("{number:b}"),
        (Verb::Octal, Value::Int(number)) if *number < 0 => format!("-{:o}", number.unsigned_abs()),
        (Verb::Octal, Value::Int(number)) => format!("{number:o}"),
        (Verb::Octal, Value::Uint(number)) => format!("{number:o}"),
        (Verb::HexUpper, value) => {
            let lower = Clause { verb: Verb::HexLower, digits: None };
            written(&lower, value)?.to_uppercase()
        }
        (Verb::HexLower, Value::Int(number)) if *number < 0 => format!("-{:x}", number.unsigned_abs()),
        (Verb::HexLower, Value::Int(number)) => format!("{number:x}"),
        (Verb::HexLower, Value::Uint(number)) => format!("{number:x}"),
        (Verb::HexLower, Value::String(text)) => hex(text.as_bytes()),
        (Verb::HexLower, Value::Bytes(bytes)) => hex(bytes),
        (Verb::Binary | Verb::Decimal | Verb::Fixed | Verb::HexLower | Verb::Octal | Verb::Scientific, _) => {
            return None;
        }
    })
}

fn is_no_number(text: &str) -> bool {
    matches!(text, "NaN" | "Infinity" | "-Infinity")
}

fn fixed(number: f64, digits: usize) -> String {
    match (number.is_nan(), number.is_infinite()) {
        (true, _) => "NaN".to_owned(),
        (_, true) => if number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned(),
        (false, false) => format!("{number:.digits$}"),
    }
}
