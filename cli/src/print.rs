//! What commands print.
//!
//! The standard macros panic when whoever reads has had enough; these end the command as other programs end then. SIGPIPE stays
//! ignored until there is a reader who is gone: it would otherwise end a command whose server is, too.

use std::{
    fmt::Arguments,
    io::{self, ErrorKind, Write as _},
    sync::atomic::{AtomicBool, Ordering},
};

use nix::sys::signal::{Signal, raise};

macro_rules! print {
    ($($text:tt)*) => { $crate::print::write(format_args!($($text)*)) };
}

macro_rules! println {
    ($($text:tt)*) => { $crate::print::write(format_args!("{}\n", format_args!($($text)*))) };
}

/// Something was not printed.
static FAILED: AtomicBool = AtomicBool::new(false);

/// Whether all was printed that was to be: what a command exits with says so, and a server goes on.
pub fn is_complete() -> bool {
    !FAILED.load(Ordering::Relaxed)
}

/// An error and its causes, but for those that the one before tells already.
pub fn causes(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |told, cause| {
        let cause = cause.to_string();
        match told.ends_with(&cause) {
            _ if told.is_empty() => cause,
            true => told,
            false => format!("{told}: {cause}"),
        }
    })
}

pub fn write(text: Arguments<'_>) {
    let mut out = io::stdout().lock();
    match out.write_fmt(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            kontiki_runtime::restore_default_signals();
            if let Err(error) = raise(Signal::SIGPIPE) {
                eprintln!("error: {error}");
            }
        }
        Err(error) => {
            if !FAILED.swap(true, Ordering::Relaxed) {
                eprintln!("error: writing to standard output: {error}");
            }
        }
        Ok(()) => {}
    }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context as _, anyhow};

    #[test]
    fn a_cause_is_told_once() {
        let quoted = Err::<(), _>(anyhow!("no such file")).context("cannot read 'x': no such file");
        let table = [
            (anyhow!("alone"), "alone"),
            (anyhow!("no room").context("writing x"), "writing x: no room"),
            (
                quoted.context("reading the kubeconfig").expect_err("it failed"),
                "reading the kubeconfig: cannot read 'x': no such file",
            ),
        ];
        for (error, told) in table {
            assert_eq!(super::causes(&error), told);
        }
    }
}
