//! The reality check of our Runtime API: each package once in Amazon's own Runtime Interface Emulator.

use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use super::Failure;
use super::backends::Backends;
use super::contestants::Contestant;
use super::environment::{self, PATIENCE};
use payment_functions_local::{free_port, http, payload, workspace};

/// What the emulator saw.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reality {
    /// From the request to the first answer; the emulator starts the process in between, and takes its own time.
    pub cold: Duration,
    /// The second answer.
    pub warm: Duration,
}

/// Starts a contestant in the emulator, and has it answer twice, as it must in ours.
pub async fn check(backends: &Backends, contestant: &Contestant) -> Result<Reality, Failure> {
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
    let listens = timeout(PATIENCE, async {
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
        let answer = client.post(&url).timeout(PATIENCE).body(event.bytes).send().await;
        let answer = answer
            .map_err(|error| failed(&error))?
            .bytes()
            .await
            .map_err(|error| failed(&error))?;
        took.push(start.elapsed());
        let answer = payload::answer(&answer).ok_or_else(|| failed(&"not an HTTP answer"))?;
        if answer.status != event.status {
            return Err(failed(&format_args!("{} {}", answer.status, answer.text())));
        }
    }
    // Asked to, it ends the process that it started too.
    environment::end(&mut emulator).await.map_err(|error| failed(&error))?;
    Ok(match took.as_slice() {
        [cold, warm] => Reality {
            cold: *cold,
            warm: *warm,
        },
        _ => Reality::default(),
    })
}
