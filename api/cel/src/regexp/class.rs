//! Classes of characters: `[…]`, `\d` and its like, `\p{…}`.

use std::collections::BTreeSet;
use std::sync::{PoisonError, RwLock};

use super::{BAD_RANGE, Fault, NO_BRACKET, NOTHING, escape, push};

/// What a class of POSIX or Perl consists of.
const NAMED: &[(&str, &str)] = &[
    ("alnum", "0-9A-Za-z"),
    ("alpha", "A-Za-z"),
    ("ascii", r"\x00-\x7F"),
    ("blank", r"\t\x20"),
    ("cntrl", r"\x00-\x1F\x7F"),
    ("digit", "0-9"),
    ("graph", "!-~"),
    ("lower", "a-z"),
    ("print", r"\x20-~"),
    ("punct", r"!-/:-@\[-`{-~"),
    ("space", r"\t\n\x0B\f\r\x20"),
    ("upper", "A-Z"),
    ("word", "0-9A-Za-z_"),
    ("xdigit", "0-9A-Fa-f"),
];

const PERL: &[(char, &str)] = &[('d', "0-9"), ('s', r"\t\n\f\r\x20"), ('w', "0-9A-Za-z_")];

/// General categories, which a name may mean besides scripts; other properties Go does not know.
const CATEGORIES: &[&str] = &[
    "any",
    "ascii",
    "assigned",
    "c",
    "cc",
    "cf",
    "cn",
    "co",
    "cs",
    "l",
    "lc",
    "ll",
    "lm",
    "lo",
    "lt",
    "lu",
    "m",
    "mc",
    "me",
    "mn",
    "n",
    "nd",
    "nl",
    "no",
    "p",
    "pc",
    "pd",
    "pe",
    "pf",
    "pi",
    "po",
    "ps",
    "s",
    "sc",
    "sk",
    "sm",
    "so",
    "z",
    "zl",
    "zp",
    "zs",
    "other",
    "control",
    "cntrl",
    "format",
    "unassigned",
    "privateuse",
    "surrogate",
    "letter",
    "casedletter",
    "lowercaseletter",
    "modifierletter",
    "otherletter",
    "titlecaseletter",
    "uppercaseletter",
    "mark",
    "combiningmark",
    "spacingmark",
    "enclosingmark",
    "nonspacingmark",
    "number",
    "decimalnumber",
    "digit",
    "letternumber",
    "othernumber",
    "punctuation",
    "punct",
    "connectorpunctuation",
    "dashpunctuation",
    "closepunctuation",
    "finalpunctuation",
    "initialpunctuation",
    "otherpunctuation",
    "openpunctuation",
    "symbol",
    "currencysymbol",
    "modifiersymbol",
    "mathsymbol",
    "othersymbol",
    "separator",
    "lineseparator",
    "paragraphseparator",
    "spaceseparator",
];

/// A class in brackets, and what follows it.
pub fn bracketed(whole: &str) -> Result<(String, &str), Fault<'_>> {
    let mut rest = &whole[1..];
    let mut out = String::from("[");
    if let Some(negated) = rest.strip_prefix('^') {
        rest = negated;
        out.push('^');
    }
    let begun = out.len();
    let mut first = true;
    while first || !rest.starts_with(']') {
        first = false;
        if let Some((class, after)) = posix(rest)? {
            out.push_str(&class);
            rest = after;
        } else if let Some((class, after)) = escaped(rest)? {
            // An inner class of its own, as it may be negated.
            out.push_str(&format!("[{class}]"));
            rest = after;
        } else {
            let begin = rest;
            let (low, after) = character(rest, whole)?;
            let to = after.strip_prefix('-').filter(|to| !to.is_empty() && !to.starts_with(']'));
            let (high, after) = match to {
                Some(to) => character(to, whole)?,
                None => (low, after),
            };
            if high < low {
                return Err((BAD_RANGE, &begin[..begin.len() - after.len()]));
            }
            push_range(&mut out, low, high);
            rest = after;
        }
    }
    if out.len() == begun {
        out.push_str(NOTHING);
    }
    out.push(']');
    Ok((out, &rest[1..]))
}

/// Characters in which the end of a name is looked for.
const NAME_MAX: usize = 32;

/// `[:alpha:]` or `[:^alpha:]` inside of brackets. What does not end is no such class.
fn posix(rest: &str) -> Result<Option<(String, &str)>, Fault<'_>> {
    let Some(inner) = rest.strip_prefix("[:") else { return Ok(None) };
    let near = inner.char_indices().nth(NAME_MAX).map_or(inner, |(end, _)| &inner[..end]);
    let Some(end) = near.find(":]") else { return Ok(None) };
    let (name, after) = (&inner[..end], &inner[end + 2..]);
    let (not, plain) = name.strip_prefix('^').map_or(("", name), |plain| ("^", plain));
    let (_, members) =
        NAMED.iter().find(|(known, _)| *known == plain).ok_or((BAD_RANGE, &rest[..rest.len() - after.len()]))?;
    Ok(Some((format!("[{not}{members}]"), after)))
}

/// `\d`, `\D`, `\pL`, `\p{Greek}`, `\P{^Greek}` and their like, without brackets; `None` where it is something else.
pub fn escaped(rest: &str) -> Result<Option<(String, &str)>, Fault<'_>> {
    let mut chars = rest.chars();
    let (Some('\\'), Some(kind)) = (chars.next(), chars.next()) else { return Ok(None) };
    if let Some((known, members)) = PERL.iter().find(|(known, _)| *known == kind.to_ascii_lowercase()) {
        let not = if *known == kind { "" } else { "^" };
        return Ok(Some((format!("{not}{members}"), chars.as_str())));
    }
    if !matches!(kind, 'p' | 'P') {
        return Ok(None);
    }
    let text = chars.as_str();
    let one = text.chars().next().ok_or((BAD_RANGE, rest))?;
    let (name, after) = match text.strip_prefix('{') {
        Some(braced) => braced.split_once('}').ok_or((BAD_RANGE, rest))?,
        None => text.split_at(one.len_utf8()),
    };
    let whole = &rest[..rest.len() - after.len()];
    let (inverted, name) = name.strip_prefix('^').map_or((false, name), |name| (true, name));
    let letter = if (kind == 'P') == inverted { 'p' } else { 'P' };
    let property = property(name).ok_or((BAD_RANGE, whole))?;
    Ok(Some((format!(r"\{letter}{{{property}}}"), after)))
}

/// A category's or a script's name, whatever its case, spaces and dashes, as the `regex` crate knows it.
fn property(name: &str) -> Option<String> {
    let plain: String = name.chars().filter(|char| !" _-".contains(*char)).collect::<String>().to_lowercase();
    if CATEGORIES.contains(&plain.as_str()) {
        return Some(plain);
    }
    let script = format!("sc={plain}");
    let known = !plain.is_empty() && plain.bytes().all(|byte| byte.is_ascii_lowercase());
    (known && regex_knows(&script)).then_some(script)
}

/// Asked once of each: as many are kept as there are scripts.
fn regex_knows(property: &str) -> bool {
    static KNOWN: RwLock<BTreeSet<String>> = RwLock::new(BTreeSet::new());
    if KNOWN.read().unwrap_or_else(PoisonError::into_inner).contains(property) {
        return true;
    }
    let known = regex::Regex::new(&format!(r"\p{{{property}}}")).is_ok();
    if known {
        KNOWN.write().unwrap_or_else(PoisonError::into_inner).insert(property.to_owned());
    }
    known
}

/// One character of a class, escaped or not, by its number: half of a surrogate pair may begin or end a range.
fn character<'p>(rest: &'p str, whole: &'p str) -> Result<(u32, &'p str), Fault<'p>> {
    match rest.chars().next() {
        None => Err((NO_BRACKET, whole)),
        Some('\\') => escape(rest),
        Some(char) => Ok((char as u32, &rest[char.len_utf8()..])),
    }
}

fn push_range(out: &mut String, low: u32, high: u32) {
    const SURROGATES: std::ops::RangeInclusive<u32> = 0xD800..=0xDFFF;
    let low = if SURROGATES.contains(&low) { SURROGATES.end() + 1 } else { low };
    let high = if SURROGATES.contains(&high) { SURROGATES.start() - 1 } else { high };
    let (Some(low), Some(high)) = (char::from_u32(low), char::from_u32(high)) else { return };
    if low > high {
        return;
    }
    push(out, low);
    if low != high {
        out.push('-');
        push(out, high);
    }
}
