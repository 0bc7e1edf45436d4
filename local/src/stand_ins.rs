//! The providers' stand-ins, served from inside this process.

use std::net::Ipv4Addr;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::settings::Variables;
use super::{Error, background};
use crate::sandbox::{Config, LocalAws, SmartPay, serve};

/// Running stand-ins. They end when this is dropped.
#[derive(Debug)]
pub struct Sandbox {
    url: String,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Sandbox {
    /// Serves them on a port (0: any). ApoloPay's webhooks go to the functions at `functions_url`.
    ///
    /// # Errors
    /// If the port is taken.
    pub async fn start(port: u16, functions_url: &str) -> Result<Self, Error> {
        Self::start_with_environment(port, functions_url, &Variables::new()).await
    }

    /// Serves them with the settings of `environment` too: the local AWS for the live view of the checkout page, and
    /// ApoloPay's real element if it is configured.
    ///
    /// # Errors
    /// As [`Sandbox::start`].
    pub async fn start_with_environment(
        port: u16,
        functions_url: &str,
        environment: &Variables,
    ) -> Result<Self, Error> {
        let config = Config {
            apolopay_webhook_url: format!("{functions_url}/webhooks/apolopay"),
            functions_url: functions_url.to_owned(),
            aws: LocalAws::from(|name| environment.get(name).cloned()),
            smart_pay: SmartPay::from(|name| environment.get(name).cloned()),
            ..Config::default()
        };
        let bound = background::handle()?.spawn(TcpListener::bind((Ipv4Addr::LOCALHOST, port)));
        let listener = bound
            .await
            .map_err(std::io::Error::other)
            .flatten()
            .map_err(Error::Sandbox)?;
        let url = format!("http://{}", listener.local_addr().map_err(Error::Sandbox)?);
        let serving = background::handle()?.spawn(serve(listener, config));
        Ok(Self { url, serving })
    }

    /// The base URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Waits until they end, which is always a failure.
    pub async fn ended(&mut self) -> Error {
        match (&mut self.serving).await {
            Ok(Err(error)) => Error::Sandbox(error),
            Ok(Ok(())) => Error::Sandbox(std::io::Error::other("no reason given")),
            Err(error) => Error::Sandbox(std::io::Error::other(error)),
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
