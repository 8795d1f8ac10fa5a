//! OpenTelemetry's metrics: over HTTP as protobuf or JSON, and over gRPC.
//!
//! On the path: a request → one protobuf message → [`translate`] → [`Intake`](crate::intake::Intake), like every
//! protocol.
//!
//! Always true:
//! - what Prometheus's receiver accepts becomes the series, exemplars and descriptions that Prometheus makes of it;
//! - JSON is rewritten as protobuf first, so that there is one translation;
//! - points that cannot be stored are refused by name in a partial success, and their neighbours are stored: a sender
//!   does not repeat what will never be accepted;
//! - no state is kept between requests: points of delta temporality are refused or stored as they are, never added up.

mod answer;
mod exemplars;
mod families;
mod grpc;
mod header;
mod histogram;
mod http;
mod json;
mod keys;
mod labels;
mod names;
mod points;
mod receive;
mod schema;
mod translate;
mod value;

pub use http::otlp_routes;
use model::TenantId;
use runtime::Reservation;

use self::families::Families;
use self::keys::Key;
use self::labels::{Attributes, Fixed, Plans};
use self::points::{Point, Shapes};
use self::translate::Translator;
use crate::decoder::{Decoded, Decoder, Source, Workspace};
use crate::intake::DecodeError;

/// Data points of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Points {
    /// All of them.
    pub received: usize,
    /// Those that were refused before anything was pushed on.
    pub refused: usize,
}

/// Buffers that outlive a request.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    plans: Plans,
    families: Families,
    /// Labels that all series of the scope have.
    fixed: Vec<Fixed>,
    /// Stands for them.
    fixed_key: Key,
    resource: Attributes,
    point: Point,
    shapes: Shapes,
    run: Vec<u8>,
}

impl Decoder {
    /// Decodes the `ExportMetricsServiceRequest` in the workspace's text. After an error the batch is empty.
    pub fn otlp(
        &self,
        tenant: &TenantId,
        work: &mut Workspace,
        reservation: &mut Reservation,
    ) -> Result<(Decoded, Points), DecodeError> {
        let body = std::mem::take(&mut work.text);
        let mut scratch = std::mem::take(&mut work.otlp);
        let Workspace { batch, buffers, .. } = work;
        let mut points = Points::default();
        let outcome = self.take_in(tenant, buffers, &mut batch.shards, 0, reservation, |intake| {
            let metadata = &mut batch.metadata;
            let max_bytes = MAX_BYTES.max(body.len() * MAX_GROWTH);
            let mut translator = Translator::new(&body, intake, metadata, &mut scratch, max_bytes);
            translator.run()?;
            points = translator.points;
            Ok(None)
        });
        work.text = body;
        work.otlp = scratch;
        // The batch needs nothing of the body: all runs were written out.
        std::mem::swap(&mut work.batch.bytes, &mut work.buffers.tail);
        work.buffers.tail.clear();
        let decoded = self.conclude(tenant, work, outcome, Source::Runs)?;
        Ok((decoded, points))
    }
}

impl Workspace {
    /// Rewrites the JSON of an `ExportMetricsServiceRequest` in the text as protobuf.
    pub fn otlp_from_json(&mut self, reservation: &mut Reservation) -> Result<(), DecodeError> {
        let mut message = std::mem::take(&mut self.batch.bytes);
        message.clear();
        let rewritten = json::to_protobuf(&self.text, &mut message, reservation);
        self.batch.bytes = std::mem::replace(&mut self.text, message);
        rewritten
    }
}

/// A request may become so many bytes of labels, …
const MAX_BYTES: usize = 64 << 20;
/// … or so many times its own size.
const MAX_GROWTH: usize = 32;
