//! Query parameters and DeleteOptions: read, checked, and refused in Kubernetes' words.

use kontiki_model::{FaultKind, Faults, Status};
use kontiki_schema::{builtin, ids, managed::validate_manager};
use serde_json::{Value, json};

use crate::{
    content,
    failure::{self, Qualified},
    request::ApiRequest,
};

/// How unknown and duplicate fields are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

/// Options of create, update and patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteOptions {
    pub dry_run: bool,
    pub field_validation: FieldValidation,
}

/// Which past a list may show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    Unset,
    Exact,
    NotOlderThan,
}

/// Options of list and watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListOptions {
    pub label_selector: String,
    pub field_selector: String,
    /// 0 is no limit.
    pub limit: u64,
    pub token: String,
    pub resource_version: String,
    pub resource_version_match: Match,
    pub timeout_s: Option<u64>,
    pub allow_bookmarks: bool,
    pub send_initial_events: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    Background,
    Foreground,
    Orphan,
}

/// Options of delete, from the body or else from the query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    pub dry_run: bool,
    /// Negative values were turned into one second.
    pub grace_period_s: Option<i64>,
    pub propagation: Option<Propagation>,
    /// `orphanDependents` is said to be false: of an object that stays for now, whoever says so is told.
    pub cascades: bool,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
}

impl WriteOptions {
    /// `options` names the type for messages: `CreateOptions`, `UpdateOptions`.
    pub fn read(request: &ApiRequest, options: &str) -> Result<Self, Status> {
        Self::read_with(request, options, Faults::default())
    }

    /// Options of a patch. Only who applies may, and must, say in whose name, and may force.
    pub fn read_patch(request: &ApiRequest, applies: bool) -> Result<Self, Status> {
        let mut faults = Faults::default();
        if applies && request.query_value("fieldManager").unwrap_or("").is_empty() {
            faults.required("fieldManager", "is required for apply patch");
        }
        if !applies && request.query_value("force").is_some() {
            faults.forbidden("force", "may not be specified for non-apply patch");
        }
        Self::read_with(request, "PatchOptions", faults)
    }

    fn read_with(request: &ApiRequest, options: &str, mut faults: Faults) -> Result<Self, Status> {
        validate_manager(request.query_value("fieldManager").unwrap_or(""), "fieldManager", &mut faults);
        let dry_run: Vec<Value> = all(request, "dryRun").map(Value::from).collect();
        let dry_run = self::dry_run(&dry_run, &mut faults);
        let field_validation = match request.query_value("fieldValidation").unwrap_or("") {
            "" | "Warn" => FieldValidation::Warn,
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            other => {
                not_supported(&mut faults, "fieldValidation", other.into(), &["", "Ignore", "Strict", "Warn"]);
                FieldValidation::Warn
            }
        };
        refuse(options, &faults)?;
        Ok(WriteOptions { dry_run, field_validation })
    }
}

impl ListOptions {
    pub fn read(request: &ApiRequest, watch: bool) -> Result<Self, Status> {
        let value = |name: &str| request.query_value(name).unwrap_or("").to_owned();
        let mut faults = Faults::default();
        let send_initial_events =
            request.query_value("sendInitialEvents").map(|_| request.query_flag("sendInitialEvents"));
        let wanted = value("resourceVersionMatch");
        let options = ListOptions {
            label_selector: value("labelSelector"),
            field_selector: value("fieldSelector"),
            limit: integer(request, "limit")?.and_then(|limit| u64::try_from(limit).ok()).unwrap_or(0),
            token: value("continue"),
            resource_version: value("resourceVersion"),
            resource_version_match: match wanted.as_str() {
                "Exact" => Match::Exact,
                "NotOlderThan" => Match::NotOlderThan,
                _ => Match::Unset,
            },
            timeout_s: integer(request, "timeoutSeconds")?.and_then(|seconds| u64::try_from(seconds).ok()),
            allow_bookmarks: request.query_flag("allowWatchBookmarks"),
            send_initial_events,
        };
        if watch {
            options.check_watch(&wanted, &mut faults);
        } else {
            options.check_list(&wanted, &mut faults);
        }
        refuse("ListOptions", &faults)?;
        Ok(options)
    }

    fn check_list(&self, wanted: &str, faults: &mut Faults) {
        const FIELD: &str = "resourceVersionMatch";
        if !wanted.is_empty() {
            if self.resource_version.is_empty() {
                faults.forbidden(FIELD, "resourceVersionMatch is forbidden unless resourceVersion is provided");
            }
            if !self.token.is_empty() {
                faults.forbidden(FIELD, "resourceVersionMatch is forbidden when continue is provided");
            }
            if self.resource_version_match == Match::Unset {
                not_supported(faults, FIELD, wanted.into(), &["Exact", "NotOlderThan", ""]);
            }
            if self.resource_version_match == Match::Exact && self.resource_version == "0" {
                faults.forbidden(FIELD, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
            }
        }
        if self.send_initial_events.is_some() {
            faults.forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list");
        }
    }

    fn check_watch(&self, wanted: &str, faults: &mut Faults) {
        const FIELD: &str = "resourceVersionMatch";
        let not_older = self.resource_version_match == Match::NotOlderThan;
        if self.send_initial_events.is_some() && !not_older {
            faults.forbidden(FIELD, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
        }
        if !wanted.is_empty() {
            if self.send_initial_events.is_none() {
                let detail = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
                faults.forbidden(FIELD, detail);
            }
            if !not_older {
                not_supported(faults, FIELD, wanted.into(), &["NotOlderThan"]);
            }
            if !self.token.is_empty() {
                faults.forbidden(FIELD, "resourceVersionMatch is forbidden when continue is provided");
            }
        }
    }
}

impl DeleteOptions {
    pub fn read(request: &ApiRequest) -> Result<Self, Status> {
        DeleteOptions::from_value(&delete_options(request)?)
    }

    /// From the JSON form, whose types were checked.
    pub fn from_value(options: &Value) -> Result<Self, Status> {
        let mut faults = Faults::default();
        let text = |pointer: &str| options.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let policy = text("/propagationPolicy");
        let orphan = options.get("orphanDependents").and_then(Value::as_bool);
        if let (Some(policy), Some(_)) = (&policy, orphan) {
            let detail = "orphanDependents and deletionPropagation cannot be both set";
            faults.invalid("propagationPolicy", policy.as_str(), detail);
        }
        let propagation = match (policy.as_deref(), orphan) {
            (None, None) => None,
            (None, Some(true)) | (Some("Orphan"), _) => Some(Propagation::Orphan),
            (None, Some(false)) | (Some("Background"), _) => Some(Propagation::Background),
            (Some("Foreground"), _) => Some(Propagation::Foreground),
            (Some(other), _) => {
                let supported = &["Foreground", "Background", "Orphan", "nil"];
                not_supported(&mut faults, "propagationPolicy", other.into(), supported);
                None
            }
        };
        let dry_run = options.get("dryRun").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let dry_run = self::dry_run(dry_run, &mut faults);
        refuse("DeleteOptions", &faults)?;
        let grace = options.get("gracePeriodSeconds").and_then(Value::as_i64);
        Ok(DeleteOptions {
            dry_run,
            grace_period_s: grace.map(|seconds| if seconds < 0 { 1 } else { seconds }),
            propagation,
            cascades: orphan == Some(false),
            uid: text("/preconditions/uid"),
            resource_version: text("/preconditions/resourceVersion"),
        })
    }
}

/// The options of a DELETE as an object, their types checked.
pub fn delete_options(request: &ApiRequest) -> Result<Value, Status> {
    if request.body.bytes().is_empty() { from_query(request) } else { from_body(request) }
}

fn from_query(request: &ApiRequest) -> Result<Value, Status> {
    let mut options = json!({});
    if let Some(seconds) = integer(request, "gracePeriodSeconds")? {
        options["gracePeriodSeconds"] = seconds.into();
    }
    if let Some(policy) = request.query_value("propagationPolicy") {
        options["propagationPolicy"] = policy.into();
    }
    if request.query_value("orphanDependents").is_some() {
        options["orphanDependents"] = request.query_flag("orphanDependents").into();
    }
    options["dryRun"] = all(request, "dryRun").collect();
    Ok(options)
}

fn from_body(request: &ApiRequest) -> Result<Value, Status> {
    let mut options = content::json_value(request)?;
    let kind = options.get("kind").and_then(Value::as_str).unwrap_or("");
    if !matches!(kind, "" | "DeleteOptions") {
        let version = options.get("apiVersion").and_then(Value::as_str).unwrap_or("");
        let scheme = "pkg/apis/meta/internalversion/scheme/register.go:27";
        let message = format!("no kind {kind:?} is registered for version {version:?} in scheme {scheme:?}");
        return Err(failure::bad_request(message));
    }
    builtin().check(ids::META_V1_DELETEOPTIONS, &options).map_err(|error| failure::bad_request(error.to_string()))?;
    // A dry run in the query counts as well: kubectl sends it there, with the other options in the body.
    if options.get("dryRun").is_none_or(Value::is_null) {
        options["dryRun"] = all(request, "dryRun").collect();
    }
    Ok(options)
}

fn all<'a>(request: &'a ApiRequest, name: &'a str) -> impl Iterator<Item = &'a str> {
    request.query.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
}

fn integer(request: &ApiRequest, name: &str) -> Result<Option<i64>, Status> {
    let Some(text) = request.query_value(name).filter(|text| !text.is_empty()) else { return Ok(None) };
    match text.parse::<i64>() {
        Ok(number) => Ok(Some(number)),
        Err(error) => Err(failure::bad_request(go_number_error("ParseInt", text, &error))),
    }
}

/// Go's words for a number that is none.
pub fn go_number_error(function: &str, text: &str, error: &std::num::ParseIntError) -> String {
    let why = match error.kind() {
        std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => "value out of range",
        _ => "invalid syntax",
    };
    format!("strconv.{function}: parsing {text:?}: {why}")
}

fn dry_run(values: &[Value], faults: &mut Faults) -> bool {
    if values.iter().any(|value| value != "All") {
        not_supported(faults, "dryRun", values.into(), &["All"]);
    }
    !values.is_empty()
}

/// As `Faults::not_supported`, with the supported values in the order given.
fn not_supported(faults: &mut Faults, field: &str, value: Value, supported: &[&str]) {
    let quoted: Vec<String> = supported.iter().map(|one| format!("{one:?}")).collect();
    faults.add(FaultKind::NotSupported, field, Some(value), format!("supported values: {}", quoted.join(", ")));
}

fn refuse(options: &str, faults: &Faults) -> Result<(), Status> {
    if faults.is_empty() {
        return Ok(());
    }
    Err(failure::invalid(Qualified { group: "meta.k8s.io", resource: options }, "", faults))
}
