//! Runs the providers' stand-ins on 127.0.0.1 until interrupted.

use std::error::Error;
use std::io::Write;
use std::net::Ipv4Addr;
use std::process::ExitCode;

use payment_functions_local::sandbox::{Config, port_from_env, serve};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "sandbox: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port_from_env()?)).await?;
    writeln!(std::io::stdout(), "sandbox on http://{}", listener.local_addr()?)?;
    tokio::select! {
        served = serve(listener, Config::from_env()) => Ok(served?),
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
    }
}
