//! The language of schedules: five fields, or a word for a common one. What is wrong is told as the parser that Kubernetes uses
//! tells it (robfig/cron v3, `ParseStandard`).

use chrono_tz::Tz;

/// A field: its bounds, and names for its numbers, in their order from `names_from` on.
struct Field {
    min: u64,
    max: u64,
    names: &'static [&'static str],
    names_from: u64,
}

const FIELDS: [Field; 5] = [
    Field { min: 0, max: 59, names: &[], names_from: 0 },
    Field { min: 0, max: 23, names: &[], names_from: 0 },
    Field { min: 1, max: 31, names: &[], names_from: 0 },
    Field {
        min: 1,
        max: 12,
        names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
        names_from: 1,
    },
    Field { min: 0, max: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"], names_from: 0 },
];

const WORDS: [&str; 7] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

/// Whether it is a schedule.
pub fn check(schedule: &str) -> Result<(), String> {
    let mut rest = schedule;
    for prefix in ["TZ=", "CRON_TZ="] {
        if let Some(zoned) = schedule.strip_prefix(prefix) {
            let (zone, fields) = zoned.split_once(' ').unwrap_or((zoned, ""));
            check_zone(zone).map_err(|why| format!("provided bad location {zone}: {why}"))?;
            rest = fields.trim();
        }
    }
    if rest.starts_with('@') {
        return check_word(rest);
    }
    let fields: Vec<&str> = rest.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Err(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
    }
    for (text, field) in fields.into_iter().zip(&FIELDS) {
        for range in text.split(',').filter(|range| !range.is_empty()) {
            field.check(range)?;
        }
    }
    Ok(())
}

/// Whether it is a time zone: a name of the IANA database.
pub fn check_zone(zone: &str) -> Result<(), String> {
    zone.parse::<Tz>().map(|_| ()).map_err(|_| format!("unknown time zone {zone}"))
}

fn check_word(word: &str) -> Result<(), String> {
    match word.strip_prefix("@every ") {
        Some(duration) if is_duration(duration) => Ok(()),
        Some(duration) => Err(format!("failed to parse duration {word}: time: invalid duration {duration:?}")),
        None if WORDS.contains(&word) => Ok(()),
        None => Err(format!("unrecognized descriptor: {word}")),
    }
}

/// A duration of Go: `1h30m`, `1.5s`.
fn is_duration(text: &str) -> bool {
    let mut rest = text.trim_start_matches(['+', '-']);
    if rest == "0" {
        return true;
    }
    while !rest.is_empty() {
        let number = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let unit = ["ns", "us", "µs", "ms", "s", "m", "h"].into_iter().filter(|unit| number.starts_with(unit));
        let Some(unit) = unit.max_by_key(|unit| unit.len()).filter(|_| number.len() < rest.len()) else { return false };
        rest = &number[unit.len()..];
    }
    !text.trim_start_matches(['+', '-']).is_empty()
}

impl Field {
    fn check(&self, range: &str) -> Result<(), String> {
        let parts: Vec<&str> = range.split('/').collect();
        let ends: Vec<&str> = parts[0].split('-').collect();
        let (start, mut end) = match ends[..] {
            ["*" | "?", ..] => (self.min, self.max),
            [one] => (self.number(one)?, self.number(one)?),
            [start, end] => (self.number(start)?, self.number(end)?),
            _ => return Err(format!("too many hyphens: {range}")),
        };
        let step = match parts[..] {
            [_] => 1,
            [_, step] => {
                if ends.len() == 1 {
                    end = self.max;
                }
                number(step)?
            }
            _ => return Err(format!("too many slashes: {range}")),
        };
        match () {
            () if start < self.min => {
                Err(format!("beginning of range ({start}) below minimum ({}): {range}", self.min))
            }
            () if end > self.max => Err(format!("end of range ({end}) above maximum ({}): {range}", self.max)),
            () if start > end => Err(format!("beginning of range ({start}) beyond end of range ({end}): {range}")),
            () if step == 0 => Err(format!("step of range should be a positive number: {range}")),
            () => Ok(()),
        }
    }

    fn number(&self, text: &str) -> Result<u64, String> {
        let named = self.names.iter().zip(self.names_from..).find(|(name, _)| text.eq_ignore_ascii_case(name));
        named.map_or_else(|| number(text), |(_, number)| Ok(number))
    }
}

fn number(text: &str) -> Result<u64, String> {
    match text.parse::<i64>() {
        Ok(number) => u64::try_from(number).map_err(|_| format!("negative number ({number}) not allowed: {text}")),
        Err(_) => Err(format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_read_as_kubernetes_reads_them() {
        let good = [
            "*/5 * * * *",
            "0 0 1,15 * ?",
            "0 9-17/2 * jan-Mar MON-fri",
            "@hourly",
            "@every 1h30m",
            "TZ=Asia/Tokyo 0 0 * * *",
            "5/15 * * * *",
        ];
        for schedule in good {
            assert_eq!(check(schedule), Ok(()), "{schedule}");
        }
        let bad = [
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("1/2/3 * * * *", "too many slashes: 1/2/3"),
            ("x * * * *", "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax"),
            ("@often", "unrecognized descriptor: @often"),
            ("@every x", "failed to parse duration @every x: time: invalid duration \"x\""),
            ("TZ=Nowhere * * * * *", "provided bad location Nowhere: unknown time zone Nowhere"),
        ];
        for (schedule, why) in bad {
            assert_eq!(check(schedule), Err(why.to_owned()), "{schedule}");
        }
    }

    #[test]
    fn zones_are_those_of_the_database() {
        for zone in ["UTC", "Etc/UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires"] {
            assert_eq!(check_zone(zone), Ok(()), "{zone}");
        }
        assert_eq!(check_zone("Mars/Olympus"), Err("unknown time zone Mars/Olympus".to_owned()));
    }
}
