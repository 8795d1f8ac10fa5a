//! Answers of any size made of series as they are: remote read, export, federation.
//!
//! Series are read a page at a time and leave as bytes before the next page is asked for, so an answer needs the memory
//! of a page, whoever asks slowly included. Between pages nothing is held but labels.

mod answer;
mod gate;
mod pages;

pub(crate) use answer::{Answer, Encode};
pub(crate) use gate::Gate;
pub(crate) use pages::{Pages, Wanted};
