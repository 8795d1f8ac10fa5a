//! Who is there and who has which shard.
//!
//! On the path: beside it; distributors and queriers look up in a [`Ring`] whom to ask.
//!
//! Always true:
//! - a [`Ring`] is a snapshot: it never changes, a newer one has a greater epoch and comes over the [`RingWatch`];
//! - who has a shard is a pure function of the members' names, zones and states (docs/format/ring.md);
//! - whoever holds a snapshot goes on working with it, whatever becomes of its source.

mod member;
mod page;
mod placement;
mod ring;
mod source;

pub use config::cluster::Config;
pub use member::{Member, MemberState};
pub use page::Page;
pub use placement::{PLACEMENT_VERSION, TOKENS_PER_MEMBER};
pub use ring::{Ring, RingError};
pub use source::{RingWatch, SPREAD, fixed};
