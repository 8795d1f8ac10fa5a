//! Whole-system tests of Firn.
