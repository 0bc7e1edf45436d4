//! What starts processes, and so needs what `make tools` installs. `make check` leaves it out.

mod functions;
mod tether;
