//! A runtime for what is served from inside this process: it outlives the single test that started it.

use std::io;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Handle, Runtime};

use super::Error;

static RUNTIME: OnceLock<io::Result<Runtime>> = OnceLock::new();

/// The runtime, started on first use.
pub(super) fn handle() -> Result<Handle, Error> {
    let runtime = RUNTIME.get_or_init(|| Builder::new_multi_thread().worker_threads(2).enable_all().build());
    match runtime {
        Ok(runtime) => Ok(runtime.handle().clone()),
        Err(error) => Err(Error::Io {
            doing: "start a runtime".to_owned(),
            source: io::Error::from(error.kind()),
        }),
    }
}
