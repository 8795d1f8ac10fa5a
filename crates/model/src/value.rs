use std::sync::Arc;

use crate::{Histogram, Labels};

/// The result of a query.
#[derive(Debug, Clone)]
pub enum Value {
    /// One number.
    Scalar {
        /// When.
        timestamp: i64,
        /// The number.
        value: f64,
    },
    /// One string.
    String {
        /// When.
        timestamp: i64,
        /// The string.
        value: String,
    },
    /// One sample per series.
    Vector(Vec<VectorSample>),
    /// Samples of each series over a range, sorted by labels.
    Matrix(Vec<MatrixSeries>),
}

/// A series' sample at the time of an instant query.
#[derive(Debug, Clone)]
pub struct VectorSample {
    /// The labels.
    pub labels: Labels,
    /// When.
    pub timestamp: i64,
    /// What.
    pub value: SampleValue,
}

/// A float or a histogram; histograms in results hold float counts.
#[derive(Debug, Clone)]
pub enum SampleValue {
    /// A float.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<Histogram>),
}

/// A series' samples over a range.
#[derive(Debug, Clone)]
pub struct MatrixSeries {
    /// The labels.
    pub labels: Labels,
    /// Floats, ascending.
    pub floats: Vec<(i64, f64)>,
    /// Histograms, ascending; a timestamp is in one of the two lists only.
    pub histograms: Vec<(i64, Arc<Histogram>)>,
}
