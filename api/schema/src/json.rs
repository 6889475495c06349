//! JSON as Go's encoder writes it: as serde_json does, but for floats, and with what HTML and JavaScript give a meaning of its own
//! escaped.

use std::io;

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};

/// Bytes that are looked at together: long texts have few of those that are escaped.
const BLOCK: usize = 64;

/// A value's text, on one line.
pub fn text(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    written(value, CompactFormatter)
}

/// A value's text, for people.
pub fn pretty(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    written(value, PrettyFormatter::new())
}

fn written(value: &impl Serialize, formatter: impl Formatter) -> serde_json::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(128);
    value.serialize(&mut Serializer::with_formatter(&mut out, Floats(formatter)))?;
    Ok(escaped(out))
}

/// Another formatter, but for floats: all digits from a millionth to below 10²¹, as everywhere in JavaScript.
struct Floats<F>(F);

impl<F: Formatter> Formatter for Floats<F> {
    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        let size = value.abs();
        if size == 0.0 || (1e-6..1e21).contains(&size) {
            return write!(writer, "{value}");
        }
        let text = format!("{value:e}");
        match text.split_once('e') {
            Some((digits, power)) if !power.starts_with('-') => write!(writer, "{digits}e+{power}"),
            Some(_) | None => writer.write_all(text.as_bytes()),
        }
    }

    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }

    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(writer, first)
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}

/// Escapes `<`, `>`, `&`, U+2028 and U+2029 in JSON text; outside of strings they do not occur.
pub fn escaped(text: Vec<u8>) -> Vec<u8> {
    let may_be = |byte: u8| matches!(byte, b'<' | b'>' | b'&' | 0xe2);
    let any = |block: &[u8]| block.iter().fold(false, |any, byte| any | may_be(*byte));
    let Some(block) = text.chunks(BLOCK).position(any) else { return text };
    let mut out = Vec::with_capacity(text.len() + BLOCK);
    let mut taken = 0;
    for (index, byte) in text.iter().enumerate().skip(block * BLOCK) {
        let (length, escape) = match (byte, text.get(index + 1..index + 3)) {
            (b'<', _) => (1, br"\u003c"),
            (b'>', _) => (1, br"\u003e"),
            (b'&', _) => (1, br"\u0026"),
            (0xe2, Some([0x80, 0xa8])) => (3, br"\u2028"),
            (0xe2, Some([0x80, 0xa9])) => (3, br"\u2029"),
            (_, _) => continue,
        };
        out.extend_from_slice(&text[taken..index]);
        out.extend_from_slice(escape);
        taken = index + length;
    }
    out.extend_from_slice(&text[taken..]);
    out
}

/// As [`escaped`].
pub fn escaped_text(text: String) -> String {
    String::from_utf8(escaped(text.into_bytes())).expect("whole characters were replaced by whole characters")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn floats_are_written_as_go_writes_them() {
        for (value, expected) in [
            ("1.5", "1.5"),
            ("-0.25", "-0.25"),
            ("0.00001", "0.00001"),
            ("1e-6", "0.000001"),
            ("9.5e-7", "9.5e-7"),
            ("1e-12", "1e-12"),
            ("100000000000000000000", "100000000000000000000"),
            ("-1.5e20", "-150000000000000000000"),
            ("1e21", "1e+21"),
            ("1.25e300", "1.25e+300"),
            ("0.1", "0.1"),
        ] {
            let value: Value = serde_json::from_str(value).unwrap();
            assert_eq!(text(&value).unwrap(), expected.as_bytes());
            assert_eq!(serde_json::from_str::<Value>(expected).unwrap(), value);
            let list = format!("[\n  {expected}\n]");
            assert_eq!(pretty(&[value]).unwrap(), list.as_bytes());
        }
    }

    #[test]
    fn what_html_gives_a_meaning_is_escaped() {
        let long = "é".repeat(BLOCK);
        for (value, expected) in [
            (json!({"a<b": ["c>d", "e&f"]}), r#"{"a\u003cb":["c\u003ed","e\u0026f"]}"#.to_owned()),
            (json!("\u{2027}\u{2028}\u{2029}\u{202a}"), "\"\u{2027}\\u2028\\u2029\u{202a}\"".to_owned()),
            (json!("€ â \u{7f}\u{1}\u{8}\u{c}\n\"\\/"), "\"€ â \u{7f}\\u0001\\b\\f\\n\\\"\\\\/\"".to_owned()),
            (json!(format!("{long}<")), format!("\"{long}\\u003c\"")),
            (json!(format!("<{long}")), format!("\"\\u003c{long}\"")),
        ] {
            let text = text(&value).unwrap();
            assert_eq!(std::str::from_utf8(&text).unwrap(), expected);
            assert_eq!(serde_json::from_slice::<Value>(&text).unwrap(), value);
            assert_eq!(serde_json::from_slice::<Value>(&pretty(&value).unwrap()).unwrap(), value);
        }
        assert_eq!(escaped(b"\xe2\x80".to_vec()), b"\xe2\x80");
    }
}
