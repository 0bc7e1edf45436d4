//! A check of our Runtime API: each package runs once in Amazon's Runtime Interface Emulator.

use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use super::Failure;
use super::backends::Backends;
use super::contestants::Contestant;
use super::environment::{self, WAIT_LIMIT};
use payment_functions_local::{free_port, http, payload, workspace};

/// Durations in Amazon's emulator.
#[derive(Clone, Copy, Debug, Default)]
pub struct EmulatorTimes {
    /// From the first request to its response. Includes the start of the process and the emulator's own overhead.
    pub cold: Duration,
    /// From the second request to its response.
    pub warm: Duration,
}

/// Starts a contestant in the emulator and invokes it twice. The responses must have the expected status.
pub async fn check(backends: &Backends, contestant: &Contestant) -> Result<EmulatorTimes, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure(format!("{contestant} in Amazon's emulator: {error}"));
    let table = backends.table().await?;
    let events = [table.event(contestant.job).await?, table.event(contestant.job).await?];
    let (address, runtime_api) = (
        format!("127.0.0.1:{}", free_port()?),
        format!("127.0.0.1:{}", free_port()?),
    );
    let mut command = Command::new(workspace().join(".tools/bench/bin/aws-lambda-rie"));
    command
        .args([
            "--runtime-interface-emulator-address",
            &address,
            "--runtime-api-address",
            &runtime_api,
        ])
        .arg(&contestant.program)
        .args(&contestant.arguments);
    environment::prepare(&mut command, contestant, &backends.variables(contestant.job, &table));
    let mut emulator = command.stdin(Stdio::null()).spawn().map_err(|error| failed(&error))?;
    let listens = timeout(WAIT_LIMIT, async {
        while TcpStream::connect(&address).await.is_err() {
            sleep(Duration::from_millis(5)).await;
        }
    });
    listens.await.map_err(|error| failed(&error))?;

    let url = format!("http://{address}/2015-03-31/functions/function/invocations");
    let client = http::client()?;
    let mut took = Vec::new();
    for event in events {
        let start = Instant::now();
        let response = client.post(&url).timeout(WAIT_LIMIT).body(event.bytes).send().await;
        let response = response
            .map_err(|error| failed(&error))?
            .bytes()
            .await
            .map_err(|error| failed(&error))?;
        took.push(start.elapsed());
        let response = payload::parse_response(&response).ok_or_else(|| failed(&"not an HTTP response"))?;
        if response.status != event.status {
            return Err(failed(&format_args!("{} {}", response.status, response.text())));
        }
    }
    // This ends the emulator's child process too.
    environment::terminate(&mut emulator)
        .await
        .map_err(|error| failed(&error))?;
    Ok(match took.as_slice() {
        [cold, warm] => EmulatorTimes {
            cold: *cold,
            warm: *warm,
        },
        _ => EmulatorTimes::default(),
    })
}
