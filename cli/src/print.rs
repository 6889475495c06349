//! What commands print.
//!
//! The standard macros panic when whoever reads has had enough; these end the command as other programs end then. SIGPIPE stays
//! ignored until there is a reader who is gone: it would otherwise end a command whose server is, too.

use std::{
    fmt::Arguments,
    io::{self, ErrorKind, Write as _},
};

use nix::sys::signal::{Signal, raise};

macro_rules! print {
    ($($text:tt)*) => { $crate::print::write(format_args!($($text)*)) };
}

macro_rules! println {
    ($($text:tt)*) => { $crate::print::write(format_args!("{}\n", format_args!($($text)*))) };
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
        Err(error) => eprintln!("error: writing to standard output: {error}"),
        Ok(()) => {}
    }
}
