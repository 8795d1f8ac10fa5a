use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use config::query_frontend;
use futures::Stream;
use runtime::Clock;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::jobs::Jobs;
use super::link::Link;
use super::{OUTBOX, Queue, QueueDeps};
use crate::Config;
use crate::generated::firn;
use crate::generated::firn::frontend_server::{Frontend, FrontendServer};

/// A queue, and the routes by which queriers pull from it.
pub fn queue(config: &query_frontend::Config, rpc: &Config, deps: QueueDeps) -> (Arc<Queue>, Router) {
    let clock = deps.clock.clone();
    let queue = Queue::new(config, deps);
    let service = Service { jobs: Arc::clone(&queue.jobs), clock, max_retries: config.max_retries };
    let server = FrontendServer::new(service).max_decoding_message_size(rpc.max_message_bytes);
    (queue, crate::alone(server))
}

struct Service {
    jobs: Arc<Jobs>,
    clock: Clock,
    max_retries: u32,
}

#[async_trait]
impl Frontend for Service {
    type PullStream = Pin<Box<dyn Stream<Item = Result<firn::FromFrontend, Status>> + Send>>;

    async fn pull(
        &self,
        request: Request<Streaming<firn::FromQuerier>>,
    ) -> Result<Response<Self::PullStream>, Status> {
        let (outbox, messages) = mpsc::channel(OUTBOX);
        let link = Link::new(Arc::clone(&self.jobs), self.clock.clone(), self.max_retries, outbox);
        // The task ends with the stream, on either side, and with the queue.
        let _running = runtime::spawn(link.run(request.into_inner()));
        Ok(Response::new(Box::pin(ReceiverStream::new(messages))))
    }
}
