//! The binary: hands everything to `holdover::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::SUCCESS
}
