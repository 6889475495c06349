//! What Go's JSON scanner says about malformed text. Only asked after a parser has refused it.

use crate::decode::DEPTH_MAX;

/// The message of the first syntax error; `None` if the text is valid JSON.
pub fn error(text: &str) -> Option<String> {
    let mut scanner = Scanner { rest: text };
    scanner.document().err()
}

struct Scanner<'a> {
    rest: &'a str,
}

type Step = Result<(), String>;

impl Scanner<'_> {
    fn document(&mut self) -> Step {
        self.value(0)?;
        self.space();
        if self.rest.is_empty() { Ok(()) } else { self.fail("after top-level value") }
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn bump(&mut self) {
        let mut chars = self.rest.chars();
        chars.next();
        self.rest = chars.as_str();
    }

    fn fail(&self, context: &str) -> Step {
        match self.peek() {
            None => Err("unexpected end of JSON input".to_owned()),
            Some('\'') => Err(format!(r"invalid character '\'' {context}")),
            Some('"') => Err(format!("invalid character '\"' {context}")),
            Some(c) => Err(format!("invalid character '{}' {context}", c.escape_debug())),
        }
    }

    fn value(&mut self, depth: usize) -> Step {
        if depth > DEPTH_MAX {
            return Err("exceeded max depth".to_owned());
        }
        self.space();
        match self.peek() {
            Some('{') => self.object(depth),
            Some('[') => self.array(depth),
            Some('"') => self.string(),
            Some('t') => self.literal("true"),
            Some('f') => self.literal("false"),
            Some('n') => self.literal("null"),
            Some('-' | '0'..='9') => self.number(),
            _ => self.fail("looking for beginning of value"),
        }
    }

    fn object(&mut self, depth: usize) -> Step {
        self.bump();
        self.space();
        if self.peek() == Some('}') {
            self.bump();
            return Ok(());
        }
        loop {
            self.space();
            if self.peek() != Some('"') {
                return self.fail("looking for beginning of object key string");
            }
            self.string()?;
            self.space();
            if self.peek() != Some(':') {
                return self.fail("after object key");
            }
            self.bump();
            self.value(depth + 1)?;
            self.space();
            match self.peek() {
                Some(',') => self.bump(),
                Some('}') => {
                    self.bump();
                    return Ok(());
                }
                _ => return self.fail("after object key:value pair"),
            }
        }
    }

    fn array(&mut self, depth: usize) -> Step {
        self.bump();
        self.space();
        if self.peek() == Some(']') {
            self.bump();
            return Ok(());
        }
        loop {
            self.value(depth + 1)?;
            self.space();
            match self.peek() {
                Some(',') => self.bump(),
                Some(']') => {
                    self.bump();
                    return Ok(());
                }
                _ => return self.fail("after array element"),
            }
        }
    }

    fn string(&mut self) -> Step {
        self.bump();
        loop {
            match self.peek() {
                Some('"') => {
                    self.bump();
                    return Ok(());
                }
                Some('\\') => self.escape()?,
                Some(c) if c >= ' ' => self.bump(),
                _ => return self.fail("in string literal"),
            }
        }
    }

    fn escape(&mut self) -> Step {
        self.bump();
        match self.peek() {
            Some('b' | 'f' | 'n' | 'r' | 't' | '\\' | '/' | '"') => self.bump(),
            Some('u') => {
                self.bump();
                for _ in 0..4 {
                    if !self.peek().is_some_and(|c| c.is_ascii_hexdigit()) {
                        return self.fail("in \\u hexadecimal character escape");
                    }
                    self.bump();
                }
            }
            _ => return self.fail("in string escape code"),
        }
        Ok(())
    }

    fn literal(&mut self, word: &str) -> Step {
        for expected in word.chars() {
            if self.peek() != Some(expected) {
                return self.fail(&format!("in literal {word} (expecting '{expected}')"));
            }
            self.bump();
        }
        Ok(())
    }

    fn number(&mut self) -> Step {
        if self.peek() == Some('-') {
            self.bump();
        }
        match self.peek() {
            Some('0') => self.bump(),
            Some('1'..='9') => self.digits(),
            _ => return self.fail("in numeric literal"),
        }
        if self.peek() == Some('.') {
            self.bump();
            if !self.peek().is_some_and(|c| c.is_ascii_digit()) {
                return self.fail("after decimal point in numeric literal");
            }
            self.digits();
        }
        if matches!(self.peek(), Some('e' | 'E')) {
            self.bump();
            if matches!(self.peek(), Some('+' | '-')) {
                self.bump();
            }
            if !self.peek().is_some_and(|c| c.is_ascii_digit()) {
                return self.fail("in exponent of numeric literal");
            }
            self.digits();
        }
        Ok(())
    }

    fn digits(&mut self) {
        self.rest = self.rest.trim_start_matches(|c: char| c.is_ascii_digit());
    }
}

#[cfg(test)]
mod tests {
    use super::error;

    #[test]
    fn speaks_as_go_does() {
        for (text, message) in [
            ("", "unexpected end of JSON input"),
            ("{\"kind\":\"ConfigMap\",", "unexpected end of JSON input"),
            ("{a:1}", "invalid character 'a' looking for beginning of object key string"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            ("{\"a\":1 \"b\"}", "invalid character '\"' after object key:value pair"),
            ("[1 2]", "invalid character '2' after array element"),
            ("[1,]", "invalid character ']' looking for beginning of value"),
            ("{} x", "invalid character 'x' after top-level value"),
            ("nul", "unexpected end of JSON input"),
            ("nulx", "invalid character 'x' in literal null (expecting 'l')"),
            ("1.x", "invalid character 'x' after decimal point in numeric literal"),
            ("\"\n\"", r"invalid character '\n' in string literal"),
            (r#""\x""#, "invalid character 'x' in string escape code"),
        ] {
            assert_eq!(error(text).as_deref(), Some(message), "{text}");
        }
        assert_eq!(error(r#" {"a":[1,-2.5e+3,true,null,"\u00e9"],"b":{}} "#), None);
    }
}
