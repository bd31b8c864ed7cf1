//! The engine as a program of its own: `engine IFACE`, in the foreground.
//!
//! A drop-in for `WG_PROCESS_FOREGROUND=1 wireguard-go IFACE`, for trying and measuring the engine without the rest of the
//! product. Ends with the interface or on SIGTERM.

use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(name) = std::env::args().nth(1) else {
        eprintln!("usage: engine IFACE");
        return ExitCode::from(2);
    };
    match wayleave_engine::run(&name) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let error: &dyn std::error::Error = &error;
            let chain: Vec<String> =
                std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect();
            eprintln!("engine: {}", chain.join(": "));
            ExitCode::FAILURE
        }
    }
}
