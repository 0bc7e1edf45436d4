//! A runtime for servers inside this process. It outlives the test that started it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::OnceLock;

use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle, Runtime};

use super::Error;

static RUNTIME: OnceLock<io::Result<Runtime>> = OnceLock::new();

/// The runtime, started on first use.
pub fn handle() -> Result<Handle, Error> {
    let runtime = RUNTIME.get_or_init(|| Builder::new_multi_thread().worker_threads(2).enable_all().build());
    match runtime {
        Ok(runtime) => Ok(runtime.handle().clone()),
        Err(error) => Err(Error::Io {
            doing: "start a runtime".to_owned(),
            source: io::Error::from(error.kind()),
        }),
    }
}

/// Listens on a free port of 127.0.0.1, on this runtime.
pub async fn listen(doing: &str) -> Result<(TcpListener, SocketAddr), Error> {
    let bound = handle()?.spawn(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
    let listener = bound.await.map_err(io::Error::other).flatten();
    listener
        .and_then(|listener| listener.local_addr().map(|address| (listener, address)))
        .map_err(|source| Error::Io {
            doing: doing.to_owned(),
            source,
        })
}
