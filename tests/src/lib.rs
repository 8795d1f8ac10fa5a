//! What the system tests are made with: the processes they start, the parts they need, the answers they compare.
//!
//! On the path: outside of it; everything here goes over HTTP, as a user would.

mod firn;
mod http;
mod parts;
mod process;

pub use firn::{Firn, FirnOptions};
pub use http::{Answer, get, get_json, post};
pub use parts::{part, shared};
pub use process::{Child, free_port, wait_until};
