//! Go's regular expressions (RE2), which Kubernetes' patterns are written in, told to the `regex` crate.
//!
//! Both match alike; they read differently: in Go a `[` or `&&` within a class is itself, `\d`, `\w`, `\s` and `\b` are of ASCII,
//! octal escapes and `\Q…\E` exist, a brace that counts nothing is itself. So a pattern is read as `regexp/syntax` reads it,
//! refused in its words, and written anew with every character escaped. Names of groups are left out: nobody asks for groups.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use regex::{Regex, RegexBuilder};

mod class;

const REPEAT_MAX: u32 = 1_000;
/// Go takes ten times as many. Who compiles what is nested deeper needs a deeper stack than the server's threads have.
const NEST_MAX: u32 = 100;

/// What Go calls the fault, and the part of the pattern that has it.
type Fault<'p> = (&'static str, &'p str);

const BAD_RANGE: &str = "invalid character class range";
const BAD_ESCAPE: &str = "invalid escape sequence";
const BAD_NAME: &str = "invalid named capture";
const BAD_PERL: &str = "invalid or unsupported Perl syntax";
const BAD_NESTED_REPEAT: &str = "invalid nested repetition operator";
const BAD_COUNT: &str = "invalid repeat count";
const NO_BRACKET: &str = "missing closing ]";
const NO_PAREN: &str = "missing closing )";
const STRAY_PAREN: &str = "unexpected )";
const NO_ARGUMENT: &str = "missing argument to repetition operator";
const TRAILING_BACKSLASH: &str = "trailing backslash at end of expression";
const TOO_LARGE: &str = "expression too large";
const TOO_DEEP: &str = "expression nests too deeply";

/// A pattern as Go compiles it, or why it does not.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    let worded = |(what, part): Fault<'_>| format!("error parsing regexp: {what}: `{part}`");
    let (told, _) = translate(pattern).map_err(worded)?;
    RegexBuilder::new(&told).nest_limit(NEST_MAX).build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => worded((TOO_LARGE, pattern)),
        _ => worded((TOO_DEEP, pattern)),
    })
}

/// About how many states it has when it is compiled; none where it cannot be.
pub fn size(pattern: &str) -> u64 {
    translate(pattern).map_or(0, |(_, size)| size)
}

/// What a repetition would repeat.
#[derive(Clone, Copy)]
struct Atom {
    /// How often any part of it may be there, all repetitions within multiplied.
    times: u32,
    /// In states.
    size: u64,
}

const LITERAL: Atom = Atom { times: 1, size: 1 };
const CLASS: Atom = Atom { times: 1, size: 8 };
/// Of Unicode: some hundred ranges.
const PROPERTY: Atom = Atom { times: 1, size: 500 };

/// A group that is open, or the whole.
#[derive(Default)]
struct Group {
    /// The most of what is complete.
    times: u32,
    /// All that is complete.
    size: u64,
    last: Option<Atom>,
    /// Where it begins in what is told.
    opened: usize,
    /// Where what was read last begins, and whether it is repeated already.
    start: usize,
    repeated: bool,
    /// Flags that count from what comes next: a repetition behind them is of what came before.
    flags: String,
}

impl Group {
    fn atom(&mut self, atom: Atom, start: usize) {
        self.end_atom();
        self.last = Some(atom);
        (self.start, self.repeated) = (start, false);
    }

    fn end_atom(&mut self) {
        let Atom { times, size } = self.last.take().unwrap_or(Atom { times: 1, size: 0 });
        self.times = self.times.max(times);
        self.size = self.size.saturating_add(size);
    }
}

struct Reader<'p> {
    pattern: &'p str,
    out: String,
    group: Group,
    around: Vec<Group>,
    names: BTreeSet<&'p str>,
}

fn translate(pattern: &str) -> Result<(String, u64), Fault<'_>> {
    let group = Group::default();
    let mut reader = Reader { pattern, out: String::new(), group, around: Vec::new(), names: BTreeSet::new() };
    let mut rest = pattern;
    // Where a repetition began that nothing has followed yet.
    let mut repeated = None;
    while let Some(next) = rest.chars().next() {
        let before = rest;
        let last_repeat = repeated.take();
        rest = match next {
            '(' if rest.starts_with("(?") => reader.flags_or_group(rest)?,
            '(' => reader.open(rest, "(?:")?,
            ')' => reader.close(rest)?,
            '|' => {
                reader.tell_flags();
                reader.group.end_atom();
                reader.out.push('|');
                &rest[1..]
            }
            '^' | '$' => reader.simple(&rest[..1], LITERAL, &rest[1..]),
            '.' => reader.simple(".", CLASS, &rest[1..]),
            '[' => {
                let (class, after) = class::bracketed(rest)?;
                reader.simple(&class, of_class(&class), after)
            }
            '*' | '+' | '?' => {
                repeated = Some(before);
                reader.repeat(before, &rest[..1], None, &rest[1..], last_repeat)?
            }
            '{' => match count(rest) {
                None => reader.literal('{' as u32, &rest[1..]),
                Some((bounds, after)) => {
                    let text = &before[..before.len() - after.len()];
                    let bounds = bounds.ok_or((BAD_COUNT, text))?;
                    repeated = Some(before);
                    reader.repeat(before, text, Some(bounds), after, last_repeat)?
                }
            },
            '\\' => reader.escaped(rest)?,
            other => reader.literal(other as u32, &rest[other.len_utf8()..]),
        };
    }
    reader.group.end_atom();
    if reader.around.is_empty() { Ok((reader.out, reader.group.size)) } else { Err((NO_PAREN, pattern)) }
}

impl<'p> Reader<'p> {
    fn simple(&mut self, text: &str, atom: Atom, rest: &'p str) -> &'p str {
        self.tell_flags();
        self.group.atom(atom, self.out.len());
        self.out.push_str(text);
        rest
    }

    fn tell_flags(&mut self) {
        self.out.push_str(&std::mem::take(&mut self.group.flags));
    }

    /// A character by its number. Half of a surrogate pair is in no text.
    fn literal(&mut self, number: u32, rest: &'p str) -> &'p str {
        self.tell_flags();
        self.group.atom(LITERAL, self.out.len());
        match char::from_u32(number) {
            Some(char) => push(&mut self.out, char),
            None => self.out.push_str(NOTHING),
        }
        rest
    }

    fn open(&mut self, rest: &'p str, text: &str) -> Result<&'p str, Fault<'p>> {
        if self.around.len() >= NEST_MAX as usize {
            return Err((TOO_DEEP, self.pattern));
        }
        self.tell_flags();
        let inner = Group { opened: self.out.len(), ..Group::default() };
        self.out.push_str(text);
        self.around.push(std::mem::replace(&mut self.group, inner));
        Ok(&rest[1..])
    }

    fn close(&mut self, rest: &'p str) -> Result<&'p str, Fault<'p>> {
        let around = self.around.pop().ok_or((STRAY_PAREN, self.pattern))?;
        let mut inner = std::mem::replace(&mut self.group, around);
        inner.end_atom();
        self.out.push(')');
        self.group.atom(Atom { times: inner.times, size: inner.size.saturating_add(1) }, inner.opened);
        Ok(&rest[1..])
    }

    /// What begins with `(?`.
    fn flags_or_group(&mut self, rest: &'p str) -> Result<&'p str, Fault<'p>> {
        for start in ["(?P<", "(?<"] {
            let Some(named) = rest.strip_prefix(start).filter(|named| !named.is_empty()) else { continue };
            let (name, after) = named.split_once('>').ok_or((BAD_NAME, rest))?;
            let sound = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if !sound || !self.names.insert(name) {
                return Err((BAD_NAME, &rest[..start.len() + name.len() + 1]));
            }
            self.open(rest, "(?:")?;
            return Ok(after);
        }
        let (mut on, mut off) = (BTreeSet::new(), None::<BTreeSet<char>>);
        for (at, char) in rest.char_indices().skip(2) {
            match char {
                'i' | 'm' | 's' | 'U' => _ = off.as_mut().unwrap_or(&mut on).insert(char),
                '-' if off.is_none() => off = Some(BTreeSet::new()),
                ':' | ')' if off.as_ref().is_none_or(|off| !off.is_empty()) => {
                    let flags = flags(&on, &off.unwrap_or_default());
                    match (char, flags.as_str()) {
                        (':', _) => _ = self.open(rest, &format!("(?{flags}:"))?,
                        (_, "") => {}
                        _ => self.group.flags.push_str(&format!("(?{flags})")),
                    }
                    return Ok(&rest[at + 1..]);
                }
                _ => return Err((BAD_PERL, &rest[..at + char.len_utf8()])),
            }
        }
        Err((BAD_PERL, rest))
    }

    fn repeat(
        &mut self,
        before: &'p str,
        text: &str,
        bounds: Option<(u32, Option<u32>)>,
        after: &'p str,
        last_repeat: Option<&'p str>,
    ) -> Result<&'p str, Fault<'p>> {
        let lazy = after.strip_prefix('?');
        let after = lazy.unwrap_or(after);
        if let Some(last) = last_repeat {
            return Err((BAD_NESTED_REPEAT, &last[..last.len() - after.len()]));
        }
        let whole = &before[..before.len() - after.len()];
        let Atom { times, size } = self.group.last.ok_or((NO_ARGUMENT, whole))?;
        if let Some((min, max)) = bounds {
            let most = max.unwrap_or(min).max(1);
            let times = if max == Some(0) { 1 } else { most.saturating_mul(times) };
            if times > REPEAT_MAX {
                return Err((BAD_COUNT, whole));
            }
            self.group.last = Some(Atom { times, size: size.saturating_mul(u64::from(most)) });
        }
        if std::mem::replace(&mut self.group.repeated, true) {
            self.out.insert_str(self.group.start, "(?:");
            self.out.push(')');
        }
        self.out.push_str(text);
        if lazy.is_some() {
            self.out.push('?');
        }
        Ok(after)
    }

    /// What begins with a backslash.
    fn escaped(&mut self, rest: &'p str) -> Result<&'p str, Fault<'p>> {
        // Words of ASCII, whatever the text is.
        for (text, told) in [(r"\A", r"\A"), (r"\z", r"\z"), (r"\b", r"(?-u:\b)"), (r"\B", r"(?-u:\B)")] {
            if let Some(after) = rest.strip_prefix(text) {
                return Ok(self.simple(told, LITERAL, after));
            }
        }
        if let Some(quoted) = rest.strip_prefix(r"\Q") {
            let (text, after) = quoted.split_once(r"\E").unwrap_or((quoted, ""));
            return Ok(text.chars().fold(after, |after, char| self.literal(char as u32, after)));
        }
        if let Some((class, after)) = class::escaped(rest)? {
            return Ok(self.simple(&format!("[{class}]"), of_class(&class), after));
        }
        let (number, after) = escape(rest)?;
        Ok(self.literal(number, after))
    }
}

fn of_class(class: &str) -> Atom {
    if class.contains(r"\p{") || class.contains(r"\P{") { PROPERTY } else { CLASS }
}

/// Flags that are switched on, and off; what is both is off.
fn flags(on: &BTreeSet<char>, off: &BTreeSet<char>) -> String {
    let minus = if off.is_empty() { "" } else { "-" };
    on.difference(off).copied().chain(minus.chars()).chain(off.iter().copied()).collect()
}

/// Matches no character.
const NOTHING: &str = r"[^\x00-\x{10FFFF}]";

/// `{n}`, `{n,}` or `{n,m}`, and what follows; no bounds where they are none. `None`: the brace is itself.
#[allow(clippy::type_complexity)]
fn count(rest: &str) -> Option<(Option<(u32, Option<u32>)>, &str)> {
    let counted = rest.strip_prefix('{')?;
    let (inner, after) = counted.split_at(counted.find(|next: char| !next.is_ascii_digit() && next != ',')?);
    let after = after.strip_prefix('}')?;
    let number = |text: &str| -> Option<u32> {
        let sound = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        (sound && (text == "0" || !text.starts_with('0'))).then(|| text.parse().unwrap_or(u32::MAX))
    };
    let (min, max) = match inner.split_once(',') {
        None => (number(inner)?, Some(number(inner)?)),
        Some((min, "")) => (number(min)?, None),
        Some((min, max)) => (number(min)?, Some(number(max)?)),
    };
    let sound = min <= REPEAT_MAX && max.is_none_or(|max| (min..=REPEAT_MAX).contains(&max));
    Some((sound.then_some((min, max)), after))
}

/// The number of an escaped character.
fn escape(rest: &str) -> Result<(u32, &str), Fault<'_>> {
    let mut chars = rest[1..].chars();
    let Some(kind) = chars.next() else { return Err((TRAILING_BACKSLASH, "")) };
    let bad = |after: &str| Err((BAD_ESCAPE, &rest[..rest.len() - after.len()]));
    let mut after = chars.as_str();
    let plain = match kind {
        'a' => '\x07',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\x0b',
        '0'..='7' => {
            let more = after.bytes().take(2).take_while(|byte| (b'0'..=b'7').contains(byte)).count();
            // One digit other than 0 would refer to a group.
            if kind != '0' && more == 0 {
                return bad(after);
            }
            let digits = &rest[1..2 + more];
            after = &after[more..];
            return Ok((u32::from_str_radix(digits, 8).map_err(|_| (BAD_ESCAPE, rest))?, after));
        }
        'x' => return hexadecimal(rest),
        other if other.is_ascii() && !other.is_ascii_alphanumeric() => other,
        _ => return bad(after),
    };
    Ok((plain as u32, after))
}

/// `\x41` or `\x{1F600}`.
fn hexadecimal(rest: &str) -> Result<(u32, &str), Fault<'_>> {
    let digits = &rest[2..];
    let (number, after) = match digits.strip_prefix('{') {
        Some(braced) => braced.split_once('}').ok_or((BAD_ESCAPE, rest))?,
        None => digits.split_at_checked(2).ok_or((BAD_ESCAPE, rest))?,
    };
    let text = &rest[..rest.len() - after.len()];
    let sound = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = if sound { u32::from_str_radix(number, 16).ok() } else { None };
    let number = number.filter(|number| *number <= char::MAX as u32).ok_or((BAD_ESCAPE, text))?;
    Ok((number, after))
}

/// A character as itself, in a class or out of it.
fn push(out: &mut String, char: char) {
    match char {
        'a'..='z' | 'A'..='Z' | '0'..='9' => out.push(char),
        other => _ = write!(out, r"\x{{{:X}}}", other as u32),
    }
}

#[cfg(test)]
mod tests;
