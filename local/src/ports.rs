//! Ports on 127.0.0.1: fixed ones for `make dev`, free ones for tests.

use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;

use super::Error;

/// Below the ephemeral ports of Linux (from 32768) and macOS (from 49152), so that the system gives none of these to
/// another socket before we use it.
const PORTS: Range<u16> = 20_000..30_000;
const MAX_TRIES: usize = 100;

/// A port that is free at the moment.
///
/// # Errors
/// If none is found after several tries.
pub fn free_port() -> Result<u16, Error> {
    let mut ports = (0..MAX_TRIES).map(|_| fastrand::u16(PORTS));
    let free = ports.find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok());
    free.ok_or_else(|| Error::Io {
        doing: "find a free port".to_owned(),
        source: std::io::ErrorKind::AddrInUse.into(),
    })
}

/// The port in `variable`, or `default`; an error if it is in use.
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
