//! Names and types of the functions, for the parser; `functions` holds what they do.

use crate::ast::ValueType;

/// A function's name and types.
#[derive(Debug, PartialEq)]
pub struct Signature {
    /// Its name.
    pub name: &'static str,
    /// The types of its arguments.
    pub args: &'static [ValueType],
    /// 0: exactly `args`; n > 0: the last n are optional; −1: the last may be repeated or left out.
    pub variadic: i32,
    /// What it returns.
    pub returns: ValueType,
    /// Whether Prometheus hides it behind a feature flag (we do not).
    pub experimental: bool,
}
