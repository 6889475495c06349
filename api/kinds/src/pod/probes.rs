//! Which probes and lifecycle hooks are valid.

use kontiki_model::Faults;
use kontiki_schema::ids;
use serde_json::Value;

use crate::fields::known;
use crate::names::{port_name, port_number, report};
use crate::tree::{at, int, list, missing, text};

/// The probes and hooks of one container.
pub fn validate_all(container: &Value, grace_period: i64, path: &str, faults: &mut Faults) {
    for hook in ["postStart", "preStop"] {
        let handler = at(container, &format!("/lifecycle/{hook}"));
        if !handler.is_null() {
            validate_handler(handler, grace_period, &format!("{path}.lifecycle.{hook}"), faults);
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let probe = at(container, &format!("/{name}"));
        if probe.is_null() {
            continue;
        }
        let path = format!("{path}.{name}");
        validate(probe, grace_period, &path, faults);
        let successes = int(probe, "/successThreshold");
        if name != "readinessProbe" && successes != 1 {
            faults.invalid(format!("{path}.successThreshold"), successes, "must be 1");
        }
        if name == "readinessProbe" && !missing(probe, "/terminationGracePeriodSeconds") {
            let value = at(probe, "/terminationGracePeriodSeconds").clone();
            faults.invalid(
                format!("{path}.terminationGracePeriodSeconds"),
                value,
                "must not be set for readinessProbes",
            );
        }
    }
}

fn validate(probe: &Value, grace_period: i64, path: &str, faults: &mut Faults) {
    validate_handler(probe, grace_period, path, faults);
    for member in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        let value = int(probe, &format!("/{member}"));
        if value < 0 {
            faults.invalid(format!("{path}.{member}"), value, "must be greater than or equal to 0");
        }
    }
    if let Some(seconds) = at(probe, "/terminationGracePeriodSeconds").as_i64()
        && seconds <= 0
    {
        faults.invalid(format!("{path}.terminationGracePeriodSeconds"), seconds, "must be greater than 0");
    }
}

/// Exactly one way to act: run, ask over HTTP, TCP or gRPC, or (hooks) sleep.
fn validate_handler(handler: &Value, grace_period: i64, path: &str, faults: &mut Faults) {
    let mut given = 0;
    for member in ["exec", "httpGet", "tcpSocket", "grpc", "sleep"] {
        let action = at(handler, &format!("/{member}"));
        if action.is_null() {
            continue;
        }
        let path = format!("{path}.{member}");
        given += 1;
        if given > 1 {
            faults.forbidden(path, "may not specify more than 1 handler type");
            continue;
        }
        match member {
            "exec" if list(action, "/command").is_empty() => faults.required(format!("{path}.command"), ""),
            "httpGet" => validate_http(action, &path, faults),
            "tcpSocket" | "grpc" => validate_port(at(action, "/port"), &format!("{path}.port"), faults),
            "sleep" => {
                let seconds = int(action, "/seconds");
                if seconds < 0 || seconds > grace_period {
                    let detail =
                        format!("must be non-negative and less than terminationGracePeriodSeconds ({grace_period})");
                    faults.invalid(path, seconds, detail);
                }
            }
            _ => {}
        }
    }
    if given == 0 {
        faults.required(path, "must specify a handler type");
    }
}

fn validate_http(get: &Value, path: &str, faults: &mut Faults) {
    if text(get, "/path").is_empty() {
        faults.required(format!("{path}.path"), "");
    }
    validate_port(at(get, "/port"), &format!("{path}.port"), faults);
    known(text(get, "/scheme"), (ids::CORE_V1_HTTPGETACTION, "scheme"), format!("{path}.scheme"), faults);
    for header in list(get, "/httpHeaders") {
        let name = text(header, "/name");
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            let detail = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for \
                          validation is '[-A-Za-z0-9]+')";
            faults.invalid(format!("{path}.httpHeaders"), name, detail);
        }
    }
}

/// A port by number or by name.
fn validate_port(port: &Value, path: &str, faults: &mut Faults) {
    match port.as_str() {
        Some(name) => report(port_name(name), name, path, faults),
        None => {
            let number = port.as_i64().unwrap_or_default();
            for fault in port_number(number) {
                faults.invalid(path, number, fault);
            }
        }
    }
}
