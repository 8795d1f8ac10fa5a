/// A file of a table, as the log of the table describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBlock {
    /// The name of the file without its folder and its ending; unique in the table for ever.
    pub name: String,
    /// The time of its first sample.
    pub min_ms: i64,
    /// The time of its last sample.
    pub max_ms: i64,
    /// How long the file is.
    pub n_bytes: u64,
    /// Whether it was merged of others.
    pub is_merged: bool,
}
