use axum::Router;
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, health_reporter};

/// Says to whoever asks by `grpc.health.v1` whether this process is ready.
#[derive(Clone)]
pub struct Health {
    reporter: HealthReporter,
}

/// The routes of `grpc.health.v1`, once per process. It is not ready until [`Health::set`] says so.
pub async fn health_routes() -> (Health, Router) {
    let (reporter, service) = health_reporter();
    let health = Health { reporter };
    health.set(false).await;
    (health, crate::alone(service))
}

impl Health {
    /// Ready or not. The empty name stands for the process.
    pub async fn set(&self, is_ready: bool) {
        let status = if is_ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in ["", "firn.v1.Ingester", "firn.v1.Frontend"] {
            self.reporter.set_service_status(service, status).await;
        }
    }
}
