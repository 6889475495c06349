//! The `kontiki` binary: flags, configuration, wiring. The only room that knows all the others.

// Before all others, which print with its macros.
#[macro_use]
mod print;

mod agent;
mod apply;
mod args;
mod authentication;
mod client;
mod control;
mod control_plane;
mod detach;
mod down;
mod encryption;
mod image;
mod layout;
mod members;
mod node;
mod past;
mod recover;
mod reread;
mod server;
mod snapshot;
mod up;

use std::{ffi::OsString, process::ExitCode};

use anyhow::Result;
use clap::Parser;

use args::{Arguments, Command};

/// Of RocksDB, too. A request makes some hundred allocations, many above a KiB, where the C library's fast path ends.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    // The shim calls libcontainer, which forks: there must be no other thread, so nothing else happens first.
    if arguments.first().is_some_and(|first| kontiki_runtime::is_shim_command(first)) {
        return kontiki_runtime::shim_main(arguments);
    }
    match run(Arguments::parse()) {
        Ok(()) if print::is_complete() => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {}", print::causes(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        anyhow::bail!("another TLS provider is installed already");
    }
    let stays = match &arguments.command {
        Command::Agent(agent) => !agent.detach,
        Command::Server(server) => !server.detach,
        Command::Up(up) => !up.detach,
        _ => false,
    };
    if stays {
        start_log(&arguments);
        if let Err(error) = kontiki_runtime::raise_open_files() {
            tracing::warn!(%error, "cannot raise the number of open files: it bounds the connections");
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match arguments.command {
        Command::Agent(agent) if agent.detach => runtime.block_on(detach::agent(&agent.data)),
        Command::Agent(agent) => runtime.block_on(agent::agent(&agent)),
        Command::Apply(apply) => runtime.block_on(apply::apply(apply)),
        Command::Diff(diff) => runtime.block_on(past::diff(diff)),
        Command::Down(down) => runtime.block_on(down::down(&down)),
        Command::History(history) => runtime.block_on(past::history(history)),
        Command::Image(image) => runtime.block_on(image::image(image)),
        Command::Members(members) => runtime.block_on(members::members(members.action)),
        Command::Recover(recover) => runtime.block_on(recover::recover(recover)),
        Command::Server(server) if server.detach => runtime.block_on(detach::server(&server.data)),
        Command::Server(server) => runtime.block_on(server::server(&server)),
        Command::Snapshot(snapshot) => runtime.block_on(snapshot::snapshot(snapshot)),
        Command::Tail(tail) => runtime.block_on(past::tail(tail)),
        Command::Token(token) => members::token(&token),
        Command::Undelete(undelete) => runtime.block_on(past::undelete(undelete)),
        Command::Undo(undo) => runtime.block_on(past::undo(undo)),
        Command::Up(up) if up.detach => runtime.block_on(detach::start(&up)),
        Command::Up(up) => runtime.block_on(up::up(&up)),
        Command::Why(why) => runtime.block_on(past::why(why)),
    }
}

fn start_log(arguments: &Arguments) {
    let filter = tracing_subscriber::EnvFilter::new(&arguments.log);
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match arguments.log_format {
        args::LogFormat::Text => builder.with_ansi(false).init(),
        args::LogFormat::Json => builder.json().init(),
    }
}
