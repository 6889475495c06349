//! `/version`: the level of the API that clients adapt to, and what really runs.

use serde_json::{Value, json};

/// Minor version of Kubernetes whose API this is.
pub(crate) const MINOR: i64 = 36;

/// What metrics say of it.
pub(crate) fn labels() -> Vec<(&'static str, String)> {
    let document = document();
    let text = |member: &str| document[member].as_str().unwrap_or_default().to_owned();
    vec![
        ("major", text("major")),
        ("minor", text("minor")),
        ("git_version", text("gitVersion")),
        ("compiler", text("compiler")),
        ("platform", text("platform")),
    ]
}

pub(crate) fn document() -> Value {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    json!({
        "major": "1",
        "minor": MINOR.to_string(),
        "emulationMajor": "1",
        "emulationMinor": MINOR.to_string(),
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": MINOR.to_string(),
        "gitVersion": format!("v1.{MINOR}.0+kontiki.{}", env!("CARGO_PKG_VERSION")),
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{}/{arch}", std::env::consts::OS),
    })
}
