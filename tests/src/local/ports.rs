//! Ports on 127.0.0.1: fixed ones for people, free ones for tests.

use std::net::{Ipv4Addr, TcpListener};

use super::Error;

/// A port on which nobody listens at the moment.
pub(super) fn free() -> Result<u16, Error> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    listener
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|source| Error::Io {
            doing: "find a free port".to_owned(),
            source,
        })
}

/// The port in `variable`, or `default`, on which nobody listens yet.
pub(super) fn fixed(variable: &'static str, default: u16, what: &'static str) -> Result<u16, Error> {
    let port = match std::env::var(variable) {
        Ok(value) if !value.is_empty() => value.parse().map_err(|_| Error::Port { variable, value })?,
        _ => default,
    };
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Ok(port),
        Err(_) => Err(Error::PortInUse { port, what, variable }),
    }
}
