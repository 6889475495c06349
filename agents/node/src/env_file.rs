//! Files of variables, as `fileKeyRef` reads them: the part of the shell's assignments that says only what it looks like. Pure.
//!
//! ```text
//! # a comment
//! NAME='value, of several lines
//! if need be' # another comment
//! ```

/// The value of `key`, from the first line that sets it; what comes after that is not looked at. Errors name their line.
pub fn value(text: &str, key: &str) -> Result<Option<String>, String> {
    let mut rest = text;
    let mut line = 1;
    while !rest.is_empty() {
        let (first, after) = rest.split_once('\n').unwrap_or((rest, ""));
        let trimmed = first.trim_start_matches(BLANK);
        if trimmed.trim_end_matches('\r').is_empty() || trimmed.starts_with('#') {
            (rest, line) = (after, line + 1);
            continue;
        }
        let wrong = |why: &str| format!("{why} at line {line}");
        let (name, _) = trimmed.split_once('=').ok_or_else(|| wrong("invalid environment variable format"))?;
        if name.is_empty() {
            return Err(wrong("invalid environment variable format"));
        }
        if name.ends_with(BLANK) {
            return Err(wrong("whitespace before '=' is not allowed"));
        }
        let begin = rest.len() - rest.trim_start_matches(BLANK).len() + name.len() + 1;
        let quoted =
            rest[begin..].strip_prefix('\'').ok_or_else(|| wrong("value must be enclosed in single quotes"))?;
        let (value, behind) = quoted.split_once('\'').ok_or_else(|| wrong("unclosed single quote"))?;
        let (tail, after) = behind.split_once('\n').unwrap_or((behind, ""));
        let tail = tail.trim_matches(BLANK).trim_end_matches('\r');
        if !tail.is_empty() && !tail.starts_with('#') {
            return Err(wrong("unexpected content after closing quote"));
        }
        if name == key {
            return Ok(Some(value.to_owned()));
        }
        (rest, line) = (after, line + 1 + value.matches('\n').count());
    }
    Ok(None)
}

const BLANK: [char; 2] = [' ', '\t'];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_would_set_is_read() {
        for (text, key, expected) in [
            ("A='1'\nB='2'\n", "B", Some("2")),
            ("   A='1'\n\tB='2'", "B", Some("2")),
            ("# B='0'\n\n  # note\nB='2' # more\n", "B", Some("2")),
            ("A=' x '\n", "A", Some(" x ")),
            ("A='a=b#c$D \\n \"q\"'\n", "A", Some("a=b#c$D \\n \"q\"")),
            ("A='one\n\n  two'\nB='3'\n", "A", Some("one\n\n  two")),
            ("A='one\nB='\nB='3'\n", "B", Some("3")),
            ("A=''\n", "A", Some("")),
            ("A='1'\n", "B", None),
            ("", "B", None),
            ("A='1'\nbroken\n", "A", Some("1")),
        ] {
            assert_eq!(value(text, key), Ok(expected.map(str::to_owned)), "{text}");
        }
    }

    #[test]
    fn what_is_no_assignment_is_refused() {
        for (text, why) in [
            ("A='1'\nbroken\nB='2'\n", "invalid environment variable format at line 2"),
            ("='1'\n", "invalid environment variable format at line 1"),
            ("A ='1'\n", "whitespace before '=' is not allowed at line 1"),
            ("A= '1'\n", "value must be enclosed in single quotes at line 1"),
            ("A=1\n", "value must be enclosed in single quotes at line 1"),
            ("A=\"1\"\n", "value must be enclosed in single quotes at line 1"),
            ("A='1\n2'\nB=\n", "value must be enclosed in single quotes at line 3"),
            ("A='1'x\n", "unexpected content after closing quote at line 1"),
            ("A='1''2'\n", "unexpected content after closing quote at line 1"),
            ("\nA='1\n", "unclosed single quote at line 2"),
        ] {
            assert_eq!(value(text, "B"), Err(why.to_owned()), "{text}");
        }
    }
}
