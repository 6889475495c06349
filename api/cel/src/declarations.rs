//! The functions there are, by their signatures. What they do is in `functions`.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::types::Type;

/// One overload.
#[derive(Debug)]
pub struct Overload {
    /// Called on its first argument: `a.f(b)`.
    pub method: bool,
    pub args: Vec<Type>,
    pub result: Type,
}

/// `name: arguments -> result`; a dot in front makes a method. `A` and `B` stand for any type.
const SIGNATURES: &str = "
_||_: bool bool -> bool
_&&_: bool bool -> bool
!_: bool -> bool
_?_:_: bool A A -> A
_==_: A A -> bool
_!=_: A A -> bool
_<_: ordered ordered -> bool
_<=_: ordered ordered -> bool
_>_: ordered ordered -> bool
_>=_: ordered ordered -> bool
_+_: int int -> int
_+_: uint uint -> uint
_+_: double double -> double
_+_: string string -> string
_+_: bytes bytes -> bytes
_+_: list(A) list(A) -> list(A)
_+_: timestamp duration -> timestamp
_+_: duration timestamp -> timestamp
_+_: duration duration -> duration
_-_: int int -> int
_-_: uint uint -> uint
_-_: double double -> double
_-_: timestamp duration -> timestamp
_-_: timestamp timestamp -> duration
_-_: duration duration -> duration
_*_: int int -> int
_*_: uint uint -> uint
_*_: double double -> double
_/_: int int -> int
_/_: uint uint -> uint
_/_: double double -> double
_%_: int int -> int
_%_: uint uint -> uint
-_: int -> int
-_: double -> double
@in: A list(A) -> bool
@in: A map(A,B) -> bool
size: string -> int
size: bytes -> int
size: list(A) -> int
size: map(A,B) -> int
.size: string -> int
.size: bytes -> int
.size: list(A) -> int
.size: map(A,B) -> int
int: int -> int
int: uint -> int
int: double -> int
int: string -> int
int: timestamp -> int
uint: int -> uint
uint: uint -> uint
uint: double -> uint
uint: string -> uint
double: int -> double
double: uint -> double
double: double -> double
double: string -> double
string: string -> string
string: bool -> string
string: int -> string
string: uint -> string
string: double -> string
string: bytes -> string
string: timestamp -> string
string: duration -> string
string: IP -> string
string: CIDR -> string
bool: bool -> bool
bool: string -> bool
bytes: bytes -> bytes
bytes: string -> bytes
duration: duration -> duration
duration: string -> duration
timestamp: timestamp -> timestamp
timestamp: string -> timestamp
timestamp: int -> timestamp
dyn: A -> dyn
type: A -> type
matches: string string -> bool
.matches: string string -> bool
.startsWith: string string -> bool
.endsWith: string string -> bool
.contains: string string -> bool
.charAt: string int -> string
.indexOf: string string -> int
.indexOf: string string int -> int
.lastIndexOf: string string -> int
.lastIndexOf: string string int -> int
.lowerAscii: string -> string
.upperAscii: string -> string
.trim: string -> string
.replace: string string string -> string
.replace: string string string int -> string
.split: string string -> list(string)
.split: string string int -> list(string)
.substring: string int -> string
.substring: string int int -> string
.format: string list(dyn) -> string
strings.quote: string -> string
.join: list(string) -> string
.join: list(string) string -> string
.find: string string -> string
.findAll: string string -> list(string)
.findAll: string string int -> list(string)
.isSorted: list(A) -> bool
.sum: list(int) -> int
.sum: list(uint) -> uint
.sum: list(double) -> double
.sum: list(duration) -> duration
.min: list(A) -> A
.max: list(A) -> A
.indexOf: list(A) A -> int
.lastIndexOf: list(A) A -> int
.slice: list(A) int int -> list(A)
.flatten: list(dyn) -> list(dyn)
.flatten: list(dyn) int -> list(dyn)
.distinct: list(A) -> list(A)
.sort: list(A) -> list(A)
.reverse: list(A) -> list(A)
.first: list(A) -> optional(A)
.last: list(A) -> optional(A)
.getFullYear: timestamp -> int
.getMonth: timestamp -> int
.getDayOfYear: timestamp -> int
.getDayOfMonth: timestamp -> int
.getDate: timestamp -> int
.getDayOfWeek: timestamp -> int
.getHours: timestamp -> int
.getMinutes: timestamp -> int
.getSeconds: timestamp -> int
.getMilliseconds: timestamp -> int
.getFullYear: timestamp string -> int
.getMonth: timestamp string -> int
.getDayOfYear: timestamp string -> int
.getDayOfMonth: timestamp string -> int
.getDate: timestamp string -> int
.getDayOfWeek: timestamp string -> int
.getHours: timestamp string -> int
.getMinutes: timestamp string -> int
.getSeconds: timestamp string -> int
.getMilliseconds: timestamp string -> int
.getHours: duration -> int
.getMinutes: duration -> int
.getSeconds: duration -> int
.getMilliseconds: duration -> int
optional.of: A -> optional(A)
optional.ofNonZeroValue: A -> optional(A)
optional.none: -> optional(A)
.hasValue: optional(A) -> bool
.value: optional(A) -> A
.orValue: optional(A) A -> A
.or: optional(A) optional(A) -> optional(A)
optional.unwrap: list(optional(A)) -> list(A)
.unwrapOpt: list(optional(A)) -> list(A)
sets.contains: list(A) list(A) -> bool
sets.equivalent: list(A) list(A) -> bool
sets.intersects: list(A) list(A) -> bool
url: string -> URL
isURL: string -> bool
.getScheme: URL -> string
.getHost: URL -> string
.getHostname: URL -> string
.getPort: URL -> string
.getEscapedPath: URL -> string
.getQuery: URL -> map(string,list(string))
ip: string -> IP
isIP: string -> bool
ip.isCanonical: string -> bool
.family: IP -> int
.isUnspecified: IP -> bool
.isLoopback: IP -> bool
.isLinkLocalMulticast: IP -> bool
.isLinkLocalUnicast: IP -> bool
.isGlobalUnicast: IP -> bool
cidr: string -> CIDR
isCIDR: string -> bool
.containsIP: CIDR IP -> bool
.containsIP: CIDR string -> bool
.containsCIDR: CIDR CIDR -> bool
.containsCIDR: CIDR string -> bool
.ip: CIDR -> IP
.masked: CIDR -> CIDR
.prefixLength: CIDR -> int
quantity: string -> Quantity
isQuantity: string -> bool
.isInteger: Quantity -> bool
.asInteger: Quantity -> int
.asApproximateFloat: Quantity -> double
.sign: Quantity -> int
.add: Quantity Quantity -> Quantity
.add: Quantity int -> Quantity
.sub: Quantity Quantity -> Quantity
.sub: Quantity int -> Quantity
.isGreaterThan: Quantity Quantity -> bool
.isLessThan: Quantity Quantity -> bool
.compareTo: Quantity Quantity -> int
semver: string -> Semver
semver: string bool -> Semver
isSemver: string -> bool
isSemver: string bool -> bool
.major: Semver -> int
.minor: Semver -> int
.patch: Semver -> int
.isGreaterThan: Semver Semver -> bool
.isLessThan: Semver Semver -> bool
.compareTo: Semver Semver -> int
format.named: string -> optional(NamedFormat)
format.dns1123Label: -> NamedFormat
format.dns1123LabelPrefix: -> NamedFormat
format.dns1123Subdomain: -> NamedFormat
format.dns1123SubdomainPrefix: -> NamedFormat
format.dns1035Label: -> NamedFormat
format.dns1035LabelPrefix: -> NamedFormat
format.qualifiedName: -> NamedFormat
format.labelValue: -> NamedFormat
format.uri: -> NamedFormat
format.uuid: -> NamedFormat
format.byte: -> NamedFormat
format.date: -> NamedFormat
format.datetime: -> NamedFormat
.validate: NamedFormat string -> optional(list(string))
jsonpatch.escapeKey: string -> string
.path: kubernetes.authorization.Authorizer string -> kubernetes.authorization.PathCheck
.check: kubernetes.authorization.PathCheck string -> kubernetes.authorization.Decision
.group: kubernetes.authorization.Authorizer string -> kubernetes.authorization.GroupCheck
.serviceAccount: kubernetes.authorization.Authorizer string string -> kubernetes.authorization.Authorizer
.resource: kubernetes.authorization.GroupCheck string -> kubernetes.authorization.ResourceCheck
.subresource: kubernetes.authorization.ResourceCheck string -> kubernetes.authorization.ResourceCheck
.namespace: kubernetes.authorization.ResourceCheck string -> kubernetes.authorization.ResourceCheck
.name: kubernetes.authorization.ResourceCheck string -> kubernetes.authorization.ResourceCheck
.fieldSelector: kubernetes.authorization.ResourceCheck string -> kubernetes.authorization.ResourceCheck
.labelSelector: kubernetes.authorization.ResourceCheck string -> kubernetes.authorization.ResourceCheck
.check: kubernetes.authorization.ResourceCheck string -> kubernetes.authorization.Decision
.errored: kubernetes.authorization.Decision -> bool
.error: kubernetes.authorization.Decision -> string
.allowed: kubernetes.authorization.Decision -> bool
.reason: kubernetes.authorization.Decision -> string
";

/// What can be compared with `<`.
const ORDERED: [Type; 8] =
    [Type::Bool, Type::Int, Type::Uint, Type::Double, Type::String, Type::Bytes, Type::Timestamp, Type::Duration];

/// The overloads of a function, by name.
pub fn overloads(name: &str) -> &'static [Overload] {
    static TABLE: LazyLock<HashMap<&'static str, Vec<Overload>>> = LazyLock::new(read);
    TABLE.get(name).map(Vec::as_slice).unwrap_or_default()
}

fn read() -> HashMap<&'static str, Vec<Overload>> {
    let mut table: HashMap<&'static str, Vec<Overload>> = HashMap::new();
    for line in SIGNATURES.lines().filter(|line| !line.is_empty()) {
        let (name, signature) = line.rsplit_once(": ").expect("a signature has a name");
        let (args, result) = signature.split_once("-> ").expect("a signature has a result");
        let method = name.starts_with('.');
        let own = table.entry(name.trim_start_matches('.')).or_default();
        if args.starts_with("ordered") {
            // Numbers compare across their types.
            for one in &ORDERED {
                own.push(Overload { method, args: vec![one.clone(), one.clone()], result: Type::Bool });
            }
            let numbers = [Type::Int, Type::Uint, Type::Double];
            for one in &numbers {
                for other in numbers.iter().filter(|other| *other != one) {
                    own.push(Overload { method, args: vec![one.clone(), other.clone()], result: Type::Bool });
                }
            }
            continue;
        }
        let args = args.split_whitespace().map(read_type).collect();
        own.push(Overload { method, args, result: read_type(result) });
    }
    table
}

fn read_type(text: &'static str) -> Type {
    let inner = |prefix: &str| text.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(')'));
    if let Some(of) = inner("list(") {
        return Type::list(read_type(of));
    }
    if let Some(of) = inner("optional(") {
        return Type::optional(read_type(of));
    }
    if let Some((key, value)) = inner("map(").and_then(|both| both.split_once(',')) {
        return Type::map(read_type(key), read_type(value));
    }
    match text {
        "A" => Type::Param(0),
        "B" => Type::Param(1),
        "dyn" => Type::Dyn,
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "timestamp" => Type::Timestamp,
        "duration" => Type::Duration,
        "type" => Type::Type,
        opaque => Type::Opaque(opaque),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_can_be_read() {
        assert_eq!(overloads("size").len(), 8);
        assert_eq!(overloads("optional.none")[0].args, []);
        assert_eq!(overloads("_?_:_")[0].args.len(), 3);
        assert_eq!(overloads("getQuery")[0].result, Type::map(Type::String, Type::list(Type::String)));
    }
}
