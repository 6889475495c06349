//! Which form of an answer the client wants: media type and, for objects, the shape (as it is, Table, metadata only).
//!
//! Two refusals exist, as in Kubernetes: a media type that the route offers not at all, and one that it offers but not
//! with the parameters asked for.

use http::{HeaderMap, HeaderValue, header};
use kontiki_model::Status;

use crate::{failure, request::ApiRequest};

/// How the bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    Json { pretty: bool },
    Yaml,
    Protobuf,
}

/// What of the object is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Object,
    Table,
    PartialMetadata,
    PartialMetadataList,
    /// Discovery of all groups in one document (`/api` and `/apis`).
    AggregatedDiscovery,
}

/// The version of `meta.k8s.io` that a Table or metadata alone is told in. The older one differs in its name only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MetaVersion {
    V1,
    V1beta1,
}

/// The form of one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    pub media: Media,
    pub shape: Shape,
    pub meta: MetaVersion,
}

/// What a route can answer with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// One object: as it is, Table, or PartialObjectMetadata.
    Object,
    /// One object that is stored nowhere, and has no Table.
    Posted,
    /// A collection, or a watch on it: the same, and the stream media type.
    Collection,
    /// A watch that begins with the collection, which is for programs: no Table.
    WatchList,
    /// A document with one shape: legacy discovery, `/version`.
    Document,
    /// The roots of discovery: a document, or the aggregated form.
    DiscoveryRoot,
    /// A Status, in a stream or not.
    Failure,
}

/// One alternative of an Accept header.
#[derive(Clone, Debug, PartialEq)]
pub struct Clause<'a> {
    pub kind: &'a str,
    pub subtype: &'a str,
    pub parameters: Vec<(&'a str, &'a str)>,
    quality: f32,
}

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const OBJECT_TYPES: &[&str] = &[JSON, YAML, PROTOBUF];
const COLLECTION_TYPES: &[&str] =
    &[JSON, YAML, PROTOBUF, "application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];
/// What a watch can be told in.
pub const STREAM_TYPES: &[&str] =
    &["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];

impl Media {
    pub fn content_type(self) -> &'static str {
        match self {
            Media::Json { .. } => JSON,
            Media::Yaml => YAML,
            Media::Protobuf => PROTOBUF,
        }
    }
}

impl MetaVersion {
    pub fn api_version(self) -> &'static str {
        match self {
            MetaVersion::V1 => "meta.k8s.io/v1",
            MetaVersion::V1beta1 => "meta.k8s.io/v1beta1",
        }
    }
}

impl Form {
    pub const JSON: Form = Form { media: Media::Json { pretty: false }, shape: Shape::Object, meta: MetaVersion::V1 };
}

impl Offer {
    fn types(self) -> &'static [&'static str] {
        match self {
            Offer::Object | Offer::Posted | Offer::Document | Offer::DiscoveryRoot => OBJECT_TYPES,
            Offer::Collection | Offer::WatchList | Offer::Failure => COLLECTION_TYPES,
        }
    }

    /// The shape that `as`, `g` and `v` ask for, if this route has it in this media type.
    fn shape(self, media: Media, kind: &str, group: &str, version: &str) -> Option<(Shape, MetaVersion)> {
        let tables = matches!(self, Offer::Object | Offer::Collection);
        let objects = tables || matches!(self, Offer::Posted | Offer::WatchList);
        let meta = match (group, version) {
            ("meta.k8s.io", "v1") => Some(MetaVersion::V1),
            ("meta.k8s.io", "v1beta1") => Some(MetaVersion::V1beta1),
            _ => None,
        };
        let meta = meta.filter(|_| objects);
        match kind {
            // Tables have no protobuf form.
            "Table" if media != Media::Protobuf && tables => Some((Shape::Table, meta?)),
            "PartialObjectMetadata" => Some((Shape::PartialMetadata, meta?)),
            "PartialObjectMetadataList" => Some((Shape::PartialMetadataList, meta?)),
            "APIGroupDiscoveryList" if self == Offer::DiscoveryRoot => {
                let known = (group, version) == ("apidiscovery.k8s.io", "v2") && media != Media::Yaml;
                known.then_some((Shape::AggregatedDiscovery, MetaVersion::V1))
            }
            _ => None,
        }
    }
}

/// Chooses the form of the answer, or says what could be had instead.
pub fn negotiate(request: &ApiRequest, offer: Offer) -> Result<Form, Status> {
    let accept = accept_header(&request.headers);
    let clauses = parse_accept(&accept);
    if !clauses.iter().any(|clause| clause.names_any_of(offer.types())) {
        return Err(failure::not_representable(offer.types()));
    }
    let pretty = wants_pretty(&request.query, &request.headers);
    let form = clauses.iter().find_map(|clause| clause.form(offer, pretty));
    form.ok_or_else(|| failure::not_acceptable(OBJECT_TYPES))
}

/// As [`negotiate`], of objects that have no type in protobuf: their metadata alone does.
pub fn negotiate_untyped(request: &ApiRequest, offer: Offer) -> Result<Form, Status> {
    let accept = accept_header(&request.headers);
    let pretty = wants_pretty(&request.query, &request.headers);
    let form = parse_accept(&accept).iter().find_map(|clause| clause.untyped_form(offer, pretty));
    form.ok_or_else(|| failure::not_acceptable(OBJECT_TYPES))
}

/// Whether the client accepts one of these media types, of a route that negotiates nothing else.
pub fn accepts(headers: &HeaderMap, offered: &[&str]) -> bool {
    preferred(headers, offered).is_some()
}

/// The place of the media type that the client likes best; anything means the first.
pub fn preferred(headers: &HeaderMap, offered: &[&str]) -> Option<usize> {
    let accept = accept_header(headers);
    let place = |clause: &Clause<'_>| match clause.wildcards() {
        2 => Some(0).filter(|_| !offered.is_empty()),
        _ => offered.iter().position(|one| clause.is(one)),
    };
    parse_accept(&accept).iter().find_map(place)
}

/// The form of a failure: what the client accepts without asking for another shape, or JSON.
pub fn failure_form(headers: &HeaderMap, pretty: bool) -> Form {
    let accept = accept_header(headers);
    let form = parse_accept(&accept).iter().find_map(|clause| clause.form(Offer::Failure, pretty));
    form.unwrap_or(Form { media: Media::Json { pretty }, ..Form::JSON })
}

/// All Accept headers as one; absent means anything.
fn accept_header(headers: &HeaderMap) -> String {
    let values: Vec<&str> = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    match values.join(",") {
        empty if empty.trim().is_empty() => "*/*".to_owned(),
        accept => accept,
    }
}

/// The alternatives, best first; equally good ones in the order given, wildcards last.
pub fn parse_accept(accept: &str) -> Vec<Clause<'_>> {
    let mut clauses: Vec<Clause<'_>> = accept.split(',').filter_map(Clause::parse).collect();
    clauses.sort_by(|a, b| b.quality.total_cmp(&a.quality).then(a.wildcards().cmp(&b.wildcards())));
    clauses
}

/// As Kubernetes: `?pretty`, else a person's user agent.
pub fn wants_pretty(query: &[(String, String)], headers: &HeaderMap) -> bool {
    match query.iter().find(|(name, _)| name == "pretty") {
        Some((_, value)) => matches!(value.as_str(), "" | "1" | "t" | "T" | "true" | "TRUE" | "True"),
        None => {
            let agent = headers.get(header::USER_AGENT).map_or(&b""[..], HeaderValue::as_bytes);
            ["curl", "Wget", "Mozilla/5.0"].iter().any(|one| agent.starts_with(one.as_bytes()))
        }
    }
}

impl<'a> Clause<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let (kind, subtype) = match parts.next()? {
            "*" => ("*", "*"),
            range => range.split_once('/')?,
        };
        let mut clause = Clause { kind: kind.trim(), subtype: subtype.trim(), parameters: Vec::new(), quality: 1.0 };
        for part in parts.filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            match name.trim() {
                "q" => clause.quality = value.trim().parse().unwrap_or(1.0),
                name => clause.parameters.push((name, value.trim().trim_matches('"'))),
            }
        }
        Some(clause)
    }

    fn wildcards(&self) -> usize {
        usize::from(self.kind == "*") + usize::from(self.subtype == "*")
    }

    pub fn is(&self, media_type: &str) -> bool {
        let base = media_type.split(';').next().unwrap_or(media_type);
        base.split_once('/').is_some_and(|(kind, subtype)| self.kind == kind && self.subtype == subtype)
    }

    /// Whether the route offers this type at all; `application/*` is not understood on this level.
    fn names_any_of(&self, offered: &[&str]) -> bool {
        self.wildcards() == 2 || offered.iter().any(|one| self.is(one))
    }

    fn parameter(&self, name: &str) -> &'a str {
        self.parameters.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value)
    }

    fn form(&self, offer: Offer, pretty: bool) -> Option<Form> {
        let pretty = pretty || self.parameter("pretty") == "1";
        let media = match (self.kind, self.subtype) {
            ("*", "*") | ("application", "*" | "json") => Media::Json { pretty },
            ("application", "yaml") => Media::Yaml,
            ("application", "vnd.kubernetes.protobuf") => Media::Protobuf,
            _ => return None,
        };
        let stream = self.parameter("stream");
        let streams = matches!(offer, Offer::Collection | Offer::WatchList | Offer::Failure) && media != Media::Yaml;
        if !stream.is_empty() && (stream != "watch" || !streams) {
            return None;
        }
        let (shape, meta) = match self.parameter("as") {
            "" => (Shape::Object, MetaVersion::V1),
            kind => offer.shape(media, kind, self.parameter("g"), self.parameter("v"))?,
        };
        Some(Form { media, shape, meta })
    }

    fn untyped_form(&self, offer: Offer, pretty: bool) -> Option<Form> {
        self.form(offer, pretty).filter(|form| form.media != Media::Protobuf || form.shape != Shape::Object)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn forms(accept: &str, offer: Offer) -> Result<Form, u16> {
        let clauses = parse_accept(accept);
        if !clauses.iter().any(|clause| clause.names_any_of(offer.types())) {
            return Err(4060);
        }
        clauses.iter().find_map(|clause| clause.form(offer, false)).ok_or(406)
    }

    fn json(shape: Shape) -> Result<Form, u16> {
        Ok(Form { shape, ..Form::JSON })
    }

    fn protobuf(shape: Shape) -> Result<Form, u16> {
        Ok(Form { shape, media: Media::Protobuf, ..Form::JSON })
    }

    const OLD_TABLE: Form = Form { shape: Shape::Table, meta: MetaVersion::V1beta1, ..Form::JSON };

    #[test]
    fn what_has_no_type_in_protobuf_has_its_metadata_in_it() {
        let form =
            |accept: &str, offer| parse_accept(accept).iter().find_map(|clause| clause.untyped_form(offer, false));
        let metadata = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
        let plain = "application/vnd.kubernetes.protobuf";
        assert_eq!(form(metadata, Offer::Object), protobuf(Shape::PartialMetadata).ok());
        assert_eq!(
            form(&format!("{metadata},application/json"), Offer::Collection),
            protobuf(Shape::PartialMetadata).ok()
        );
        assert_eq!(form(&format!("{plain},*/*"), Offer::Object), json(Shape::Object).ok());
        assert_eq!(form("application/*", Offer::Collection), json(Shape::Object).ok());
        assert_eq!(form(plain, Offer::Object), None);
        assert_eq!(form(plain, Offer::Document), None);
    }

    #[test]
    fn accept_headers() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        let discovery = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let cases = [
            ("*/*", Offer::Object, json(Shape::Object)),
            (table, Offer::Collection, json(Shape::Table)),
            (table, Offer::Document, json(Shape::Object)),
            (table, Offer::Posted, json(Shape::Object)),
            ("application/json;as=Table;v=v1;g=meta.k8s.io", Offer::Posted, Err(406)),
            (table, Offer::WatchList, json(Shape::Object)),
            ("application/json;as=Table;v=v1;g=meta.k8s.io", Offer::WatchList, Err(406)),
            (
                "application/json;stream=watch;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
                Offer::WatchList,
                json(Shape::PartialMetadata),
            ),
            (
                "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
                Offer::Posted,
                json(Shape::PartialMetadata),
            ),
            ("application/json;as=Table;v=v9;g=meta.k8s.io", Offer::Collection, Err(406)),
            ("application/json;as=Chair;v=v1;g=meta.k8s.io", Offer::Collection, Err(406)),
            ("application/*", Offer::Collection, Err(4060)),
            ("application/xml", Offer::Collection, Err(4060)),
            ("text/html;q=0.9, application/json;q=0.1", Offer::Collection, json(Shape::Object)),
            ("application/vnd.kubernetes.protobuf, application/json", Offer::Object, protobuf(Shape::Object)),
            ("application/vnd.kubernetes.protobuf", Offer::Object, protobuf(Shape::Object)),
            ("application/vnd.kubernetes.protobuf;stream=watch", Offer::Collection, protobuf(Shape::Object)),
            ("application/json;q=0.5,application/vnd.kubernetes.protobuf", Offer::Object, protobuf(Shape::Object)),
            ("application/json,application/vnd.kubernetes.protobuf", Offer::Object, json(Shape::Object)),
            ("*/*,application/vnd.kubernetes.protobuf", Offer::Object, protobuf(Shape::Object)),
            ("application/cbor", Offer::Object, Err(4060)),
            ("application/cbor,application/json", Offer::Object, json(Shape::Object)),
            (
                "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
                Offer::Object,
                protobuf(Shape::PartialMetadata),
            ),
            ("application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1", Offer::Object, Err(406)),
            (
                "application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1,application/json;as=Table;g=meta.k8s.io;v=v1",
                Offer::Object,
                json(Shape::Table),
            ),
            ("application/json;as=Table;v=v1beta1;g=meta.k8s.io", Offer::Object, Ok(OLD_TABLE)),
            ("application/json;as=Table;v=v1;g=meta.k8s.io", Offer::Failure, Err(406)),
            (
                "application/json;pretty=1",
                Offer::Object,
                Ok(Form { media: Media::Json { pretty: true }, ..Form::JSON }),
            ),
            ("application/json;stream=watch", Offer::Collection, json(Shape::Object)),
            ("application/json;stream=watch", Offer::Object, Err(406)),
            ("application/yaml", Offer::Object, Ok(Form { media: Media::Yaml, ..Form::JSON })),
            ("application/yaml;stream=watch", Offer::Collection, Err(406)),
            (discovery, Offer::DiscoveryRoot, json(Shape::AggregatedDiscovery)),
            (discovery, Offer::Document, Err(406)),
            (
                "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
                Offer::DiscoveryRoot,
                Err(406),
            ),
        ];
        for (accept, offer, expected) in cases {
            assert_eq!(forms(accept, offer), expected, "{accept} for {offer:?}");
        }
    }
}
