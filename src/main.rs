//! The process itself: takes arguments and environment, hands back an exit code.

use std::process::ExitCode;

use volkeep::base::environment::Environment;

fn main() -> ExitCode {
    let environment = Environment::capture();
    volkeep::cli::run(std::env::args_os(), &environment).into()
}
