//! HTTP for the local world: a client that stays on this machine, and waiting for an address to answer.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::Error;
use super::process::Tethered;

const POLL: Duration = Duration::from_millis(25);

/// A client without a proxy, which a developer's environment may name, and without redirects.
pub fn client() -> Result<reqwest::Client, Error> {
    Ok(builder().build()?)
}

/// The same for whoever outlives a runtime, as tests end theirs: it keeps no connection.
pub fn client_without_connections() -> Result<reqwest::Client, Error> {
    Ok(builder().pool_max_idle_per_host(0).build()?)
}

fn builder() -> reqwest::ClientBuilder {
    // An error says that there is a provider already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
}

/// Waits until `process` answers `url` with a success.
pub async fn until_healthy(process: &Tethered, url: &str, patience: Duration) -> Result<(), Error> {
    let http = client()?;
    let deadline = Instant::now() + patience;
    loop {
        let answer = http.get(url).timeout(Duration::from_secs(2)).send().await;
        let seen = match answer {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) => format!("{url} answers {}", answer.status()),
            Err(_) => format!("{url} does not answer"),
        };
        process.check()?;
        if Instant::now() > deadline {
            return Err(process.late(&seen));
        }
        sleep(POLL).await;
    }
}

/// Waits until `process` listens on a port.
pub async fn until_listening(process: &Tethered, port: u16, patience: Duration) -> Result<(), Error> {
    let deadline = Instant::now() + patience;
    while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        process.check()?;
        if Instant::now() > deadline {
            return Err(process.late(&format!("nothing listens on port {port}")));
        }
        sleep(POLL).await;
    }
    Ok(())
}
