//! A request out, what became of it in.

mod grpc;
mod http;

use std::io::Write;

use anyhow::Context;

use crate::encode::proto::fields;
use crate::{Compression, Protocol};

/// What became of a request.
#[derive(Debug)]
pub(crate) enum Outcome {
    Accepted(Accepted),
    /// To be sent again.
    Busy(String),
    Refused {
        reason: String,
        accepted: Accepted,
    },
}

/// What a receiver says that it took.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Accepted {
    /// Remote write 2.0's counts of samples, histograms and exemplars written; `None` where no header says so.
    pub(crate) written: Option<[u64; 3]>,
    /// Data points that an OTLP receiver refused although it accepted the request.
    pub(crate) rejected: u64,
}

/// One connection.
pub(crate) enum Transport {
    Http(http::Http),
    Grpc(grpc::Grpc),
}

impl Transport {
    pub(crate) fn new(protocol: Protocol) -> anyhow::Result<Transport> {
        Ok(match protocol {
            Protocol::OtlpGrpc => Transport::Grpc(grpc::Grpc::new()?),
            _ => Transport::Http(http::Http::new(protocol)),
        })
    }

    pub(crate) fn send(
        &mut self,
        url: &str,
        tenant: Option<&str>,
        compression: Compression,
        body: &[u8],
    ) -> anyhow::Result<Outcome> {
        match self {
            Transport::Http(http) => http.send(url, tenant, compression, body),
            Transport::Grpc(grpc) => grpc.send(url, tenant, compression, body),
        }
    }
}

/// Compresses bodies into a buffer of its own.
#[derive(Default)]
pub(crate) struct Packer {
    packed: Vec<u8>,
}

impl Packer {
    pub(crate) fn pack(&mut self, body: &[u8], compression: Compression) -> anyhow::Result<&[u8]> {
        self.packed.clear();
        match compression {
            Compression::None => self.packed.extend_from_slice(body),
            Compression::Snappy => {
                self.packed.resize(snap::raw::max_compress_len(body.len()), 0);
                let n = snap::raw::Encoder::new().compress(body, &mut self.packed)?;
                self.packed.truncate(n);
            }
            Compression::Zstd => {
                self.packed.resize(zstd::zstd_safe::compress_bound(body.len()), 0);
                let n = zstd::bulk::compress_to_buffer(body, &mut self.packed, 1)?;
                self.packed.truncate(n);
            }
            Compression::Gzip => {
                let mut encoder =
                    flate2::write::GzEncoder::new(&mut self.packed, flate2::Compression::fast());
                encoder.write_all(body)?;
                encoder.finish().context("gzip")?;
            }
        }
        Ok(&self.packed)
    }
}

/// `rejected_data_points` of an `ExportMetricsServiceResponse`: field 1 of field 1.
fn rejected_points(response: &[u8]) -> u64 {
    let partial = fields(response).filter(|(number, _, _)| *number == 1);
    let rejected = partial.flat_map(|(_, _, partial)| fields(partial)).filter(|(number, _, _)| *number == 1);
    rejected.map(|(_, value, _)| value).sum()
}
