//! Tokens as expressions. Macros are expanded here.

use crate::Fault;
use crate::ast::{Entry, Expr, Item, Literal, Loop, LoopKind, Node};
use crate::lexer::{Token, tokens};

/// Deeper expressions are refused: everything that follows is recursion.
const DEPTH_MAX: usize = 100;
/// Longer texts are refused, as Kubernetes refuses them.
const LENGTH_MAX: usize = 100_000;

pub fn parse(text: &str) -> Result<Expr, Fault> {
    if text.len() > LENGTH_MAX {
        return Err(Fault::new(
            0,
            format!("expression code point size exceeds limit: size: {}, limit {LENGTH_MAX}", text.len()),
        ));
    }
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0 };
    let expr = parser.expr()?;
    match parser.peek() {
        Token::End => Ok(expr),
        _ => Err(parser.unexpected()),
    }
}

struct Parser {
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

impl Parser {
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

    fn unexpected(&self) -> Fault {
        let shown = match self.peek() {
            Token::End => "<EOF>".to_owned(),
            Token::Sign(sign) => format!("'{sign}'"),
            Token::Ident(name) => format!("'{name}'"),
            Token::Literal(literal) => format!("'{literal:?}'"),
        };
        Fault::new(self.place(), format!("Syntax error: mismatched input {shown}"))
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
        let mut left = self.binary(level + 1)?;
        loop {
            let at = self.place();
            let Some((_, name)) = operators.iter().find(|(sign, _)| self.is(sign)) else { return Ok(left) };
            self.next();
            let right = self.binary(level + 1)?;
            left = Expr::call(at, name, vec![left, right]);
        }
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
                let Token::Ident(name) = self.next() else {
                    self.at -= 1;
                    return Err(self.unexpected());
                };
                if !optional && self.take("(") {
                    let args = self.args()?;
                    expr = self.method(at, expr, name, args)?;
                } else {
                    expr = Expr::new(at, Node::Select { of: Box::new(expr), field: name, optional });
                }
            } else if self.take("[") {
                let optional = self.take("?");
                let index = Box::new(self.expr()?);
                self.expect("]")?;
                expr = Expr::new(at, Node::Index { of: Box::new(expr), index, optional });
            } else {
                return Ok(expr);
            }
        }
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
        match self.next() {
            Token::Literal(Literal::Int(i64::MIN)) => Err(Fault::new(at, "invalid int literal")),
            Token::Literal(literal) => Ok(Expr::new(at, Node::Literal(literal))),
            Token::Ident(name) => {
                if self.take("(") {
                    let args = self.args()?;
                    return function(at, name, args);
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
                self.at = self.at.saturating_sub(usize::from(self.place() != at));
                Err(self.unexpected())
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

    /// `a.f(…)`, or a macro over `a`.
    fn method(&mut self, at: usize, of: Expr, name: String, mut args: Vec<Expr>) -> Result<Expr, Fault> {
        if let (Node::Ident(namespace), "bind", 3) = (&of.node, name.as_str(), args.len())
            && namespace == "cel"
        {
            let variable = variable(&args[0], "cel.bind")?;
            let (body, value) = (args.pop(), args.pop());
            let (Some(body), Some(value)) = (body, value) else { return Err(self.unexpected()) };
            return Ok(Expr::new(at, Node::Bind { variable, value: Box::new(value), body: Box::new(body) }));
        }
        let kind = match (name.as_str(), args.len()) {
            ("all", 2 | 3) => Some(LoopKind::All),
            ("exists", 2 | 3) => Some(LoopKind::Exists),
            ("exists_one", 2 | 3) | ("existsOne", 2 | 3) => Some(LoopKind::ExistsOne),
            ("filter", 2) => Some(LoopKind::Filter),
            ("map", 2 | 3) => Some(LoopKind::Map),
            ("transformList", 3 | 4) => Some(LoopKind::TransformList),
            ("transformMap", 3 | 4) => Some(LoopKind::TransformMap),
            _ => None,
        };
        let optional = matches!((name.as_str(), args.len()), ("optMap" | "optFlatMap", 2));
        if optional {
            let variable = variable(&args[0], &name)?;
            let Some(body) = args.pop() else { return Err(self.unexpected()) };
            return Ok(opt_map(at, of, name == "optFlatMap", variable, body));
        }
        // A namespace in front of a function: `optional.of(x)`, `math.greatest(a, b)`.
        let qualified = match &of.node {
            Node::Ident(namespace) if NAMESPACES.contains(&namespace.as_str()) => Some(format!("{namespace}.{name}")),
            _ => None,
        };
        match (kind, qualified) {
            (_, Some(name)) => Ok(Expr::new(at, Node::Call { target: None, name, args })),
            (Some(kind), None) => Ok(Expr::new(at, Node::Loop(Box::new(repeat(kind, of, args)?)))),
            (None, None) => Ok(Expr::new(at, Node::Call { target: Some(Box::new(of)), name, args })),
        }
    }
}

const NAMESPACES: [&str; 6] = ["cel", "format", "ip", "math", "optional", "sets"];

/// The name that a macro's argument is.
fn variable(expr: &Expr, of: &str) -> Result<String, Fault> {
    match &expr.node {
        Node::Ident(name) => Ok(name.clone()),
        _ => Err(Fault::new(expr.at, format!("argument must be a simple name: {of}"))),
    }
}

fn repeat(kind: LoopKind, range: Expr, mut args: Vec<Expr>) -> Result<Loop, Fault> {
    let body = args.pop().ok_or_else(|| Fault::new(range.at, "a macro without arguments"))?;
    let two = match kind {
        LoopKind::All | LoopKind::Exists | LoopKind::ExistsOne => args.len() == 2,
        LoopKind::TransformList | LoopKind::TransformMap => true,
        LoopKind::Filter | LoopKind::Map => false,
    };
    let filter = if args.len() > 1 + usize::from(two) { args.pop() } else { None };
    let mut variables = Vec::new();
    for arg in &args {
        variables.push(variable(arg, "comprehension variable")?);
    }
    Ok(Loop { kind, range, variables, filter, body })
}

/// `a.optMap(x, f)`: nothing where `a` has no value.
fn opt_map(at: usize, of: Expr, flat: bool, variable: String, body: Expr) -> Expr {
    let method = |target: &Expr, name: &str| {
        Expr::new(at, Node::Call { target: Some(Box::new(target.clone())), name: name.to_owned(), args: Vec::new() })
    };
    let subject = Expr::new(at, Node::Ident("@subject".to_owned()));
    let value = Box::new(method(&subject, "value"));
    let inner = Expr::new(at, Node::Bind { variable, value, body: Box::new(body) });
    let yes = if flat { inner } else { Expr::call(at, "optional.of", vec![inner]) };
    let no = Expr::call(at, "optional.none", Vec::new());
    let choice = Expr::call(at, "_?_:_", vec![method(&subject, "hasValue"), yes, no]);
    Expr::new(at, Node::Bind { variable: "@subject".to_owned(), value: Box::new(of), body: Box::new(choice) })
}

/// `f(…)`, or the macro `has`.
fn function(at: usize, name: String, mut args: Vec<Expr>) -> Result<Expr, Fault> {
    if name == "has" && args.len() == 1 {
        return match args.remove(0).node {
            Node::Select { of, field, optional: false } => Ok(Expr::new(at, Node::Has { of, field })),
            _ => Err(Fault::new(at, "invalid argument to has() macro")),
        };
    }
    Ok(Expr::new(at, Node::Call { target: None, name, args }))
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
        assert_eq!(told("a +"), "ERROR: <input>:1:4: Syntax error: mismatched input <EOF>\n | a +\n | ...^");
        assert!(told("has(a)").contains("invalid argument to has() macro"));
        assert!(parse(&"(".repeat(200)).is_err());
        assert!(parse("\"open").is_err());
        assert!(parse("a # b").is_err());
    }
}
