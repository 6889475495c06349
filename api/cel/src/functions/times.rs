//! Parts of times and durations.

use chrono::{DateTime, Datelike, FixedOffset, Timelike, Utc};
use chrono_tz::Tz;

use super::{Outcome, failed};
use crate::value::Value;

pub fn call<'a>(name: &str, values: &[Value<'a>]) -> Option<Outcome<'a>> {
    let number = |number: i64| Some(Ok(Value::Int(number)));
    if let [Value::Duration(nanos)] = values {
        return match name {
            "getHours" => number(nanos / 3_600_000_000_000),
            "getMinutes" => number(nanos / 60_000_000_000),
            "getSeconds" => number(nanos / 1_000_000_000),
            "getMilliseconds" => number(nanos / 1_000_000 % 1_000),
            _ => None,
        };
    }
    let time = match values {
        [Value::Timestamp(time)] => time.fixed_offset(),
        [Value::Timestamp(time), Value::String(zone)] => match in_zone(*time, zone) {
            Some(time) => time,
            None => return Some(failed(format!("unknown time zone {zone}"))),
        },
        _ => return None,
    };
    match name {
        "getFullYear" => number(i64::from(time.year())),
        "getMonth" => number(i64::from(time.month0())),
        "getDayOfYear" => number(i64::from(time.ordinal0())),
        "getDayOfMonth" => number(i64::from(time.day0())),
        "getDate" => number(i64::from(time.day())),
        "getDayOfWeek" => number(i64::from(time.weekday().num_days_from_sunday())),
        "getHours" => number(i64::from(time.hour())),
        "getMinutes" => number(i64::from(time.minute())),
        "getSeconds" => number(i64::from(time.second())),
        "getMilliseconds" => number(i64::from(time.timestamp_subsec_millis())),
        _ => None,
    }
}

/// The time in a zone: by its name, or by how far it is off (`+02:00`, `-08:00`).
fn in_zone(time: DateTime<Utc>, zone: &str) -> Option<DateTime<FixedOffset>> {
    if let Ok(zone) = zone.parse::<Tz>() {
        return Some(time.with_timezone(&zone).fixed_offset());
    }
    let (sign, rest) = match zone.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, zone.strip_prefix('+').unwrap_or(zone)),
    };
    let (hours, minutes) = rest.split_once(':')?;
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    let seconds = hours.checked_mul(3600)?.checked_add(minutes.checked_mul(60)?)?;
    Some(time.with_timezone(&FixedOffset::east_opt(sign * seconds)?))
}
