//! A text as tokens.

use crate::Fault;
use crate::ast::Literal;

#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    Literal(Literal),
    Ident(String),
    /// An operator or a bracket.
    Sign(&'static str),
    End,
}

/// Longest first.
const SIGNS: [&str; 24] = [
    "&&", "||", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "!", "<", ">", "?", ":", ".", ",", "(", ")", "[", "]",
    "{", "}",
];

/// The tokens and where each begins; the last one is the end.
pub fn tokens(text: &str) -> Result<Vec<(usize, Token)>, Fault> {
    let mut lexer = Lexer { text, at: 0 };
    let mut out = Vec::new();
    loop {
        lexer.blanks();
        let at = lexer.at;
        let token = lexer.next()?;
        let end = token == Token::End;
        out.push((at, token));
        if end {
            return Ok(out);
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn first(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn blanks(&mut self) {
        loop {
            let trimmed = self.rest().trim_start();
            self.at = self.text.len() - trimmed.len();
            if !trimmed.starts_with("//") {
                return;
            }
            self.at += trimmed.find('\n').unwrap_or(trimmed.len());
        }
    }

    fn next(&mut self) -> Result<Token, Fault> {
        let rest = self.rest();
        let Some(first) = self.first() else { return Ok(Token::End) };
        if let Some(literal) = self.string()? {
            return Ok(Token::Literal(literal));
        }
        let fraction = first == '.' && rest[1..].starts_with(|next: char| next.is_ascii_digit());
        if first.is_ascii_digit() || fraction {
            return self.number().map(Token::Literal);
        }
        if first.is_ascii_alphabetic() || first == '_' {
            let end = rest.find(|next: char| !(next.is_ascii_alphanumeric() || next == '_')).unwrap_or(rest.len());
            self.at += end;
            return Ok(match &rest[..end] {
                "true" => Token::Literal(Literal::Bool(true)),
                "false" => Token::Literal(Literal::Bool(false)),
                "null" => Token::Literal(Literal::Null),
                // An operator that is spelled as a word.
                "in" => Token::Sign("in"),
                name => Token::Ident(name.to_owned()),
            });
        }
        if first == '`' {
            let inner = &rest[1..];
            let end =
                inner.find('`').ok_or_else(|| Fault::new(self.at, "Syntax error: token recognition error at: '`'"))?;
            self.at += end + 2;
            return Ok(Token::Ident(inner[..end].to_owned()));
        }
        match SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
            Some(sign) => {
                self.at += sign.len();
                Ok(Token::Sign(sign))
            }
            None => Err(Fault::new(self.at, format!("Syntax error: token recognition error at: '{first}'"))),
        }
    }

    fn number(&mut self) -> Result<Literal, Fault> {
        let (rest, at) = (self.rest(), self.at);
        let digits = |text: &str| text.find(|next: char| !next.is_ascii_digit()).unwrap_or(text.len());
        if let Some(hex) = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X")) {
            let end = hex.find(|next: char| !next.is_ascii_hexdigit()).unwrap_or(hex.len());
            self.at += 2 + end;
            let number = u64::from_str_radix(&hex[..end], 16);
            return self.integer(at, number.ok());
        }
        let mut end = digits(rest);
        let mut double = false;
        if rest[end..].starts_with('.') && digits(&rest[end + 1..]) > 0 {
            double = true;
            end += 1 + digits(&rest[end + 1..]);
        }
        if rest[end..].starts_with(['e', 'E']) {
            let sign = usize::from(rest[end + 1..].starts_with(['+', '-']));
            let exponent = digits(&rest[end + 1 + sign..]);
            if exponent > 0 {
                double = true;
                end += 1 + sign + exponent;
            }
        }
        self.at += end;
        if double {
            let number = rest[..end].parse().map_err(|_| Fault::new(at, "invalid double literal"))?;
            return Ok(Literal::Double(number));
        }
        let number = rest[..end].parse::<u64>().ok();
        self.integer(at, number)
    }

    fn integer(&mut self, at: usize, number: Option<u64>) -> Result<Literal, Fault> {
        let unsigned = self.rest().starts_with(['u', 'U']);
        if unsigned {
            self.at += 1;
            return number.map(Literal::Uint).ok_or_else(|| Fault::new(at, "invalid uint literal"));
        }
        // The smallest integer is written as the negative of one that is none.
        match number {
            Some(number) if number == 1 << 63 => Ok(Literal::Int(i64::MIN)),
            Some(number) => i64::try_from(number).map(Literal::Int).map_err(|_| Fault::new(at, "invalid int literal")),
            None => Err(Fault::new(at, "invalid int literal")),
        }
    }

    fn string(&mut self) -> Result<Option<Literal>, Fault> {
        let (rest, at) = (self.rest(), self.at);
        let prefix = rest.find(|next: char| !"rRbB".contains(next)).filter(|end| *end <= 2);
        let Some(prefix) = prefix else { return Ok(None) };
        let marks = rest[..prefix].to_ascii_lowercase();
        let body = &rest[prefix..];
        let quote = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|quote| body.starts_with(quote));
        let Some(quote) = quote else { return Ok(None) };
        let (raw, bytes) = (marks.contains('r'), marks.contains('b'));
        let inner = &body[quote.len()..];
        let mut out = Vec::new();
        let mut chars = inner.char_indices();
        let unterminated = || Fault::new(at, format!("Syntax error: token recognition error at: '{}'", &rest[..1]));
        while let Some((place, char)) = chars.next() {
            if inner[place..].starts_with(quote) {
                self.at += prefix + quote.len() + place + quote.len();
                return match bytes {
                    true => Ok(Some(Literal::Bytes(out))),
                    false => {
                        let text =
                            String::from_utf8(out).map_err(|_| Fault::new(at, "invalid UTF-8 in a string literal"))?;
                        Ok(Some(Literal::String(text)))
                    }
                };
            }
            if char == '\n' && quote.len() == 1 {
                return Err(unterminated());
            }
            if char != '\\' || raw {
                out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            let (_, escape) = chars.next().ok_or_else(unterminated)?;
            let digits = match escape {
                'x' | 'X' => 2,
                'u' => 4,
                'U' => 8,
                '0'..='3' => 2,
                _ => 0,
            };
            let code: String = chars.by_ref().take(digits).map(|(_, digit)| digit).collect();
            let bad = || Fault::new(at, "invalid escape sequence in a literal");
            let number = match escape {
                'x' | 'X' | 'u' | 'U' => Some(u32::from_str_radix(&code, 16).map_err(|_| bad())?),
                '0'..='3' => Some(u32::from_str_radix(&format!("{escape}{code}"), 8).map_err(|_| bad())?),
                _ => None,
            };
            let char = match (escape, number) {
                (_, Some(number)) if bytes && digits == 2 => {
                    out.push(u8::try_from(number).map_err(|_| bad())?);
                    continue;
                }
                (_, Some(number)) => char::from_u32(number).ok_or_else(bad)?,
                ('a', None) => '\u{7}',
                ('b', None) => '\u{8}',
                ('f', None) => '\u{c}',
                ('n', None) => '\n',
                ('r', None) => '\r',
                ('t', None) => '\t',
                ('v', None) => '\u{b}',
                ('\\' | '\'' | '"' | '`' | '?', None) => escape,
                _ => return Err(bad()),
            };
            out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
        }
        Err(unterminated())
    }
}
