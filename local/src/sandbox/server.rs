//! The HTTP server: all routes on one listener, and connections that a script can close.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::config::Config;
use super::http::{NoReply, loopback_client};
use super::world::World;
use super::{apolopay, buyer, checkout, control, finvypay, openapi, proxy};

/// Running stand-ins. They end when this is dropped.
#[derive(Debug)]
pub struct Sandbox {
    address: SocketAddr,
    task: JoinHandle<io::Result<()>>,
}

impl Sandbox {
    /// Starts stand-ins on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// If there is no free port.
    pub async fn start(config: Config) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        Ok(Self {
            address,
            task: tokio::spawn(serve(listener, config)),
        })
    }

    /// `http://127.0.0.1:PORT`
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// ApoloPay's base URL.
    #[must_use]
    pub fn apolopay_url(&self) -> String {
        format!("{}/apolopay", self.url())
    }

    /// FinvyPay's base URL.
    #[must_use]
    pub fn finvypay_url(&self) -> String {
        format!("{}/finvypay", self.url())
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves the stand-ins until the future is dropped; the connections end with it.
///
/// # Errors
/// If the listener fails.
pub async fn serve(listener: TcpListener, config: Config) -> io::Result<()> {
    let base_url = format!("http://{}", listener.local_addr()?);
    let http = loopback_client().map_err(io::Error::other)?;
    let world = Arc::new(World::new(config, base_url, http));
    let router = Router::new()
        .merge(checkout::routes())
        .merge(openapi::routes())
        .nest("/api", proxy::routes())
        .nest("/apolopay", apolopay::routes().merge(buyer::apolopay_routes()))
        .nest("/finvypay", finvypay::routes().merge(buyer::finvypay_routes()))
        .nest("/_control", control::routes())
        .layer(from_fn_with_state(Arc::clone(&world), control::same_origin))
        .with_state(world);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                connections.spawn(connection(stream, router.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves one connection. An error means that either side closed it, which scripts do on purpose.
async fn connection(stream: TcpStream, router: Router) -> hyper::Result<()> {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |request| {
        let response = router.call(request);
        async move {
            let Ok(response) = response.await;
            match response.extensions().get::<NoReply>() {
                Some(no_reply) => Err(*no_reply),
                None => Ok(response),
            }
        }
    });
    http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await
}
