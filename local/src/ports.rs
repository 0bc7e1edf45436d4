//! Ports on 127.0.0.1: fixed ones for people, free ones for tests.

use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;

use super::Error;

/// Below what Linux (from 32768) and macOS (from 49152) give out by themselves, so that no connection and no listener on
/// port 0 is given one of these between its choice and its use.
const OWN: Range<u16> = 20_000..30_000;
const TRIES: usize = 100;

/// A port on which nobody listens at the moment.
///
/// # Errors
/// When there is hardly one.
pub fn free_port() -> Result<u16, Error> {
    let mut ports = (0..TRIES).map(|_| fastrand::u16(OWN));
    let free = ports.find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok());
    free.ok_or_else(|| Error::Io {
        doing: "find a free port".to_owned(),
        source: std::io::ErrorKind::AddrInUse.into(),
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
