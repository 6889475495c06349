//! How a session ended, as the client is told: a `metav1.Status`, with the exit code where there is one.

use serde_json::{Value, json};

use crate::containers::Refusal;

pub fn exec_status(args: &[String], outcome: &Result<i32, Refusal>) -> Value {
    match outcome {
        Ok(0) => success(),
        Ok(code) => json!({
            "metadata": {},
            "status": "Failure",
            "message": format!(
                "command terminated with non-zero exit code: error executing command [{}], exit code {code}",
                args.join(" "),
            ),
            "reason": "NonZeroExitCode",
            "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] },
        }),
        Err(refusal) => internal(&format!("error executing command in container: {refusal}")),
    }
}

pub fn attach_status(outcome: &Result<i32, Refusal>) -> Value {
    match outcome {
        Ok(_) => success(),
        Err(refusal) => internal(&format!("error attaching to container: {refusal}")),
    }
}

/// What went wrong, in words; nothing if nothing did.
pub fn failure(status: &Value) -> String {
    status["message"].as_str().unwrap_or_default().to_owned()
}

fn success() -> Value {
    json!({ "metadata": {}, "status": "Success" })
}

fn internal(error: &str) -> Value {
    json!({
        "metadata": {},
        "status": "Failure",
        "message": format!("Internal error occurred: {error}"),
        "reason": "InternalError",
        "details": { "causes": [{ "message": error }] },
        "code": 500,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(outcome: Result<i32, Refusal>) -> Value {
        let args = ["sh", "-c", "exit 3"].map(str::to_owned);
        exec_status(&args, &outcome)
    }

    #[test]
    fn the_end_is_told_as_clients_read_it() {
        assert_eq!(told(Ok(0)), json!({ "metadata": {}, "status": "Success" }));
        let failed = told(Ok(3));
        assert_eq!(failed["reason"], "NonZeroExitCode");
        assert_eq!(failed["details"]["causes"], json!([{ "reason": "ExitCode", "message": "3" }]));
        let message = "command terminated with non-zero exit code: error executing command [sh -c exit 3], exit code 3";
        assert_eq!(failed["message"], message);
        let refused = told(Err(Refusal::other("no such file")));
        let message = "Internal error occurred: error executing command in container: no such file";
        assert_eq!((&refused["message"], &refused["code"]), (&json!(message), &json!(500)));
    }
}
