//! `PodLogOptions`, as query parameters. Rules and words are Kubernetes'.

use std::{fmt::Display, str::FromStr};

use chrono::{DateTime, TimeDelta, Utc};

use super::entry::Stream;
use crate::server::{
    failure::{self, Refused},
    query::Query,
};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    pub follow: bool,
    /// The run before the current one.
    pub previous: bool,
    pub timestamps: bool,
    pub since: Option<DateTime<Utc>>,
    pub tail_lines: Option<u64>,
    pub limit_bytes: Option<u64>,
    /// `None` is both.
    pub stream: Option<Stream>,
}

impl LogOptions {
    pub fn parse(query: &Query<'_>, now: DateTime<Utc>) -> Result<LogOptions, Refused> {
        let since_seconds = number(query, "sinceSeconds", 1)?;
        let since_time = query.get("sinceTime").map(parse_time).transpose()?;
        if since_seconds.is_some() && since_time.is_some() {
            return Err(invalid("sinceTime", "at most one of `sinceTime` or `sinceSeconds` may be specified"));
        }
        let ago = |seconds: u64| {
            let seconds = i64::try_from(seconds).ok().and_then(TimeDelta::try_seconds)?;
            now.checked_sub_signed(seconds)
        };
        Ok(LogOptions {
            follow: query.flag("follow"),
            previous: query.flag("previous"),
            timestamps: query.flag("timestamps"),
            // Longer ago than times go back is everything.
            since: since_time.or(since_seconds.and_then(ago)),
            tail_lines: number(query, "tailLines", 0)?,
            limit_bytes: number(query, "limitBytes", 1)?,
            stream: match query.get("stream") {
                None | Some("All") => None,
                Some("Stdout") => Some(Stream::Stdout),
                Some("Stderr") => Some(Stream::Stderr),
                Some(other) => {
                    let why =
                        format!("Unsupported value: {other:?}: supported values: \"All\", \"Stderr\", \"Stdout\"");
                    return Err(invalid("stream", &why));
                }
            },
        })
    }
}

fn invalid(field: &str, why: &str) -> Refused {
    failure::invalid("PodLogOptions", field, why)
}

fn parse_time(text: &str) -> Result<DateTime<Utc>, Refused> {
    match DateTime::parse_from_rfc3339(text) {
        Ok(time) => Ok(time.with_timezone(&Utc)),
        Err(error) => Err(failure::bad_request(format!("sinceTime: {text:?} is no RFC 3339 time: {error}"))),
    }
}

fn number(query: &Query<'_>, name: &str, min: i64) -> Result<Option<u64>, Refused> {
    let Some(text) = query.get(name) else { return Ok(None) };
    let number: i64 = parse_number(name, text)?;
    if number < min {
        let rule = if min == 0 { "must be greater than or equal to 0" } else { "must be greater than 0" };
        return Err(invalid(name, &format!("Invalid value: {number}: {rule}")));
    }
    Ok(u64::try_from(number).ok())
}

fn parse_number<T: FromStr>(name: &str, text: &str) -> Result<T, Refused>
where
    T::Err: Display,
{
    text.parse().map_err(|error| failure::bad_request(format!("{name}: {text:?} is no number: {error}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(query: &str) -> Result<LogOptions, String> {
        let now = DateTime::from_timestamp(1_000_000, 0).unwrap();
        LogOptions::parse(&Query::parse(Some(query)), now)
            .map_err(|refused| format!("{} {}", refused.code.as_u16(), refused.message))
    }

    #[test]
    fn options_of_a_query() {
        let none = LogOptions::default;
        let at = |seconds| DateTime::from_timestamp(seconds, 0);
        let table = [
            ("", none()),
            ("tailLines=0", LogOptions { tail_lines: Some(0), ..none() }),
            ("follow=true&timestamps=1&previous=false", LogOptions { follow: true, timestamps: true, ..none() }),
            ("previous=true&limitBytes=10", LogOptions { previous: true, limit_bytes: Some(10), ..none() }),
            ("sinceSeconds=60", LogOptions { since: at(999_940), ..none() }),
            ("sinceTime=1970-01-01T01:00:00%2B01:00", LogOptions { since: at(0), ..none() }),
            ("sinceSeconds=9223372036854775807", none()),
            ("stream=All", none()),
            ("stream=Stderr", LogOptions { stream: Some(Stream::Stderr), ..none() }),
        ];
        for (query, expected) in table {
            assert_eq!(parse(query), Ok(expected), "{query}");
        }
    }

    #[test]
    fn options_that_break_a_rule() {
        let invalid = |why: &str| format!("422 PodLogOptions \"\" is invalid: {why}");
        let table = [
            ("tailLines=-1", invalid("tailLines: Invalid value: -1: must be greater than or equal to 0")),
            ("limitBytes=0", invalid("limitBytes: Invalid value: 0: must be greater than 0")),
            ("sinceSeconds=0", invalid("sinceSeconds: Invalid value: 0: must be greater than 0")),
            (
                "sinceSeconds=1&sinceTime=1970-01-01T00:00:00Z",
                invalid("sinceTime: at most one of `sinceTime` or `sinceSeconds` may be specified"),
            ),
            (
                "stream=both",
                invalid(r#"stream: Unsupported value: "both": supported values: "All", "Stderr", "Stdout""#),
            ),
            ("tailLines=x", r#"400 tailLines: "x" is no number: invalid digit found in string"#.to_owned()),
            ("sinceTime=now", r#"400 sinceTime: "now" is no RFC 3339 time: premature end of input"#.to_owned()),
        ];
        for (query, expected) in table {
            assert_eq!(parse(query), Err(expected), "{query}");
        }
    }
}
