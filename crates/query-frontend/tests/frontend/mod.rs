//! The frontend over real parts: what it splits and keeps makes no difference to any answer.

mod kept;
mod sequences;
mod world;
