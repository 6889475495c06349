//! Calls that are expanded where they are parsed: they bind names, or look at what they are given instead of its value.

use crate::Fault;
use crate::ast::{Expr, Loop, LoopKind, Node};

fn bare(at: usize) -> Fault {
    Fault::new(at, "a macro without arguments")
}

/// `a.f(…)`, or a macro over `a`.
pub fn method(at: usize, of: Expr, name: String, mut args: Vec<Expr>) -> Result<Expr, Fault> {
    if let (Node::Ident(namespace), "bind", 3) = (&of.node, name.as_str(), args.len())
        && namespace == "cel"
    {
        let variable = variable(&args[0], "cel.bind")?;
        let (body, value) = (args.pop(), args.pop());
        let (Some(body), Some(value)) = (body, value) else { return Err(bare(at)) };
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
        ("transformMapEntry", 3 | 4) => Some(LoopKind::TransformMapEntry),
        _ => None,
    };
    let optional = matches!((name.as_str(), args.len()), ("optMap" | "optFlatMap", 2));
    if optional {
        let variable = variable(&args[0], &name)?;
        let Some(body) = args.pop() else { return Err(bare(at)) };
        return Ok(opt_map(at, of, name == "optFlatMap", variable, body));
    }
    // A namespace in front of a function: `optional.of(x)`, `sets.contains(a, b)`.
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

/// Names in front of functions, which are no variables there.
const NAMESPACES: [&str; 7] = ["cel", "format", "ip", "jsonpatch", "optional", "sets", "strings"];

/// The name that a macro's argument is.
fn variable(expr: &Expr, of: &str) -> Result<String, Fault> {
    match &expr.node {
        Node::Ident(name) => Ok(name.clone()),
        _ => Err(Fault::new(expr.at, format!("argument must be a simple name: {of}"))),
    }
}

fn repeat(kind: LoopKind, range: Expr, mut args: Vec<Expr>) -> Result<Loop, Fault> {
    let body = args.pop().ok_or_else(|| bare(range.at))?;
    let two = match kind {
        LoopKind::All | LoopKind::Exists | LoopKind::ExistsOne => args.len() == 2,
        LoopKind::TransformList | LoopKind::TransformMap | LoopKind::TransformMapEntry => true,
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
pub fn function(at: usize, name: String, mut args: Vec<Expr>) -> Result<Expr, Fault> {
    if name == "has" && args.len() == 1 {
        return match args.remove(0).node {
            Node::Select { of, field, optional: false } => Ok(Expr::new(at, Node::Has { of, field })),
            _ => Err(Fault::new(at, "invalid argument to has() macro")),
        };
    }
    Ok(Expr::new(at, Node::Call { target: None, name, args }))
}
