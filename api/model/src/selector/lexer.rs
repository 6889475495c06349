//! The tokens of a label selector.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Identifier,
    In,
    NotIn,
    Open,
    Close,
    Comma,
    Not,
    Equals,
    DoubleEquals,
    NotEquals,
    Greater,
    Less,
    End,
}

/// Whether `in` and `notin` are words or operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Context {
    KeyAndOperator,
    Values,
}

pub(super) struct Lexer<'a> {
    tokens: Vec<(Token, &'a str)>,
    position: usize,
}

const SYMBOLS: [(&str, Token); 9] = [
    ("==", Token::DoubleEquals),
    ("!=", Token::NotEquals),
    ("=", Token::Equals),
    ("!", Token::Not),
    ("(", Token::Open),
    (")", Token::Close),
    (",", Token::Comma),
    (">", Token::Greater),
    ("<", Token::Less),
];

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let mut tokens = Vec::new();
        let mut rest = text.trim_start_matches(is_space);
        while !rest.is_empty() {
            let symbol = SYMBOLS.iter().find(|(symbol, _)| rest.starts_with(symbol));
            let (token, length) = match symbol {
                Some((symbol, token)) => (*token, symbol.len()),
                None => {
                    let end = rest.find(|c| is_space(c) || "=!(),><".contains(c)).unwrap_or(rest.len());
                    let token = match &rest[..end] {
                        "in" => Token::In,
                        "notin" => Token::NotIn,
                        _ => Token::Identifier,
                    };
                    (token, end)
                }
            };
            tokens.push((token, &rest[..length]));
            rest = rest[length..].trim_start_matches(is_space);
        }
        Lexer { tokens, position: 0 }
    }

    pub(super) fn look(&self, context: Context) -> (Token, &'a str) {
        match (context, self.tokens.get(self.position)) {
            (_, None) => (Token::End, ""),
            (Context::Values, Some((Token::In | Token::NotIn, text))) => (Token::Identifier, text),
            (_, Some(found)) => *found,
        }
    }

    pub(super) fn take(&mut self, context: Context) -> (Token, &'a str) {
        let found = self.look(context);
        self.position += 1;
        found
    }
}
