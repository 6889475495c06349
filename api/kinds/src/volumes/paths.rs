//! Paths inside volumes.

use kontiki_model::Faults;

/// A path below something: relative, and never upwards.
pub fn relative(target: &str, path: &str, faults: &mut Faults) {
    if target.starts_with('/') {
        faults.invalid(path, target, "must be a relative path");
    }
    no_back_steps(target, path, faults);
}

/// The same, of a file that Kubernetes writes: names with two dots in front are its own.
pub fn relative_and_free(target: &str, path: &str, faults: &mut Faults) {
    relative(target, path, faults);
    if target.starts_with("..") && !target.starts_with("../") {
        faults.invalid(path, target, "must not start with '..'");
    }
}

/// A path that never goes upwards.
pub fn no_back_steps(target: &str, path: &str, faults: &mut Faults) {
    if target.split('/').any(|part| part == "..") {
        faults.invalid(path, target, "must not contain '..'");
    }
}
