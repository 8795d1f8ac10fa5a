use runtime::OverBudget;

use crate::proto::Malformed;

/// What a request brought besides float samples, and what was left out without a refusal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Float samples, refused ones included.
    pub floats: u64,
    /// Histogram samples, refused ones included.
    pub histograms: u64,
    /// Exemplars, dropped ones included.
    pub exemplars: u64,
    /// Exemplars that break a rule: such an exemplar never fails its request.
    pub exemplars_dropped: u64,
    /// Descriptions of metric families, dropped ones included.
    pub metadata: u64,
    /// Descriptions that break a rule: neither do they fail their request.
    pub metadata_dropped: u64,
    /// Float samples of series that the tenant's relabelling leaves out.
    pub left_out_floats: u64,
    /// Histogram samples of such series.
    pub left_out_histograms: u64,
    /// Exemplars of such series.
    pub left_out_exemplars: u64,
    /// Series whose labels had to be looked up or worked out since they were not the expected ones.
    pub unexpected: u64,
    /// Series whose labels had to be worked out.
    pub learned: u64,
}

/// Why a request was not decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The body is not the expected message.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The body is another message than announced.
    #[error(
        "the body is a remote write 2.0 message but was announced as 1.0; send it with Content-Type application/x-protobuf;proto=io.prometheus.write.v2.Request"
    )]
    NotVersion1,
    /// Likewise, the other way round.
    #[error(
        "the body is a remote write 1.0 message but was announced as 2.0; send io.prometheus.write.v2.Request"
    )]
    NotVersion2,
    /// What the body refers to, written out, is larger than a body may be.
    #[error(
        "the labels, exemplars and descriptions of the request take more bytes than the limit max_body_bytes of {limit}"
    )]
    Expands {
        /// The limit.
        limit: u64,
    },
    /// The body is not the JSON of the expected message.
    #[error("malformed JSON: {0}")]
    Json(String),
    /// The memory for requests in flight is used up.
    #[error(transparent)]
    OverBudget(#[from] OverBudget),
}
