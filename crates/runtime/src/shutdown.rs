use tokio::sync::watch;

/// Tells a service when to return.
#[derive(Debug, Clone)]
pub struct Shutdown {
    told: watch::Receiver<bool>,
}

/// Tells the holders of the [`Shutdown`] it came with to return.
#[derive(Debug)]
pub struct ShutdownHandle {
    tell: watch::Sender<bool>,
}

impl Shutdown {
    /// A shutdown and the handle that triggers it.
    pub fn new() -> (ShutdownHandle, Shutdown) {
        let (tell, told) = watch::channel(false);
        (ShutdownHandle { tell }, Shutdown { told })
    }

    /// Waits until it is time to return. A dropped handle counts as being told.
    pub async fn wait(&mut self) {
        let _closed = self.told.wait_for(|told| *told).await.is_err();
    }
}

impl ShutdownHandle {
    /// Tells everyone.
    pub fn tell(&self) {
        self.tell.send_replace(true);
    }
}
