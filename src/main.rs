// SPDX-License-Identifier: Apache-2.0
//! The program `kiln`: parses the command line, runs one verb, reports.

use std::process::ExitCode;

use clap::Parser as _;
use kiln::{
    cli::Cli,
    cmd,
    error::{Exit, Report, exit_of},
    sys,
};

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("error: kiln has a bug: {panic}");
        eprintln!("help:  report it with this line and the command you ran");
    }));
    let status = std::panic::catch_unwind(|| match cmd::run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if sys::stderr_has_colors() {
                eprintln!("{:#}", Report(&error));
            } else {
                eprintln!("{}", Report(&error));
            }
            ExitCode::from(exit_of(&error) as u8)
        }
    });
    status.unwrap_or_else(|_| ExitCode::from(Exit::Bug as u8))
}
