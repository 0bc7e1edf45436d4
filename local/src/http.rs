//! HTTP for the local world: a client for this machine, and waiting for a server to respond.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::Error;
use super::process::Tethered;

const POLL_INTERVAL: Duration = Duration::from_millis(25);

/// A client without redirects, and without the proxy of the developer's environment.
pub fn client() -> Result<reqwest::Client, Error> {
    Ok(builder().build()?)
}

/// A client that keeps no connections open, for users that outlive an async runtime (each test has its own).
pub fn client_without_connections() -> Result<reqwest::Client, Error> {
    Ok(builder().pool_max_idle_per_host(0).build()?)
}

fn builder() -> reqwest::ClientBuilder {
    // An error means that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
}

/// Waits until `process` responds to `url` with success.
pub async fn until_healthy(process: &Tethered, url: &str, limit: Duration) -> Result<(), Error> {
    let http = client()?;
    let deadline = Instant::now() + limit;
    loop {
        let response = http.get(url).timeout(Duration::from_secs(2)).send().await;
        let last = match response {
            Ok(response) if response.status().is_success() => return Ok(()),
            Ok(response) => format!("{url} returns {}", response.status()),
            Err(_) => format!("{url} does not respond"),
        };
        process.check()?;
        if Instant::now() > deadline {
            return Err(process.timed_out(&last));
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// Waits until `process` listens on a port.
pub async fn until_listening(process: &Tethered, port: u16, limit: Duration) -> Result<(), Error> {
    let deadline = Instant::now() + limit;
    while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        process.check()?;
        if Instant::now() > deadline {
            return Err(process.timed_out(&format!("nothing listens on port {port}")));
        }
        sleep(POLL_INTERVAL).await;
    }
    Ok(())
}
