//! Rows of a file back into series.
