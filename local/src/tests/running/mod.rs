//! Tests that start processes, with the programs that `make tools` installs. `make check` skips them.

mod functions;
mod tether;
