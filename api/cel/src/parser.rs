//! Tokens as expressions. Macros are expanded here.

use crate::Fault;
use crate::ast::{Entry, Expr, FieldInit, Item, Literal, Node};
use crate::lexer::{Token, tokens};
use crate::macros;

/// Deeper expressions are refused: everything that follows is recursion.
const DEPTH_MAX: usize = 100;
/// Nor does a tree grow higher by chains: `a + b + c`, `a.b.c`.
const HEIGHT_MAX: usize = 250;
/// Longer texts are refused, as Kubernetes refuses them.
const LENGTH_MAX: usize = 100_000;

pub fn parse(text: &str) -> Result<Expr, Fault> {
    if text.len() > LENGTH_MAX {
        return Err(Fault::new(
            0,
            format!("expression code point size exceeds limit: size: {}, limit {LENGTH_MAX}", text.len()),
        ));
    }
    let mut parser = Parser { text, tokens: tokens(text)?, at: 0, depth: 0 };
    let expr = parser.expr()?;
    match parser.peek() {
        Token::End => Ok(expr),
        _ => Err(parser.unexpected()),
    }
}

struct Parser<'t> {
    text: &'t str,
    tokens: Vec<(usize, Token)>,
    at: usize,
    depth: usize,
}

/// Binary operators from the loosest to the tightest, with their functions.
const LEVELS: [&[(&str, &str)]; 5] = [
    &[("||", "_||_")],
    &[("&&", "_&&_")],
    &[("<", "_<_"), ("<=", "_<=_"), (">", "_>_"), (">=", "_>=_"), ("==", "_==_"), ("!=", "_!=_"), ("in", "@in")],
    &[("+", "_+_"), ("-", "_-_")],
    &[("*", "_*_"), ("/", "_/_"), ("%", "_%_")],
];

/// The first of them, `||` and `&&`: it does not matter how they are grouped, so long chains of them make low trees.
const LOGIC_LEVELS: usize = 2;

fn balanced(name: &str, places: &[usize], operands: &mut impl Iterator<Item = Expr>) -> Expr {
    let middle = places.len() / 2;
    let Some(at) = places.get(middle) else { return operands.next().expect("one more operand than operators") };
    let left = balanced(name, &places[..middle], operands);
    let right = balanced(name, &places[middle + 1..], operands);
    Expr::call(*at, name, vec![left, right])
}

impl Parser<'_> {
    fn peek(&self) -> &Token {
        &self.tokens[self.at].1
    }

    fn place(&self) -> usize {
        self.tokens[self.at].0
    }

    fn next(&mut self) -> Token {
        let token = self.tokens[self.at].1.clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    fn is(&self, sign: &str) -> bool {
        matches!(self.peek(), Token::Sign(found) if *found == sign)
    }

    fn take(&mut self, sign: &str) -> bool {
        let found = self.is(sign);
        if found {
            self.next();
        }
        found
    }

    fn expect(&mut self, sign: &str) -> Result<(), Fault> {
        if self.take(sign) { Ok(()) } else { Err(self.unexpected()) }
    }

    /// A token as it was written; nothing for the end.
    fn written(&self, index: usize) -> &str {
        let end = self.tokens.get(index + 1).map_or(self.text.len(), |(at, _)| *at);
        self.text[self.tokens[index].0..end].trim_end()
    }

    fn unexpected(&self) -> Fault {
        let shown = match self.peek() {
            Token::End => "<EOF>",
            Token::Literal(_) | Token::Ident(_) | Token::Sign(_) => self.written(self.at),
        };
        Fault::new(self.place(), format!("Syntax error: mismatched input '{shown}'"))
    }

    /// Where a value has to begin.
    fn no_operand(&self) -> Fault {
        let mut fault = self.unexpected();
        fault.message.push_str(
            " expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, \
             IDENTIFIER}",
        );
        fault
    }

    /// Behind a dot there must be a name.
    fn no_member(&self) -> Fault {
        let input = format!(".{}", self.written(self.at));
        Fault::new(self.place(), format!("Syntax error: no viable alternative at input '{input}'"))
    }

    fn expr(&mut self) -> Result<Expr, Fault> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Fault::new(self.place(), "expression recursion limit exceeded: 100"));
        }
        let condition = self.binary(0)?;
        let at = self.place();
        let out = if self.take("?") {
            let yes = self.binary(0)?;
            self.expect(":")?;
            let no = self.expr()?;
            Expr::call(at, "_?_:_", vec![condition, yes, no])
        } else {
            condition
        };
        self.depth -= 1;
        Ok(out)
    }

    fn binary(&mut self, level: usize) -> Result<Expr, Fault> {
        let Some(operators) = LEVELS.get(level) else { return self.unary() };
        let (mut left, mut alternatives, mut places) = (self.binary(level + 1)?, Vec::new(), Vec::new());
        loop {
            let at = self.place();
            let Some((_, name)) = operators.iter().find(|(sign, _)| self.is(sign)) else { break };
            self.next();
            let right = self.binary(level + 1)?;
            if level < LOGIC_LEVELS {
                alternatives.push(std::mem::replace(&mut left, right));
                places.push(at);
            } else {
                left = self.bounded(Expr::call(at, name, vec![left, right]))?;
            }
        }
        alternatives.push(left);
        let (_, name) = operators[0];
        self.bounded(balanced(name, &places, &mut alternatives.into_iter()))
    }

    /// What follows is recursion over the tree.
    fn bounded(&self, expr: Expr) -> Result<Expr, Fault> {
        if expr.height > HEIGHT_MAX {
            let message = format!("expression recursion limit exceeded: {HEIGHT_MAX}");
            return Err(Fault::new(self.place(), message));
        }
        Ok(expr)
    }

    fn unary(&mut self) -> Result<Expr, Fault> {
        let at = self.place();
        if self.take("!") {
            self.deeper()?;
            let inner = self.unary()?;
            self.depth -= 1;
            return Ok(Expr::call(at, "!_", vec![inner]));
        }
        if self.take("-") {
            if let Token::Literal(Literal::Int(number)) = *self.peek() {
                self.next();
                let negative = Expr::new(at, Node::Literal(Literal::Int(number.wrapping_neg())));
                return self.members(negative);
            }
            if let Token::Literal(Literal::Double(number)) = *self.peek() {
                self.next();
                return self.members(Expr::new(at, Node::Literal(Literal::Double(-number))));
            }
            self.deeper()?;
            let inner = self.unary()?;
            self.depth -= 1;
            return Ok(Expr::call(at, "-_", vec![inner]));
        }
        let primary = self.primary()?;
        self.members(primary)
    }

    fn deeper(&mut self) -> Result<(), Fault> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            Err(Fault::new(self.place(), "expression recursion limit exceeded: 100"))
        } else {
            Ok(())
        }
    }

    fn members(&mut self, mut expr: Expr) -> Result<Expr, Fault> {
        loop {
            let at = self.place();
            if self.take(".") {
                let optional = self.take("?");
                let Token::Ident(name) = self.peek().clone() else { return Err(self.no_member()) };
                self.next();
                // A call stands where its arguments begin.
                let open = self.place();
                if !optional && self.take("(") {
                    let args = self.args()?;
                    expr = macros::method(open, expr, name, args)?;
                } else {
                    expr = Expr::new(at, Node::Select { of: Box::new(expr), field: name, optional });
                }
            } else if self.take("[") {
                let optional = self.take("?");
                let index = Box::new(self.expr()?);
                self.expect("]")?;
                expr = Expr::new(at, Node::Index { of: Box::new(expr), index, optional });
            } else if self.is("{")
                && let Some(name) = expr.dotted()
            {
                self.next();
                expr = self.construct(at, name)?;
            } else {
                return Ok(expr);
            }
            expr = self.bounded(expr)?;
        }
    }

    /// The fields of an object that is made, behind its name and the bracket.
    fn construct(&mut self, at: usize, name: String) -> Result<Expr, Fault> {
        let mut fields = Vec::new();
        while !self.take("}") {
            let optional = self.take("?");
            let Token::Ident(name) = self.peek().clone() else { return Err(self.unexpected()) };
            self.next();
            let at = self.place();
            self.expect(":")?;
            fields.push(FieldInit { at, name, value: self.expr()?, optional });
            if !self.is("}") {
                self.expect(",")?;
            }
        }
        Ok(Expr::new(at, Node::Construct { name, fields }))
    }

    fn args(&mut self) -> Result<Vec<Expr>, Fault> {
        let mut args = Vec::new();
        if self.take(")") {
            return Ok(args);
        }
        loop {
            args.push(self.expr()?);
            if self.take(")") {
                return Ok(args);
            }
            self.expect(",")?;
        }
    }

    fn primary(&mut self) -> Result<Expr, Fault> {
        let at = self.place();
        if matches!(self.peek(), Token::End) {
            return Err(self.no_operand());
        }
        match self.next() {
            Token::Literal(Literal::Int(i64::MIN)) => Err(Fault::new(at, "invalid int literal")),
            Token::Literal(literal) => Ok(Expr::new(at, Node::Literal(literal))),
            Token::Ident(name) => {
                let open = self.place();
                if self.take("(") {
                    let args = self.args()?;
                    return macros::function(open, name, args);
                }
                Ok(Expr::new(at, Node::Ident(name)))
            }
            Token::Sign("(") => {
                let inner = self.expr()?;
                self.expect(")")?;
                Ok(inner)
            }
            Token::Sign("[") => self.list(at),
            Token::Sign("{") => self.map(at),
            Token::Sign(".") => match self.next() {
                Token::Ident(name) => Ok(Expr::new(at, Node::Ident(name))),
                Token::Literal(_) | Token::Sign(_) | Token::End => {
                    Err(Fault::new(at, "Syntax error: mismatched input '.'"))
                }
            },
            Token::Sign(_) | Token::End => {
                self.at = self.at.saturating_sub(1);
                Err(self.no_operand())
            }
        }
    }

    fn list(&mut self, at: usize) -> Result<Expr, Fault> {
        let mut items = Vec::new();
        while !self.take("]") {
            let optional = self.take("?");
            items.push(Item { value: self.expr()?, optional });
            if !self.is("]") {
                self.expect(",")?;
            }
        }
        Ok(Expr::new(at, Node::List(items)))
    }

    fn map(&mut self, at: usize) -> Result<Expr, Fault> {
        let mut entries = Vec::new();
        while !self.take("}") {
            let optional = self.take("?");
            let key = self.expr()?;
            self.expect(":")?;
            entries.push(Entry { key, value: self.expr()?, optional });
            if !self.is("}") {
                self.expect(",")?;
            }
        }
        Ok(Expr::new(at, Node::Map(entries)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_bind_as_they_should() {
        let same = [
            ("a || b && c", "a || (b && c)"),
            ("a + b * c == d", "(a + (b * c)) == d"),
            ("!a.b", "!(a.b)"),
            ("a ? b : c ? d : e", "a ? b : (c ? d : e)"),
            ("a in b && c", "(a in b) && c"),
            ("a - b - c", "(a - b) - c"),
        ];
        let shape = |text: &str| strip(parse(text).unwrap());
        for (left, right) in same {
            assert_eq!(shape(left), shape(right), "{left}");
        }
    }

    #[test]
    fn chains_make_no_high_trees() {
        let chain = |part: &str, by: &str, count: usize| vec![part; count].join(by);
        for (part, by) in [("1", " + "), ("a", "."), ("a", " == "), ("1", "*")] {
            assert!(parse(&chain(part, by, 200)).is_ok(), "{by}");
            let refused = parse(&chain(part, by, 20_000)).unwrap_err();
            assert_eq!(refused.message, "expression recursion limit exceeded: 250", "{by}");
        }
        assert!(parse(&format!("a{}", "[0]".repeat(20_000))).is_err());
        assert!(parse(&format!("a{}", ".f()".repeat(20_000))).is_err());
        for by in [" || ", " && "] {
            assert!(parse(&chain("a", by, 10_000)).unwrap().height < 20, "{by}");
        }
        let within = |text: &str| format!("({text})");
        let nested = (0..50).fold("1".to_owned(), |text, _| format!("{} + {}", within(&text), chain("1", " + ", 100)));
        assert!(parse(&nested).is_err());
    }

    /// Without places, which brackets move.
    fn strip(mut expr: Expr) -> Expr {
        expr.at = 0;
        match &mut expr.node {
            Node::Call { target, args, .. } => {
                if let Some(target) = target {
                    **target = strip((**target).clone());
                }
                args.iter_mut().for_each(|arg| *arg = strip(arg.clone()));
            }
            Node::Select { of, .. } => **of = strip((**of).clone()),
            _ => {}
        }
        expr
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_place() {
        let told = |text: &str| parse(text).unwrap_err().told(text);
        assert_eq!(
            told("a +"),
            "ERROR: <input>:1:4: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}\n | a +\n | ...^"
        );
        let member = "ERROR: <input>:1:8: Syntax error: no viable alternative at input '.'\n | object.\n | .......^";
        assert_eq!(told("object."), member);
        assert!(told("object.)").contains("1:8: Syntax error: no viable alternative at input '.)'"));
        assert!(told("1 2").contains("1:3: Syntax error: mismatched input '2'"));
        assert!(told("has(a)").contains("invalid argument to has() macro"));
        assert!(parse(&"(".repeat(200)).is_err());
        assert!(parse("\"open").is_err());
        assert!(parse("a # b").is_err());
    }
}
